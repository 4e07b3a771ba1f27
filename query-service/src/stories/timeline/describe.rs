//! Describes an event in a few words. They contain unescaped text of monitored processes; the renderer escapes it.

use kerntrail_common::size;
use kerntrail_schemas::errno;

use super::events::{Ending, Event, Flow};
use super::read::Values;
use super::window::span;

/// What happened, without the actor: `setns into mnt namespace of pid 1`. `values` has the event's columns at `row`.
pub(crate) fn title(event: &Event, values: &Values, row: usize) -> String {
    let unknown = event.table.declaration().unknown.sentence;
    let sentence = event.entry().map_or(unknown, |activity| activity.sentence);
    let title = sentence.fill(|name| value(name, event, values, row)) + &outcome(event.ret) + &action(values, row);
    match &event.imported_from {
        // Whoever may import can write anything: a reader must be able to tell.
        Some(tool) => format!("{title}  (imported from {tool})"),
        None => title,
    }
}

/// A value that a sentence names: one of [`kerntrail_schemas::sentence::COMPUTED`], or a column.
fn value(name: &str, event: &Event, values: &Values, row: usize) -> Option<String> {
    let flow = event.flow.as_deref();
    match name {
        "program" => Some(program(event)),
        "notes" => Some(notes(values, row)),
        "ended" => Some(exit(&event.end)),
        "source" => flow?.source.as_ref().map(socket),
        "destination" => flow?.destination.as_ref().map(socket),
        "listener" => listener(flow?).as_ref().map(socket),
        "traffic" => Some(traffic(flow?)),
        "bytes" => values.number(name, row).map(size::rounded),
        column => values.shown(column, row),
    }
}

/// The program and its arguments, as far as they are known.
pub(crate) fn program(event: &Event) -> String {
    let actor = &event.actor;
    let known = actor.cmd_line.as_ref().or(actor.path.as_ref()).or(actor.name.as_ref());
    known.cloned().unwrap_or_else(|| "unknown program".to_owned())
}

/// Where a program runs, if that matters to its arguments, and what is unusual about it.
fn notes(values: &Values, row: usize) -> String {
    let mut notes = String::new();
    let directory = values.text("cwd", row).filter(|cwd| cwd != "/");
    if let Some(directory) = directory.filter(|_| values.list("args", row).iter().any(|arg| is_relative(arg))) {
        notes.push_str(&format!("  (in {directory})"));
    }
    if values.flag("binary_memfd", row) == Some(true) {
        notes.push_str("  (program in memory only)");
    }
    if values.text("stdin_kind", row).as_deref() == Some("socket") {
        notes.push_str("  (stdin is a socket)");
    }
    notes
}

/// Whether an argument looks like a path from the working directory.
fn is_relative(argument: &str) -> bool {
    let begins = argument.starts_with(['/', '-']) || argument.contains("://");
    !begins && argument.contains(['/', '.']) && !argument.contains(char::is_whitespace)
}

