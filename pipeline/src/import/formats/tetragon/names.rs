//! Names that Tetragon writes for numbers of the kernel.

use kerntrail_schemas::capabilities::bit;

use super::record::Capabilities;
use crate::import::json::{MaybeText, Text, given};

/// Signals 1 to 31 of x86 and arm, without `SIG`.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Namespaces of clone flags (linux/sched.h).
const NAMESPACES: [(i64, &str); 8] = [
    (0x0002_0000, "mnt"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "net"),
    (0x1000_0000, "user"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x0200_0000, "cgroup"),
    (0x0000_0080, "time"),
];

/// The set as bits; `None` when it is missing or names an unknown capability.
pub(super) fn effective(capabilities: Option<&Capabilities<'_>>) -> Option<i64> {
    // Tetragon's list has one name without `CAP_`, `DAC_OVERRIDE`. A set without items is empty.
    let names = capabilities?.effective.as_deref().unwrap_or_default();
    names.iter().map(Text::as_str).try_fold(0, |bits, name| Some(bits | 1 << bit(name)?))
}

/// Bits written as hexadecimal digits.
pub(super) fn hexadecimal(text: &MaybeText<'_>) -> Option<i64> {
    let text = given(text)?;
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok().map(|bits| bits as i64)
}

/// The number of `SIGKILL` and the like.
pub(super) fn signal(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG")?;
    let name = match name {
        "IOT" => "ABRT",
        "POLL" => "IO",
        "CLD" => "CHLD",
        name => name,
    };
    SIGNALS.iter().position(|known| *known == name).map(|place| place as i32 + 1)
}

/// The namespaces that the flags of clone, unshare or setns name, joined by commas.
pub(super) fn namespaces(flags: i64) -> Option<String> {
    let named: Vec<&str> = NAMESPACES.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    (!named.is_empty()).then(|| named.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_names() {
        assert_eq!(bit("CAP_CHOWN"), Some(0));
        assert_eq!(bit("DAC_OVERRIDE"), Some(1));
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(21));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(bit("CAP_NEW"), None);
        let signals = [
            ("SIGHUP", Some(1)),
            ("SIGKILL", Some(9)),
            ("SIGTERM", Some(15)),
            ("SIGSYS", Some(31)),
            ("SIGIOT", Some(6)),
            ("KILL", None),
            ("SIGNEW", None),
        ];
        for (name, number) in signals {
            assert_eq!(signal(name), number, "{name}");
        }
        assert_eq!(namespaces(0x6002_0000).as_deref(), Some("mnt,pid,net"));
        assert_eq!(namespaces(0), None);
        let sets = [
            (r#"{"effective":["CAP_CHOWN","DAC_OVERRIDE","CAP_SYS_ADMIN"]}"#, Some(0x20_0003)),
            (r#"{"permitted":["CAP_CHOWN"]}"#, Some(0)),
            (r#"{"effective":["CAP_CHOWN","CAP_NEW"]}"#, None),
        ];
        for (set, bits) in sets {
            let set: Capabilities<'_> = serde_json::from_str(set).unwrap();
            assert_eq!(effective(Some(&set)), bits);
        }
    }
}
