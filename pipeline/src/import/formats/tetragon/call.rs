//! Calls that Tetragon saw by a kprobe or an LSM hook: which of them have a place in a table, and where.
//!
//! A policy chooses which arguments of a function are exported, and the export does not say which ones they are. So
//! arguments are told apart by their type and order: texts (strings, paths, files), numbers, sockets. An argument
//! that the policy leaves out leaves its column unknown where that can be seen.
//!
//! Lost on the way: the bytes written or read by a call, descriptors, ids of set*gid and of chown, stack traces, and
//! the policy's message and tags.

use kerntrail_schemas::tables::{Actor, FileColumns, KernelColumns, NetworkColumns};

use super::network::{self, is_tcp};
use super::process::{fit, id};
use super::record::{Arg, Body, Kind, Number, given};
use super::{names, process};
use crate::import::format::{Own, Refusal};

/// Where the calls of a function belong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// `kernel_events`.
    Kernel(Change),
    /// `file_events`: activity, and how its arguments lie.
    File(&'static str, Shape),
    /// `file_events`: read or write, as the mask says.
    ByMask,
    /// `file_events`: write where the mapping is written back to the file, else read.
    Mapped,
    /// `network_flows`.
    Flow(Kind),
}

/// What a call changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Mount,
    MoveMount,
    Umount,
    /// Texts: new root, put_old; or the other way around in the LSM hook.
    PivotRoot {
        put_old_first: bool,
    },
    Chroot,
    Setns,
    Unshare,
    /// Place of the effective uid among the numbers.
    SetUid(usize),
    SetGid,
    Credentials,
    Capset,
    Ptrace,
    ModuleLoad,
    BpfLoad,
}

/// How the arguments of a call on a file lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// One text.
    Path,
    /// A text, then flags, then a mode.
    PathFlagsMode,
    /// A text, then a mode.
    PathMode,
    /// Two texts, the old path first.
    OldNew,
    /// A text, and a size.
    PathSize,
}

/// The place of calls of `function`; `None`: none.
fn place(function: &str) -> Option<Place> {
    use Change::*;
    use Place::*;
    use Shape::*;
    Some(match plain(function) {
        "sys_mount" | "security_sb_mount" | "path_mount" | "do_mount" => Kernel(Mount),
        "sys_move_mount" | "security_move_mount" => Kernel(MoveMount),
        "sys_umount" | "sys_umount2" | "security_sb_umount" | "path_umount" => Kernel(Umount),
        "sys_pivot_root" => Kernel(PivotRoot { put_old_first: false }),
        "security_sb_pivotroot" => Kernel(PivotRoot { put_old_first: true }),
        "sys_chroot" | "security_path_chroot" => Kernel(Chroot),
        "sys_setns" => Kernel(Setns),
        "sys_unshare" | "ksys_unshare" => Kernel(Unshare),
        "sys_setuid" => Kernel(SetUid(0)),
        "sys_setreuid" | "sys_setresuid" => Kernel(SetUid(1)),
        "sys_setgid" | "sys_setregid" | "sys_setresgid" => Kernel(SetGid),
        "commit_creds" => Kernel(Credentials),
        "sys_capset" | "security_capset" | "cap_capset" => Kernel(Capset),
        "sys_ptrace" | "security_ptrace_access_check" => Kernel(Ptrace),
        "sys_init_module" | "sys_finit_module" | "do_init_module" | "security_kernel_module_request" => {
            Kernel(ModuleLoad)
        }
        "bpf_check" | "security_bpf_prog_load" => Kernel(BpfLoad),

        "fd_install" | "security_file_open" => File("open", Path),
        "sys_open" | "sys_openat" | "sys_openat2" | "do_sys_openat2" => File("open", PathFlagsMode),
        "sys_creat" => File("open", PathMode),
        "security_file_permission" => ByMask,
        "security_mmap_file" => Mapped,
        "sys_read" | "ksys_read" | "vfs_read" | "sys_pread64" | "sys_readv" | "sys_preadv" => File("read", PathSize),
        "sys_write" | "ksys_write" | "vfs_write" | "sys_pwrite64" | "sys_writev" | "sys_pwritev" => {
            File("write", PathSize)
        }
        "sys_truncate" | "sys_ftruncate" | "security_path_truncate" | "security_file_truncate" => {
            File("truncate", Path)
        }
        "sys_unlink"
        | "sys_unlinkat"
        | "sys_rmdir"
        | "security_path_unlink"
        | "security_inode_unlink"
        | "security_path_rmdir" => File("unlink", Path),
        "sys_rename" | "sys_renameat" | "sys_renameat2" | "security_path_rename" | "security_inode_rename" => {
            File("rename", OldNew)
        }
        "sys_link" | "sys_linkat" | "security_path_link" | "security_inode_link" => File("link", OldNew),
        "sys_symlink" | "sys_symlinkat" => File("symlink", OldNew),
        "sys_chmod" | "sys_fchmod" | "sys_fchmodat" | "sys_fchmodat2" | "security_path_chmod" => {
            File("chmod", PathMode)
        }
        "sys_chown" | "sys_fchown" | "sys_lchown" | "sys_fchownat" | "security_path_chown" => File("chown", Path),

        "tcp_connect" | "tcp_v4_connect" | "tcp_v6_connect" | "security_socket_connect" | "sys_connect" => {
            Flow(Kind::Connect)
        }
        "inet_csk_accept" => Flow(Kind::Accept),
        "inet_csk_listen_start" | "inet_listen" | "security_socket_listen" => Flow(Kind::Listen),
        "tcp_close" => Flow(Kind::Close),
        _ => return None,
    })
}

