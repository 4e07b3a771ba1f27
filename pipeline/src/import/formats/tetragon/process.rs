//! Tetragon's process as an [`Actor`], and the rows of `process_events`.
//!
//! An exported process is one program: `exec_id` names one exec, by node, start in boot time and pid. So `process_uid`
//! is made of those three, the same in every record of that program; a program that replaces another in the same
//! process has a uid of its own, and the replaced one as parent, as Tetragon tells it.
//!
//! Left unknown, since the export does not tell: `exec_seq`, `tty`, session, group and entry leaders, and the real ids
//! unless Tetragon runs with `--enable-process-cred` (its `uid` is the effective one).

use std::hash::Hash;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kerntrail_common::shell;
use kerntrail_schemas::identity::{BootHash, ContainerId, PodUid, ProcessUid};
use kerntrail_schemas::tables::{Actor, ProcessColumns};
use xxhash_rust::xxh3::xxh3_64;

use super::record::{Body, Container, Image, MaybeText, Namespace, Number, Pod, Process, Relative, given};
use super::{args, names};
use crate::import::format::{Node, Refusal};
use crate::import::time::rfc3339;

/// The value of an audit login uid that was never set.
const NO_LOGIN: i32 = -1;

/// `number` as a column's type. `field` names it in the refusal.
pub(crate) fn fit<T: TryFrom<i128>>(field: &str, number: Option<Number>) -> Result<Option<T>, Refusal> {
    let Some(Number(number)) = number else { return Ok(None) };
    T::try_from(number).map(Some).map_err(|_| Refusal::content(format!("{field} {number} is out of range")))
}

/// A user or group id: 32 bits without sign, in a column with one.
pub(crate) fn id(field: &str, number: Option<Number>) -> Result<Option<i32>, Refusal> {
    Ok(fit::<u32>(field, number)?.map(|id| id as i32))
}

pub(crate) fn owned(text: &MaybeText<'_>) -> Option<String> {
    given(text).map(str::to_owned)
}

/// Node and identity inside an `exec_id`: base64 of `node:start:pid`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExecId {
    pub(crate) node: String,
    start: u64,
    pid: u32,
}

impl ExecId {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut bytes = [0u8; 512];
        let text = text.trim_end_matches('=');
        let length = STANDARD_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let mut parts = str::from_utf8(&bytes[..length]).ok()?.rsplitn(3, ':');
        let (pid, start, node) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { node: node.to_owned(), start: start.parse().ok()?, pid: pid.parse().ok()? })
    }
}

/// The process that `exec_id` names; one that cannot be read still names a process.
fn uid_of(exec_id: &MaybeText<'_>, pid: Option<i32>, boot: &BootHash) -> Option<ProcessUid> {
    let text = given(exec_id)?;
    Some(match ExecId::read(text) {
        Some(id) => ProcessUid::new(boot, id.start, id.pid),
        None => ProcessUid::new(boot, xxh3_64(text.as_bytes()), pid.unwrap_or_default() as u32),
    })
}

/// What [`actor`] makes an actor of.
pub(crate) fn content<'b>(body: &'b Body<'_>, node: &'b Node) -> impl Hash + use<'b> {
    (&node.name, &body.process, &body.parent, &body.ancestors)
}

/// The process of `body` with what is around it.
pub(crate) fn actor(body: &Body<'_>, node: &Node) -> Result<Actor, Refusal> {
    let process = body.process.as_ref().ok_or_else(|| Refusal::content("no process"))?;
    let pid = fit("process.pid", process.pid)?;
    if pid.is_some_and(|pid: i32| pid < 0) {
        return Err(Refusal::content("process.pid is negative"));
    }
    let mut actor = Actor {
        process_uid: uid_of(&process.exec_id, pid, &node.boot),
        pid,
        enrichment_state: Some("imported".to_owned()),
        ..Actor::default()
    };
    if actor.process_uid.is_none() && pid.is_none() {
        return Err(Refusal::content("a process without exec_id and pid"));
    }
    program(process, &mut actor)?;
    credentials(process, &mut actor)?;
    namespaces(process, &mut actor)?;
    if let Some(pod) = &process.pod {
        in_pod(pod, &mut actor);
    }
    if actor.container_id.is_none() {
        // The first characters of the id are better than nothing.
        actor.container_id = given(&process.docker).map(ContainerId::new);
    }
    actor.origin_container_id = actor.container_id.clone();
    actor.origin_pod_uid = actor.pod_uid.clone();
    actor.origin_pod_name = actor.pod_name.clone();
    actor.origin_namespace = actor.namespace.clone();
    lineage(process, body, node, &mut actor)?;
    Ok(actor)
}

