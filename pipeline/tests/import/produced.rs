//! Everything that an import of Tetragon's export makes: each activity and each column.

use expect_test::expect_file;
use kerntrail_schemas::produced::Produced;

use super::*;
use crate::produced::add_rows;

/// Functions with arguments, one for each activity at least, so that every column has a value in one of them.
const CALLS: &[(&str, &str)] = &[
    ("__x64_sys_openat", r#"[{"int_arg":-100},{"string_arg":"/etc/passwd"},{"int_arg":577},{"int_arg":420}]"#),
    ("__x64_sys_write", r#"[{"file_arg":{"path":"/a"}},{"bytes_arg":"aGk="},{"size_arg":"627"}]"#),
    ("security_path_truncate", r#"[{"path_arg":{"path":"/a"}}]"#),
    ("__x64_sys_unlinkat", r#"[{"int_arg":-100},{"string_arg":"/a"},{"int_arg":0}]"#),
    ("__x64_sys_renameat2", r#"[{"int_arg":-100},{"string_arg":"/a"},{"int_arg":-100},{"string_arg":"/b"}]"#),
    ("__x64_sys_linkat", r#"[{"string_arg":"/a"},{"string_arg":"/b"}]"#),
    ("__x64_sys_symlink", r#"[{"string_arg":"/a"},{"string_arg":"/b"}]"#),
    ("__x64_sys_chmod", r#"[{"string_arg":"/a"},{"int_arg":33261}]"#),
    ("__x64_sys_fchownat", r#"[{"string_arg":"/a"},{"int_arg":0},{"int_arg":0}]"#),
    ("__x64_sys_umount", r#"[{"string_arg":"/mnt"},{"int_arg":2}]"#),
    ("__x64_sys_pivot_root", r#"[{"string_arg":"/new"},{"string_arg":"/old"}]"#),
    ("__x64_sys_chroot", r#"[{"string_arg":"/host"}]"#),
    ("__x64_sys_unshare", r#"[{"int_arg":268566528}]"#),
    ("__x64_sys_setuid", r#"[{"int_arg":0}]"#),
    ("__x64_sys_setgid", r#"[{"int_arg":0}]"#),
    ("cap_capset", r#"[{"cap_effective_arg":"000001ffffffffff"}]"#),
    ("__x64_sys_ptrace", r#"[{"int_arg":16},{"int_arg":42}]"#),
    ("do_init_module", r#"[{"module_arg":{"name":"evil","signature_ok":false}}]"#),
    ("bpf_check", r#"[{"bpf_attr_arg":{"ProgType":"BPF_PROG_TYPE_KPROBE","InsnCnt":2,"ProgName":"spy"}}]"#),
    (
        "tcp_connect",
        r#"[{"sock_arg":{"family":"AF_INET","protocol":"IPPROTO_TCP","saddr":"10.0.0.1","daddr":"10.0.0.2","sport":40000,"dport":80,"state":"TCP_SYN_SENT"}}],"return":{"int_arg":0}"#,
    ),
];

/// Events of connections with their counts.
const CONNECTIONS: &[(&str, &str)] = &[
    (
        "process_accept",
        r#""source_ip":"10.0.0.2","source_port":5000,"destination_ip":"10.0.0.1","destination_port":80"#,
    ),
    ("process_listen", r#""ip":"0.0.0.0","port":80,"protocol":"TCP""#),
    (
        "process_close",
        r#""source_ip":"10.0.0.1","source_port":1,"destination_ip":"10.0.0.2","destination_port":2,"stats":{"bytes_sent":"1","bytes_received":"2"}"#,
    ),
];

/// Hooks that no other table is about.
const HOOKS: &[(&str, &str)] = &[
    (
        "process_kprobe",
        r#""function_name":"tcp_sendmsg","args":[{"int_arg":69}],"return":{"int_arg":3},"message":"m","tags":["t"],"kernel_stack_trace":[{"symbol":"f","offset":"5"}],"user_stack_trace":[{"symbol":"g"}]"#,
    ),
    ("process_lsm", r#""function_name":"bprm_check_security","args":[],"ima_hash":"sha256:73d1""#),
    (
        "process_tracepoint",
        r#""subsys":"raw_syscalls","event":"sys_enter","args":[{"syscall_id":{"id":101,"abi":"x64"}}]"#,
    ),
    ("process_uprobe", r#""path":"/bin/bash","symbol":"readline","args":[{"string_arg":"id"}]"#),
    ("process_usdt", r#""path":"/bin/bash","provider":"x","name":"y","args":[]"#),
    ("process_loader", r#""path":"/usr/lib/libevil.so","buildid":"aabb""#),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_activities_and_columns_of_tetragon_is_current() {
    let process = r#""process":{"pid":7,"binary":"/x","uid":1000,"cap":{"effective":["DAC_OVERRIDE"]},"process_credentials":{"uid":5,"gid":6,"euid":1000,"egid":8},"auid":1000,"binary_properties":{"file":{"inode":{"number":"1"},"path":"/x"}}}"#;
    let at = r#""node_name":"n","time":"2026-11-24T12:00:00.123456789Z""#;
    let mut input = ESCAPE.to_owned();
    input.push_str(&format!("{{\"process_exec\":{{{process}}},{at}}}\n"));
    // The runtime's exec into a container.
    input.push_str(&format!(
        r#"{{"process_exec":{{"process":{{"exec_id":"a3QtYToxMDAwMDUwMTAwMDAwMDo1MDE=","pid":501,"binary":"/bin/sh"}},"parent":{{"pid":400,"binary":"/usr/bin/runc","arguments":"--root /run exec c"}}}},{at}}}"#
    ));
    input.push('\n');
    for (function, args) in CALLS {
        input.push_str(&format!(
            "{{\"process_kprobe\":{{{process},\"function_name\":\"{function}\",\"args\":{args}}},{at}}}\n"
        ));
    }
    for (kind, ends) in CONNECTIONS {
        input.push_str(&format!("{{\"{kind}\":{{{process},{ends}}},{at}}}\n"));
    }
    for (kind, content) in HOOKS {
        input.push_str(&format!("{{\"{kind}\":{{{process},{content}}},{at}}}\n"));
    }
    input.push_str(&format!("{{\"rate_limit_info\":{{\"number_of_dropped_process_events\":\"3\"}},{at}}}\n"));
    input.push_str(&format!("{{\"process_throttle\":{{\"type\":\"THROTTLE_START\",\"cgroup\":\"c\"}},{at}}}\n"));
    let importing = Importing::new();
    let report = importing.import("all", &input).await;
    assert_eq!(report.rejected, 0, "{report:?}");
    let mut produced = Produced::default();
    for &table in Table::ALL {
        add_rows(&importing.lake, table, &mut produced).await;
    }
    let list = expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/producers/tetragon.txt")];
    list.assert_eq(&produced.listing());
}
