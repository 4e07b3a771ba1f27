//! The actor columns of a process.

use kerntrail_common::shell;
use kerntrail_schemas::identity::PodUid;
use kerntrail_schemas::tables::Actor;

use crate::entry;
use crate::identity::{Container, Identity, enrichment_state, pod_uid};
use crate::node::Node;
use crate::process::{Ancestor, Process, filled};

/// The columns of `process`; `acts_in` is what is known about its container, `born_in` about its origin.
pub(crate) fn of(process: &Process, acts_in: &Identity, born_in: &Identity, node: &Node) -> Actor {
    let mut actor = Actor::default();
    identity(&mut actor, process, node);
    ancestry(&mut actor, process, node);
    if let Some(container) = &process.container {
        container_and_pod(&mut actor, container, acts_in);
    }
    if let Some(origin) = &process.origin {
        origin_columns(&mut actor, origin, born_in);
    }
    actor.enrichment_state = Some(enrichment_state(process.container.as_deref(), acts_in).into());
    actor
}

fn identity(actor: &mut Actor, process: &Process, node: &Node) {
    let (task, program) = (&process.task, &process.program);
    actor.process_uid = Some(process.uid);
    actor.exec_seq = i32::try_from(process.exec_seq).ok();
    actor.pid = Some(signed(task.process.tgid));
    actor.process_name = program.name().map(ToOwned::to_owned).or_else(|| filled(&task.comm));
    actor.process_path = program.path.clone();
    actor.args_truncated = program.args.is_some().then_some(program.args_truncated);
    actor.cmd_line = program.args.as_deref().filter(|args| !args.is_empty()).map(shell::quoted);
    actor.args = program.args.clone();
    actor.cwd = program.cwd.clone();
    actor.process_start_time = Some(process.started);
    actor.uid = Some(signed(task.uid));
    actor.gid = Some(signed(task.gid));
    actor.login_uid = (task.login_uid != u32::MAX).then_some(signed(task.login_uid));
    actor.tty = filled(&task.tty);
    let state = &task.state;
    actor.euid = Some(signed(state.euid));
    actor.egid = Some(signed(state.egid));
    // The same id has other names in containers, but for root's.
    let has_nodes_users = state.euid == 0 || is_host(state.mnt_ns, node.mnt_ns) == Some(true);
    actor.user_name = has_nodes_users.then(|| node.users.name(state.euid)).flatten();
    actor.cap_effective = Some(state.cap_effective.cast_signed());
    actor.mnt_ns = namespace(state.mnt_ns);
    actor.pid_ns = namespace(state.pid_ns);
    actor.net_ns = namespace(state.net_ns);
    actor.user_ns = namespace(state.user_ns);
    actor.in_host_mnt_ns = is_host(state.mnt_ns, node.mnt_ns);
    actor.in_host_pid_ns = is_host(state.pid_ns, node.pid_ns);
}

fn ancestry(actor: &mut Actor, process: &Process, node: &Node) {
    let task = &process.task;
    actor.session_leader_uid = node.uid_of(&task.session_leader);
    actor.group_leader_uid = node.uid_of(&task.group_leader);
    if let Some(entry) = entry::shown(process) {
        actor.entry_leader_uid = Some(entry.leader);
        actor.entry_type = Some(entry.kind.name().into());
    }
    let Some(parent) = &process.parent else { return };
    actor.parent_process_uid = Some(parent.uid);
    actor.parent_pid = Some(signed(parent.pid));
    actor.parent_euid = parent.euid.map(signed);
    actor.parent_interactive = parent.program.interactive;
    actor.parent_path = parent.program.path.clone();
    actor.parent_args = parent.program.args.clone();
    let above = || parent.parent.as_deref().into_iter().flat_map(Ancestor::up);
    actor.ancestor_uids = Some(above().map(|ancestor| ancestor.uid.to_string()).collect());
    // One item for each uid; an unknown program is an empty one, since lists of two lengths would not match up.
    actor.ancestor_paths = Some(above().map(|ancestor| ancestor.program.path.clone().unwrap_or_default()).collect());
}

fn container_and_pod(actor: &mut Actor, container: &Container, known: &Identity) {
    actor.container_id = Some(container.id.clone());
    actor.pod_uid = pod_uid(container, known).map(PodUid::new);
    if let Some(bundle) = &known.bundle {
        actor.container_name = bundle.container_name.clone();
        actor.image = bundle.image.clone();
        actor.image_digest = bundle.image_digest.clone();
        actor.container_privileged = bundle.privileged;
        actor.pod_name = bundle.pod_name.clone();
        actor.namespace = bundle.namespace.clone();
    }
    let Some(pod) = &known.pod else { return };
    actor.pod_name = Some(pod.name.clone());
    actor.namespace = Some(pod.namespace.clone());
    actor.pod_labels = Some(pod.labels.clone());
    actor.service_account = pod.service_account.clone();
    if let Some((kind, name)) = &pod.workload {
        actor.workload_kind = Some(kind.clone());
        actor.workload_name = Some(name.clone());
    }
    if let Some(status) = pod.container(container.id.as_str()) {
        actor.container_name.get_or_insert_with(|| status.name.clone());
        actor.image.get_or_insert_with(|| status.image.clone());
        actor.image_digest = actor.image_digest.take().or_else(|| status.image_digest.clone());
    }
}

fn origin_columns(actor: &mut Actor, origin: &Container, known: &Identity) {
    let bundle = known.bundle.as_deref();
    let pod = known.pod.as_deref();
    actor.origin_container_id = Some(origin.id.clone());
    actor.origin_pod_uid = pod_uid(origin, known).map(PodUid::new);
    actor.origin_pod_name = pod.map(|pod| pod.name.clone()).or_else(|| bundle?.pod_name.clone());
    actor.origin_namespace = pod.map(|pod| pod.namespace.clone()).or_else(|| bundle?.namespace.clone());
}

fn namespace(number: u32) -> Option<i64> {
    (number != 0).then_some(i64::from(number))
}

fn is_host(number: u32, host: Option<u32>) -> Option<bool> {
    host.filter(|_| number != 0).map(|host| host == number)
}

/// The bits of `id`, as the tables have them.
pub(crate) fn signed(id: u32) -> i32 {
    id.cast_signed()
}
