//! Who did it: ancestry, programs, leaders and uids.

use kerntrail_collector::event::{EventKind, FdKind, ProcessRef, Program, Task};
use kerntrail_schemas::Table;
use serde_json::{Value, json};

use crate::script::{Script, Setup, program, uid};

#[tokio::test]
async fn parent_and_ancestors_up_to_the_root() {
    let (mut script, init) = Script::new();
    let shell = script.spawn(&init, 10, &["/bin/sh", "-l"]);
    let make = script.spawn(&shell, 20, &["/usr/bin/make", "all"]);
    let cc = script.spawn(&make, 30, &["/usr/bin/cc", "a b.c"]);
    let rows = script.run().await;
    let row = rows.one("exec", 30);
    assert_eq!(row["process_uid"], uid(&cc));
    assert_eq!(row["args"], json!(["/usr/bin/cc", "a b.c"]));
    assert_eq!(row["cmd_line"], "/usr/bin/cc 'a b.c'");
    assert_eq!((&row["process_name"], &row["parent_path"]), (&json!("cc"), &json!("/usr/bin/make")));
    assert_eq!(row["parent_args"], json!(["/usr/bin/make", "all"]));
    assert_eq!((&row["parent_process_uid"], &row["parent_pid"]), (&json!(uid(&make)), &json!(20)));
    assert_eq!(row["ancestor_uids"], json!([uid(&shell), uid(&init)]));
    assert_eq!(row["ancestor_paths"], json!(["/bin/sh", "/sbin/init"]));
    assert_eq!(rows.one("existing", 1)["parent_process_uid"], Value::Null);
}

#[tokio::test]
async fn whether_the_parent_is_interactive() {
    let cases = [
        (FdKind::Tty, json!(true)),
        (FdKind::Pipe, json!(false)),
        (FdKind::Closed, json!(false)),
        (FdKind::Unknown, Value::Null),
    ];
    for (stdin, interactive) in cases {
        let (mut script, init) = Script::new();
        let shell = script.fork(&init, 10);
        script.push(&shell, EventKind::Exec(Box::new(Program { stdin, ..program(&["/bin/sh"], "") })));
        script.spawn(&shell, 20, &["/usr/bin/id"]);
        let rows = script.run().await;
        assert_eq!(rows.one("exec", 20)["parent_interactive"], interactive, "{stdin:?}");
    }
}

#[tokio::test]
async fn an_orphan_keeps_its_ancestry() {
    let (mut script, init) = Script::new();
    let shell = script.spawn(&init, 10, &["/bin/sh"]);
    let parent = script.spawn(&shell, 20, &["/bin/daemonize"]);
    let orphan = script.fork(&parent, 30);
    script.exit(&parent);
    script.exit(&shell);
    // Longer than ended processes are held.
    script.wait(1_000);
    let adopted = Task { parent: init.process, ..orphan };
    script.exec(&adopted, &["/usr/bin/miner"]);
    let rows = script.run().await;
    let row = rows.one("exec", 30);
    assert_eq!(row["parent_process_uid"], uid(&parent));
    assert_eq!(row["parent_path"], "/bin/daemonize");
    assert_eq!(row["ancestor_paths"], json!(["/bin/sh", "/sbin/init"]));
}

#[tokio::test]
async fn one_process_that_runs_many_programs() {
    let (mut script, init) = Script::new();
    let process = script.fork(&init, 10);
    script.exec(&process, &["/bin/sh"]);
    let of_shell = script.fork(&process, 20);
    script.exec(&process, &["/usr/bin/nsenter", "-t", "1", "-m", "bash"]);
    script.exec(&process, &["/bin/bash"]);
    script.spawn(&process, 30, &["/usr/bin/id"]);
    script.exit(&of_shell);
    let rows = script.run().await;
    let programs: Vec<_> = [rows.process("fork", 10), rows.process("exec", 10)].concat();
    let seen: Vec<_> =
        programs.iter().map(|row| (&row["exec_seq"], &row["process_path"], &row["process_uid"])).collect();
    let uid = json!(uid(&process));
    let expected = [
        (&json!(0), &json!("/sbin/init"), &uid),
        (&json!(1), &json!("/bin/sh"), &uid),
        (&json!(2), &json!("/usr/bin/nsenter"), &uid),
        (&json!(3), &json!("/bin/bash"), &uid),
    ];
    assert_eq!(seen, expected);
    assert_eq!(rows.one("exit", 20)["parent_path"], "/bin/sh", "the parent as it was at the fork");
    assert_eq!(rows.one("exec", 30)["parent_path"], "/bin/bash");
}

#[tokio::test]
async fn a_fork_without_exec_runs_its_parents_program() {
    let (mut script, init) = Script::new();
    let server = script.spawn(&init, 10, &["/usr/sbin/nginx", "-g", "daemon off;"]);
    let worker = script.fork(&server, 20);
    script.exit(&worker);
    let rows = script.run().await;
    for activity in ["fork", "exit"] {
        let row = rows.one(activity, 20);
        assert_eq!((&row["process_path"], &row["exec_seq"]), (&json!("/usr/sbin/nginx"), &json!(0)));
        assert_eq!(row["args"], json!(["/usr/sbin/nginx", "-g", "daemon off;"]));
        assert_eq!(row["parent_path"], "/usr/sbin/nginx");
    }
}