/// The function's name without the architecture; of an LSM hook as of the kprobe on it.
fn plain(function: &str) -> &str {
    let arch = ["__x64_", "__arm64_", "__ia32_", "__do_", "__se_"];
    let name = arch.iter().find_map(|prefix| function.strip_prefix(prefix)).unwrap_or(function);
    match name {
        "sb_mount" => "security_sb_mount",
        "sb_umount" => "security_sb_umount",
        "sb_pivotroot" => "security_sb_pivotroot",
        "move_mount" => "security_move_mount",
        "path_chroot" => "security_path_chroot",
        "path_truncate" => "security_path_truncate",
        "path_unlink" => "security_path_unlink",
        "path_rmdir" => "security_path_rmdir",
        "path_rename" => "security_path_rename",
        "path_link" => "security_path_link",
        "path_chmod" => "security_path_chmod",
        "path_chown" => "security_path_chown",
        "file_open" => "security_file_open",
        "file_permission" => "security_file_permission",
        "file_truncate" => "security_file_truncate",
        "mmap_file" => "security_mmap_file",
        "socket_connect" => "security_socket_connect",
        "socket_listen" => "security_socket_listen",
        "ptrace_access_check" => "security_ptrace_access_check",
        "kernel_module_request" => "security_kernel_module_request",
        "bpf_prog_load" => "security_bpf_prog_load",
        "capset" => "security_capset",
        name => name,
    }
}

/// A call's activity and own columns; `None` when no table has a place for it.
pub(crate) fn call(body: &Body<'_>, actor: &Actor) -> Result<Option<(&'static str, Own)>, Refusal> {
    let function = given(&body.function_name).ok_or_else(|| Refusal::content("a call without function_name"))?;
    let Some(place) = place(function) else { return Ok(None) };
    let call = Call::new(body)?;
    Ok(match place {
        Place::Kernel(change) => {
            call.change(change, actor)?.map(|(activity, own)| (activity, Own::Kernel(Box::new(own))))
        }
        Place::File(activity, shape) => Some((activity, Own::File(call.file(shape)))),
        Place::ByMask => call.by_mask().map(|(activity, own)| (activity, Own::File(own))),
        Place::Mapped => call.mapped().map(|(activity, own)| (activity, Own::File(own))),
        Place::Flow(kind) => call.flow(kind)?.map(|own| (network::activity(kind), Own::Network(Box::new(own)))),
    })
}

/// What was done about the event, as the policy's action says.
pub(crate) fn action(body: &Body<'_>) -> &'static str {
    match given(&body.action) {
        Some("KPROBE_ACTION_SIGKILL") => "killed",
        Some("KPROBE_ACTION_OVERRIDE") => "denied",
        _ => "observed",
    }
}

/// The arguments of a call, apart by type.
struct Call<'a> {
    args: &'a [Arg<'a>],
    texts: Vec<String>,
    /// Which of the texts is a path of the kernel's and not a string of the caller's.
    first_path: Option<usize>,
    numbers: Vec<i64>,
    /// How many of the numbers stand before the last text.
    before_text: usize,
    ret: Option<i64>,
    returned: Option<&'a Arg<'a>>,
}