fn program(process: &Process<'_>, actor: &mut Actor) -> Result<(), Refusal> {
    let arguments = given(&process.arguments).unwrap_or_default();
    if let Some(binary) = given(&process.binary) {
        actor.process_name = binary.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
        actor.process_path = Some(binary.to_owned());
        let args = args::split(binary, arguments);
        actor.cmd_line = Some(shell::quoted(&args));
        actor.args = Some(args);
    }
    actor.args_truncated = given(&process.flags).map(|flags| has_flag(flags, "truncArgs"));
    actor.cwd = owned(&process.cwd);
    if let Some(start) = given(&process.start_time) {
        let wrong = || Refusal::content(format!("process.start_time {start:?} is no time"));
        actor.process_start_time = Some(rfc3339(start).ok_or_else(wrong)?);
    }
    Ok(())
}

fn has_flag(flags: &str, flag: &str) -> bool {
    flags.split(' ').any(|known| known == flag)
}

fn credentials(process: &Process<'_>, actor: &mut Actor) -> Result<(), Refusal> {
    actor.euid = id("process.uid", process.uid)?;
    actor.login_uid = id("process.auid", process.auid)?.filter(|uid| *uid != NO_LOGIN);
    actor.cap_effective = names::effective(process.cap.as_ref());
    if let Some(given) = &process.process_credentials {
        actor.uid = id("process_credentials.uid", given.uid)?;
        actor.gid = id("process_credentials.gid", given.gid)?;
    }
    Ok(())
}

fn namespaces(process: &Process<'_>, actor: &mut Actor) -> Result<(), Refusal> {
    let Some(namespaces) = &process.ns else { return Ok(()) };
    let inode = |field, namespace: &Option<Namespace>| fit(field, namespace.as_ref().and_then(|ns| ns.inum));
    // In JSON of protobuf, false is not written.
    let host = |namespace: &Option<Namespace>| namespace.as_ref().map(|ns| ns.is_host.unwrap_or_default());
    actor.mnt_ns = inode("ns.mnt.inum", &namespaces.mnt)?;
    actor.pid_ns = inode("ns.pid.inum", &namespaces.pid)?;
    actor.net_ns = inode("ns.net.inum", &namespaces.net)?;
    actor.user_ns = inode("ns.user.inum", &namespaces.user)?;
    actor.in_host_mnt_ns = host(&namespaces.mnt);
    actor.in_host_pid_ns = host(&namespaces.pid);
    Ok(())
}

fn in_pod(pod: &Pod<'_>, actor: &mut Actor) {
    actor.pod_uid = given(&pod.uid).map(PodUid::new);
    actor.pod_name = owned(&pod.name);
    actor.namespace = owned(&pod.namespace);
    actor.workload_kind = owned(&pod.workload_kind);
    actor.workload_name = owned(&pod.workload);
    let pair = |(name, value): &(super::record::Text<'_>, super::record::Text<'_>)| {
        (name.as_str().to_owned(), value.as_str().to_owned())
    };
    actor.pod_labels = pod.pod_labels.as_ref().map(|labels| labels.0.iter().map(pair).collect());
    if let Some(container) = &pod.container {
        in_container(container, actor);
    }
}

fn in_container(container: &Container<'_>, actor: &mut Actor) {
    // `containerd://<id>`
    let id = given(&container.id).map(|id| id.rsplit("://").next().unwrap_or(id));
    actor.container_id = id.map(ContainerId::new);
    actor.container_name = owned(&container.name);
    if let Some(image) = &container.image {
        (actor.image, actor.image_digest) = reference(image);
    }
    actor.container_privileged =
        container.security_context.as_ref().map(|context| context.privileged.unwrap_or_default());
}

/// Reference and digest of an image, whose id is `docker-pullable://repository@sha256:...` or parts of that.
fn reference(image: &Image<'_>) -> (Option<String>, Option<String>) {
    let id = given(&image.id).map(|id| id.rsplit("://").next().unwrap_or(id));
    let (repository, digest) = match id.map(|id| id.split_once('@').unwrap_or((id, ""))) {
        Some((digest, "")) if digest.starts_with("sha256:") => (None, Some(digest)),
        Some((repository, "")) => (Some(repository), None),
        Some((repository, digest)) => (Some(repository), Some(digest)),
        None => (None, None),
    };
    (given(&image.name).or(repository).map(str::to_owned), digest.map(str::to_owned))
}

