//! Tetragon's process as an [`Actor`].
//!
//! An exported process is one program: `exec_id` names one exec, by node, start in boot time and pid. So `process_uid`
//! is made of those three and is the same in every record of that program. A program that replaces another in the same
//! process gets its own uid, and the replaced one as its parent, as Tetragon exports it.
//!
//! Unknown, since the export does not have it: `exec_seq`, `tty`, session, group and entry leaders, and the real ids
//! unless Tetragon runs with `--enable-process-cred` (its `uid` is the effective one).

use std::hash::Hash;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kerntrail_common::shell;
use kerntrail_schemas::identity::{BootHash, ContainerId, PodUid, ProcessUid};
use kerntrail_schemas::tables::Actor;
use xxhash_rust::xxh3::xxh3_64;

use super::record::{Body, Image, Namespace, Pod, Process, Relative};
use super::{args, names};
use crate::import::format::{EventOrigin, MappedColumn, RecordRefusal};
use crate::import::json::{MaybeText, fit, given, id, owned};
use crate::import::time::rfc3339;

/// The value of an audit login uid that was never set.
const NO_LOGIN: i32 = -1;

/// What an actor is made of.
struct ActorSource<'a> {
    body: &'a Body<'a>,
    process: &'a Process<'a>,
    boot: &'a BootHash,
}

/// A part of the event, and the columns of the actor that it fills.
struct ActorMapping {
    from: &'static str,
    columns: &'static [&'static str],
    fill: for<'a> fn(&ActorSource<'a>, &mut Actor) -> Result<(), RecordRefusal>,
}

/// Which part of an event fills which columns of the actor, in this order.
const ACTOR: &[ActorMapping] = &[
    ActorMapping { from: "`process.pid`", columns: &["pid"], fill: pid },
    ActorMapping { from: "`process.exec_id`", columns: &["process_uid"], fill: process_uid },
    ActorMapping {
        from: "`process.binary`, `process.arguments`",
        columns: &["process_path", "process_name", "args", "cmd_line"],
        fill: program,
    },
    ActorMapping {
        from: "`process.flags`",
        columns: &["args_truncated"],
        fill: |from, actor| {
            actor.args_truncated = given(&from.process.flags).map(|flags| has_flag(flags, "truncArgs"));
            Ok(())
        },
    },
    ActorMapping {
        from: "`process.cwd`",
        columns: &["cwd"],
        fill: |from, actor| {
            actor.cwd = owned(&from.process.cwd);
            Ok(())
        },
    },
    ActorMapping { from: "`process.start_time`", columns: &["process_start_time"], fill: start_time },
    ActorMapping {
        from: "`process.uid`, which is the effective one",
        columns: &["euid"],
        fill: |from, actor| {
            actor.euid = id("process.uid", from.process.uid)?;
            Ok(())
        },
    },
    ActorMapping {
        from: "`process.auid`",
        columns: &["login_uid"],
        fill: |from, actor| {
            actor.login_uid = id("process.auid", from.process.auid)?.filter(|uid| *uid != NO_LOGIN);
            Ok(())
        },
    },
    ActorMapping {
        from: "`process.cap.effective`",
        columns: &["cap_effective"],
        fill: |from, actor| {
            actor.cap_effective = names::effective(from.process.cap.as_ref());
            Ok(())
        },
    },
    ActorMapping {
        from: "`process.process_credentials`, where they are exported; `process.uid` is not the real one",
        columns: &["uid", "gid", "egid"],
        fill: |from, actor| {
            if let Some(credentials) = &from.process.process_credentials {
                actor.uid = id("process_credentials.uid", credentials.uid)?;
                actor.gid = id("process_credentials.gid", credentials.gid)?;
                actor.egid = id("process_credentials.egid", credentials.egid)?;
            }
            Ok(())
        },
    },
    ActorMapping {
        from: "`process.ns`",
        columns: &["mnt_ns", "pid_ns", "net_ns", "user_ns", "in_host_mnt_ns", "in_host_pid_ns"],
        fill: namespaces,
    },
    ActorMapping {
        from: "`process.pod`",
        columns: &[
            "pod_uid",
            "pod_name",
            "namespace",
            "pod_labels",
            "workload_kind",
            "workload_name",
            "origin_pod_uid",
            "origin_pod_name",
            "origin_namespace",
        ],
        fill: pod,
    },
    ActorMapping {
        from: "`process.pod.container`",
        columns: &["container_name", "image", "image_digest", "container_privileged"],
        fill: container,
    },
    ActorMapping {
        from: "`process.pod.container.id`, else `process.docker`",
        columns: &["container_id", "origin_container_id"],
        fill: container_id,
    },
    ActorMapping {
        from: "`parent`, else `process.parent_exec_id`",
        columns: &["parent_process_uid", "parent_pid", "parent_path", "parent_args"],
        fill: parent,
    },
    ActorMapping {
        from: "a `parent` that is the `exec` of a container runtime",
        columns: &["entry_leader_uid", "entry_type"],
        fill: |from, actor| {
            if from.body.parent.as_ref().is_some_and(is_runtime_exec) {
                actor.entry_leader_uid = actor.process_uid;
                actor.entry_type = Some("container_exec".to_owned());
            }
            Ok(())
        },
    },
    ActorMapping { from: "`ancestors`", columns: &["ancestor_uids", "ancestor_paths"], fill: ancestors },
    ActorMapping {
        from: "always `imported`",
        columns: &["enrichment_state"],
        fill: |_, actor| {
            actor.enrichment_state = Some("imported".to_owned());
            Ok(())
        },
    },
];

