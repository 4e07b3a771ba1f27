//! What each field of a record becomes.

use super::*;

const SHADOW: &str = "process_path, args, cmd_line, euid, uid, gid, login_uid, cap_effective";

/// Imports one event of `kind` with `process` and `more` inside, and gives `columns` of its row.
async fn row(kind: &str, process: &str, more: &str, table: Table, columns: &str) -> Vec<String> {
    let importing = Importing::new();
    let record = format!(
        r#"{{"{kind}":{{"process":{{"pid":7,{process}}}{more}}},"node_name":"n","time":"2026-11-24T12:00:00.123456789Z"}}"#
    );
    let report = importing.import("one", &record).await;
    assert_eq!(counts(&report), (1, 0, 0, 0), "{record}: {report:?}");
    let mut rows = importing.rows(table, columns).await;
    assert_eq!(rows.len(), 1, "{record}");
    rows.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_recording() {
    let importing = Importing::new();
    let report = importing.import("escape", ESCAPE).await;
    assert!(report.without_place.is_empty(), "{report:?}");
    let columns = "time, activity, process_name, pid, parent_path, container_name, pod_name, origin_namespace, in_host_mnt_ns, exit_code, exit_signal, count, cluster";
    let expected = [
        "2026-11-24T12:00:00Z | existing | cart | 4100 | /usr/bin/containerd-shim-runc-v2 | cart | cart-6d5f7c9b8-x2x7k | shop | - | - | - | 1 | -",
        "2026-11-24T12:00:01Z | exec | sh | 5001 | /usr/bin/cart | cart | cart-6d5f7c9b8-x2x7k | shop | false | - | - | 1 | prod",
        "2026-11-24T12:00:02Z | exec | nsenter | 5002 | /bin/sh | cart | cart-6d5f7c9b8-x2x7k | shop | false | - | - | 1 | -",
        "2026-11-24T12:00:03Z | exec | bash | 5002 | /usr/bin/nsenter | cart | cart-6d5f7c9b8-x2x7k | shop | true | - | - | 1 | -",
        "2026-11-24T12:00:04Z | exec | curl | 5003 | /usr/bin/bash | cart | cart-6d5f7c9b8-x2x7k | shop | true | - | - | 1 | -",
        "2026-11-24T12:00:05Z | exit | curl | 5003 | /usr/bin/bash | cart | cart-6d5f7c9b8-x2x7k | shop | true | - | 9 | 1 | -",
        "2026-11-24T12:00:06Z | exit | sh | 5001 | /usr/bin/cart | cart | cart-6d5f7c9b8-x2x7k | shop | false | 3 | - | 2 | -",
    ];
    let rows = importing.rows(Table::ProcessEvents, columns).await;
    assert_eq!(rows.iter().map(|row| row.join(" | ")).collect::<Vec<_>>(), expected);

    let calls = importing
        .rows(Table::KernelEvents, "activity, source_path, target_path, fs_type, flags, ret, ns_type, policy")
        .await;
    assert_eq!(
        calls,
        [
            ["mount", "/dev/sda1", "/mnt/host", "ext4", "4096", "0", "-", "mounts"],
            ["setns", "-", "-", "-", "131072", "-", "mnt", "namespaces"],
        ]
    );
    assert_eq!(
        importing.rows(Table::FileEvents, "activity, path, action").await,
        [["read", "/etc/shadow", "observed"]]
    );
    let flows = importing
        .rows(
            Table::NetworkFlows,
            "activity, direction, src_ip, src_port, dst_ip, dst_port, protocol, tcp_state, action",
        )
        .await;
    assert_eq!(
        flows,
        [["connect", "outbound", "10.0.0.5", "40112", "169.254.169.254", "80", "TCP", "SYN_SENT", "killed"]]
    );

    // The lineage holds together: each parent is a process of the recording, up to the first.
    let links = importing.rows(Table::ProcessEvents, "process_uid, parent_process_uid").await;
    for link in &links[1..5] {
        assert!(links.iter().any(|other| other[0] == link[1]), "{link:?}");
    }
    let ancestors = importing.rows(Table::ProcessEvents, "ancestor_uids, ancestor_paths").await;
    assert_eq!(ancestors[1], [format!("[{}]", links[0][1]), "[/usr/bin/containerd-shim-runc-v2]".to_owned()]);
    assert_eq!(ancestors[2], ["-", "-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_and_envelope() {
    use kerntrail_schemas::identity::{BootHash, ProcessUid};
    let uid = |start, pid| ProcessUid::new(&BootHash::of("n"), start, pid).to_string();
    let columns = "process_uid, parent_process_uid, parent_pid, date, time, source, stream, cpu, boot_ns, boot_id, exec_seq, enrichment_state";
    // base64 of n:17:7 and n:5:3
    let process = r#""exec_id":"bjoxNzo3","parent_exec_id":"bjo1OjM=","binary":"/a""#;
    let got = row("process_exec", process, "", Table::ProcessEvents, columns).await;
    let expected = [
        &uid(17, 7),
        &uid(5, 3),
        "3",
        "2026-11-24",
        "2026-11-24T12:00:00.123456Z",
        "tetragon",
        "tetragon:n",
        "0",
        "-",
        "-",
        "-",
        "imported",
    ];
    assert_eq!(got, expected);
    // The parent's own object says the same, and more.
    let parent = r#","parent":{"exec_id":"bjo1OjM=","pid":3,"binary":"/b","arguments":"-x \"y z\""}"#;
    let got = row(
        "process_exec",
        process,
        parent,
        Table::ProcessEvents,
        "parent_process_uid, parent_pid, parent_path, parent_args",
    )
    .await;
    assert_eq!(got, [&uid(5, 3), "3", "/b", "[b, -x, y z]"]);
    // An id that cannot be read still names a process, always the same.
    let odd = r#""exec_id":"not base64","binary":"/a""#;
    let first = row("process_exec", odd, "", Table::ProcessEvents, "process_uid").await;
    let second = row("process_exit", odd, "", Table::ProcessEvents, "process_uid").await;
    assert!(first == second && first[0].len() == 26, "{first:?} {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes() {
    let cases: &[(&str, &str, &str)] = &[
        (
            r#""binary":"/bin/sh","arguments":"-c \"a b\" c""#,
            SHADOW,
            r#"/bin/sh | [sh, -c, a b, c] | sh -c 'a b' c | - | - | - | - | -"#,
        ),
        (r#""binary":"/x","uid":0,"auid":4294967295,"cap":{}"#, SHADOW, "/x | [x] | x | 0 | - | - | - | 0"),
        (
            r#""uid":1000,"auid":1000,"process_credentials":{"uid":5,"gid":6,"euid":1000,"egid":8},"cap":{"effective":["CAP_SYS_ADMIN","DAC_OVERRIDE"]}"#,
            SHADOW,
            "- | - | - | 1000 | 5 | 6 | 1000 | 2097154",
        ),
        (r#""uid":4294967294"#, "euid", "-2"),
        (r#""flags":"execve clone truncArgs""#, "activity, args_truncated", "exec | true"),
        (r#""flags":"procFS auid""#, "activity, args_truncated", "existing | false"),
        (
            r#""cwd":"/w","start_time":"2026-11-24T11:00:00.5Z""#,
            "cwd, process_start_time, activity, args_truncated",
            "/w | 2026-11-24T11:00:00.500Z | exec | -",
        ),
        (r#""binary":"/memfd:x (deleted)""#, "binary_memfd, binary_inode", "true | -"),
        (
            r#""binary":"/proc/self/fd/3","binary_properties":{"file":{"inode":{"number":"45021","links":0},"path":"/memfd:x"}}"#,
            "binary_memfd, binary_inode",
            "true | 45021",
        ),
        (
            r#""binary_properties":{"file":{"inode":{"number":"1"},"path":"/tmp/gone"}}"#,
            "binary_memfd, binary_inode",
            "false | 1",
        ),
        (
            r#""ns":{"mnt":{"inum":4026531841,"is_host":true},"pid":{"inum":4026532001},"net":{"inum":1},"user":{"inum":2}}"#,
            "mnt_ns, pid_ns, net_ns, user_ns, in_host_mnt_ns, in_host_pid_ns",
            "4026531841 | 4026532001 | 1 | 2 | true | false",
        ),
        (r#""docker":"abc""#, "container_id, origin_container_id, pod_name", "abc | abc | -"),
        (
            r#""docker":"abc","pod":{"namespace":"s","name":"p","uid":"u","container":{"id":"cri-o://abcdef","name":"c","image":{"id":"docker-pullable://r/i@sha256:12","name":"r/i:1"},"security_context":{}},"pod_labels":{"b":"2","a":"1"},"workload":"w","workload_kind":"Deployment"}"#,
            "container_id, container_name, image, image_digest, container_privileged, pod_uid, pod_name, namespace, pod_labels, workload_kind, workload_name, origin_container_id, origin_pod_uid, origin_pod_name, origin_namespace",
            "abcdef | c | r/i:1 | sha256:12 | false | u | p | s | {a: 1, b: 2} | Deployment | w | abcdef | u | p | s",
        ),
        (
            r#""binary":"","cwd":"","arguments":"","docker":"""#,
            "process_path, process_name, args, cwd, container_id",
            "- | - | - | - | -",
        ),
    ];
    for (process, columns, expected) in cases {
        let got = row("process_exec", process, "", Table::ProcessEvents, columns).await;
        assert_eq!(got.join(" | "), *expected, "{process}");
    }
    let exits = [
        ("", "0 | -"),
        (r#","status":3"#, "3 | -"),
        (r#","signal":"SIGKILL""#, "- | 9"),
        (r#","status":1,"signal":"SIGTERM""#, "- | 15"),
    ];
    for (more, expected) in exits {
        let got = row("process_exit", r#""binary":"/x""#, more, Table::ProcessEvents, "exit_code, exit_signal").await;
        assert_eq!(got.join(" | "), expected, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_files() {
    let columns = "activity, path, old_path, flags, mode, bytes";
    let cases: &[(&str, &str, &str)] = &[
        (
            "__x64_sys_openat",
            r#"[{"int_arg":-100},{"string_arg":"/etc/passwd"},{"int_arg":577},{"int_arg":420}]"#,
            "open | /etc/passwd | - | 577 | 420 | -",
        ),
        ("__arm64_sys_open", r#"[{"string_arg":"x"},{"int_arg":0}]"#, "open | x | - | 0 | - | -"),
        ("fd_install", r#"[{"int_arg":3},{"file_arg":{"path":"etc/passwd"}}]"#, "open | /etc/passwd | - | - | - | -"),
        ("security_file_open", r#"[{"file_arg":{"path":"pipe:[12]"}}]"#, "open | pipe:[12] | - | - | - | -"),
        ("security_file_permission", r#"[{"file_arg":{"path":"/a"}},{"int_arg":2}]"#, "write | /a | - | - | - | -"),
        ("security_file_permission", r#"[{"path_arg":{"path":"/a"}},{"int_arg":4}]"#, "read | /a | - | - | - | -"),
        (
            "security_mmap_file",
            r#"[{"file_arg":{"path":"/a"}},{"uint_arg":3},{"uint_arg":1}]"#,
            "write | /a | - | - | - | -",
        ),
        (
            "security_mmap_file",
            r#"[{"file_arg":{"path":"/a"}},{"uint_arg":3},{"uint_arg":2}]"#,
            "read | /a | - | - | - | -",
        ),
        (
            "__x64_sys_write",
            r#"[{"file_arg":{"path":"/a"}},{"bytes_arg":"aGk="},{"size_arg":"627"}]"#,
            "write | /a | - | - | - | 627",
        ),
        (
            "__x64_sys_read",
            r#"[{"file_arg":{"path":"/a"}},{"truncated_bytes_arg":{"orig_size":"65536"}},{"size_arg":"65536"}],"return":{"long_arg":"12"}"#,
            "read | /a | - | - | - | 12",
        ),
        ("__x64_sys_write", r#"[{"int_arg":3},{"size_arg":"5"}]"#, "write | - | - | - | - | -"),
        ("security_path_truncate", r#"[{"path_arg":{"path":"/a"}}]"#, "truncate | /a | - | - | - | -"),
        (
            "__x64_sys_unlinkat",
            r#"[{"int_arg":-100},{"string_arg":"/a"},{"int_arg":0}]"#,
            "unlink | /a | - | - | - | -",
        ),
        (
            "__x64_sys_renameat2",
            r#"[{"int_arg":-100},{"string_arg":"/a"},{"int_arg":-100},{"string_arg":"/b"}]"#,
            "rename | /b | /a | - | - | -",
        ),
        ("__x64_sys_linkat", r#"[{"string_arg":"/a"},{"string_arg":"/b"}]"#, "link | /b | /a | - | - | -"),
        ("__x64_sys_symlink", r#"[{"string_arg":"/a"},{"string_arg":"/b"}]"#, "symlink | /b | /a | - | - | -"),
        ("__x64_sys_chmod", r#"[{"string_arg":"/a"},{"int_arg":33261}]"#, "chmod | /a | - | - | 493 | -"),
        ("__x64_sys_fchownat", r#"[{"string_arg":"/a"},{"int_arg":0},{"int_arg":0}]"#, "chown | /a | - | - | - | -"),
    ];
    for (function, args, expected) in cases {
        let more = format!(r#","function_name":"{function}","args":{args}"#);
        let got = row("process_kprobe", r#""binary":"/x""#, &more, Table::FileEvents, columns).await;
        assert_eq!(got.join(" | "), *expected, "{function} {args}");
    }
    let more = r#","function_name":"file_open","args":[{"file_arg":{"path":"/a"}}],"action":"KPROBE_ACTION_OVERRIDE""#;
    let got = row("process_lsm", r#""binary":"/x""#, more, Table::FileEvents, "activity, path, action").await;
    assert_eq!(got, ["open", "/a", "denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_change_privilege() {
    let columns = "activity, source_path, target_path, fs_type, flags, ret, ns_type, target_pid, old_uid, new_uid, old_cap_effective, new_cap_effective";
    let cases: &[(&str, &str, &str)] = &[
        (
            "__x64_sys_mount",
            r#"[{"string_arg":"/dev/sda1"},{"string_arg":"/mnt"},{"string_arg":"ext4"},{"size_arg":"4096"}],"return":{"int_arg":-1}"#,
            "mount | /dev/sda1 | /mnt | ext4 | 4096 | -1 | - | - | - | - | - | -",
        ),
        (
            "security_sb_mount",
            r#"[{"string_arg":"/dev/sda1"},{"path_arg":{"path":"/mnt"}},{"string_arg":"ext4"},{"size_arg":"0"}]"#,
            "mount | /dev/sda1 | /mnt | ext4 | 0 | - | - | - | - | - | - | -",
        ),
        (
            "security_sb_mount",
            r#"[{"path_arg":{"path":"/mnt"}}]"#,
            "mount | - | /mnt | - | - | - | - | - | - | - | - | -",
        ),
        (
            "security_move_mount",
            r#"[{"path_arg":{"path":"/a"}},{"path_arg":{"path":"/b"}}]"#,
            "mount | /a | /b | - | - | - | - | - | - | - | - | -",
        ),
        (
            "__x64_sys_umount",
            r#"[{"string_arg":"/mnt"},{"int_arg":2}]"#,
            "umount | - | /mnt | - | 2 | - | - | - | - | - | - | -",
        ),
        (
            "__x64_sys_pivot_root",
            r#"[{"string_arg":"/new"},{"string_arg":"/old"}]"#,
            "pivot_root | /new | /old | - | - | - | - | - | - | - | - | -",
        ),
        (
            "security_sb_pivotroot",
            r#"[{"path_arg":{"path":"/old"}},{"path_arg":{"path":"/new"}}]"#,
            "pivot_root | /new | /old | - | - | - | - | - | - | - | - | -",
        ),
        ("__x64_sys_chroot", r#"[{"string_arg":"/host"}]"#, "chroot | - | /host | - | - | - | - | - | - | - | - | -"),
        ("__x64_sys_setns", r#"[{"int_arg":3},{"int_arg":0}]"#, "setns | - | - | - | 0 | - | - | - | - | - | - | -"),
        (
            "__x64_sys_unshare",
            r#"[{"int_arg":268566528}]"#,
            "unshare | - | - | - | 268566528 | - | mnt,user | - | - | - | - | -",
        ),
        ("__x64_sys_setuid", r#"[{"int_arg":0}]"#, "set_uid | - | - | - | - | - | - | - | 1000 | 0 | - | -"),
        (
            "__x64_sys_setresuid",
            r#"[{"int_arg":-1},{"int_arg":0},{"int_arg":-1}]"#,
            "set_uid | - | - | - | - | - | - | - | 1000 | 0 | - | -",
        ),
        ("__x64_sys_setgid", r#"[{"int_arg":0}]"#, "set_gid | - | - | - | - | - | - | - | - | - | - | -"),
        (
            "commit_creds",
            r#"[{"process_credentials_arg":{"uid":0,"euid":0,"caps":{"effective":["CAP_CHOWN"]}}}]"#,
            "set_uid | - | - | - | - | - | - | - | 1000 | 0 | 2 | 1",
        ),
        (
            "commit_creds",
            r#"[{"process_credentials_arg":{"uid":1000,"euid":1000,"caps":{}}}]"#,
            "capset | - | - | - | - | - | - | - | 1000 | 1000 | 2 | 0",
        ),
        (
            "cap_capset",
            r#"[{"cap_effective_arg":"000001ffffffffff"}]"#,
            "capset | - | - | - | - | - | - | - | - | - | 2 | 2199023255551",
        ),
        (
            "__x64_sys_ptrace",
            r#"[{"int_arg":16},{"int_arg":42}]"#,
            "ptrace | - | - | - | 16 | - | - | 42 | - | - | - | -",
        ),
        (
            "do_init_module",
            r#"[{"module_arg":{"name":"evil","signature_ok":false}}]"#,
            "module_load | evil | - | - | - | - | - | - | - | - | - | -",
        ),
        (
            "bpf_check",
            r#"[{"bpf_attr_arg":{"ProgType":"BPF_PROG_TYPE_KPROBE","InsnCnt":2,"ProgName":"spy"}}]"#,
            "bpf_load | spy | - | - | - | - | - | - | - | - | - | -",
        ),
    ];
    let process = r#""uid":1000,"cap":{"effective":["DAC_OVERRIDE"]}"#;
    for (function, args, expected) in cases {
        let more = format!(r#","function_name":"{function}","args":{args}"#);
        let got = row("process_kprobe", process, &more, Table::KernelEvents, columns).await;
        assert_eq!(got.join(" | "), *expected, "{function} {args}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    let columns =
        "activity, direction, src_ip, src_port, dst_ip, dst_port, protocol, bytes_out, bytes_in, tcp_state, ret";
    let ends = r#","source_ip":"10.0.0.1","source_port":4000,"destination_ip":"10.0.0.2","destination_port":80,"protocol":"TCP""#;
    let socket = |state: &str| {
        format!(
            r#"{{"sock_arg":{{"family":"AF_INET6","type":"SOCK_STREAM","protocol":"IPPROTO_TCP","saddr":"fd00::1","sport":4000,"daddr":"fd00::2","dport":80,"state":"{state}"}}}}"#
        )
    };
    let call = |function: &str, rest: &str| format!(r#","function_name":"{function}",{rest}"#);
    let cases = [
        ("process_connect", ends.to_owned(), "connect | outbound | 10.0.0.1 | 4000 | 10.0.0.2 | 80 | TCP | - | - | - | -"),
        ("process_accept", ends.to_owned(), "accept | inbound | 10.0.0.1 | 4000 | 10.0.0.2 | 80 | TCP | - | - | - | -"),
        ("process_close", format!(r#"{ends},"stats":{{"bytes_sent":"78","bytes_received":15221}}"#), "close | - | 10.0.0.1 | 4000 | 10.0.0.2 | 80 | TCP | 78 | 15221 | - | -"),
        ("process_listen", r#","ip":"0.0.0.0","port":9080,"protocol":"TCP""#.to_owned(), "listen | inbound | - | - | 0.0.0.0 | 9080 | TCP | - | - | - | -"),
        ("process_kprobe", call("tcp_connect", &format!(r#""args":[{}],"return":{{"int_arg":0}}"#, socket("TCP_SYN_SENT"))), "connect | outbound | fd00::1 | 4000 | fd00::2 | 80 | TCP | - | - | SYN_SENT | 0"),
        ("process_kprobe", call("inet_csk_accept", &format!(r#""return":{}"#, socket("TCP_ESTABLISHED"))), "accept | inbound | fd00::2 | 80 | fd00::1 | 4000 | TCP | - | - | ESTABLISHED | -"),
        ("process_kprobe", call("inet_csk_listen_start", &format!(r#""args":[{}]"#, socket("TCP_LISTEN"))), "listen | inbound | - | - | fd00::1 | 4000 | TCP | - | - | LISTEN | -"),
        ("process_kprobe", call("tcp_close", &format!(r#""args":[{}]"#, socket("TCP_CLOSE"))), "close | - | fd00::1 | 4000 | fd00::2 | 80 | TCP | - | - | CLOSE | -"),
        ("process_close", r#","source_ip":"::ffff:10.0.0.1","source_port":4000,"destination_ip":"::","destination_port":0,"protocol":"TCP""#.to_owned(), "close | - | 10.0.0.1 | 4000 | - | - | TCP | - | - | - | -"),
        ("process_kprobe", call("security_socket_connect", r#""args":[{"sockaddr_arg":{"family":"AF_INET","addr":"1.2.3.4","port":443}}]"#), "connect | outbound | - | - | 1.2.3.4 | 443 | - | - | - | - | -"),
    ];
    for (kind, more, expected) in cases {
        let got = row(kind, r#""binary":"/x""#, &more, Table::NetworkFlows, columns).await;
        assert_eq!(got.join(" | "), expected, "{kind} {more}");
    }
    let got = row("process_close", r#""binary":"/x""#, ends, Table::NetworkFlows, "start_time, end_time").await;
    assert_eq!(got, ["-", "2026-11-24T12:00:00.123456Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_no_other_table_is_about_are_kept_whole() {
    let event = |kind: &str, more: &str| {
        format!(r#"{{"{kind}":{{"process":{{"pid":1}}{more}}},"node_name":"n","time":"2026-11-24T12:00:00Z"}}"#)
    };
    let call = |function: &str, args: &str| {
        event("process_kprobe", &format!(r#","function_name":"{function}","args":{args}"#))
    };
    let udp = r#"[{"sock_arg":{"protocol":"IPPROTO_UDP","daddr":"1.2.3.4","dport":53}},{"int_arg":69}]"#;
    let unix = r#"[{"sockaddr_arg":{"family":"AF_UNIX","addr":"/run/x"}}]"#;
    let input = [
        call("udp_sendmsg", udp),
        call("security_socket_connect", unix),
        call("tcp_close", udp),
        call("security_file_permission", r#"[{"file_arg":{"path":"/a"}}]"#),
        event(
            "process_tracepoint",
            r#","subsys":"raw_syscalls","event":"sys_enter","args":[{"syscall_id":{"id":101,"abi":"x64"}}]"#,
        ),
        event("process_tracepoint", ""),
        event(
            "process_uprobe",
            r#","path":"/bin/bash","symbol":"readline","args":[{"string_arg":"id"}],"return":{"string_arg":"x"}"#,
        ),
        event("process_usdt", r#","path":"/bin/bash","provider":"x","name":"y","args":[]"#),
        event("process_loader", r#","path":"/usr/lib/libevil.so","buildid":"aabb""#),
        event(
            "process_lsm",
            r#","function_name":"bprm_check_security","args":[{"linux_binprm_arg":{"path":"/usr/bin/x"}}],"policy_name":"fim","ima_hash":"sha256:73d1""#,
        ),
    ];
    let importing = Importing::new();
    let report = importing.import("x", input.join("\n")).await;
    assert_eq!(counts(&report), (10, 0, 0, 0));
    let columns = "activity, function, path, arguments, return_value, hash, build_id, policy";
    let mut rows: Vec<String> =
        importing.rows(Table::HookEvents, columns).await.into_iter().map(|row| row.join(" | ")).collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"kprobe | security_file_permission | - | [{"path":"/a"}] | - | - | - | -"#,
            r#"kprobe | security_socket_connect | - | [{"addr":"/run/x","family":"AF_UNIX"}] | - | - | - | -"#,
            r#"kprobe | tcp_close | - | [{"daddr":"1.2.3.4","dport":53,"protocol":"IPPROTO_UDP"}, 69] | - | - | - | -"#,
            r#"kprobe | udp_sendmsg | - | [{"daddr":"1.2.3.4","dport":53,"protocol":"IPPROTO_UDP"}, 69] | - | - | - | -"#,
            r#"loader | - | /usr/lib/libevil.so | - | - | - | aabb | -"#,
            r#"lsm | bprm_check_security | - | [{"path":"/usr/bin/x"}] | - | sha256:73d1 | - | fim"#,
            r#"tracepoint | - | - | - | - | - | - | -"#,
            r#"tracepoint | raw_syscalls/sys_enter | - | [{"abi":"x64","id":101}] | - | - | - | -"#,
            r#"uprobe | readline | /bin/bash | [id] | x | - | - | -"#,
            r#"usdt | x/y | /bin/bash | - | - | - | - | -"#,
        ]
    );
}

/// What a policy or a stack says of a call that has a row elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_message_has_a_row_of_its_own_for_it() {
    let importing = Importing::new();
    let record = r#"{"process_kprobe":{"process":{"pid":1},"function_name":"__x64_sys_chroot","args":[{"string_arg":"/host"}],"message":"m","tags":["a","b"],"kernel_stack_trace":[{"symbol":"f","offset":"5"}]},"node_name":"n","time":"2026-11-24T12:00:00Z"}"#;
    let report = importing.import("x", record).await;
    assert_eq!((report.records, report.added, report.rows), (1, 1, 2), "{report:?}");
    assert_eq!(importing.rows(Table::KernelEvents, "activity, target_path").await, [["chroot", "/host"]]);
    let said = importing.rows(Table::HookEvents, "function, message, tags, kernel_stack").await;
    assert_eq!(said, [["__x64_sys_chroot", "m", "[a, b]", "[f+5]"]]);
}

/// What Tetragon says it left out.
#[tokio::test(flavor = "multi_thread")]
async fn losses_of_the_exporter_are_rows() {
    let at = r#""node_name":"n","time":"2026-11-24T12:00:00Z""#;
    let input = [
        format!(r#"{{"rate_limit_info":{{"number_of_dropped_process_events":"1234"}},{at}}}"#),
        format!(r#"{{"process_throttle":{{"type":"THROTTLE_START","cgroup":"cri-containerd-9c"}},{at}}}"#),
        format!(r#"{{"rate_limit_info":{{"number_of_dropped_process_events":"-"}},{at}}}"#),
    ];
    let importing = Importing::new();
    let report = importing.import("x", input.join("\n")).await;
    assert_eq!(counts(&report), (2, 0, 0, 1));
    let rows = importing.rows(Table::EventLoss, "activity, node, lost, event_kind").await;
    for expected in [["rate_limited", "n", "1234", "-"], ["throttled", "n", "-", "cri-containerd-9c"]] {
        assert!(rows.iter().any(|row| row == &expected), "{rows:?}");
    }
}