/// How a process ended.
pub(crate) fn exit(end: &Ending) -> String {
    match (end.exit_signal, end.exit_code) {
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

/// The end that listens: the one with a port.
fn listener(flow: &Flow) -> Option<(String, i64)> {
    let with_port = |end: &Option<(String, i64)>| end.clone().filter(|(_, port)| *port != 0);
    with_port(&flow.source).or_else(|| with_port(&flow.destination))
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`.
pub(crate) fn socket((ip, port): &(String, i64)) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// `, 1.2 kB sent, 3.4 kB received, 2.0 s`, as far as it is known.
pub(crate) fn traffic(flow: &Flow) -> String {
    let mut text = String::new();
    for (count, what) in [(flow.bytes_out, "sent"), (flow.bytes_in, "received")] {
        if let Some(count) = count {
            text.push_str(&format!(", {} {what}", size::rounded(count)));
        }
    }
    if let (Some(started), Some(ended)) = (flow.started, flow.ended) {
        text.push_str(&format!(", {}", span(ended - started)));
    }
    text
}

/// Nothing for success; else how it failed.
fn outcome(ret: Option<i64>) -> String {
    match ret {
        Some(ret) if refused(ret) => format!(": REFUSED ({})", errno::name(ret)),
        Some(ret) if errno::failed(ret) => format!(": failed ({})", errno::name(ret)),
        _ => String::new(),
    }
}

/// Nothing for an event that was only observed; else what was done about it, and by which policy.
fn action(values: &Values, row: usize) -> String {
    let Some(action) = values.text("action", row).filter(|action| action != "observed") else { return String::new() };
    match values.text("policy", row) {
        Some(policy) => format!(": {} by policy {policy}", action.to_uppercase()),
        None => format!(": {}", action.to_uppercase()),
    }
}

/// Whether a call with this result was not permitted.
pub(crate) fn refused(ret: i64) -> bool {
    matches!(ret, -1 | -13)
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_that_look_like_relative_paths() {
        for (argument, expected) in [
            ("x.yaml", true),
            ("./run", true),
            ("a/b", true),
            ("..", true),
            ("/etc/x.yaml", false),
            ("-o.x", false),
            ("https://a.example/x", false),
            ("cat x.yaml", false),
            ("bash", false),
        ] {
            assert_eq!(super::is_relative(argument), expected, "{argument}");
        }
    }

    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, new_null_array};
    use kerntrail_schemas::Table;
    use kerntrail_schemas::sentence::COMPUTED;

    use super::*;
    use crate::stories::timeline::events::{ACTOR, ENVELOPE, event, own_columns};

    /// A row of `table` with the columns that a story reads, as `fill` gives them.
    fn row(table: Table, activity: &str, fill: impl Fn(&str) -> Option<ArrayRef>) -> Event {
        let schema = table.schema();
        let wanted = [ENVELOPE, ACTOR, &own_columns(table)].concat();
        let columns = schema.fields().iter().filter(|field| wanted.contains(&field.name().as_str())).map(|field| {
            let array = match field.name().as_str() {
                "activity" => Some(Arc::new(arrow::array::StringArray::from(vec![activity])) as ArrayRef),
                name => fill(name),
            };
            (field.name().clone(), array.unwrap_or_else(|| new_null_array(field.data_type(), 1)))
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap();
        event(table, &Values::new(&batch).unwrap(), 0)
    }

    /// Every column that a sentence names is among those that a story reads, and every other name is computed here.
    #[test]
    fn a_story_reads_the_columns_of_its_sentences() {
        for table in Table::ALL.iter().filter(|table| table.declaration().in_timeline) {
            let read = [ENVELOPE, ACTOR, &own_columns(*table)].concat();
            for activity in table.activities() {
                for name in activity.sentence.names() {
                    let computed = COMPUTED.iter().any(|(known, _)| *known == name);
                    assert!(computed || read.contains(&name), "{activity:?}: {name}");
                }
                assert!(!row(*table, activity.name, |_| None).title.is_empty(), "{activity:?}");
            }
        }
    }

    #[test]
    fn titles() {
        let text = |text: &str| Some(Arc::new(arrow::array::StringArray::from(vec![text])) as ArrayRef);
        let long = |number| Some(Arc::new(arrow::array::Int64Array::from(vec![number])) as ArrayRef);
        let int = |number| Some(Arc::new(arrow::array::Int32Array::from(vec![number])) as ArrayRef);
        let fill = |name: &str| match name {
            "path" => text("/new"),
            "old_path" => text("/old"),
            "bytes" => long(1_250_000),
            "source_path" => text("/dev/sda1"),
            "target_path" => text("/mnt"),
            "fs_type" => text("ext4"),
            "ns_type" => text("mnt"),
            "target_pid" => int(1),
            "ret" => long(-1),
            "src_ip" => text("10.0.0.1"),
            "dst_ip" => text("fd00::1"),
            "src_port" => int(4000),
            "dst_port" => int(443),
            "protocol" => text("TCP"),
            "bytes_out" => long(17),
            "cmd_line" => text("sh -c id"),
            "stdin_kind" => text("socket"),
            "exit_code" => int(3),
            _ => None,
        };
        for (table, activity, full, empty) in [
            (Table::ProcessEvents, "exec", "sh -c id  (stdin is a socket)", "unknown program"),
            (
                Table::ProcessEvents,
                "existing",
                "sh -c id  (was running already)  (stdin is a socket)",
                "unknown program  (was running already)",
            ),
            (Table::ProcessEvents, "fork", "was forked", "was forked"),
            (Table::ProcessEvents, "exit", "exit 3", "ended"),
            (Table::ProcessEvents, "later", "later", "later"),
            (Table::FileEvents, "rename", "rename /old -> /new", "rename an unknown file"),
            (Table::FileEvents, "write", "write /new (1.2 MB)", "write an unknown file"),
            (Table::FileEvents, "chmod", "chmod /new", "chmod an unknown file"),
            (
                Table::KernelEvents,
                "setns",
                "setns into mnt namespace of pid 1: REFUSED (EPERM)",
                "setns into namespace",
            ),
            (Table::KernelEvents, "unshare", "unshare mnt: REFUSED (EPERM)", "unshare"),
            (
                Table::KernelEvents,
                "mount",
                "mount /dev/sda1 on /mnt (ext4): REFUSED (EPERM)",
                "mount on an unknown path",
            ),
            (
                Table::KernelEvents,
                "pivot_root",
                "pivot_root to /dev/sda1: REFUSED (EPERM)",
                "pivot_root to an unknown path",
            ),
            (Table::KernelEvents, "chroot", "chroot to /mnt: REFUSED (EPERM)", "chroot to an unknown path"),
            (Table::KernelEvents, "umount", "umount /mnt: REFUSED (EPERM)", "umount"),
            (Table::KernelEvents, "ptrace", "ptrace of pid 1: REFUSED (EPERM)", "ptrace"),
            (Table::KernelEvents, "later", "later /mnt of pid 1: REFUSED (EPERM)", "later"),
            (Table::NetworkFlows, "connect", "connect to [fd00::1]:443 TCP: REFUSED (EPERM)", "connect to unknown"),
            (
                Table::NetworkFlows,
                "accept",
                "accepted from 10.0.0.1:4000 on [fd00::1]:443 TCP: REFUSED (EPERM)",
                "accepted from unknown on unknown",
            ),
            (Table::NetworkFlows, "listen", "listen on 10.0.0.1:4000 TCP: REFUSED (EPERM)", "listen on unknown"),
            (
                Table::NetworkFlows,
                "close",
                "closed 10.0.0.1:4000 -> [fd00::1]:443 TCP, 17 B sent: REFUSED (EPERM)",
                "closed unknown -> unknown",
            ),
        ] {
            assert_eq!(row(table, activity, fill).title, full, "{table}.{activity}");
            assert_eq!(row(table, activity, |_| None).title, empty, "{table}.{activity}");
        }
    }

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

    #[test]
    fn what_was_done_about_an_event_and_where_a_program_runs() {
        let text = |text: &str| Some(Arc::new(arrow::array::StringArray::from(vec![text])) as ArrayRef);
        let args = |args: &[&str]| {
            let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
            list.append_value(args.iter().map(Some));
            Some(Arc::new(list.finish()) as ArrayRef)
        };
        for (action, policy, cwd, argument, expected) in [
            ("observed", "p", "/", "x.yaml", "tee"),
            ("denied", "shadow", "/", "x.yaml", "tee: DENIED by policy shadow"),
            ("killed", "", "/", "x.yaml", "tee: KILLED"),
            ("observed", "p", "/etc", "x.yaml", "tee  (in /etc)"),
            ("observed", "p", "/etc", "/x.yaml", "tee"),
        ] {
            let fill = |name: &str| match name {
                "cmd_line" => text("tee"),
                "action" => text(action),
                "policy" if !policy.is_empty() => text(policy),
                "cwd" => text(cwd),
                "args" => args(&["tee", argument]),
                _ => None,
            };
            assert_eq!(row(Table::ProcessEvents, "exec", fill).title, expected, "{action} {policy} {cwd} {argument}");
        }
    }
}
