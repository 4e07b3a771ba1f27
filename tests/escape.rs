//! A container escape on a real Kubernetes node, from the first command in the pod to the last connection from the
//! host: rows, ancestry, identity, findings, the timeline, and the same events in a Splunk HEC and in OpenSearch.

use std::collections::BTreeSet;

use expect_test::expect_file;
use kerntrail_testbed::hec::Hec;
use kerntrail_testbed::opensearch::OpenSearch;
use kerntrail_testbed::{Node, require};

use crate::program::{LIMIT, Program, Running, wait_for, write};

const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: tools, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: tools, namespace: shop}
spec:
  selector: {matchLabels: {app: tools}}
  template:
    metadata: {labels: {app: tools}}
    spec:
      serviceAccountName: tools
      hostPID: true
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: registry.local/busybox:1
        imagePullPolicy: IfNotPresent
        command: [sleep, "3600"]
        securityContext: {privileged: true}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "registry.local/busybox:1", imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}
"#;

/// The attacker's commands in the pod: read the token, mount, enter the node's namespaces, connect to the API server.
const ESCAPE: &str = "cat /var/run/secrets/kubernetes.io/serviceaccount/token >/dev/null; mkdir -p /tmp/m; mount -t tmpfs none /tmp/m; \
    nsenter -t 1 -m -n -- sh -c 'id >/dev/null; curl -sk -o /dev/null https://127.0.0.1:6443/version'";

/// A node with pods, and the program that collects from it and forwards the rows of these pods to two receivers.
struct Scene {
    // Dropped first: it must end before the node that it collects from.
    running: Running,
    node: Node,
    pod: String,
    hec: Hec,
    search: OpenSearch,
    program: Program,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(prefix: &str) -> Self {
        // The node's state must not be on an overlay file system.
        let folder = tempfile::Builder::new().prefix(prefix).tempdir().expect("a folder");
        let node = Node::up(&folder.path().join("node")).expect("the node");
        let hec = Hec::start().expect("the HEC server");
        let search = OpenSearch::start(&folder.path().join("search")).expect("OpenSearch");
        let program = Program::new();
        std::fs::create_dir_all(program.data_dir()).unwrap();
        let selected = "where = \"origin_namespace = 'shop' or namespace = 'shop'\"\nbackoff_max_ms = 500";
        let config = format!(
            "cluster = \"test\"\n[node]\nname = \"kt-node\"\nroot = \"{}\"\npid = {}\n[kubernetes]\nkubeconfig = \"{}\"\n\
             [[sinks]]\nname = \"splunk\"\nkind = \"splunk_hec\"\nurl = \"{}\"\ntoken = \"{}\"\n{selected}\n\
             [[sinks]]\nname = \"search\"\nkind = \"elasticsearch\"\nurl = \"{}\"\n{selected}\n",
            node.root().display(),
            node.pid(),
            node.kubeconfig().display(),
            hec.url(),
            Hec::TOKEN,
            search.url(),
        );
        let file = write(&program.data_dir(), "c.toml", config.as_bytes());
        let running = program.start(&["--config", file.to_str().unwrap()]);
        node.apply(PODS).expect("the pods");
        node.wait_pod_running("shop", "web", LIMIT).expect("the pod web");
        let pod = wait_for("the deployment has a pod", || {
            let name = node.kubectl(&[
                "-n",
                "shop",
                "get",
                "pods",
                "-l",
                "app=tools",
                "-o",
                "jsonpath={.items[*].metadata.name}",
            ]);
            name.map_err(|error| format!("{error:#}"))
                .and_then(|name| if name.is_empty() { Err("none".into()) } else { Ok(name) })
        });
        node.wait_pod_running("shop", &pod, LIMIT).expect("the deployment's pod");
        Self { running, node, pod, hec, search, program, _folder: folder }
    }

    /// The rows of a query; waits until there is at least one.
    fn rows(&self, sql: &str) -> Vec<String> {
        wait_for(sql, || {
            let rows = self.program.rows(sql);
            if rows.is_empty() { Err(self.running.log()) } else { Ok(rows) }
        })
    }
}

#[test]
fn an_escape_is_reconstructed_from_the_pod_to_the_last_connection() {
    if !require::node() || !require::bpf() || !require::java() {
        return;
    }
    let scene = Scene::start("kerntrail-escape");
    // The timeline starts after the runtime has prepared the pod.
    let since = scene.rows("select cast(now() as timestamp)").remove(0);
    let out = scene.node.exec("shop", &scene.pod, &["sh", "-c", ESCAPE]).expect("kubectl exec");
    assert!(out.status.success(), "{out:?}");
    let refused = scene.node.exec("shop", "web", &["nsenter", "-t", "1", "-m", "--", "sh"]).expect("kubectl exec");
    assert!(!refused.status.success());

    the_rows(&scene);
    the_refused_attempt(&scene);
    the_findings(&scene);
    no_findings_about_the_runtime(&scene);
    the_timeline(&scene, &since);
    the_receivers(&scene);
    assert_eq!(scene.running.terminate(), 0);
    scene.node.down().expect("the node ends");
}

