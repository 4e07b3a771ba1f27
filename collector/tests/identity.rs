//! Container, pod and origin of a process.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kerntrail_collector::event::{EventKind, Task};
use kerntrail_ebpf::probes::privilege::privilege_op;
use kerntrail_schemas::Table;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::entries::{cgroup, inside, runc};
use crate::script::{HOST, Script, Setup, pods_of};

pub const ID: &str = "c8a2d1c5f8b7e6d5c4b3a2918070f6e5d4c3b2a1908f7e6d5c4b3a2918070f6e";
const POD: &str = "8c1a7e5e-2f9d-4b0a-9a51-5d2b6c7f1e3a";
pub const K8S: &str = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
const MOBY: &str = "run/containerd/io.containerd.runtime.v2.task/moby";
const CRIO: &str = "run/containers/storage/overlay-containers";

pub fn put_bundle(root: &Path, place: &str, id: &str, fixture: &str) {
    let folder = match place {
        CRIO => root.join(place).join(id).join("userdata"),
        _ => root.join(place).join(id),
    };
    fs::create_dir_all(&folder).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    fs::copy(fixture, folder.join("config.json")).unwrap();
}

pub fn web_pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "uid": POD, "name": "web-7d9c6b5f4-x2x9k", "namespace": "shop",
            "labels": {"app": "web", "pod-template-hash": "7d9c6b5f4"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9c6b5f4", "uid": "1", "controller": true}],
        },
        "spec": {"serviceAccountName": "web-sa", "nodeName": "node-1", "containers": [{"name": "c"}]},
        "status": {"containerStatuses": [{
            "name": "c", "containerID": format!("containerd://{ID}"), "image": "registry.local/busybox:1",
            "imageID": "registry.local/busybox@sha256:0123", "ready": true, "restartCount": 0,
        }]},
    }))
    .unwrap()
}

fn columns(row: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| row[*name].clone()).collect()
}

#[tokio::test]
async fn the_origin_survives_the_escape() {
    let root = tempfile::tempdir().unwrap();
    put_bundle(root.path(), K8S, ID, "containerd.json");
    let (mut script, init) = Script::new();
    let shim = script.spawn(&init, 100, &["/usr/bin/containerd-shim-runc-v2"]);
    runc(&mut script, &shim, 200, &["create", ID], &["/bin/sleep", "36000"], &cgroup(ID));
    let shell = runc(&mut script, &shim, 300, &["exec", ID], &["/bin/sh"], &cgroup(ID));
    let nsenter = script.spawn_in(&shell, 400, &["/usr/bin/nsenter", "-t", "1", "-m", "--", "bash"], &cgroup(ID));
    // nsenter: the mount namespace is the node's, the cgroup is still the container's.
    let mut entered = nsenter.clone();
    entered.state.mnt_ns = HOST.mnt_ns;
    script.push(&entered, setns(&nsenter, &entered));
    script.exec_in(&entered, &["/bin/bash"], &cgroup(ID));
    // The cgroup is left too, and then its processes show nothing of the container any more.
    let mut moved = entered.clone();
    moved.state = HOST;
    script.exec_in(&moved, &["/bin/bash", "-i"], "");
    script.spawn_in(&moved, 500, &["/usr/bin/curl", "http://10.0.0.9/"], "");
    let rows = script.run_on(Setup::at(root.path())).await;

    let call = &rows.of(Table::KernelEvents)[0];
    let of_call =
        ["activity", "ns_type", "old_mnt_ns", "new_mnt_ns", "in_host_mnt_ns", "in_host_pid_ns", "container_id"];
    assert_eq!(
        columns(call, &of_call),
        [json!("setns"), json!("mnt"), json!(110), json!(10), json!(true), json!(false), json!(ID)]
    );

    let container = ["container_id", "pod_name", "in_host_mnt_ns", "enrichment_state"];
    let execs = rows.process("exec", 400);
    let states: Vec<_> = execs.iter().map(|row| columns(row, &container)).collect();
    let pod = json!("web-7d9c6b5f4-x2x9k");
    assert_eq!(states[0], [json!(ID), pod.clone(), json!(false), json!("no_api")]);
    assert_eq!(states[1], [json!(ID), pod.clone(), json!(true), json!("no_api")]);
    assert_eq!(states[2], [Value::Null, Value::Null, json!(true), json!("host")]);

    let origin = ["origin_container_id", "origin_pod_uid", "origin_pod_name", "origin_namespace", "entry_type"];
    for row in execs.iter().chain(&rows.process("exec", 500)) {
        let expected = [json!(ID), json!(POD), pod.clone(), json!("shop"), json!("container_exec")];
        assert_eq!(columns(row, &origin), expected, "{row:#}");
    }
    assert_eq!(rows.one("exec", 100)["origin_container_id"], Value::Null);
}