impl<'a> Call<'a> {
    fn new(body: &'a Body<'a>) -> Result<Self, Refusal> {
        let args = body.args.as_deref().unwrap_or_default();
        let mut call = Self {
            args,
            texts: Vec::new(),
            first_path: None,
            numbers: Vec::new(),
            before_text: 0,
            ret: None,
            returned: body.r#return.as_ref(),
        };
        for arg in args {
            if let Some(file) = arg.path_arg.as_ref().or(arg.file_arg.as_ref()).or(arg.linux_binprm_arg.as_ref()) {
                call.first_path.get_or_insert(call.texts.len());
                call.texts.push(kernel_path(given(&file.path).unwrap_or_default()));
                call.before_text = call.numbers.len();
            } else if let Some(text) = &arg.string_arg {
                call.texts.push(text.as_str().to_owned());
                call.before_text = call.numbers.len();
            } else if let Some(number) = number(arg)? {
                call.numbers.push(number);
            }
        }
        call.ret = call.returned.map(number).transpose()?.flatten();
        Ok(call)
    }

    fn text(&self, place: usize) -> Option<String> {
        self.texts.get(place).filter(|text| !text.is_empty()).cloned()
    }

    /// A number after the last text. Without a text it is not known where the numbers belong.
    fn after_text(&self, place: usize) -> Option<i64> {
        self.texts.first()?;
        self.numbers.get(self.before_text + place).copied()
    }

    fn change(&self, change: Change, actor: &Actor) -> Result<Option<(&'static str, KernelColumns)>, Refusal> {
        let first = self.numbers.first().copied();
        let mut own = KernelColumns { ret: self.ret, ..KernelColumns::default() };
        let activity = match change {
            Change::Mount => {
                // source, target, type; the target is the path where there is one.
                let target = self.first_path.unwrap_or(1);
                own.source_path = target.checked_sub(1).and_then(|source| self.text(source));
                own.target_path = self.text(target);
                own.fs_type = self.text(target + 1);
                own.flags = first;
                "mount"
            }
            Change::MoveMount => {
                (own.source_path, own.target_path) = (self.text(0), self.text(1));
                "mount"
            }
            Change::Umount => {
                (own.target_path, own.flags) = (self.text(0), first);
                "umount"
            }
            Change::PivotRoot { put_old_first } => {
                let (new_root, put_old) =
                    (self.text(usize::from(put_old_first)), self.text(usize::from(!put_old_first)));
                (own.source_path, own.target_path) = (new_root, put_old);
                "pivot_root"
            }
            Change::Chroot => {
                own.target_path = self.text(0);
                "chroot"
            }
            Change::Setns => {
                // The descriptor, then the kind of namespace; 0 for any.
                own.flags = self.numbers.get(1).copied();
                own.ns_type = own.flags.and_then(names::namespaces);
                "setns"
            }
            Change::Unshare => {
                own.flags = first;
                own.ns_type = own.flags.and_then(names::namespaces);
                "unshare"
            }
            Change::SetUid(place) => {
                own.old_uid = actor.euid;
                own.new_uid = self.effective_id(place)?;
                "set_uid"
            }
            Change::SetGid => "set_gid",
            Change::Credentials => return self.credentials(actor, own),
            Change::Capset => {
                own.old_cap_effective = actor.cap_effective;
                own.new_cap_effective = self.args.iter().find_map(|arg| names::hexadecimal(&arg.cap_effective_arg));
                "capset"
            }
            Change::Ptrace => {
                own.flags = first;
                own.target_pid = self.numbers.get(1).and_then(|pid| i32::try_from(*pid).ok());
                "ptrace"
            }
            Change::ModuleLoad => {
                let named = self.args.iter().find_map(|arg| arg.module_arg.as_ref());
                own.source_path = named.and_then(|module| process::owned(&module.name)).or_else(|| self.text(0));
                "module_load"
            }
            Change::BpfLoad => {
                let program = self.args.iter().find_map(|arg| arg.bpf_attr_arg.as_ref().or(arg.bpf_prog_arg.as_ref()));
                own.source_path = program.and_then(|program| process::owned(&program.prog_name));
                "bpf_load"
            }
        };
        Ok(Some((activity, own)))
    }

