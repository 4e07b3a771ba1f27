//! Rows as a small cluster makes them, for training the dictionary and for measuring.
//!
//! Names that every cluster shares (system daemons, shells, common tools, Kubernetes' own) come from one list; those
//! that a cluster invents (workloads, images, paths, hosts) from [`Vocabulary`], so that what is measured with
//! [`Vocabulary::Unseen`] was not in what was trained with [`Vocabulary::Training`].
#![allow(dead_code, reason = "each program takes the part that it needs")]

use std::sync::Arc;

use arrow::error::ArrowError;
use kerntrail_schemas::cell::{Labels, Micros};
use kerntrail_schemas::identity::{
    BootHash, BootId, ContainerId, FindingId, PodUid, ProcessUid, RuleId, StreamId, event_id,
};
use kerntrail_schemas::tables::{
    Actor, Envelope, FileColumns, FindingColumns, HookColumns, KernelColumns, LossColumns, NetworkColumns, OwnColumns,
    ProcessColumns,
};
use kerntrail_schemas::{Table, TableBatch, TableBuilder};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Which invented names a cluster uses.
#[derive(Clone, Copy)]
pub(crate) enum Vocabulary {
    /// Those the dictionary is trained from.
    Training,
    /// Others.
    Unseen,
}

struct Words {
    namespaces: &'static [&'static str],
    workloads: &'static [&'static str],
    registries: &'static [&'static str],
    commands: &'static [&'static [&'static str]],
    files: &'static [&'static str],
}

const TRAINING: Words = Words {
    namespaces: &["payments", "shop", "search", "data", "ci", "web", "ml", "default"],
    workloads: &["api", "worker", "cache", "ingest", "frontend", "scheduler", "auth", "billing", "catalog", "gateway"],
    registries: &["registry.example.com/platform", "docker.io/library", "ghcr.io/example", "quay.io/example"],
    commands: &[
        &["/usr/local/bin/app", "--config", "/etc/app/config.yaml"],
        &["/usr/local/bin/node", "server.js", "--port", "8080"],
        &["/usr/bin/java", "-Xmx512m", "-jar", "/app/service.jar"],
        &["/usr/bin/python3", "/app/worker.py", "--queue", "default"],
        &["/usr/local/bin/gunicorn", "app:application", "--workers", "4", "--bind", "0.0.0.0:8000"],
        &["/usr/local/bin/redis-server", "/etc/redis/redis.conf"],
        &["/usr/lib/postgresql/15/bin/postgres", "-D", "/var/lib/postgresql/data"],
    ],
    files: &[
        "/app/config.yaml",
        "/etc/app/config.yaml",
        "/var/lib/postgresql/data/base/1/1259",
        "/app/data/input.json",
    ],
};

const UNSEEN: Words = Words {
    namespaces: &["logistics", "telemetry", "risk-eu", "partners", "mobile", "batch-jobs"],
    workloads: &["router", "ledger", "notifier", "reporter", "pricing", "webhooks", "geocoder", "sessions"],
    registries: &[
        "harbor.corp.internal/prod",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "europe-docker.pkg.dev/acme",
    ],
    commands: &[
        &["/srv/router", "-listen=:9443", "-upstreams=/srv/conf/upstreams.toml"],
        &["/opt/ledger/bin/ledgerd", "--wal-dir=/data/wal", "--shards=16"],
        &["/usr/bin/ruby", "bin/rails", "server", "-e", "production"],
        &["/usr/local/bin/php-fpm", "--nodaemonize"],
        &["/usr/bin/dotnet", "Pricing.Api.dll", "--urls", "http://+:5000"],
        &["/usr/sbin/mysqld", "--datadir=/var/lib/mysql", "--user=mysql"],
    ],
    files: &["/srv/conf/upstreams.toml", "/data/wal/000123.wal", "/opt/ledger/etc/keys.json", "/srv/app/db/schema.rb"],
};

