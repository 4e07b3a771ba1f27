use super::*;

fn api_pod(uid: &str, name: &str, more: serde_json::Value) -> ApiPod {
    let mut pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"serviceAccountName": "web-sa", "containers": []},
    });
    merge(&mut pod, more);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut serde_json::Value, from: serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn owned_by(kind: &str, name: &str, hash: Option<&str>) -> serde_json::Value {
    let labels = hash.map_or(serde_json::json!({}), |hash| serde_json::json!({"pod-template-hash": hash}));
    serde_json::json!({"metadata": {
        "labels": labels,
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Other", "name": "not-the-controller", "uid": "0"},
            {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true},
        ],
    }})
}

fn status(containers: &[(&str, &str)]) -> serde_json::Value {
    let statuses: Vec<_> = containers
        .iter()
        .map(|(name, id)| {
            serde_json::json!({
                "name": name, "containerID": format!("containerd://{id}"), "image": "registry.local/busybox:1",
                "imageID": "registry.local/busybox@sha256:abc", "ready": true, "restartCount": 0,
            })
        })
        .collect();
    serde_json::json!({"status": {"containerStatuses": statuses}})
}

#[test]
fn workloads() {
    let cases = [
        ("no owner", serde_json::json!({}), None),
        ("Deployment", owned_by("ReplicaSet", "web-7d9c6b5f4", Some("7d9c6b5f4")), Some(("Deployment", "web"))),
        ("ReplicaSet of nobody", owned_by("ReplicaSet", "web-7d9c6b5f4", None), Some(("ReplicaSet", "web-7d9c6b5f4"))),
        ("another hash", owned_by("ReplicaSet", "web-7d9c6b5f4", Some("aaaa")), Some(("ReplicaSet", "web-7d9c6b5f4"))),
        ("DaemonSet", owned_by("DaemonSet", "agent", None), Some(("DaemonSet", "agent"))),
        ("StatefulSet", owned_by("StatefulSet", "db-7", Some("7")), Some(("StatefulSet", "db-7"))),
    ];
    for (name, more, expected) in cases {
        let pod = Pod::of_api(&api_pod("u", "p", more)).unwrap();
        let expected = expected.map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        assert_eq!(pod.workload, expected, "{name}");
        assert_eq!(pod.service_account.as_deref(), Some("web-sa"), "{name}");
    }
}

#[test]
fn found_by_uid_hash_or_container() {
    let pods = Pods::default();
    let hash = serde_json::json!({"metadata": {"annotations": {"kubernetes.io/config.hash": "h1"}}});
    pods.apply(Event::Apply(api_pod("u1", "web", status(&[("c", "id1")]))));
    pods.apply(Event::Apply(api_pod("u2", "static", hash)));
    let name = |uid: Option<&str>, container: &str| pods.find(uid, container).map(|pod| pod.name.clone());
    assert_eq!(name(Some("u1"), "").as_deref(), Some("web"));
    assert_eq!(name(Some("h1"), "").as_deref(), Some("static"));
    assert_eq!(name(None, "id1").as_deref(), Some("web"));
    assert_eq!(name(Some("u3"), "id3"), None);
    let container = pods.find(None, "id1").unwrap().container("id1").cloned().unwrap();
    assert_eq!((container.name.as_str(), container.image_digest.as_deref()), ("c", Some("sha256:abc")));
}

#[test]
fn only_a_change_raises_the_generation() {
    let pods = Pods::default();
    let applied = |pod: ApiPod| {
        let before = pods.generation();
        pods.apply(Event::Apply(pod));
        pods.generation() != before
    };
    assert!(applied(api_pod("u", "p", serde_json::json!({}))));
    assert!(!applied(api_pod("u", "p", serde_json::json!({"metadata": {"resourceVersion": "9"}}))));
    assert!(applied(api_pod("u", "p", status(&[("c", "id1")]))));
    assert!(applied(api_pod("u", "p", status(&[("c", "id2")]))));
    assert!(pods.find(None, "id1").is_none(), "the restarted container's old id is no longer known");
}

#[test]
fn deleted_pods_are_kept_for_a_while_and_a_new_list_replaces_the_old() {
    let pods = Pods::default();
    pods.apply(Event::Apply(api_pod("u1", "first", serde_json::json!({}))));
    pods.apply(Event::Delete(api_pod("u1", "first", serde_json::json!({}))));
    assert!(pods.find(Some("u1"), "").is_some(), "its last events may still come");
    pods.apply(Event::Init);
    for number in 0..=MOST_DELETED {
        pods.apply(Event::InitApply(api_pod(&format!("n{number}"), "new", serde_json::json!({}))));
    }
    pods.apply(Event::InitDone);
    assert!(pods.find(Some("n0"), "").is_some());
    pods.apply(Event::Init);
    pods.apply(Event::InitDone);
    assert!(pods.find(Some("u1"), "").is_none(), "the oldest deleted pod made room");
    assert_eq!(pods.read().by_uid.len(), MOST_DELETED);
}

#[test]
fn the_number_of_pods_is_bounded() {
    let pods = Pods::default();
    for number in 0..MOST_PODS + 5 {
        pods.apply(Event::Apply(api_pod(&format!("u{number}"), "p", serde_json::json!({}))));
    }
    let store = pods.read();
    assert_eq!((store.by_uid.len(), store.refused), (MOST_PODS, 5));
}
