//! The program as a user runs it, with a data folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kerntrail_testbed::port::Port;
use kerntrail_testbed::wait;

/// Longest wait for any state.
pub const LIMIT: Duration = Duration::from_secs(240);

/// The program with a data folder, which is removed when this is dropped.
pub struct Program {
    dir: tempfile::TempDir,
    port: Port,
}

impl Program {
    pub fn new() -> Self {
        // Not hidden behind a private folder: a test runs the program as another user.
        let dir = tempfile::Builder::new().prefix("kerntrail-test").tempdir().expect("a folder");
        Self { dir, port: Port::reserve().expect("a port") }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kerntrail ARGS` with this data folder and no other setting.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kerntrail"));
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("KERNTRAIL_")) {
            command.env_remove(variable);
        }
        command.env("KERNTRAIL_DATA_DIR", self.data_dir()).env("KERNTRAIL_HTTP_LISTEN", self.address());
        command.args(args);
        command
    }

    /// Runs `kerntrail ARGS` to its end.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("the program starts")
    }

    /// Runs `kerntrail ARGS`, which must succeed, and returns its standard output.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "kerntrail {args:?}: {}\n{}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Rows of a query, as CSV without its header.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        self.run(&["query", sql, "-o", "csv"]).lines().skip(1).map(str::to_owned).collect()
    }

    /// The only number of a query's only row.
    pub fn count(&self, sql: &str) -> u64 {
        let rows = self.rows(sql);
        rows.first().and_then(|row| row.parse().ok()).unwrap_or_else(|| panic!("{sql}: {rows:?}"))
    }

    /// The header that shows the running server's token.
    pub fn authorization(&self) -> String {
        let token = std::fs::read_to_string(self.data_dir().join("token")).expect("a token");
        format!("Bearer {}", token.trim())
    }

    /// Posts `body` to the running server, with its token; the complete response.
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> String {
        let authorization = self.authorization();
        let headers = [("Content-Type", content_type), ("Authorization", authorization.as_str())];
        http(&self.address(), "POST", path, &headers, body).expect("a response")
    }

    /// Starts `kerntrail run ARGS` and waits until it is ready.
    pub fn start(&self, args: &[&str]) -> Running {
        let running = self.start_unready(args);
        wait_for("the program is ready", || {
            let answer = http_get(&self.address(), "/readyz");
            answer
                .as_ref()
                .is_ok_and(|answer| answer.contains("200 OK"))
                .then_some(())
                .ok_or(format!("{answer:?}\n{}", running.log()))
        });
        running
    }

    pub fn start_unready(&self, args: &[&str]) -> Running {
        let mut command = self.command(&["run"]);
        command.args(args);
        Running::spawn(command)
    }
}

/// A running program; killed when dropped.
pub struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Running {
    /// Starts `command` and collects its standard error.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let into = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = into.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// Sends it `signal`.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child was started here and is not reaped yet, so the pid is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Sends SIGTERM and returns the exit code; panics when it does not end within [`LIMIT`].
    pub fn terminate(mut self) -> i32 {
        self.signal(libc::SIGTERM);
        let status = wait_for("the program ends", || {
            self.child.try_wait().expect("a child").ok_or_else(|| self.log.lock().expect("the log").clone())
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `look` until it returns `Ok`; panics with the last error after [`LIMIT`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    wait::until(what, LIMIT, || look().map_err(anyhow::Error::msg)).unwrap_or_else(|error| panic!("{error:#}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends an HTTP request and returns the complete response, headers included.
pub fn http(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(text(&answer))
}

pub fn http_get(address: &str, path: &str) -> std::io::Result<String> {
    http(address, "GET", path, &[], b"")
}

/// Writes `content` to the file `name` in `dir`.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("a file");
    path
}