/// Commands that run in every cluster: probes, hooks, jobs, and what people type.
const COMMON: &[&[&str]] = &[
    &["/bin/sh", "-c", "ps -ef"],
    &["/usr/bin/ps", "-ef"],
    &["/usr/bin/curl", "-sf", "http://127.0.0.1:8080/healthz"],
    &["/bin/cat", "/etc/hostname"],
    &["/bin/ls", "-la", "/var/run/secrets/kubernetes.io/serviceaccount"],
    &["/usr/bin/env"],
    &["/usr/bin/id"],
    &["/usr/bin/grep", "-r", "token", "/etc"],
    &["/bin/bash"],
    &["/usr/bin/nsenter", "-t", "1", "-m", "-u", "-i", "-n", "-p", "--", "bash"],
    &["/usr/bin/wget", "-qO-", "http://169.254.169.254/latest/meta-data/"],
    &["/usr/bin/mount", "-t", "proc", "proc", "/proc"],
    &["/usr/bin/pg_isready", "-U", "postgres"],
    &["/usr/bin/redis-cli", "ping"],
    &["/usr/bin/sleep", "30"],
    &["/usr/bin/date", "+%s"],
    &["/usr/sbin/runc", "init"],
];

/// What runs on the node itself.
const HOST: &[&[&str]] = &[
    &["/usr/lib/systemd/systemd-journald"],
    &["/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf"],
    &["/usr/bin/containerd"],
    &["/usr/sbin/sshd", "-D"],
    &["/usr/sbin/cron", "-f"],
    &["/usr/sbin/iptables-save", "-t", "nat"],
    &["/usr/bin/runc", "--root", "/run/containerd/runc/k8s.io", "--log-format", "json", "state"],
    &["/opt/cni/bin/bridge"],
    &["/usr/bin/bash", "-c", "uptime"],
];

const COMMON_FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc/1/environ",
    "/root/.ssh/authorized_keys",
    "/var/run/secrets/kubernetes.io/serviceaccount/token",
    "/tmp/x",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/var/log/syslog",
    "/etc/ld.so.cache",
    "/dev/null",
];

struct Pod {
    uid: PodUid,
    name: String,
    namespace: String,
    workload: String,
    container: ContainerId,
    image: String,
    digest: String,
    labels: Labels,
    namespaces: [i64; 4],
    shim: ProcessUid,
    first: ProcessUid,
    command: &'static [&'static str],
}

/// A node with its pods, and the processes that ran on it so far.
pub(crate) struct Node {
    random: StdRng,
    words: &'static Words,
    cluster: String,
    name: String,
    boot: BootId,
    hash: BootHash,
    stream: StreamId,
    now_ns: u64,
    offset_us: i64,
    pods: Vec<Pod>,
    recent: Vec<Arc<Actor>>,
    sequence: [i64; 4],
    next_pid: u32,
}