/// The columns of the actor, for documentation.
pub(super) fn describe() -> Vec<MappedColumn> {
    let columns = |mapping: &ActorMapping| {
        let from = mapping.from;
        mapping.columns.iter().map(move |column| MappedColumn::new(column, from)).collect::<Vec<_>>()
    };
    ACTOR.iter().flat_map(columns).collect()
}

/// What [`actor`] makes an actor of.
pub(super) fn content<'b>(body: &'b Body<'_>, origin: &'b EventOrigin) -> impl Hash + use<'b> {
    (origin.name(), &body.process, &body.parent, &body.ancestors)
}

/// The process of `body` with what is around it. Errors: it is missing, has no identity, or a value is out of range.
pub(super) fn actor(body: &Body<'_>, origin: &EventOrigin) -> Result<Actor, RecordRefusal> {
    let process = body.process.as_ref().ok_or_else(|| RecordRefusal::content("no process"))?;
    let from = ActorSource { body, process, boot: origin.boot() };
    let mut actor = Actor::default();
    for mapping in ACTOR {
        (mapping.fill)(&from, &mut actor)?;
    }
    Ok(actor)
}

/// Whether `flag` is among `flags`, which are separated by spaces.
pub(super) fn has_flag(flags: &str, flag: &str) -> bool {
    flags.split(' ').any(|known| known == flag)
}

/// Programs that start another one in a running container.
const RUNTIMES: [&str; 4] = ["runc", "crun", "youki", "runsc"];

/// Whether `parent` is a runtime that executes something in a running container: `runc … exec …`.
fn is_runtime_exec(parent: &Relative<'_>) -> bool {
    let name = given(&parent.binary).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let arguments = given(&parent.arguments).unwrap_or_default();
    RUNTIMES.contains(&name) && arguments.split_whitespace().any(|argument| argument == "exec")
}

fn pid(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    actor.pid = fit("process.pid", from.process.pid)?;
    if actor.pid.is_some_and(|pid| pid < 0) {
        return Err(RecordRefusal::content("process.pid is negative"));
    }
    Ok(())
}

fn process_uid(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    actor.process_uid = uid_of(&from.process.exec_id, actor.pid, from.boot);
    if actor.process_uid.is_none() && actor.pid.is_none() {
        return Err(RecordRefusal::content("a process without exec_id and pid"));
    }
    Ok(())
}

/// Node and identity inside an `exec_id`: base64 of `node:start:pid`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExecId {
    pub(super) node: String,
    start: u64,
    pid: u32,
}