/// The command in the pod, the namespace change, the program on the host and its connection, each with its identity.
fn the_rows(scene: &Scene) {
    let of_pod = format!("pod_name = '{}'", scene.pod);
    let born = format!("origin_pod_name = '{}'", scene.pod);
    let cat = scene.rows(&format!(
        "select namespace, workload_kind, workload_name, service_account, container_name, image, pod_labels['app'], container_privileged, \
         in_host_mnt_ns, enrichment_state, entry_type from process_events where {of_pod} and activity = 'exec' and args[1] = 'cat'"
    ));
    assert_eq!(
        cat,
        ["shop,Deployment,tools,tools,main,registry.local/busybox:1,tools,true,false,complete,container_exec"]
    );
    let mounted = scene.rows(&format!("select target_path, fs_type, ret from kernel_events where {of_pod} and activity = 'mount' and fs_type = 'tmpfs' and process_name = 'busybox'"));
    assert_eq!(mounted, ["/tmp/m,tmpfs,0"]);
    let entered = scene.rows(&format!("select host_ns_entered, ret from kernel_events where {born} and activity = 'setns' and host_ns_entered is not null order by boot_ns"));
    assert!(entered.iter().any(|row| row.starts_with("mnt,")), "{entered:?}");
    // The escaped shell runs on the host, is still attributed to the pod it came from, and its ancestors lead back there.
    let shell = scene.rows(&format!(
        "select in_host_mnt_ns, origin_namespace, parent_path, array_to_string(parent_args, ' '), array_to_string(ancestor_paths, ' < ') \
         from process_events where {born} and activity = 'exec' and in_host_mnt_ns and args[2] = '-c'"
    ));
    assert_eq!(shell.len(), 1, "{shell:?}");
    assert!(shell[0].starts_with("true,shop,") && shell[0].contains("containerd-shim-runc-v2"), "{shell:?}");
    let out = scene.rows(&format!("select in_host_mnt_ns, dst_ip, dst_port, direction from network_flows where {born} and activity = 'connect' and process_name = 'curl'"));
    assert_eq!(out, ["true,127.0.0.1,6443,outbound"]);
}

fn the_refused_attempt(scene: &Scene) {
    let attempt = scene.rows("select ret, host_ns_entered, in_host_mnt_ns from kernel_events where pod_name = 'web' and activity = 'setns' and process_name = 'busybox'");
    assert_eq!(attempt, ["-1,,false"]);
    let timeline = scene.program.run(&["timeline", "--pod", "shop/web"]);
    assert!(timeline.contains("REFUSED (EPERM)"), "{timeline}");
}

fn the_findings(scene: &Scene) {
    let wanted = [
        "Mount inside a container",
        "nsenter from a container",
        "A container's process entered a namespace of the node",
        "Container escape",
    ];
    let sql = format!("select distinct rule_name from findings where origin_pod_name = '{}'", scene.pod);
    wait_for("the findings are there", || {
        let have: BTreeSet<String> = scene.program.rows(&sql).into_iter().collect();
        let missing: Vec<&str> = wanted.iter().filter(|name| !have.contains(**name)).copied().collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} of {have:?}\n{}", scene.running.log())) }
    });
    // Each finding refers to the events that caused it, and all of them are in the lake.
    let dangling = "select count(*) from (select unnest(event_refs) as ref from findings) \
                    where split_part(ref, '/', 2) not in (select event_id from process_events union all select event_id from kernel_events union all select event_id from network_flows)";
    assert_eq!(scene.program.count(dangling), 0);
    assert_eq!(scene.program.count("select count(*) from findings where rule_name = 'Container escape'"), 1);
    assert_eq!(scene.program.count("select count(*) from findings where pod_name = 'web' and severity in ('high', 'critical') and rule_name <> 'nsenter from a container'"), 0);
}