fn setns(before: &Task, after: &Task) -> EventKind {
    crate::kernel_records::call(privilege_op::SETNS, 0x0002_0000, &before.state, &after.state, [""; 3])
}

#[tokio::test]
async fn bundles_of_each_runtime() {
    let names = [
        "namespace",
        "pod_name",
        "pod_uid",
        "container_name",
        "image",
        "image_digest",
        "container_privileged",
        "enrichment_state",
    ];
    let pod = json!("web-7d9c6b5f4-x2x9k");
    let scope = |prefix: &str| format!("/system.slice/{prefix}-{ID}.scope");
    let crio_digest = json!("sha256:0a399eb16751829e1af26fea27b20c3ec28d7ab1fb72182879dcae1cca21206a");
    let nothing = Value::Null;
    let cases = [
        (
            "containerd",
            Some((K8S, "containerd.json")),
            cgroup(ID),
            [
                json!("shop"),
                pod.clone(),
                json!(POD),
                json!("c"),
                json!("registry.local/busybox:1"),
                nothing.clone(),
                json!(false),
                json!("no_api"),
            ],
        ),
        (
            "containerd, pause",
            Some((K8S, "containerd_pause.json")),
            cgroup(ID),
            [
                json!("shop"),
                pod,
                json!(POD),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                json!(false),
                json!("no_api"),
            ],
        ),
        (
            "CRI-O",
            Some((CRIO, "crio.json")),
            scope("crio"),
            [
                json!("web"),
                json!("front-0"),
                json!("0d9bb2f1-7f0c-4a86-8d5f-6a1f3a0d7c55"),
                json!("nginx"),
                json!("docker.io/library/nginx:1.27"),
                crio_digest,
                json!(false),
                json!("no_api"),
            ],
        ),
        (
            "Docker, whose own state is not readable: neither name nor image is known",
            Some((MOBY, "docker.json")),
            scope("docker"),
            [
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                json!(false),
                json!("no_name"),
            ],
        ),
        (
            "no bundle, but a cgroup that names the pod",
            None,
            cgroup(ID),
            [
                nothing.clone(),
                nothing.clone(),
                json!(POD),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                nothing.clone(),
                json!("no_bundle"),
            ],
        ),
    ];
    for (name, bundle, path, expected) in cases {
        let root = tempfile::tempdir().unwrap();
        if let Some((place, fixture)) = bundle {
            put_bundle(root.path(), place, ID, fixture);
        }
        let (mut script, init) = Script::new();
        script.spawn_in(&inside(&init), 10, &["/bin/sh"], &path);
        let rows = script.run_on(Setup::at(root.path())).await;
        let row = rows.one("exec", 10);
        assert_eq!((&row["container_id"], columns(&row, &names)), (&json!(ID), expected.to_vec()), "{name}");
    }
}