    /// The number at `place` or the last one; -1 leaves the id as it is.
    fn effective_id(&self, place: usize) -> Result<Option<i32>, Refusal> {
        let number = self.numbers.get(place).or(self.numbers.last()).copied().filter(|number| *number != -1);
        id("uid", number.map(|number| Number(number.into())))
    }

    /// New credentials: a change of the user where the user changes, else of the capabilities.
    fn credentials(
        &self,
        actor: &Actor,
        mut own: KernelColumns,
    ) -> Result<Option<(&'static str, KernelColumns)>, Refusal> {
        let Some(new) = self.args.iter().find_map(|arg| arg.process_credentials_arg.as_ref()) else { return Ok(None) };
        own.old_uid = actor.euid;
        own.new_uid = id("process_credentials_arg.euid", new.euid)?;
        own.old_cap_effective = actor.cap_effective;
        own.new_cap_effective = names::effective(new.caps.as_ref());
        Ok(Some((if own.old_uid == own.new_uid { "capset" } else { "set_uid" }, own)))
    }

    fn file(&self, shape: Shape) -> FileColumns {
        let mut own = FileColumns { path: self.text(0), ..FileColumns::default() };
        match shape {
            Shape::Path => {}
            Shape::PathFlagsMode => (own.flags, own.mode) = (self.after_text(0), self.after_text(1)),
            Shape::PathMode => own.mode = self.after_text(0).map(|mode| mode & 0o7777),
            Shape::OldNew if self.texts.len() > 1 => (own.old_path, own.path) = (self.text(0), self.text(1)),
            Shape::OldNew => {}
            // What was done, where that is known; else what was asked for.
            Shape::PathSize => own.bytes = self.ret.filter(|ret| *ret >= 0).or(self.after_text(0)),
        }
        own
    }

    /// `MAY_WRITE` or `MAY_APPEND`, or `MAY_READ`.
    fn by_mask(&self) -> Option<(&'static str, FileColumns)> {
        let mask = self.after_text(0)?;
        let activity = if mask & (2 | 8) != 0 { "write" } else { "read" };
        (mask & (2 | 4 | 8) != 0).then(|| (activity, self.file(Shape::Path)))
    }

    /// `PROT_WRITE` in a mapping that is not private.
    fn mapped(&self) -> Option<(&'static str, FileColumns)> {
        let written = self.after_text(0)? & 2 != 0 && self.after_text(1).is_none_or(|flags| flags & 1 != 0);
        Some((if written { "write" } else { "read" }, self.file(Shape::Path)))
    }

    fn flow(&self, kind: Kind) -> Result<Option<NetworkColumns>, Refusal> {
        let mut sockets = self.args.iter().chain(self.returned).filter_map(|arg| arg.sock_arg.as_ref());
        let mut addresses = self.args.iter().filter_map(|arg| arg.sockaddr_arg.as_ref());
        let mut row = match (addresses.next(), sockets.next_back()) {
            (Some(address), _) if kind == Kind::Connect => {
                if given(&address.family).is_some_and(|family| !family.starts_with("AF_INET")) {
                    return Ok(None);
                }
                network::address(address)?
            }
            (_, Some(socket)) if is_tcp(socket) => network::socket(kind, socket)?,
            _ => return Ok(None),
        };
        row.ret = self.ret.filter(|_| kind == Kind::Connect);
        Ok(Some(row))
    }
}

fn number(arg: &Arg<'_>) -> Result<Option<i64>, Refusal> {
    let number = arg.int_arg.or(arg.uint_arg).or(arg.size_arg).or(arg.long_arg);
    // Flags and sizes of 64 bits have no sign.
    if number.is_some_and(|Number(number)| number > i64::MAX.into()) {
        return Ok(fit::<u64>("an argument", number)?.map(|number| number as i64));
    }
    fit("an argument", number)
}

/// A path of the kernel's begins at a root; versions before 1.0 left its slash away.
fn kernel_path(path: &str) -> String {
    let on_disk = !path.is_empty() && !path.starts_with('/') && !path.contains(':');
    if on_disk { format!("/{path}") } else { path.to_owned() }
}
