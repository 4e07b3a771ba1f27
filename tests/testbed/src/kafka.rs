//! Apache Kafka: a single node that is both broker and controller.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cache;
use crate::port::Port;
use crate::process::Process;

/// One replica of everything, as there is one node; no delay for further group members; short session timeouts, since
/// the controller rejects a restarted broker as a duplicate until its old session has expired; a small cleaner buffer.
const SETTINGS: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,CLIENT:PLAINTEXT
inter.broker.listener.name=CLIENT
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=300
controller.quorum.election.timeout.ms=300
controller.quorum.fetch.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
";

const LOGGING: &str = "\
rootLogger.level=INFO
rootLogger.appenderRef.out.ref=OUT
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1}: %m%n
";

/// A Kafka node that keeps its data and port over a restart.
#[derive(Debug)]
pub struct Kafka {
    dir: PathBuf,
    classpath: String,
    port: Port,
    controller_port: Port,
    extra: Vec<(String, String)>,
    process: Option<Process>,
}

impl Kafka {
    /// Starts a node that writes only into `dir`, and waits until it answers clients.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[])
    }

    /// As [`Kafka::start`], with further broker settings, for example `("message.max.bytes", "1000000")`.
    pub fn start_with(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut kafka = Self {
            dir: dir.canonicalize()?,
            classpath: format!("{}/*", cache::fetch("kafka")?.join("lib").display()),
            port: Port::reserve()?,
            controller_port: Port::reserve()?,
            extra: settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            process: None,
        };
        kafka.write_config()?;
        kafka.format()?;
        kafka.start_again()?;
        Ok(kafka)
    }

    /// The value of `bootstrap.servers` for clients. It stays the same after a restart.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process id while it is running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Shuts it down (SIGTERM). Does nothing when it is not running.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.terminate(Duration::from_secs(30)).map(drop))
    }

    /// Kills it (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it again with the same port and data, and waits until it answers clients.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Kafka is already running");
        let mut command = self.java("kafka.Kafka");
        command.arg(self.config());
        let mut process = Process::start("Kafka", command, &self.dir.join("kafka.log"))?;
        let port = self.port.number();
        process.wait_ready(Duration::from_secs(240), || answers(port))?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends one record to `topic`, with Kafka's own console producer: `headers` are names and values.
    pub fn produce(&self, topic: &str, headers: &[(&str, &str)], key: &str, value: &str) -> Result<()> {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        let mut command = self.java("org.apache.kafka.tools.ConsoleProducer");
        command.args(["--bootstrap-server", &self.bootstrap(), "--topic", topic]);
        command.args(["--reader-property", "parse.headers=true", "--reader-property", "parse.key=true"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut producer = command.spawn().context("run Kafka's ConsoleProducer")?;
        let line = format!("{}\t{key}\t{value}\n", headers.join(","));
        producer.stdin.take().context("no pipe")?.write_all(line.as_bytes()).context("write to the producer")?;
        let output = producer.wait_with_output().context("wait for the producer")?;
        let messages = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        // It also ends with success when the broker refuses the record.
        let failed = !output.status.success() || messages.contains("ERROR");
        ensure!(!failed, "Kafka's ConsoleProducer failed ({}): {messages}", output.status);
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn write_config(&self) -> Result<()> {
        let (client, controller) = (&self.port, &self.controller_port);
        let mut text = SETTINGS.to_owned();
        text += &format!("log.dirs={}\n", self.dir.join("data").display());
        text += &format!("listeners=CLIENT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n");
        text += &format!("advertised.listeners=CLIENT://127.0.0.1:{client}\n");
        text += &format!("controller.quorum.voters=1@127.0.0.1:{controller}\n");
        for (key, value) in &self.extra {
            text += &format!("{key}={value}\n");
        }
        std::fs::write(self.config(), text).context("write Kafka's settings")?;
        std::fs::write(self.dir.join("log4j2.properties"), LOGGING).context("write Kafka's log settings")
    }

    /// Writes the cluster's identity into an empty data folder.
    fn format(&self) -> Result<()> {
        if self.dir.join("data/meta.properties").exists() {
            return Ok(());
        }
        let mut command = self.java("kafka.tools.StorageTool");
        command.args(["format", "-t", "a2VybnRyYWlsLXRlc3RiZQ", "-c"]).arg(self.config());
        let output = command.output().context("run Kafka's StorageTool")?;
        let messages = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Kafka's StorageTool failed ({}): {messages}", output.status);
        Ok(())
    }

    fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .current_dir(&self.dir)
            .args(["-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.dir.join("log4j2.properties").display()))
            .args(["-cp", &self.classpath, class]);
        command
    }
}

/// Sends an ApiVersions request (protocol key 18, version 0), which the broker answers once it serves clients.
fn answers(port: u16) -> Result<()> {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.write_all(&REQUEST).context("request the API versions")?;
    let mut head = [0; 10];
    connection.read_exact(&mut head).context("read the API versions")?;
    ensure!(head[8..] == [0, 0], "API versions refused with code {}", i16::from_be_bytes([head[8], head[9]]));
    Ok(())
}