#[tokio::test]
async fn a_bundle_that_comes_late_is_found_at_a_later_event() {
    let root = tempfile::tempdir().unwrap();
    let (mut script, init) = Script::new();
    let process = script.spawn_in(&inside(&init), 10, &["/bin/sh"], &cgroup(ID));
    let path = root.path().to_owned();
    script.then(move || put_bundle(&path, K8S, ID, "containerd.json"));
    // Not one look for each event of a container without a bundle.
    script.fork(&process, 20);
    script.wait(1);
    script.fork(&process, 30);
    script.exit(&process);
    let rows = script.run_on(Setup::at(root.path())).await;
    let state = |row: Value| columns(&row, &["enrichment_state", "pod_name"]);
    assert_eq!(state(rows.one("exec", 10)), [json!("no_bundle"), Value::Null]);
    assert_eq!(state(rows.one("fork", 20)), [json!("no_bundle"), Value::Null]);
    assert_eq!(state(rows.one("fork", 30)), [json!("no_api"), json!("web-7d9c6b5f4-x2x9k")]);
    assert_eq!(state(rows.one("exit", 10)), [json!("no_api"), json!("web-7d9c6b5f4-x2x9k")], "its row was made again");
}

#[tokio::test]
async fn the_pod_watch_adds_labels_workload_and_service_account() {
    let root = tempfile::tempdir().unwrap();
    put_bundle(root.path(), K8S, ID, "containerd.json");
    let (mut script, init) = Script::new();
    let process = script.spawn_in(&inside(&init), 10, &["/bin/sh"], &cgroup(ID));
    let setup = Setup::at(root.path());
    let (pods, receiver) = tokio::sync::oneshot::channel();
    let mut receiver = receiver;
    script.then(move || {
        let pods: std::sync::Arc<kerntrail_collector::pods::Pods> = receiver.try_recv().unwrap();
        pods.apply(Event::Apply(web_pod()));
    });
    script.exit(&process);
    let log = std::sync::Arc::new(crate::log::MemoryLog::default());
    let (collector, _) = script.collector(&setup);
    pods.send(pods_of(&collector)).unwrap();
    collector.run(std::sync::Arc::clone(&log) as _, tokio_util::sync::CancellationToken::new()).await.unwrap();
    let rows = crate::script::Rows(log);
    assert_eq!(rows.one("exec", 10)["enrichment_state"], "no_api");
    let row = rows.one("exit", 10);
    let names = ["enrichment_state", "workload_kind", "workload_name", "service_account", "image_digest"];
    assert_eq!(
        columns(&row, &names),
        [json!("complete"), json!("Deployment"), json!("web"), json!("web-sa"), json!("sha256:0123")]
    );
    assert_eq!(row["pod_labels"], json!({"app": "web", "pod-template-hash": "7d9c6b5f4"}));
}

#[tokio::test]
async fn a_node_that_is_a_container_is_the_host() {
    let root = tempfile::tempdir().unwrap();
    let outer = ID.chars().rev().collect::<String>();
    let mut setup = Setup::at(root.path());
    setup.node.container = Some(outer.clone());
    let (mut script, init) = Script::new();
    script.spawn_in(&init, 10, &["/usr/bin/kubelet"], &format!("/docker/{outer}/kubelet"));
    script.spawn_in(&inside(&init), 20, &["/bin/sh"], &format!("/docker/{outer}{}", cgroup(ID)));
    let rows = script.run_on(setup).await;
    let state = |pid| columns(&rows.one("exec", pid), &["container_id", "origin_container_id", "enrichment_state"]);
    assert_eq!(state(10), [Value::Null, Value::Null, json!("host")]);
    assert_eq!(state(20), [json!(ID), json!(ID), json!("no_bundle")]);
}

#[tokio::test]
async fn a_fork_inherits_its_container_and_an_unknown_process_gets_that_of_its_cgroup() {
    let (mut script, init) = Script::new();
    let process = script.spawn_in(&inside(&init), 10, &["/bin/sh"], &cgroup(ID));
    let child = script.fork(&process, 20);
    // Unknown until now, but its cgroup is known.
    let stranger =
        Task { process: kerntrail_collector::event::ProcessRef { tgid: 30, start_boottime: 7 }, ..process.clone() };
    script.exit(&Task { parent: init.process, ..stranger });
    script.exit(&child);
    let rows = script.run().await;
    for row in [rows.one("fork", 20), rows.one("exit", 20), rows.one("exit", 30)] {
        assert_eq!(row["container_id"], ID);
    }
}