#[tokio::test]
async fn a_thread_that_execs_is_the_process() {
    let (mut script, init) = Script::new();
    let java = script.spawn(&init, 10, &["/usr/bin/java"]);
    // The thread has another name; after the exec it has the leader's id and start.
    let thread = Task { comm: "pool-1-thread-3".into(), ..java.clone() };
    script.push(&thread, EventKind::Fork);
    script.exec(&thread, &["/bin/sh"]);
    script.exit(&java);
    let rows = script.run().await;
    let exits = rows.one("exit", 10);
    assert_eq!((&exits["process_uid"], &exits["exec_seq"]), (&json!(uid(&java)), &json!(2)));
    assert_eq!((&exits["process_path"], &exits["process_name"]), (&json!("/bin/sh"), &json!("sh")));
    // The thread's event shows its process's program, not the thread's name.
    assert_eq!(rows.process("fork", 10)[1]["process_name"], "java");
}

#[tokio::test]
async fn a_parent_that_was_never_seen() {
    let (mut script, _) = Script::new();
    let stranger = Task { process: ProcessRef { tgid: 500, start_boottime: 77 }, ..crate::script::task() };
    let child = script.fork(&stranger, 501);
    script.spawn(&child, 502, &["/bin/ls"]);
    let rows = script.run().await;
    let forked = rows.one("fork", 501);
    assert_eq!((&forked["parent_process_uid"], &forked["parent_pid"]), (&json!(uid(&stranger)), &json!(500)));
    let unknown =
        [&forked["parent_path"], &forked["parent_args"], &forked["process_path"], &forked["args"], &forked["cmd_line"]];
    assert_eq!(unknown, [&Value::Null; 5]);
    assert_eq!(forked["process_name"], "comm", "the kernel's name where the program is unknown");
    let grandchild = rows.one("exec", 502);
    assert_eq!(grandchild["ancestor_uids"], json!([uid(&stranger)]));
    assert_eq!(grandchild["ancestor_paths"], json!([""]), "as many as uids");
}

#[tokio::test]
async fn a_reused_pid_is_another_process() {
    let (mut script, init) = Script::new();
    let first = script.spawn(&init, 10, &["/bin/first", "--of", "many"]);
    // Its exit is lost.
    let second = script.fork(&init, 10);
    script.exit(&second);
    let rows = script.run().await;
    let exit = rows.one("exit", 10);
    assert_ne!(uid(&first), uid(&second));
    assert_eq!(exit["process_uid"], uid(&second));
    assert_eq!(exit["process_path"], "/sbin/init");
}

#[tokio::test]
async fn an_event_right_after_the_exit_still_has_its_process() {
    let (mut script, init) = Script::new();
    let process = script.spawn(&init, 10, &["/bin/nc"]);
    script.exit(&process);
    script.push(&process, crate::kernel_records::closed());
    let rows = script.run().await;
    assert_eq!(rows.of(Table::NetworkFlows)[0]["process_path"], "/bin/nc");
}

#[tokio::test]
async fn a_lost_exec_leaves_the_program_unknown() {
    let (mut script, init) = Script::new();
    let process = script.spawn(&init, 10, &["/bin/sh"]);
    let later = Task { exec_seq: Some(2), comm: "curl".into(), ..process };
    script.exit(&later);
    let rows = script.run().await;
    let exit = rows.one("exit", 10);
    assert_eq!((&exit["process_path"], &exit["exec_seq"]), (&Value::Null, &json!(2)));
    assert_eq!(exit["process_name"], "curl");
}

#[tokio::test]
async fn leaders() {
    let (mut script, init) = Script::new();
    let shell = script.spawn(&init, 10, &["/bin/bash"]);
    let led = Task { session_leader: shell.process, group_leader: shell.process, tty: "pts0".into(), ..shell.clone() };
    let child = script.fork(&led, 20);
    script.exit(&shell);
    // The leader is gone: only its number is left.
    let gone = ProcessRef { start_boottime: 0, ..shell.process };
    script.exit(&Task { session_leader: gone, group_leader: gone, ..child });
    script.exit(&Task { process: ProcessRef { tgid: 30, start_boottime: 5 }, session_leader: gone, ..shell.clone() });
    let rows = script.run().await;
    for activity in ["fork", "exit"] {
        let row = rows.one(activity, 20);
        assert_eq!((&row["session_leader_uid"], &row["group_leader_uid"]), (&json!(uid(&shell)), &json!(uid(&shell))));
        assert_eq!(row["tty"], "pts0");
    }
    assert_eq!(rows.one("exit", 30)["session_leader_uid"], Value::Null);
}

#[tokio::test]
async fn secrets_are_masked_in_every_column() {
    let (mut script, init) = Script::new();
    let parent = script.spawn(&init, 10, &["/bin/app", "--password=hunter2"]);
    script.spawn(&parent, 20, &["/bin/child", "--token", "hunter2"]);
    let rows = script.run_on(Setup::default()).await;
    let all = serde_json::to_string(&rows.of(Table::ProcessEvents)).unwrap();
    assert!(all.contains("--password=***") && !all.contains("hunter2"), "{all}");
    assert_eq!(rows.one("exec", 20)["parent_args"], json!(["/bin/app", "--password=***"]));
}
