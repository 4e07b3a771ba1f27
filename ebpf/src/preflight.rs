//! Whether this machine lets the programs load, and what to do when it does not.

use std::fs;
use std::io;
use std::path::Path;

/// What is missing for live collection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {how_to_allow}")]
pub struct Missing {
    /// What is missing, in a few words.
    pub what: String,
    /// How to allow it.
    pub how_to_allow: String,
}

impl Missing {
    fn new(what: impl Into<String>, how_to_allow: impl Into<String>) -> Self {
        Self { what: what.into(), how_to_allow: how_to_allow.into() }
    }
}

const OLDEST: (u32, u32) = (5, 15);
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Checks what the required probes need, without loading anything: the first thing missing is the error.
pub fn preflight() -> Result<(), Missing> {
    check_release(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())?;
    check_capabilities(&fs::read_to_string("/proc/self/status").unwrap_or_default())?;
    check_user_namespace(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default())?;
    check_btf(Path::new(KERNEL_BTF))?;
    // Absent without securityfs or lockdown: nothing is locked then.
    check_lockdown(&fs::read_to_string(LOCKDOWN).unwrap_or_default())?;
    check_bpf_call(create_map())
}

fn check_release(release: &str) -> Result<(), Missing> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Err(Missing::new(
            format!("kernel {} is too old", release.trim()),
            format!("live collection needs Linux {}.{} or newer", OLDEST.0, OLDEST.1),
        )),
        _ => Ok(()),
    }
}

/// Capability bits of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

fn effective_capabilities(status: &str) -> Option<u64> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

fn check_capabilities(status: &str) -> Result<(), Missing> {
    let Some(effective) = effective_capabilities(status) else { return Ok(()) };
    let has = |bit: u32| effective >> bit & 1 == 1;
    if has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON)) {
        return Ok(());
    }
    Err(Missing::new(
        "not allowed to load BPF programs",
        "run as root, or with the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN (in a container: privileged)",
    ))
}

/// Capabilities count only in the initial user namespace, the only one that maps all ids to themselves.
fn check_user_namespace(uid_map: &str) -> Result<(), Missing> {
    let mut numbers = uid_map.split_whitespace();
    if uid_map.is_empty()
        || (numbers.next(), numbers.next(), numbers.next()) == (Some("0"), Some("0"), Some("4294967295"))
    {
        return Ok(());
    }
    Err(Missing::new(
        "not allowed to load BPF programs from inside a user namespace",
        "run outside of it (rootless containers have one; in Kubernetes: hostUsers: true, the default)",
    ))
}

fn check_btf(path: &Path) -> Result<(), Missing> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(e) => Err(Missing::new(
            format!("{} can't be read ({e})", path.display()),
            "the kernel must be built with CONFIG_DEBUG_INFO_BTF=y, and sysfs mounted on /sys",
        )),
    }
}

fn check_lockdown(modes: &str) -> Result<(), Missing> {
    if modes.contains("[confidentiality]") {
        return Err(Missing::new(
            "kernel lockdown is in its confidentiality mode, in which BPF programs cannot read kernel memory",
            "boot with lockdown=integrity",
        ));
    }
    Ok(())
}

fn check_bpf_call(result: io::Result<()>) -> Result<(), Missing> {
    let Err(error) = result else { return Ok(()) };
    Err(match error.raw_os_error() {
        Some(libc::EPERM) => Missing::new(
            "bpf(2) is refused (EPERM) although the capabilities are present",
            "a seccomp profile or user namespace blocks it: run outside the container, or privileged with seccomp unconfined",
        ),
        Some(libc::ENOSYS) => Missing::new("the kernel has no bpf(2)", "it must be built with CONFIG_BPF_SYSCALL=y"),
        _ => Missing::new(format!("bpf(2) failed: {error}"), "see dmesg"),
    })
}

/// Makes the smallest map there is and drops it.
fn create_map() -> io::Result<()> {
    /// Start of `union bpf_attr` for BPF_MAP_CREATE.
    #[repr(C)]
    struct MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let attr = MapCreate { map_type: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
    // SAFETY: bpf(2) reads `size` bytes of `attr`, which lives across the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, &raw const attr, size_of::<MapCreate>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else has it.
    unsafe { libc::close(fd as libc::c_int) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_compared_by_number() {
        for (release, fine) in
            [("5.15.0-91-generic", true), ("6.1.0", true), ("5.4.0-1\n", false), ("4.19", false), ("", true)]
        {
            assert_eq!(check_release(release).is_ok(), fine, "{release:?}");
        }
    }

    #[test]
    fn capabilities_are_read_as_bits() {
        for (status, fine) in [
            ("Name:\tx\nCapEff:\t000001ffffffffff\n", true),
            ("CapEff:\t0000000000000000\n", false),
            ("CapEff:\t0000008000000000\n", false),
            ("CapEff:\t000000c000000000\n", true),
            ("CapEff:\t0000000000200000\n", true),
        ] {
            assert_eq!(check_capabilities(status).is_ok(), fine, "{status:?}");
        }
    }

    #[test]
    fn only_the_initial_user_namespace_is_allowed() {
        for (map, fine) in [
            ("         0          0 4294967295\n", true),
            ("", true),
            ("0 1000 1\n", false),
            ("0 100000 65536\n", false),
        ] {
            assert_eq!(check_user_namespace(map).is_ok(), fine, "{map:?}");
        }
    }

    #[test]
    fn only_lockdown_confidentiality_prevents_loading() {
        assert!(check_lockdown("none [integrity] confidentiality\n").is_ok());
        assert!(check_lockdown("[none] integrity confidentiality\n").is_ok());
        assert!(check_lockdown("none integrity [confidentiality]\n").is_err());
    }

    #[test]
    fn a_refusal_has_advice() {
        let refused = check_bpf_call(Err(io::Error::from_raw_os_error(libc::EPERM))).unwrap_err();
        assert!(refused.how_to_allow.contains("seccomp"), "{refused}");
        let absent = check_btf(Path::new("/nonexistent/vmlinux")).unwrap_err();
        assert!(absent.what.contains("/nonexistent/vmlinux") && absent.how_to_allow.contains("BTF"), "{absent}");
    }
}
