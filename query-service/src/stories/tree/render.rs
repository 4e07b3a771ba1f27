//! Prints a tree.

use kerntrail_query_engine::output::escape::{self, markdown_code, visible};
use serde::Serialize;

use super::Tree;
use super::build::{Forest, Process};
use crate::stories::timeline::events::Container;
use crate::stories::timeline::exit;
use crate::stories::timeline::window::{clock, day, rfc3339};

/// Longest command line, in characters.
const WIDTH: usize = 160;
/// Deepest indentation; deeper ones are not drawn deeper.
const MAX_DEPTH: usize = 40;

/// A process to be printed.
struct Shown<'a> {
    process: &'a Process,
    depth: usize,
    /// For each generation above but the first, whether more follow there; the last is its own.
    more: Vec<bool>,
    /// Where it is, when its parent is elsewhere.
    place: Option<String>,
}

/// All processes, each below its parent.
fn walk(forest: &Forest) -> Vec<Shown<'_>> {
    let mut shown = Vec::with_capacity(forest.processes.len());
    // A stack of our own: a tree may be deeper than the program's.
    let mut waiting: Vec<(usize, Vec<bool>, String)> =
        forest.roots.iter().rev().map(|root| (*root, Vec::new(), String::new())).collect();
    while let Some((index, more, above)) = waiting.pop() {
        let process = &forest.processes[index];
        let place = place(process);
        for (number, child) in process.children.iter().enumerate().rev() {
            let mut below = more.clone();
            if below.len() < MAX_DEPTH {
                below.push(number + 1 < process.children.len());
            }
            waiting.push((*child, below, place.clone()));
        }
        let depth = more.len();
        shown.push(Shown { process, depth, more, place: (place != above).then_some(place) });
    }
    shown
}

/// Where a process is, in a few words.
fn place(process: &Process) -> String {
    let born = process
        .origin
        .as_ref()
        .map(|origin| origin.pod.clone().unwrap_or_else(|| origin.container.chars().take(12).collect()));
    match &process.container {
        Some(container) if process.in_host_mnt_ns => {
            format!("{}, in the host's mount namespace", container_place(container))
        }
        Some(container) => container_place(container),
        None => born.map_or_else(|| "host".to_owned(), |born| format!("host, born in {born}")),
    }
}

fn container_place(container: &Container) -> String {
    let pod = match (&container.namespace, &container.pod) {
        (Some(namespace), Some(pod)) => format!("{namespace}/{pod} "),
        (_, pod) => pod.as_ref().map_or_else(String::new, |pod| format!("{pod} ")),
    };
    let short = || container.id.chars().take(12).collect();
    format!("{pod}{}", container.name.clone().unwrap_or_else(short))
}

/// The command lines that a process ran, in order.
fn programs(process: &Process) -> Vec<String> {
    if process.programs.is_empty() {
        let name = format!("({})", process.name.as_deref().unwrap_or("unknown program"));
        return vec![marked(&name, &process.imported_from)];
    }
    process.programs.iter().map(|program| marked(&program.cmd_line, &program.imported_from)).collect()
}

/// `text`, with the tool that it was imported from: whoever may import can write anything.
fn marked(text: &str, imported_from: &Option<String>) -> String {
    match imported_from {
        Some(tool) => format!("{}  (imported from {tool})", cut(text)),
        None => text.to_owned(),
    }
}

fn ending(process: &Process) -> String {
    process.ended.as_ref().map_or_else(String::new, |(_, detail)| exit(detail))
}

fn finding_marks(process: &Process) -> Vec<String> {
    let marks = process.findings.iter().map(|finding| {
        let severity = finding.severity.as_deref().unwrap_or("unrated");
        let rule = finding.rule_name.as_deref().or(finding.rule_id.as_deref()).unwrap_or("unnamed rule");
        let techniques = match finding.attack_techniques.as_slice() {
            [] => String::new(),
            some => format!(" ({})", some.join(", ")),
        };
        format!("!! {severity}: {rule}{techniques}")
    });
    marks.collect()
}

fn cut(text: &str) -> String {
    let text = visible(text);
    if text.chars().count() <= WIDTH {
        text.into_owned()
    } else {
        text.chars().take(WIDTH - 1).chain(['…']).collect()
    }
}

/// `containerd-shim < systemd`: what is above a root and not shown; `?` where the program is not known.
fn above(process: &Process) -> String {
    let names = process.ancestor_paths.iter().map(|path| if path.is_empty() { "?" } else { path });
    names.collect::<Vec<_>>().join(" < ")
}

/// The branches in front of a process, and those in front of its further lines.
fn branches(shown: &Shown<'_>) -> (String, String) {
    let Some((own, generations)) = shown.more.split_last() else { return Default::default() };
    let trunk: String = generations.iter().map(|more| if *more { "│  " } else { "   " }).collect();
    let (branch, below) = if *own { ("├─ ", "│  ") } else { ("└─ ", "   ") };
    (format!("{trunk}{branch}"), format!("{trunk}{below}"))
}

fn head(tree: &Tree) -> Vec<String> {
    let plural = if tree.forest.processes.len() == 1 { "process" } else { "processes" };
    let mut lines = vec![format!("{} {plural} of {}", tree.forest.processes.len(), visible(&tree.title))];
    lines.extend(tree.notes.iter().map(|note| format!("Note: {}", visible(note))));
    lines.extend(tree.forest.cuts.iter().map(|note| format!("Cut: {}", visible(note))));
    lines
}

