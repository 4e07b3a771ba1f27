//! Capabilities: which bit has which name.

/// By bit (include/uapi/linux/capability.h).
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The bit of `name`, written with or without `CAP_`.
pub fn bit(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|known| known.strip_prefix("CAP_") == Some(name))
}

/// Names of the bits set in `mask`, lowest first; `unnamed` says what to call a bit that has none.
pub fn names(mask: i64, unnamed: impl Fn(usize) -> String) -> Vec<String> {
    let set = (0..64).filter(|bit| mask >> bit & 1 == 1);
    set.map(|bit| NAMES.get(bit).map_or_else(|| unnamed(bit), |name| (*name).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_converted_to_names() {
        let names = |mask| names(mask, |bit| format!("#{bit}"));
        assert_eq!(names(0), Vec::<String>::new());
        assert_eq!(names(1 | 1 << 21 | 1 << 40), ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
        assert_eq!(names(1 << 21 | 1 << 45), ["CAP_SYS_ADMIN", "#45"]);
        assert_eq!(names(-1).len(), 64);
    }

    #[test]
    fn names_are_converted_to_bits() {
        for (name, expected) in [("CAP_CHOWN", Some(0)), ("DAC_OVERRIDE", Some(1)), ("CAP_NEW", None), ("", None)] {
            assert_eq!(bit(name), expected, "{name}");
        }
        for (place, name) in NAMES.iter().enumerate() {
            assert_eq!(bit(name), Some(place));
        }
    }
}