impl ExecId {
    pub(super) fn read(text: &str) -> Option<Self> {
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

fn program(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let arguments = given(&from.process.arguments).unwrap_or_default();
    if let Some(binary) = given(&from.process.binary) {
        actor.process_name = binary.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
        actor.process_path = Some(binary.to_owned());
        let args = args::split(binary, arguments);
        actor.cmd_line = Some(shell::quoted(&args));
        actor.args = Some(args);
    }
    Ok(())
}

fn start_time(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    if let Some(start) = given(&from.process.start_time) {
        let wrong = || RecordRefusal::content(format!("process.start_time {start:?} is not a time"));
        actor.process_start_time = Some(rfc3339(start).ok_or_else(wrong)?);
    }
    Ok(())
}

fn namespaces(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let Some(namespaces) = &from.process.ns else { return Ok(()) };
    let inode = |field, namespace: &Option<Namespace>| fit(field, namespace.as_ref().and_then(|ns| ns.inum));
    // In protobuf's JSON, false is not written.
    let host = |namespace: &Option<Namespace>| namespace.as_ref().map(|ns| ns.is_host.unwrap_or_default());
    actor.mnt_ns = inode("ns.mnt.inum", &namespaces.mnt)?;
    actor.pid_ns = inode("ns.pid.inum", &namespaces.pid)?;
    actor.net_ns = inode("ns.net.inum", &namespaces.net)?;
    actor.user_ns = inode("ns.user.inum", &namespaces.user)?;
    actor.in_host_mnt_ns = host(&namespaces.mnt);
    actor.in_host_pid_ns = host(&namespaces.pid);
    Ok(())
}

fn pod(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let Some(pod) = &from.process.pod else { return Ok(()) };
    let Pod { namespace, name, uid, pod_labels, workload, workload_kind, .. } = pod;
    actor.pod_uid = given(uid).map(PodUid::new);
    actor.pod_name = owned(name);
    actor.namespace = owned(namespace);
    actor.workload_kind = owned(workload_kind);
    actor.workload_name = owned(workload);
    let labels = pod_labels.as_ref().map(|labels| labels.0.iter());
    actor.pod_labels =
        labels.map(|pairs| pairs.map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect());
    actor.origin_pod_uid = actor.pod_uid.clone();
    actor.origin_pod_name = actor.pod_name.clone();
    actor.origin_namespace = actor.namespace.clone();
    Ok(())
}

fn container(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let Some(container) = from.process.pod.as_ref().and_then(|pod| pod.container.as_ref()) else { return Ok(()) };
    actor.container_name = owned(&container.name);
    if let Some(image) = &container.image {
        (actor.image, actor.image_digest) = reference(image);
    }
    let privileged = container.security_context.as_ref();
    actor.container_privileged = privileged.map(|context| context.privileged.unwrap_or_default());
    Ok(())
}

fn container_id(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let container = from.process.pod.as_ref().and_then(|pod| pod.container.as_ref());
    // `containerd://<id>`
    let id = container.and_then(|container| given(&container.id)).map(|id| id.rsplit("://").next().unwrap_or(id));
    // `docker` holds the first characters of the id.
    actor.container_id = id.or(given(&from.process.docker)).map(ContainerId::new);
    actor.origin_container_id = actor.container_id.clone();
    Ok(())
}

/// Reference and digest of an image, whose id is `docker-pullable://repository@sha256:...` or a part of that.
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

fn parent(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    if let Some(parent) = &from.body.parent {
        actor.parent_pid = fit("parent.pid", parent.pid)?;
        actor.parent_process_uid = uid_of(&parent.exec_id, actor.parent_pid, from.boot);
        if let Some(binary) = given(&parent.binary) {
            actor.parent_path = Some(binary.to_owned());
            actor.parent_args = Some(args::split(binary, given(&parent.arguments).unwrap_or_default()));
        }
    }
    if actor.parent_process_uid.is_none() {
        let exec_id = &from.process.parent_exec_id;
        actor.parent_process_uid = uid_of(exec_id, actor.parent_pid, from.boot);
        let id = given(exec_id).and_then(ExecId::read);
        actor.parent_pid = actor.parent_pid.or_else(|| i32::try_from(id?.pid).ok());
    }
    Ok(())
}

fn ancestors(from: &ActorSource<'_>, actor: &mut Actor) -> Result<(), RecordRefusal> {
    let Some(ancestors) = &from.body.ancestors else { return Ok(()) };
    let uid = |ancestor: &Relative<'_>| {
        let pid = fit("ancestors.pid", ancestor.pid)?;
        Ok(uid_of(&ancestor.exec_id, pid, from.boot).map(|uid| uid.to_string()).unwrap_or_default())
    };
    // An empty text stands for an unknown one, so that both lists have the same length.
    actor.ancestor_uids = Some(ancestors.iter().map(uid).collect::<Result<_, RecordRefusal>>()?);
    let path = |ancestor: &Relative<'_>| given(&ancestor.binary).unwrap_or_default().to_owned();
    actor.ancestor_paths = Some(ancestors.iter().map(path).collect());
    Ok(())
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