/// For a terminal.
pub(super) fn text(tree: &Tree) -> String {
    let mut lines = head(tree);
    lines.push(String::new());
    lines.push(format!("{:<12}  {:>7}  {:<17}  PROCESS", "START (UTC)", "PID", "END"));
    let mut today = String::new();
    for shown in walk(&tree.forest) {
        let process = shown.process;
        let (branch, below) = branches(&shown);
        if shown.depth == 0 {
            let now = format!("--- {} on {}", day(process.started), visible(&process.node));
            if now != today {
                lines.push(now.clone());
                today = now;
            }
            let above = above(process);
            if !above.is_empty() {
                lines.push(format!("{:42}under {}", "", cut(&above)));
            }
        }
        let pid = process.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        let place = shown.place.as_ref().map_or_else(String::new, |place| format!("  [{}]", visible(place)));
        let mut programs = programs(process).into_iter();
        let first = programs.next().unwrap_or_default();
        let mut marks = finding_marks(process).into_iter().map(|mark| visible(&mark).into_owned()).collect::<Vec<_>>();
        lines.push(format!(
            "{}  {pid:>7}  {:<17}  {branch}{}{place}",
            clock(process.started),
            ending(process),
            cut(&first)
        ));
        let mut further: Vec<String> = programs.map(|program| format!("=> {}", cut(&program))).collect();
        further.append(&mut marks);
        lines.extend(further.into_iter().map(|line| format!("{:42}{below}{line}", "")));
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n") + "\n"
}

/// For a ticket: nested lists.
pub(super) fn markdown(tree: &Tree) -> String {
    let mut out = format!("# Processes of {}\n\n", escape::markdown(&tree.title));
    for line in head(tree) {
        out.push_str(&format!("- {}\n", escape::markdown(&line)));
    }
    out.push('\n');
    for shown in walk(&tree.forest) {
        let process = shown.process;
        let indent = "  ".repeat(shown.depth);
        let pid = process.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        let ran: Vec<String> = programs(process).iter().map(|program| markdown_code(program)).collect();
        let mut line =
            format!("{indent}- {} {} pid {pid} {}", day(process.started), clock(process.started), ran.join(" => "));
        let mut notes: Vec<String> = vec![ending(process)];
        notes.extend(shown.place.as_ref().map(|place| escape::markdown(place)));
        notes.retain(|note| !note.is_empty());
        if !notes.is_empty() {
            line.push_str(&format!(" — {}", notes.join(", ")));
        }
        out.push_str(&line);
        out.push('\n');
        for mark in finding_marks(process) {
            out.push_str(&format!("{indent}  - **{}**\n", escape::markdown(&mark)));
        }
    }
    out
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    notes: &'a [String],
    cuts: &'a [String],
    /// Each process after its parent.
    processes: Vec<ProcessJson<'a>>,
}

#[derive(Serialize)]
struct ProcessJson<'a> {
    process_uid: &'a str,
    /// Generations below a root.
    depth: usize,
    node: &'a str,
    pid: Option<i64>,
    parent_process_uid: Option<&'a str>,
    parent_pid: Option<i64>,
    start_time: String,
    end_time: Option<String>,
    exit_code: Option<i64>,
    exit_signal: Option<i64>,
    programs: Vec<ProgramJson<'a>>,
    container: Option<&'a Container>,
    origin_container_id: Option<&'a str>,
    origin_pod: Option<&'a str>,
    /// Whether it was born in a container and is now in the host's mount namespace.
    in_host_mnt_ns: bool,
    ancestor_paths: &'a [String],
    findings: Vec<&'a str>,
}

#[derive(Serialize)]
struct ProgramJson<'a> {
    time: String,
    exec_seq: Option<i64>,
    cmd_line: &'a str,
    process_path: Option<&'a str>,
    imported_from: Option<&'a str>,
    existing: bool,
}

/// For programs.
pub(super) fn json(tree: &Tree) -> String {
    let processes = walk(&tree.forest).iter().map(|shown| process_json(shown.process, shown.depth)).collect();
    let document = Document { title: &tree.title, notes: &tree.notes, cuts: &tree.forest.cuts, processes };
    // Strings and numbers alone: nothing that JSON lacks.
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    escape::json(&text).into_owned() + "\n"
}

fn process_json(process: &Process, depth: usize) -> ProcessJson<'_> {
    let ended = process.ended.as_ref();
    let programs = process.programs.iter().map(|program| ProgramJson {
        time: rfc3339(program.time),
        exec_seq: program.exec_seq,
        cmd_line: &program.cmd_line,
        process_path: program.path.as_deref(),
        imported_from: program.imported_from.as_deref(),
        existing: program.existing,
    });
    ProcessJson {
        process_uid: &process.uid,
        depth,
        node: &process.node,
        pid: process.pid,
        parent_process_uid: process.parent_uid.as_deref(),
        parent_pid: process.parent_pid,
        start_time: rfc3339(process.started),
        end_time: ended.map(|(time, _)| rfc3339(*time)),
        exit_code: ended.and_then(|(_, detail)| detail.exit_code),
        exit_signal: ended.and_then(|(_, detail)| detail.exit_signal),
        programs: programs.collect(),
        container: process.container.as_ref(),
        origin_container_id: process.origin.as_ref().map(|origin| origin.container.as_str()),
        origin_pod: process.origin.as_ref().and_then(|origin| origin.pod.as_deref()),
        in_host_mnt_ns: process.in_host_mnt_ns,
        ancestor_paths: &process.ancestor_paths,
        findings: process.findings.iter().map(|finding| finding.finding_id.as_str()).collect(),
    }
}