/// Preparing the pods, containerd and runc made dozens of mounts and changed roots: none of it is a finding.
fn no_findings_about_the_runtime(scene: &Scene) {
    let prepared = scene.program.count("select count(*) from kernel_events where activity = 'mount' and container_id is not null and process_name is distinct from 'busybox'");
    assert!(prepared > 0, "the runtime's own mounts were not seen");
    let sql = "select rule_name, process_name, entry_leader_uid from findings where (rule_name like 'Mount%' or rule_name like 'chroot%') and process_name is distinct from 'busybox'";
    assert_eq!(scene.program.rows(sql), Vec::<String>::new());
}

fn the_timeline(scene: &Scene, since: &str) {
    let pod = format!("shop/{}", scene.pod);
    let timeline = normalized(&scene.program.run(&["timeline", "--pod", &pod, "--since", since]), scene);
    expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/escape-timeline.txt")].assert_eq(&timeline);
    let tree = scene.program.run(&["tree", "--pod", &pod, "-o", "json"]);
    assert!(tree.contains("nsenter"), "{tree}");
}

/// Both receivers have every row of the pods that is in the lake, exactly once.
fn the_receivers(scene: &Scene) {
    let sql = ["process_events", "kernel_events", "network_flows", "findings"]
        .map(|table| format!("select event_id from {table} where origin_namespace = 'shop' or namespace = 'shop'"))
        .join(" union all ");
    wait_for("both receivers have what the lake has", || {
        let wanted: BTreeSet<String> = scene.program.rows(&sql).into_iter().collect();
        let splunk: Vec<String> = scene
            .hec
            .events()
            .iter()
            .filter_map(|event| Some(event.event()["metadata"]["uid"].as_str()?.to_owned()))
            .collect();
        let found = scene.search.documents("logs-kerntrail.*").map_err(|error| format!("{error:#}"))?;
        let search: Vec<String> =
            found.iter().filter_map(|document| Some(document["_id"].as_str()?.to_owned())).collect();
        for (name, have) in [("Splunk", &splunk), ("OpenSearch", &search)] {
            let distinct: BTreeSet<String> = have.iter().cloned().collect();
            assert_eq!(distinct.len(), have.len(), "{name} has a row twice");
            if distinct != wanted {
                return Err(format!("{name}: {} of {}", distinct.len(), wanted.len()));
            }
        }
        Ok(())
    });
}

/// Replaces ids, times and numbers, which differ from run to run, by a fixed word each.
fn normalized(timeline: &str, scene: &Scene) -> String {
    timeline.replace(&scene.pod, "POD").lines().map(normalized_line).collect::<Vec<_>>().join("\n") + "\n"
}

fn normalized_line(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for character in line.chars().chain(['\n']) {
        if character.is_ascii_alphanumeric() || "-.:+".contains(character) {
            word.push(character);
            continue;
        }
        out.push_str(normalized_word(&word));
        word.clear();
        if character != '\n' {
            out.push(character);
        }
    }
    // A timeline may cross midnight.
    let out = without_amounts(&out).replace("to DATE TIME", "to TIME");
    // Columns are as wide as the longest number of the run.
    let numbers = match out.strip_prefix("TIME ") {
        Some(rest) => format!("TIME {}", rest.trim_start()),
        None => out,
    };
    if numbers.trim_start().starts_with(['=', '#', '!']) { numbers.trim_start().to_owned() } else { numbers }
}

/// Replaces durations, bytes and row counts, which differ from run to run.
fn without_amounts(line: &str) -> String {
    let is_number = |word: &str| word.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit() || c == 'N');
    let is_unit = |word: &str| matches!(word.trim_end_matches([',', ')']), "ms" | "s" | "B" | "kB");
    let words: Vec<&str> = line.split(' ').collect();
    let mut shown = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let after_number = index > 0 && is_number(words[index - 1]);
        let before_unit = words.get(index + 1).is_some_and(|next| is_unit(next));
        if is_unit(word) && after_number {
            shown.push(word.trim_start_matches(char::is_alphabetic));
        } else if is_number(word) && (before_unit || line.trim_start().starts_with("Shown")) {
            shown.push("N");
        } else {
            shown.push(word);
        }
    }
    shown.join(" ")
}

fn normalized_word(word: &str) -> &str {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let hex = word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let base32 = word.len() == 26 && word.chars().all(|c| c.is_ascii_digit() || ('a'..='v').contains(&c));
    let date = word.len() == 10 && digits == 8 && word.matches('-').count() == 2;
    if word.ends_with("ms") && digits > 0 {
        "SHORT"
    } else if date {
        "DATE"
    } else if hex || base32 {
        "ID"
    } else if word.len() >= 8 && word.contains(':') && digits >= 6 && !word.starts_with("127") {
        "TIME"
    } else if digits == word.len() && digits >= 3 && word != "6443" {
        "NUMBER"
    } else {
        word
    }
}
