//! A web server behind TLS, with a certificate that it signed itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::port::Port;
use crate::process::Process;

/// `openssl s_server`, which answers every request with a page about the connection.
#[derive(Debug)]
pub struct TlsServer {
    port: Port,
    certificate: PathBuf,
    _process: Process,
}

impl TlsServer {
    /// Makes a key and a certificate for `localhost` in `dir`, and starts the server.
    pub fn start(dir: &Path) -> Result<Self> {
        let (key, certificate) = (dir.join("key.pem"), dir.join("certificate.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .context("run openssl")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = Port::reserve()?;
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-key").arg(&key).arg("-cert").arg(&certificate);
        let mut process = Process::start("openssl", command, &dir.join("openssl.log"))?;
        let address = format!("127.0.0.1:{port}");
        process.wait_ready(Duration::from_secs(240), || Ok(std::net::TcpStream::connect(&address).map(drop)?))?;
        Ok(Self { port, certificate, _process: process })
    }

    /// The base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The file with the certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}
