//! The Kubernetes node: pods, an escape from one into the node, the audit log, and a complete cleanup.

use std::path::Path;

use kerntrail_testbed::{Node, kube, require};
use serde_json::Value;

use crate::LIMIT;

const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  serviceAccountName: web
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: registry.local/busybox:1
    imagePullPolicy: IfNotPresent
    command: [sleep, "3600"]
---
apiVersion: v1
kind: Pod
metadata: {name: evil, namespace: shop}
spec:
  hostPID: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: evil
    image: registry.local/busybox:1
    imagePullPolicy: IfNotPresent
    command: [sleep, "3600"]
    securityContext: {privileged: true}
    volumeMounts: [{name: host, mountPath: /host}]
  volumes: [{name: host, hostPath: {path: /}}]
"#;

fn kernel_settings() -> Vec<String> {
    ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"]
        .map(|name| std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap())
        .to_vec()
}

fn text(output: std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_node_runs_pods_isolated_from_the_machine() {
    if !require::node() {
        return;
    }
    let settings = kernel_settings();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::up(dir.path()).unwrap();
    node.apply(PODS).unwrap();
    let web = node.wait_pod_running("shop", "web", LIMIT).unwrap();
    node.wait_pod_running("shop", "evil", LIMIT).unwrap();

    // The cgroup path contains the pod's uid and the container's id.
    let said = text(node.exec("shop", "web", &["cat", "/proc/self/cgroup"]).unwrap());
    let uid = web["metadata"]["uid"].as_str().unwrap();
    let id = web["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
    let path = format!("/kubepods/besteffort/pod{uid}/{}", id.strip_prefix("containerd://").unwrap());
    assert!(said.contains(&path), "{said}");
    // The OCI bundle is visible to a collector outside the node.
    let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
    assert!(node.root().join(bundle).join(id.strip_prefix("containerd://").unwrap()).join("config.json").exists());

    // An unprivileged pod cannot escape; a privileged one can, but only into the node, whose root is not the machine's.
    let refused = text(node.exec("shop", "web", &["nsenter", "-t", "1", "-m", "--", "true"]).unwrap());
    assert!(refused.contains("not permitted"), "{refused}");
    let escape =
        format!("hostname; echo escaped >/etc/kerntrail-escape; ls {}", dir.path().join("audit.log").display());
    let escaped = node.exec("shop", "evil", &["nsenter", "-t", "1", "-m", "-u", "--", "sh", "-c", &escape]).unwrap();
    let escaped = text(escaped);
    assert!(escaped.contains(kube::NAME) && escaped.contains("audit.log"), "{escaped}");
    node.exec("shop", "evil", &["touch", "/host/etc/kerntrail-mount"]).unwrap();
    for file in ["etc/kerntrail-escape", "etc/kerntrail-mount"] {
        assert!(node.root().join(file).exists());
        assert!(!Path::new("/").join(file).exists());
    }
    let disks = text(
        node.enter(["sh", "-c", "ls /dev/vd* /dev/sd* /dev/nvme* 2>/dev/null; echo x >/proc/sys/kernel/hostname"])
            .output()
            .unwrap(),
    );
    assert!(disks.contains("Read-only") && !disks.contains("/dev/"), "{disks}");

    // A pod's request to the API with its own token is in the audit log.
    let ask = "curl -s --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt \
        -H \"Authorization: Bearer $(cat /var/run/secrets/kubernetes.io/serviceaccount/token)\" \
        https://10.88.0.1:6443/api/v1/namespaces/shop/secrets";
    let forbidden = text(node.exec("shop", "web", &["sh", "-c", ask]).unwrap());
    assert!(forbidden.contains("system:serviceaccount:shop:web"), "{forbidden}");
    let audit = std::fs::read_to_string(node.audit_log()).unwrap();
    let events: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exec = events.iter().find(|event| event["objectRef"]["subresource"] == "exec").unwrap();
    assert_eq!(exec["responseStatus"]["code"], 101);
    assert!(
        events.iter().any(|event| event["user"]["username"] == "system:serviceaccount:shop:web"
            && event["responseStatus"]["code"] == 403)
    );

    let pid = node.pid();
    node.down().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(kernel_settings(), settings);
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        assert!(!hierarchy.unwrap().path().join("kubepods").exists());
    }
}
