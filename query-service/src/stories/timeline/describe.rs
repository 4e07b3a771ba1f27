//! What an event was, in a few words. The words hold text of watched processes as it is: who prints them escapes.

use kerntrail_common::size;

use super::events::{Detail, Event, FileDetail, KernelDetail, NetworkDetail, ProcessDetail};
use super::window::span;

/// What happened, without the actor: `setns into the mnt namespace of pid 1`.
pub(crate) fn title(event: &Event) -> String {
    match &event.detail {
        Detail::Process(process) => process_title(event, process),
        Detail::File(file) => file_title(event, file),
        Detail::Kernel(kernel) => kernel_title(event, kernel),
        Detail::Network(network) => network_title(event, network),
    }
}

/// The program and its arguments, as far as they are known.
pub(crate) fn program(event: &Event) -> String {
    let actor = &event.actor;
    let known = actor.cmd_line.as_ref().or(actor.path.as_ref()).or(actor.name.as_ref());
    known.cloned().unwrap_or_else(|| "unknown program".to_owned())
}

fn process_title(event: &Event, process: &ProcessDetail) -> String {
    match event.activity.as_str() {
        "exec" | "existing" => {
            let mut title = program(event);
            if event.activity == "existing" {
                title.push_str("  (was running already)");
            }
            if process.memfd {
                title.push_str("  (program in memory only)");
            }
            if process.stdin.as_deref() == Some("socket") {
                title.push_str("  (stdin is a socket)");
            }
            title
        }
        "fork" => "was forked".to_owned(),
        "exit" => exit(process),
        other => other.to_owned(),
    }
}

/// How a process ended.
pub(crate) fn exit(process: &ProcessDetail) -> String {
    match (process.exit_signal, process.exit_code) {
        (Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, Some(code)) => format!("exit {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn signal_name(signal: i64) -> String {
    let known = [
        "", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1",
        "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
    ];
    match usize::try_from(signal).ok().and_then(|number| known.get(number)) {
        Some(name) if !name.is_empty() => (*name).to_owned(),
        _ => format!("signal {signal}"),
    }
}

fn file_title(event: &Event, file: &FileDetail) -> String {
    let path = file.path.as_deref().unwrap_or("an unknown file");
    match (&file.old_path, file.bytes) {
        (Some(old), _) => format!("{} {old} -> {path}", event.activity),
        (None, Some(count)) => format!("{} {path} ({})", event.activity, size::rounded(count)),
        (None, None) => format!("{} {path}", event.activity),
    }
}

fn kernel_title(event: &Event, kernel: &KernelDetail) -> String {
    let target = kernel.target.as_deref();
    let source = kernel.source.as_deref();
    let namespaces = || kernel.ns_type.as_deref().map_or_else(String::new, |kinds| format!(" {kinds}"));
    let of_pid = kernel.target_pid.map_or_else(String::new, |pid| format!(" of pid {pid}"));
    let what = match event.activity.as_str() {
        "setns" => format!("setns into{} namespace{of_pid}", namespaces()),
        "unshare" => format!("unshare{}", namespaces()),
        "mount" => {
            let fs_type = kernel.fs_type.as_ref().map_or_else(String::new, |kind| format!(" ({kind})"));
            let on = target.unwrap_or("an unknown path");
            source
                .map_or_else(|| format!("mount on {on}{fs_type}"), |source| format!("mount {source} on {on}{fs_type}"))
        }
        "pivot_root" => format!("pivot_root to {}", source.unwrap_or("an unknown path")),
        "chroot" => format!("chroot to {}", target.unwrap_or("an unknown path")),
        other => target.map_or_else(|| format!("{other}{of_pid}"), |target| format!("{other} {target}{of_pid}")),
    };
    what + &outcome(kernel.ret)
}

fn network_title(event: &Event, network: &NetworkDetail) -> String {
    let end = |end: &Option<(String, i64)>| end.as_ref().map_or_else(|| "unknown".to_owned(), socket);
    let protocol = network.protocol.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let what = match event.activity.as_str() {
        "connect" => format!("connect to {}{protocol}", end(&network.destination)),
        "accept" => format!("accepted from {} on {}{protocol}", end(&network.source), end(&network.destination)),
        "listen" => format!("listen on {}{protocol}", end(&listener(network))),
        "close" => {
            format!("closed {} -> {}{protocol}{}", end(&network.source), end(&network.destination), traffic(network))
        }
        other => format!("{other} {} -> {}{protocol}", end(&network.source), end(&network.destination)),
    };
    what + &outcome(network.ret)
}

/// The end that listens: the one with a port.
fn listener(network: &NetworkDetail) -> Option<(String, i64)> {
    let with_port = |end: &Option<(String, i64)>| end.clone().filter(|(_, port)| *port != 0);
    with_port(&network.source).or_else(|| with_port(&network.destination))
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`.
pub(crate) fn socket((ip, port): &(String, i64)) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// `, 1.2 kB sent, 3.4 kB received, 2.0 s`, as far as it is known.
pub(crate) fn traffic(network: &NetworkDetail) -> String {
    let mut text = String::new();
    for (count, what) in [(network.bytes_out, "sent"), (network.bytes_in, "received")] {
        if let Some(count) = count {
            text.push_str(&format!(", {} {what}", size::rounded(count)));
        }
    }
    if let (Some(started), Some(ended)) = (network.started, network.ended) {
        text.push_str(&format!(", {}", span(ended - started)));
    }
    text
}

/// Nothing for success; else how it failed.
fn outcome(ret: Option<i64>) -> String {
    match ret {
        Some(ret) if refused(ret) => format!(": REFUSED ({})", errno(ret)),
        Some(ret) if failed(ret) => format!(": failed ({})", errno(ret)),
        _ => String::new(),
    }
}

/// Whether a call with this result was not permitted.
pub(crate) fn refused(ret: i64) -> bool {
    matches!(ret, -1 | -13)
}

/// Whether a call with this result came to nothing; a connect in progress did not.
pub(crate) fn failed(ret: i64) -> bool {
    ret < 0 && ret != -115
}

/// The name of the errno of a result.
pub(crate) fn errno(ret: i64) -> String {
    let name = match -ret {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        4 => "EINTR",
        5 => "EIO",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        19 => "ENODEV",
        20 => "ENOTDIR",
        22 => "EINVAL",
        28 => "ENOSPC",
        30 => "EROFS",
        38 => "ENOSYS",
        87 => "EUSERS",
        99 => "EADDRNOTAVAIL",
        101 => "ENETUNREACH",
        103 => "ECONNABORTED",
        104 => "ECONNRESET",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        113 => "EHOSTUNREACH",
        115 => "EINPROGRESS",
        number => return format!("errno {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        for (ret, text) in [
            (None, ""),
            (Some(0), ""),
            (Some(3), ""),
            (Some(-115), ""),
            (Some(-1), ": REFUSED (EPERM)"),
            (Some(-13), ": REFUSED (EACCES)"),
            (Some(-111), ": failed (ECONNREFUSED)"),
            (Some(-200), ": failed (errno 200)"),
        ] {
            assert_eq!(outcome(ret), text, "{ret:?}");
        }
    }

    #[test]
    fn sockets_and_signals() {
        assert_eq!(socket(&("2001:db8::1".into(), 443)), "[2001:db8::1]:443");
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(40), "signal 40");
    }
}
