//! Calls that Tetragon saw by a kprobe or an LSM hook: which function becomes a row of which table, and where in its
//! arguments the columns are.
//!
//! Not kept: the bytes written or read by a call, descriptors, ids of set*gid and of chown. Stack traces, and the policy's
//! message and tags, are kept by a row of `hook_events` of their own (`hooks.rs`).

use kerntrail_schemas::tables::{FileColumns, KernelColumns, NetworkColumns};

use super::argument::ArgumentSource::{self, *};
use super::fields;
use crate::import::mapping::mapping_table;

mapping_table! {
    /// The calls that have a place in a table. Functions are named without the architecture (`__x64_sys_mount` is
    /// `sys_mount`).
    CALLS: ArgumentSource;

    KernelColumns "mount": ["sys_mount", "security_sb_mount", "sb_mount", "path_mount", "do_mount"] => {
        source_path: FromTarget(-1),
        target_path: FromTarget(0),
        fs_type: FromTarget(1),
        flags: Number(0),
        ret: Return,
    }
    KernelColumns "mount": ["sys_move_mount", "security_move_mount", "move_mount"] => {
        source_path: Text(0),
        target_path: Text(1),
        ret: Return,
    }
    KernelColumns "umount": ["sys_umount", "sys_umount2", "security_sb_umount", "sb_umount", "path_umount"] => {
        target_path: Text(0),
        flags: Number(0),
        ret: Return,
    }
    KernelColumns "pivot_root": ["sys_pivot_root"] => {
        source_path: Text(0),
        target_path: Text(1),
        ret: Return,
    }
    // The hook has put_old first.
    KernelColumns "pivot_root": ["security_sb_pivotroot", "sb_pivotroot"] => {
        source_path: Text(1),
        target_path: Text(0),
        ret: Return,
    }
    KernelColumns "chroot": ["sys_chroot", "security_path_chroot", "path_chroot"] => {
        target_path: Text(0),
        ret: Return,
    }
    // The descriptor, then the kind of namespace; 0 stands for any.
    KernelColumns "setns": ["sys_setns"] => {
        flags: Number(1),
        ns_type: Namespaces(1),
        ret: Return,
    }
    KernelColumns "unshare": ["sys_unshare", "ksys_unshare"] => {
        flags: Number(0),
        ns_type: Namespaces(0),
        ret: Return,
    }
    KernelColumns "set_uid": ["sys_setuid"] => {
        old_uid: Field("`process.uid`", fields::user_before),
        new_uid: UserId(0),
        ret: Return,
    }
    // The real id, then the effective one.
    KernelColumns "set_uid": ["sys_setreuid", "sys_setresuid"] => {
        old_uid: Field("`process.uid`", fields::user_before),
        new_uid: UserId(1),
        ret: Return,
    }
    KernelColumns "set_gid": ["sys_setgid", "sys_setregid", "sys_setresgid"] => {
        ret: Return,
    }
    KernelColumns "set_uid": ["commit_creds"] if "the effective user changes", fields::credentials_change_user => {
        old_uid: Field("`process.uid`", fields::user_before),
        new_uid: Field("`process_credentials_arg.euid`", fields::credentials_user),
        old_cap_effective: Field("`process.cap`", fields::capabilities_before),
        new_cap_effective: Field("`process_credentials_arg.caps`", fields::credentials_capabilities),
        ret: Return,
    }
    KernelColumns "capset": ["commit_creds"] if "otherwise, with `process_credentials_arg`", fields::has_credentials => {
        old_uid: Field("`process.uid`", fields::user_before),
        new_uid: Field("`process_credentials_arg.euid`", fields::credentials_user),
        old_cap_effective: Field("`process.cap`", fields::capabilities_before),
        new_cap_effective: Field("`process_credentials_arg.caps`", fields::credentials_capabilities),
        ret: Return,
    }
    KernelColumns "capset": ["sys_capset", "security_capset", "capset", "cap_capset"] => {
        old_cap_effective: Field("`process.cap`", fields::capabilities_before),
        new_cap_effective: Field("`cap_effective_arg`", fields::capabilities_set),
        ret: Return,
    }
    KernelColumns "ptrace": ["sys_ptrace", "security_ptrace_access_check", "ptrace_access_check"] => {
        flags: Number(0),
        target_pid: Number(1),
        ret: Return,
    }
    KernelColumns "module_load": ["sys_init_module", "sys_finit_module", "do_init_module",
        "security_kernel_module_request", "kernel_module_request"] => {
        source_path: Field("`module_arg.name`, else text 1", fields::module_name),
        ret: Return,
    }
    KernelColumns "bpf_load": ["bpf_check", "security_bpf_prog_load", "bpf_prog_load"] => {
        source_path: Field("`ProgName` of the argument", fields::program_name),
        ret: Return,
    }

    FileColumns "open": ["fd_install", "security_file_open", "file_open"] => {
        path: Text(0),
    }
    FileColumns "open": ["sys_open", "sys_openat", "sys_openat2", "do_sys_openat2"] => {
        path: Text(0),
        flags: AfterText(0),
        mode: AfterText(1),
    }
    FileColumns "open": ["sys_creat"] => {
        path: Text(0),
        mode: Permissions(0),
    }
    FileColumns "write": ["security_file_permission", "file_permission"]
        if "the mask has MAY_WRITE or MAY_APPEND", fields::mask_has_write => {
        path: Text(0),
    }
    FileColumns "read": ["security_file_permission", "file_permission"]
        if "otherwise, the mask has MAY_READ", fields::mask_has_read => {
        path: Text(0),
    }
    FileColumns "write": ["security_mmap_file", "mmap_file"]
        if "PROT_WRITE, and the mapping is not private", fields::maps_for_writing => {
        path: Text(0),
    }
    FileColumns "read": ["security_mmap_file", "mmap_file"]
        if "otherwise, with the protection", fields::has_protection => {
        path: Text(0),
    }
    FileColumns "read": ["sys_read", "ksys_read", "vfs_read", "sys_pread64", "sys_readv", "sys_preadv"] => {
        path: Text(0),
        bytes: Field("`return`, else the size asked for", fields::transferred),
    }
    FileColumns "write": ["sys_write", "ksys_write", "vfs_write", "sys_pwrite64", "sys_writev", "sys_pwritev"] => {
        path: Text(0),
        bytes: Field("`return`, else the size asked for", fields::transferred),
    }
    FileColumns "truncate": ["sys_truncate", "sys_ftruncate", "security_path_truncate", "path_truncate",
        "security_file_truncate", "file_truncate"] => {
        path: Text(0),
    }
    FileColumns "unlink": ["sys_unlink", "sys_unlinkat", "sys_rmdir", "security_path_unlink", "path_unlink",
        "security_inode_unlink", "security_path_rmdir", "path_rmdir"] => {
        path: Text(0),
    }
    FileColumns "rename": ["sys_rename", "sys_renameat", "sys_renameat2", "security_path_rename", "path_rename",
        "security_inode_rename"] => {
        path: LastOfTwo,
        old_path: FirstOfTwo,
    }
    FileColumns "link": ["sys_link", "sys_linkat", "security_path_link", "path_link", "security_inode_link"] => {
        path: LastOfTwo,
        old_path: FirstOfTwo,
    }
    FileColumns "symlink": ["sys_symlink", "sys_symlinkat"] => {
        path: LastOfTwo,
        old_path: FirstOfTwo,
    }
    FileColumns "chmod": ["sys_chmod", "sys_fchmod", "sys_fchmodat", "sys_fchmodat2", "security_path_chmod",
        "path_chmod"] => {
        path: Text(0),
        mode: Permissions(0),
    }
    FileColumns "chown": ["sys_chown", "sys_fchown", "sys_lchown", "sys_fchownat", "security_path_chown",
        "path_chown"] => {
        path: Text(0),
    }

    NetworkColumns "connect": ["tcp_connect", "tcp_v4_connect", "tcp_v6_connect", "security_socket_connect",
        "socket_connect", "sys_connect"]
        if "a `sockaddr_arg` of IPv4 or IPv6", fields::has_internet_address => {
        direction: Fixed("outbound"),
        dst_ip: Field("`sockaddr_arg.addr`", fields::address_ip),
        dst_port: Field("`sockaddr_arg.port`", fields::address_port),
        ret: Return,
    }
    NetworkColumns "connect": ["tcp_connect", "tcp_v4_connect", "tcp_v6_connect", "security_socket_connect",
        "socket_connect", "sys_connect"]
        if "no `sockaddr_arg`, and a `sock_arg` of TCP", fields::has_only_tcp_socket => {
        direction: Fixed("outbound"),
        src_ip: Field("`sock_arg.saddr`", fields::local_ip),
        src_port: Field("`sock_arg.sport`", fields::local_port),
        dst_ip: Field("`sock_arg.daddr`", fields::remote_ip),
        dst_port: Field("`sock_arg.dport`", fields::remote_port),
        protocol: Field("`sock_arg.protocol`", fields::socket_protocol),
        tcp_state: Field("`sock_arg.state`", fields::tcp_state),
        ret: Return,
    }
    NetworkColumns "accept": ["inet_csk_accept"] if "a `sock_arg` of TCP", fields::has_tcp_socket => {
        direction: Fixed("inbound"),
        src_ip: Field("`sock_arg.daddr`", fields::remote_ip),
        src_port: Field("`sock_arg.dport`", fields::remote_port),
        dst_ip: Field("`sock_arg.saddr`", fields::local_ip),
        dst_port: Field("`sock_arg.sport`", fields::local_port),
        protocol: Field("`sock_arg.protocol`", fields::socket_protocol),
        tcp_state: Field("`sock_arg.state`", fields::tcp_state),
    }
    // A listener is the destination of connections to come.
    NetworkColumns "listen": ["inet_csk_listen_start", "inet_listen", "security_socket_listen", "socket_listen"]
        if "a `sock_arg` of TCP", fields::has_tcp_socket => {
        direction: Fixed("inbound"),
        dst_ip: Field("`sock_arg.saddr`", fields::listening_ip),
        dst_port: Field("`sock_arg.sport`", fields::local_port),
        protocol: Field("`sock_arg.protocol`", fields::socket_protocol),
        tcp_state: Field("`sock_arg.state`", fields::tcp_state),
    }
    // Which side opened the connection is unknown: this one is the source, and `direction` stays NULL.
    NetworkColumns "close": ["tcp_close"] if "a `sock_arg` of TCP", fields::has_tcp_socket => {
        src_ip: Field("`sock_arg.saddr`", fields::local_ip),
        src_port: Field("`sock_arg.sport`", fields::local_port),
        dst_ip: Field("`sock_arg.daddr`", fields::remote_ip),
        dst_port: Field("`sock_arg.dport`", fields::remote_port),
        protocol: Field("`sock_arg.protocol`", fields::socket_protocol),
        tcp_state: Field("`sock_arg.state`", fields::tcp_state),
        end_time: Field("`time`", fields::time),
    }
}
