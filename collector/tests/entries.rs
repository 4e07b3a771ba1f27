//! How a lineage entered the container or the node.

use kerntrail_collector::event::Task;
use serde_json::{Value, json};

use crate::script::{HOST, Script, uid};

const ID: &str = "c8a2d1c5f8b7e6d5c4b3a2918070f6e5d4c3b2a1908f7e6d5c4b3a2918070f6e";

pub fn cgroup(id: &str) -> String {
    format!("/kubepods/burstable/pod8c1a7e5e-2f9d-4b0a-9a51-5d2b6c7f1e3a/{id}")
}

/// Namespaces and cgroup of a process in a container.
pub fn inside(task: &Task) -> Task {
    let mut task = task.clone();
    task.state.mnt_ns = 110;
    task.state.pid_ns = 120;
    task.state.cgroup_id = 900;
    task
}

/// runc as containerd's shim runs it: its helper clones itself twice in the container before the program runs.
/// Gives the process that ran `args`; it has the pid `pid + 3`.
pub fn runc(script: &mut Script, shim: &Task, pid: u32, command: &[&str], args: &[&str], cgroup: &str) -> Task {
    let runc =
        script.spawn(shim, pid, &[&["/usr/bin/runc", "--root", "/run/containerd/runc/k8s.io"], command].concat());
    let first = script.spawn(&runc, pid + 1, &["memfd:runc_cloned:/proc/self/exe", "init"]);
    // Both clones are made with CLONE_PARENT by a process that was moved into the container's cgroup.
    let second = script.fork(&inside(&first), pid + 2);
    let third = script.fork(&second, pid + 3);
    script.exit(&inside(&first));
    script.exit(&second);
    script.exec_in(&third, &["/usr/bin/runc", "init"], cgroup);
    script.exec_in(&third, args, cgroup);
    script.exit(&runc);
    third
}

fn entry(row: &Value) -> (Value, Value) {
    (row["entry_type"].clone(), row["entry_leader_uid"].clone())
}

#[tokio::test]
async fn containers_started_and_entered() {
    let (mut script, init) = Script::new();
    let shim = script.spawn(&init, 100, &["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io"]);
    let main =
        runc(&mut script, &shim, 200, &["create", "--bundle", "b", ID], &["/bin/sh", "-c", "sleep 1"], &cgroup(ID));
    let sleep = script.spawn_in(&main, 210, &["/bin/sleep", "1"], &cgroup(ID));
    let shell = runc(&mut script, &shim, 300, &["exec", "--process", "p", ID], &["/bin/bash"], &cgroup(ID));
    let rows = script.run().await;
    let helper = &rows.process("exec", 203)[0];
    assert_eq!((&helper["args"], entry(helper)), (&json!(["/usr/bin/runc", "init"]), (Value::Null, Value::Null)));
    assert_eq!(entry(&rows.process("exec", 203)[1]), (json!("container_start"), json!(uid(&main))));
    assert_eq!(entry(&rows.one("exec", 210)), (json!("container_start"), json!(uid(&main))), "{sleep:?}");
    assert_eq!(entry(&rows.process("exec", 303)[1]), (json!("container_exec"), json!(uid(&shell))));
    assert_eq!(rows.one("exec", 200)["container_id"], Value::Null, "runc itself runs on the host");
}

#[tokio::test]
async fn a_container_that_ran_before_the_collector() {
    let (mut script, init) = Script::new();
    let at = |pid, start, parent: &Task| {
        let mut task = inside(parent);
        (task.process.tgid, task.process.start_boottime, task.parent) = (pid, start, parent.process);
        task
    };
    let shim = Task { parent: init.process, ..at(100, 2_000, &init) };
    let shim = Task { state: HOST, ..shim };
    // The iterator goes by pid: the shell that was started later comes first.
    let (main, shell) = (at(400, 3_000, &shim), at(300, 9_000, &shim));
    script.exists_in(&shell, &["/bin/bash"], &cgroup(ID));
    script.exists_in(&main, &["/bin/server"], &cgroup(ID));
    script.exists(&shim, &["/usr/bin/containerd-shim-runc-v2"]);
    script.spawn_in(&shell, 500, &["/bin/ls"], &cgroup(ID));
    let rows = script.run().await;
    assert_eq!(entry(&rows.one("existing", 400)), (json!("container_start"), json!(uid(&main))));
    assert_eq!(entry(&rows.one("exec", 500)), (json!("container_exec"), json!(uid(&shell))));
    assert_eq!(rows.one("existing", 300)["parent_path"], "/usr/bin/containerd-shim-runc-v2");
}

#[tokio::test]
async fn entry_types_on_the_node() {
    let cases: &[(&str, &[&[&str]], &str, usize)] = &[
        ("a service", &[&["/usr/sbin/nginx"], &["/usr/sbin/nginx"]], "init", 0),
        ("a login", &[&["/usr/sbin/sshd"], &["/usr/sbin/sshd"], &["/bin/bash"], &["/usr/bin/id"]], "sshd", 2),
        ("a login, newer sshd", &[&["/usr/sbin/sshd"], &["/usr/lib/openssh/sshd-session"], &["/bin/bash"]], "sshd", 2),
        ("a job", &[&["/usr/sbin/cron"], &["/bin/sh", "-c", "run-parts"], &["/usr/bin/find"]], "cron", 1),
        ("sshd itself", &[&["/usr/sbin/sshd"], &["/usr/sbin/sshd"]], "init", 0),
        ("a job that logs in elsewhere", &[&["/usr/sbin/crond"], &["/bin/sh"], &["/usr/bin/ssh"]], "cron", 1),
    ];
    for (name, programs, kind, leader) in cases {
        let (mut script, init) = Script::new();
        let mut lineage = vec![init];
        for (number, args) in programs.iter().enumerate() {
            let parent = lineage[number].clone();
            lineage.push(script.spawn(&parent, 10 + number as u32, args));
        }
        let rows = script.run().await;
        let last = rows.one("exec", 9 + programs.len() as u32);
        assert_eq!(entry(&last), (json!(kind), json!(uid(&lineage[leader + 1]))), "{name}");
    }
}

#[tokio::test]
async fn a_kernel_thread_has_no_entry() {
    let (mut script, _) = Script::new();
    let thread = Task { comm: "kworker/0:1".into(), ..crate::script::task() };
    let thread = Task { process: kerntrail_collector::event::ProcessRef { tgid: 7, start_boottime: 9 }, ..thread };
    script.kernel_thread(&thread);
    let rows = script.run().await;
    let row = rows.one("existing", 7);
    assert_eq!(entry(&row), (Value::Null, Value::Null));
    assert_eq!((&row["process_name"], &row["args"]), (&json!("kworker/0:1"), &Value::Null));
}
