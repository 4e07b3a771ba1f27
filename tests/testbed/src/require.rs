//! What a test requires of the machine. Where it is missing, the test is skipped, or fails when `CI` is set.
//!
//! ```no_run
//! # use kerntrail_testbed::require;
//! # fn test() {
//! if !require::root() || !require::command("runc") {
//!     return;
//! }
//! # }
//! ```

use std::path::Path;

/// Returns `true` if `met`; else prints `skipped: <reason>`, or panics with the reason when `CI` is set.
pub fn that(met: bool, reason: &str) -> bool {
    if !met {
        assert!(std::env::var_os("CI").is_none(), "cannot be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
    }
    met
}

/// Requires root.
pub fn root() -> bool {
    // SAFETY: geteuid takes no arguments, touches no memory and cannot fail.
    that(unsafe { libc::geteuid() } == 0, "needs to run as root")
}

/// Requires a kernel with BTF and the capabilities to load and attach BPF programs.
pub fn bpf() -> bool {
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    let has = |bit: u32| effective_capabilities() & (1 << bit) != 0;
    that(has(SYS_ADMIN) || (has(BPF) && has(PERFMON)), "needs CAP_BPF and CAP_PERFMON, or root")
        && that(Path::new("/sys/kernel/btf/vmlinux").exists(), "needs a kernel with /sys/kernel/btf/vmlinux")
}

/// Requires the command `name` on the PATH.
pub fn command(name: &str) -> bool {
    that(on_path(name), &format!("needs the command {name} (see install.sh in tests/testbed)"))
}

/// Requires Java, and Maven to download the server the first time.
pub fn java() -> bool {
    command("java") && command("mvn")
}

/// Requires what a Kubernetes node needs besides the binary that is built here: root, containerd and its tools.
pub fn node() -> bool {
    let system = ["unshare", "nsenter", "findmnt", "ip", "openssl", "curl"];
    let containers = ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox"];
    root()
        && system.into_iter().chain(containers).all(command)
        && that(Path::new("/usr/lib/cni/bridge").exists(), "needs the package containernetworking-plugins")
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    field.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}