fn lineage(process: &Process<'_>, body: &Body<'_>, node: &Node, actor: &mut Actor) -> Result<(), Refusal> {
    if let Some(parent) = &body.parent {
        actor.parent_pid = fit("parent.pid", parent.pid)?;
        actor.parent_process_uid = uid_of(&parent.exec_id, actor.parent_pid, &node.boot);
        if let Some(binary) = given(&parent.binary) {
            actor.parent_path = Some(binary.to_owned());
            actor.parent_args = Some(args::split(binary, given(&parent.arguments).unwrap_or_default()));
        }
    }
    if actor.parent_process_uid.is_none() {
        actor.parent_process_uid = uid_of(&process.parent_exec_id, actor.parent_pid, &node.boot);
        let id = given(&process.parent_exec_id).and_then(ExecId::read);
        actor.parent_pid = actor.parent_pid.or_else(|| i32::try_from(id?.pid).ok());
    }
    if let Some(ancestors) = &body.ancestors {
        let uid = |ancestor: &Relative<'_>| {
            let pid = fit("ancestors.pid", ancestor.pid)?;
            Ok(uid_of(&ancestor.exec_id, pid, &node.boot).map(|uid| uid.to_string()).unwrap_or_default())
        };
        // Places must agree, so what is unknown of one of them is an empty text.
        actor.ancestor_uids = Some(ancestors.iter().map(uid).collect::<Result<_, Refusal>>()?);
        let path = |ancestor: &Relative<'_>| given(&ancestor.binary).unwrap_or_default().to_owned();
        actor.ancestor_paths = Some(ancestors.iter().map(path).collect());
    }
    Ok(())
}

/// Activity and own columns of a `process_exec`.
pub(crate) fn exec(process: &Process<'_>) -> Result<(&'static str, ProcessColumns), Refusal> {
    // Programs that ran when Tetragon started come from /proc.
    let existing = given(&process.flags).is_some_and(|flags| has_flag(flags, "procFS"));
    let mut own = ProcessColumns::default();
    let file = process.binary_properties.as_ref().and_then(|properties| properties.file.as_ref());
    if let Some(file) = file {
        own.binary_inode =
            fit("binary_properties.file.inode.number", file.inode.as_ref().and_then(|inode| inode.number))?;
        own.binary_memfd = given(&file.path).map(in_memory);
    } else if given(&process.binary).is_some_and(in_memory) {
        own.binary_memfd = Some(true);
    }
    Ok((if existing { "existing" } else { "exec" }, own))
}

fn in_memory(path: &str) -> bool {
    path.trim_start_matches('/').starts_with("memfd:")
}

/// Own columns of a `process_exit`.
pub(crate) fn exit(body: &Body<'_>) -> Result<ProcessColumns, Refusal> {
    let signal = given(&body.signal);
    let number =
        |name: &str| names::signal(name).ok_or_else(|| Refusal::content(format!("signal {name:?} is not known")));
    let exit_signal = signal.map(number).transpose()?;
    let status: Option<u8> = fit("status", body.status)?;
    // In JSON of protobuf, a status of 0 is not written; a process that a signal ended has none.
    let exit_code = status.map(i32::from).or(exit_signal.is_none().then_some(0));
    Ok(ProcessColumns { exit_code, exit_signal, ..ProcessColumns::default() })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn exec_ids() {
        let read = |text: &str| ExecId::read(&STANDARD.encode(text));
        let id = |node: &str, start, pid| Some(ExecId { node: node.into(), start, pid });
        assert_eq!(read("minikube:10575728350079:115153"), id("minikube", 10_575_728_350_079, 115_153));
        assert_eq!(read("a:b:1:2"), id("a:b", 1, 2));
        assert_eq!(read(":1:2"), id("", 1, 2));
        for text in ["", "a", "a:1", "a:x:2", "a:1:-2", "a:1:99999999999", &"x".repeat(2000)] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(ExecId::read("no base64!"), None);
    }

    #[test]
    fn images() {
        let cases = [
            ("docker-pullable://q.io/a/b@sha256:12", "q.io/a/b:v1", Some("q.io/a/b:v1"), Some("sha256:12")),
            ("q.io/a/b@sha256:12", "", Some("q.io/a/b"), Some("sha256:12")),
            ("sha256:12", "a:v1", Some("a:v1"), Some("sha256:12")),
            ("a:v1", "", Some("a:v1"), None),
            ("", "", None, None),
        ];
        for (id, name, reference_, digest) in cases {
            let text = serde_json::json!({"id": id, "name": name}).to_string();
            let image: Image<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(reference(&image), (reference_.map(str::to_owned), digest.map(str::to_owned)), "{id} {name}");
        }
    }
}