impl Node {
    /// A node of about 25 pods.
    pub(crate) fn new(seed: u64, vocabulary: Vocabulary) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let words = match vocabulary {
            Vocabulary::Training => &TRAINING,
            Vocabulary::Unseen => &UNSEEN,
        };
        let boot = BootId::new(uuid(&mut random));
        let now_ns = random.random_range(1_000_000_000_000..3_000_000_000_000_000);
        let mut node = Self {
            words,
            cluster: format!(
                "{}-{}",
                words.namespaces.choose(&mut random).unwrap_or(&"prod"),
                random.random_range(1..9)
            ),
            name: format!("node-{:03}", random.random_range(0..200)),
            hash: BootHash::of(boot.as_str()),
            stream: StreamId::of_collector(&boot, now_ns - 900_000_000_000),
            boot,
            now_ns,
            offset_us: 1_790_000_000_000_000 + random.random_range(0..20_000_000_000_000),
            pods: Vec::new(),
            recent: Vec::new(),
            sequence: [0; 4].map(|_| random.random_range(0..50_000_000)),
            next_pid: random.random_range(2_000..3_900_000),
            random,
        };
        node.pods = (0..25).map(|_| node.pod()).collect();
        node
    }

    fn pod(&mut self) -> Pod {
        let words = self.words;
        let random = &mut self.random;
        let pick = |list: &[&'static str], random: &mut StdRng| (*list.choose(random).unwrap_or(&"")).to_owned();
        let workload = format!("{}-{}", pick(words.workloads, random), random.random_range(0..6));
        let namespace = pick(words.namespaces, random);
        let template = format!("{:09x}", random.random_range(0..1u64 << 36));
        let tail = format!("{:05x}", random.random_range(0..1u32 << 20));
        let labels = [
            ("app.kubernetes.io/name", workload.clone()),
            ("app.kubernetes.io/instance", namespace.clone()),
            ("pod-template-hash", template.clone()),
        ];
        let image = format!(
            "{}/{workload}:{}.{}.{}",
            pick(words.registries, random),
            random.random_range(0..4),
            random.random_range(0..30),
            random.random_range(0..9)
        );
        let started = self.now_ns - random.random_range(10_000_000_000..900_000_000_000);
        let pid = random.random_range(1_000..4_000_000);
        Pod {
            uid: PodUid::new(uuid(random)),
            name: format!("{workload}-{template}-{tail}"),
            container: ContainerId::new(hex(random)),
            digest: format!("sha256:{}", hex(random)),
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
            namespaces: std::array::from_fn(|_| 4_026_532_000 + random.random_range(0..900)),
            shim: ProcessUid::new(&self.hash, started, pid),
            first: ProcessUid::new(&self.hash, started + 80_000_000, pid + 20),
            command: words.commands.choose(random).copied().unwrap_or(&[]),
            workload,
            namespace,
            image,
        }
    }

    /// A process that starts now: mostly in a pod, sometimes on the node.
    fn start(&mut self) -> Arc<Actor> {
        let pid = self.next_pid as i32;
        self.next_pid += self.random.random_range(1..6);
        let on_host = self.random.random_bool(0.2);
        let command: &[&str] = match (on_host, self.random.random_range(0..10)) {
            (true, _) => HOST.choose(&mut self.random).copied().unwrap_or(&[]),
            (false, 0..3) => self.words.commands.choose(&mut self.random).copied().unwrap_or(&[]),
            (false, _) => COMMON.choose(&mut self.random).copied().unwrap_or(&[]),
        };
        let mut args: Vec<String> = command.iter().map(|arg| (*arg).to_owned()).collect();
        if self.random.random_bool(0.3) {
            args.push(format!("--id={}", self.random.random_range(0..100_000)));
        }
        let path = args.first().cloned();
        let start_ns = self.now_ns - self.random.random_range(200_000..30_000_000);
        let place = self.random.random_range(0.0f64..1.0).powi(2) * self.pods.len() as f64;
        let pod = (!on_host).then(|| &self.pods[(place as usize).min(self.pods.len() - 1)]);
        let systemd = ProcessUid::new(&self.hash, 1_000_000, 1);
        let parent = match pod {
            Some(pod) => (pod.first, (u128_tail(&pod.first) & 0x3f_ffff) as i32, pod.command),
            None => (systemd, 1, &["/usr/lib/systemd/systemd"][..]),
        };
        let uid = if self.random.random_bool(0.6) { 0 } else { 1000 };
        let shim = pod.map(|pod| pod.shim.to_string());
        let ancestors: Vec<String> = shim.into_iter().chain([systemd.to_string()]).collect();
        let paths = ["/usr/bin/containerd-shim-runc-v2", "/usr/lib/systemd/systemd"];
        let process_uid = ProcessUid::new(&self.hash, start_ns, pid as u32);
        Arc::new(Actor {
            process_uid: Some(process_uid),
            exec_seq: Some(1),
            pid: Some(pid),
            process_name: path.as_deref().and_then(|path| path.rsplit('/').next()).map(str::to_owned),
            process_path: path,
            cmd_line: Some(args.join(" ")),
            args: Some(args),
            args_truncated: Some(false),
            cwd: Some(if on_host { "/" } else { "/app" }.to_owned()),
            process_start_time: Some(Micros(start_ns as i64 / 1000 + self.offset_us)),
            uid: Some(uid),
            gid: Some(uid),
            euid: Some(uid),
            egid: Some(uid),
            user_name: (uid == 0).then(|| "root".to_owned()),
            cap_effective: Some(if uid == 0 { 0xa804_25fb } else { 0 }),
            session_leader_uid: Some(parent.0),
            group_leader_uid: Some(process_uid),
            entry_leader_uid: Some(parent.0),
            entry_type: Some(if on_host { "init" } else { "container_start" }.to_owned()),
            parent_process_uid: Some(parent.0),
            parent_pid: Some(parent.1),
            parent_euid: Some(0),
            parent_interactive: Some(false),
            parent_path: parent.2.first().map(|path| (*path).to_owned()),
            parent_args: Some(parent.2.iter().map(|arg| (*arg).to_owned()).collect()),
            ancestor_paths: Some(paths[2 - ancestors.len()..].iter().map(|path| (*path).to_owned()).collect()),
            ancestor_uids: Some(ancestors),
            container_id: pod.map(|pod| pod.container.clone()),
            container_name: pod.map(|pod| pod.workload.clone()),
            image: pod.map(|pod| pod.image.clone()),
            image_digest: pod.map(|pod| pod.digest.clone()),
            container_privileged: pod.map(|_| false),
            pod_uid: pod.map(|pod| pod.uid.clone()),
            pod_name: pod.map(|pod| pod.name.clone()),
            namespace: pod.map(|pod| pod.namespace.clone()),
            pod_labels: pod.map(|pod| pod.labels.clone()),
            workload_kind: pod.map(|_| "Deployment".to_owned()),
            workload_name: pod.map(|pod| pod.workload.clone()),
            service_account: pod
                .map(|pod| if pod.namespaces[0] % 2 == 0 { "default".to_owned() } else { pod.workload.clone() }),
            origin_container_id: pod.map(|pod| pod.container.clone()),
            origin_pod_uid: pod.map(|pod| pod.uid.clone()),
            origin_pod_name: pod.map(|pod| pod.name.clone()),
            origin_namespace: pod.map(|pod| pod.namespace.clone()),
            mnt_ns: Some(pod.map_or(4_026_531_841, |pod| pod.namespaces[0])),
            pid_ns: Some(pod.map_or(4_026_531_836, |pod| pod.namespaces[1])),
            net_ns: Some(pod.map_or(4_026_531_840, |pod| pod.namespaces[2])),
            user_ns: Some(4_026_531_837),
            in_host_mnt_ns: Some(on_host),
            in_host_pid_ns: Some(on_host),
            enrichment_state: Some(if on_host { "host" } else { "complete" }.to_owned()),
            ..Actor::default()
        })
    }

    fn envelope(&mut self, activity: &str) -> Envelope {
        self.now_ns += self.random.random_range(20_000..900_000);
        let cpu = self.random.random_range(0..4usize);
        self.sequence[cpu] += 1;
        let time = Micros(self.now_ns as i64 / 1000 + self.offset_us);
        Envelope {
            date: Some(time.day()),
            time: Some(time),
            boot_ns: Some(self.now_ns as i64),
            cluster: Some(self.cluster.clone()),
            node: Some(self.name.clone()),
            host_id: Some("4c4c4544005710398038b4c04f4e3032".to_owned()),
            boot_id: Some(self.boot.clone()),
            source: Some("kernel"),
            stream: Some(self.stream.clone()),
            cpu: Some(cpu as i32),
            seq: Some(self.sequence[cpu]),
            activity: Some(activity.to_owned()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        }
    }

    /// Somebody who acts: with `fresh` a new process, else often one seen before.
    fn actor(&mut self, fresh: bool) -> Arc<Actor> {
        if !fresh && self.recent.len() > 4 && self.random.random_bool(0.7) {
            let place = self.random.random_range(0..self.recent.len());
            return self.recent[place].clone();
        }
        let actor = self.start();
        self.recent.push(actor.clone());
        if self.recent.len() > 60 {
            self.recent.remove(0);
        }
        actor
    }

    fn batch_of<Own: OwnColumns>(
        &mut self,
        rows: usize,
        mut row: impl FnMut(&mut Self, &mut TableBuilder<Own>),
    ) -> Result<TableBatch, ArrowError> {
        let mut builder = TableBuilder::<Own>::default();
        while builder.rows() < rows {
            row(self, &mut builder);
        }
        builder.finish()
    }

    /// The next `rows` rows of `table`.
    pub(crate) fn batch(&mut self, table: Table, rows: usize) -> Result<TableBatch, ArrowError> {
        match table {
            Table::ProcessEvents => self.processes(rows),
            Table::FileEvents => self.batch_of(rows, Self::file),
            Table::KernelEvents => self.batch_of(rows, Self::call),
            Table::NetworkFlows => self.batch_of(rows, Self::connection),
            Table::HookEvents => self.batch_of(rows, Self::hook),
            Table::Findings => self.batch_of(rows, Self::finding),
            Table::EventLoss => self.batch_of(rows, Self::loss),
        }
    }

    /// At most two events a process: its exec, and for most its exit a little later.
    fn processes(&mut self, rows: usize) -> Result<TableBatch, ArrowError> {
        let mut running: Vec<Arc<Actor>> = Vec::new();
        self.batch_of::<ProcessColumns>(rows, |node, builder| {
            if running.len() > 3 && node.random.random_bool(0.55) {
                let actor = running.remove(node.random.random_range(0..running.len()));
                let code = if node.random.random_bool(0.9) { 0 } else { node.random.random_range(1..128) };
                let own = ProcessColumns { exit_code: Some(code), ..ProcessColumns::default() };
                return builder.append(&node.envelope("exit"), Some(&actor), &own);
            }
            let actor = node.actor(true);
            running.push(actor.clone());
            let path = actor.process_path.as_deref().unwrap_or("");
            let own = ProcessColumns {
                binary_inode: Some(path.bytes().fold(1_000_000, |sum, byte| sum * 3 % 9_999_991 + i64::from(byte))),
                binary_dev: Some(8_388_609),
                binary_memfd: Some(false),
                stdin_kind: Some(
                    ["pipe", "other", "tty", "socket"][node.random.random_range(0..20usize) / 6].to_owned(),
                ),
                stdout_kind: Some(["pipe", "other", "tty"][node.random.random_range(0..20usize) / 9].to_owned()),
                ..ProcessColumns::default()
            };
            builder.append(&node.envelope("exec"), Some(&actor), &own);
        })
    }

    fn file(&mut self, builder: &mut TableBuilder<FileColumns>) {
        let actor = self.actor(false);
        let words = self.words;
        let list = if self.random.random_bool(0.5) { words.files } else { COMMON_FILES };
        let own = FileColumns {
            path: list.choose(&mut self.random).map(|path| (*path).to_owned()),
            flags: Some([0o100_000, 0o101_101, 0o2_000_000][self.random.random_range(0..3)]),
            mode: Some(0o644),
            bytes: Some(self.random.random_range(0..9_000)),
            ..FileColumns::default()
        };
        let activity = Table::FileEvents.activities()[..4].choose(&mut self.random).map_or("open", |one| one.name);
        builder.append(&self.envelope(activity), Some(&actor), &own);
    }

    fn call(&mut self, builder: &mut TableBuilder<KernelColumns>) {
        let actor = self.actor(false);
        let activity =
            *["mount", "setns", "unshare", "chroot", "pivot_root"].choose(&mut self.random).unwrap_or(&"mount");
        let mount = activity == "mount";
        let state = |value: Option<i64>| (value, value);
        let (old_mnt_ns, new_mnt_ns) = match activity {
            "setns" => (actor.mnt_ns, Some(4_026_531_841)),
            _ => state(actor.mnt_ns),
        };
        let own = KernelColumns {
            source_path: mount.then(|| "overlay".to_owned()),
            target_path: mount.then(|| {
                format!(
                    "/run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/rootfs",
                    actor.container_id.clone().unwrap_or_default()
                )
            }),
            fs_type: mount.then(|| "overlay".to_owned()),
            flags: Some(if activity == "setns" { 0x0002_0000 } else { 0 }),
            ret: Some(if self.random.random_bool(0.9) { 0 } else { -1 }),
            ns_type: (activity == "setns").then(|| "mnt".to_owned()),
            mount_is_host: mount.then_some(false),
            old_uid: actor.euid,
            new_uid: actor.euid,
            old_cap_effective: actor.cap_effective,
            new_cap_effective: actor.cap_effective,
            old_mnt_ns,
            new_mnt_ns,
            old_pid_ns: actor.pid_ns,
            new_pid_ns: actor.pid_ns,
            old_net_ns: actor.net_ns,
            new_net_ns: actor.net_ns,
            old_user_ns: actor.user_ns,
            new_user_ns: actor.user_ns,
            old_cgroup_id: Some(4_000 + actor.mnt_ns.unwrap_or(0) % 900),
            new_cgroup_id: Some(4_000 + actor.mnt_ns.unwrap_or(0) % 900),
            ..KernelColumns::default()
        };
        builder.append(&self.envelope(activity), Some(&actor), &own);
    }

    fn connection(&mut self, builder: &mut TableBuilder<NetworkColumns>) {
        let actor = self.actor(false);
        let activity = *["connect", "accept", "close", "close"].choose(&mut self.random).unwrap_or(&"close");
        let closed = activity == "close";
        let now = self.now_ns as i64 / 1000 + self.offset_us;
        let outbound = activity != "accept";
        let address = |random: &mut StdRng| {
            format!("10.{}.{}.{}", random.random_range(42..46), random.random_range(0..4), random.random_range(1..60))
        };
        let own = NetworkColumns {
            protocol: Some("TCP".to_owned()),
            direction: Some(if outbound { "outbound" } else { "inbound" }.to_owned()),
            src_ip: Some(address(&mut self.random)),
            src_port: Some(self.random.random_range(32_768..61_000)),
            dst_ip: Some(address(&mut self.random)),
            dst_port: [443, 80, 5432, 6379, 8080, 9090, 53].choose(&mut self.random).copied(),
            bytes_out: closed.then(|| self.random.random_range(80..40_000)),
            bytes_in: closed.then(|| self.random.random_range(80..400_000)),
            start_time: Some(Micros(now - self.random.random_range(0..2_000_000))),
            end_time: closed.then_some(Micros(now)),
            tcp_state: Some(if closed { "CLOSE" } else { "ESTABLISHED" }.to_owned()),
            ret: outbound.then_some(0),
        };
        builder.append(&self.envelope(activity), Some(&actor), &own);
    }

    fn hook(&mut self, builder: &mut TableBuilder<HookColumns>) {
        let actor = self.actor(false);
        let envelope =
            Envelope { source: Some("tetragon"), policy: Some("data-out".into()), ..self.envelope("kprobe") };
        let port = self.random.random_range(30_000..60_000);
        let socket =
            format!(r#"{{"daddr":"10.96.0.10","dport":443,"family":"AF_INET","saddr":"10.0.0.1","sport":{port}}}"#);
        let own = HookColumns {
            function: Some("tcp_sendmsg".to_owned()),
            arguments: Some(vec![socket, self.random.random_range(1..70_000).to_string()]),
            tags: Some(vec!["observability.network".to_owned()]),
            kernel_stack: Some(["tcp_sendmsg+5", "sock_sendmsg+100", "ksys_write+90"].map(str::to_owned).to_vec()),
            ..HookColumns::default()
        };
        builder.append(&envelope, Some(&actor), &own);
    }

    fn finding(&mut self, builder: &mut TableBuilder<FindingColumns>) {
        let actor = self.actor(false);
        let envelope = Envelope { source: Some("kerntrail"), ..self.envelope("create") };
        let rule = self.random.random_range(0..5usize);
        let name = [
            "Shell in a container with a socket for stdin",
            "nsenter into the host",
            "Mount inside a container",
            "Metadata service contacted",
            "Escape from a pod to the host",
        ][rule];
        let (cpu, seq): (i32, i32) = (self.random.random_range(0..4), self.random.random_range(0..9_999_999));
        let event = format!("process_events/{}", event_id(&self.stream, cpu, seq.into()));
        let own = FindingColumns {
            finding_id: Some(FindingId::new(hex(&mut self.random)[..32].to_owned())),
            rule_id: Some(RuleId::new(format!("6f1c2d3e-0000-4000-8000-00000000000{rule}"))),
            rule_name: Some(name.to_owned()),
            rule_version: Some(format!("{rule}f3a9b2c4d5e6f70")),
            severity: Some(["medium", "high", "critical"][rule % 3].to_owned()),
            risk_score: Some([47, 73, 99][rule % 3]),
            attack_tactics: Some(vec!["privilege-escalation".to_owned()]),
            attack_techniques: Some(vec!["T1611".to_owned()]),
            first_time: envelope.time,
            last_time: envelope.time,
            event_refs: Some(vec![event]),
            message: Some(format!(
                "{name}: {} in {}",
                actor.cmd_line.clone().unwrap_or_default(),
                actor.pod_name.clone().unwrap_or_default()
            )),
            suppressed_count: Some(0),
            ..FindingColumns::default()
        };
        builder.append(&envelope, Some(&actor), &own);
    }

    fn loss(&mut self, builder: &mut TableBuilder<LossColumns>) {
        let envelope = Envelope { source: Some("kerntrail"), ..self.envelope("ring_full") };
        let lost = self.random.random_range(1..5_000);
        let own = LossColumns {
            from_seq: envelope.seq,
            to_seq: envelope.seq.map(|seq| seq + lost - 1),
            lost: Some(lost),
            start_time: envelope.time,
            end_time: envelope.time.map(|time| Micros(time.0 + 900)),
            ..LossColumns::default()
        };
        builder.append(&envelope, None, &own);
    }
}

fn u128_tail(uid: &ProcessUid) -> u32 {
    uid.to_string().bytes().rev().take(5).fold(0, |sum, byte| sum * 32 + u32::from(byte % 32))
}

fn hex(random: &mut StdRng) -> String {
    (0..4).map(|_| format!("{:016x}", random.random::<u64>())).collect()
}

fn uuid(random: &mut StdRng) -> String {
    let bits: u128 = random.random();
    let text = format!("{bits:032x}");
    format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..])
}
