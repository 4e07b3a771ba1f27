//! Hostile statements and clients, against the program as a user starts it: none harms another query, storage, or the
//! program itself.
//!
//! `hostile/statements.txt` has a statement a line: name, expectation and the statement, with tabs between them.
//! `refused` is an error of the user's kind, `limit` one about size; `any` may also answer, time out or be interrupted.
//! Long statements are written as `{repeat:N:text}`, `{nest:N:open:close:core}` and `{join:N:separator:text}`, where `#`
//! in the text becomes a number; `\:` is a colon.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use kerntrail_testbed::wait;

use crate::program::{LIMIT, Program, Running, http_get, text, wait_for, write};
use crate::tetragon::lines;

const STATEMENTS: &str = include_str!("hostile/statements.txt");
/// Time that a statement asks for which may be executed.
const TIMEOUT: &str = "1s";
/// Time for what must have one answer, however busy the machine is.
const PATIENCE: &str = "4m";
/// Statements at a time: less than may run, so that an honest one never has to wait for a slot.
const AT_A_TIME: usize = 4;
/// Memory of the query process.
const MEMORY: u64 = 1 << 30;
/// Pages of the program's file, which its processes share.
const SHARED: u64 = 256 << 20;
/// Address space of the threads' stacks, which a limit on mapped memory has to let through.
const STACKS: u64 = 1 << 30;

/// `template` with what its braces stand for.
fn expand(template: &str) -> String {
    let (mut out, mut rest) = (String::new(), template);
    let kinds = ["repeat", "nest", "join"];
    while let Some((start, kind)) =
        kinds.iter().filter_map(|kind| Some((rest.find(&format!("{{{kind}:"))?, *kind))).min()
    {
        let end = start + rest[start..].find('}').expect("a closing brace");
        let parts = parts(&rest[start + kind.len() + 2..end]);
        let count: usize = parts[0].parse().expect("a count");
        out.push_str(&rest[..start]);
        match kind {
            "repeat" => out.push_str(&parts[1].repeat(count)),
            "nest" => out.push_str(&format!("{}{}{}", parts[1].repeat(count), parts[3], parts[2].repeat(count))),
            _ => {
                let items: Vec<String> = (0..count).map(|number| parts[2].replace('#', &number.to_string())).collect();
                out.push_str(&items.join(&parts[1]));
            }
        }
        rest = &rest[end + 1..];
    }
    out + rest
}

/// Splits at colons that no backslash is in front of.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.peek() == Some(&':') => {
                chars.next();
                parts.last_mut().expect("a part").push(':');
            }
            ':' => parts.push(String::new()),
            other => parts.last_mut().expect("a part").push(other),
        }
    }
    parts
}

/// The answer's kind: of its error, or `answered`.
fn kind(answer: &str) -> &str {
    match answer.rfind("\"error\":{\"kind\":\"") {
        Some(at) => answer[at + 17..].split('"').next().unwrap_or_default(),
        None if answer.starts_with("HTTP/1.1 200") => "answered",
        None => answer.lines().next().unwrap_or("nothing"),
    }
}

/// The program with some history, and an import whose rows must be committed at the end.
fn served() -> (Program, Running) {
    let program = Program::new();
    let timeout = format!("--query-timeout={PATIENCE}");
    let bounds = ["--serve-memory=1GiB", "--query-max-rows=100000", timeout.as_str()];
    let running = program.start(&[&["--collector-enabled=false"], &bounds[..]].concat());
    import(&program, 0, 1_000);
    (program, running)
}

fn import(program: &Program, from: u64, to: u64) {
    let file = write(&program.data_dir(), "export.json", lines(from, to).as_bytes());
    program.run(&["replay", "-q", file.to_str().expect("a path")]);
}

fn ask(program: &Program, sql: &str, timeout: &str) -> String {
    let sql = sql.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    program.post(
        "/api/v1/query",
        "application/json",
        format!("{{\"sql\":\"{sql}\",\"timeout\":\"{timeout}\"}}").as_bytes(),
    )
}

/// The largest memory that any process which `parent` started has had so far, in bytes, by its process id; without what
/// does not count in its bound.
fn peaks(parent: u32, peaks: &mut BTreeMap<u32, u64>) {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    for child in of_threads
        .chain([children])
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>())
    {
        // The kernel bounds resident memory by a cgroup, and mapped memory without one.
        let groups = std::fs::read_to_string(format!("/proc/{child}/cgroup")).unwrap_or_default();
        let slack = if groups.contains("kerntrail-queries-") { SHARED } else { SHARED + STACKS };
        if let Some(peak) = peak(child) {
            peaks.insert(child, peak.saturating_sub(slack));
        }
    }
}

/// The largest resident memory of a process so far (proc_pid_status(5)).
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Asks an honest question over and over until `stop`; panics when one is not answered in time. An answer may be
/// interrupted, or refused while the query process starts; then it is asked again.
fn honest(program: &Program, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        wait_for("an honest query is answered", || {
            let answer = ask(program, "select count(*) as n from process_events", "60s");
            match kind(&answer) {
                "answered" => Ok(()),
                "interrupted" | "busy" => Err(answer),
                other => panic!("an honest query got {other}: {answer}"),
            }
        });
    }
}

/// Sends a hostile statement; what is wrong with its answer.
fn check(program: &Program, name: &str, expected: &str, sql: &str) -> Option<String> {
    let right: &[&str] = match expected {
        "refused" => &["user", "read_only"],
        "limit" => &["limit"],
        _ => &["answered", "user", "read_only", "limit", "timeout", "interrupted", "busy"],
    };
    // What must be refused is, however long the others keep it waiting.
    let timeout = if expected == "any" { TIMEOUT } else { PATIENCE };
    let seen = wait::until("its answer", LIMIT, || {
        let answer = ask(program, sql, timeout);
        let kind = kind(&answer);
        if right.contains(&kind) {
            return Ok(Ok(()));
        }
        let end: String = answer.chars().skip(answer.chars().count().saturating_sub(300)).collect();
        let wrong = format!("{name} is not {expected}: {kind}: {end}");
        // Another statement may have ended the process meanwhile, or hold all slots.
        if matches!(kind, "interrupted" | "busy") { Err(anyhow::Error::msg(wrong)) } else { Ok(Err(wrong)) }
    });
    seen.map_err(|error| format!("{error:#}")).and_then(|seen| seen).err()
}

#[test]
fn hostile_statements_harm_nobody() {
    let (program, running) = served();
    let cases: Vec<(&str, &str, &str)> = STATEMENTS
        .lines()
        .map(|line| {
            let mut columns = line.splitn(3, '\t');
            let mut column = || columns.next().unwrap_or_else(|| panic!("three columns: {line}"));
            (column(), column(), column())
        })
        .collect();
    let (stop, next) = (AtomicBool::new(false), std::sync::Mutex::new(cases.iter()));
    let wrong = std::sync::Mutex::new(Vec::new());
    let mut memory = BTreeMap::new();
    std::thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&program, &stop));
        let hostile: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let case = next.lock().expect("the list").next();
                        let Some((name, expected, template)) = case else { return };
                        wrong.lock().expect("the list").extend(check(&program, name, expected, &expand(template)));
                    }
                })
            })
            .collect();
        // Rows are committed meanwhile.
        let mut imported = 1_000;
        while !hostile.iter().all(|thread| thread.is_finished()) {
            import(&program, imported, imported + 100);
            imported += 100;
            peaks(running.id(), &mut memory);
        }
        stop.store(true, Ordering::Relaxed);
        hostile.into_iter().for_each(|thread| thread.join().expect("a hostile client"));
        honest.join().expect("an honest client");
        assert_eq!(program.count("select count(*) from process_events"), imported);
    });
    let wrong = wrong.into_inner().expect("the list");
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}\n{}", wrong.len(), cases.len(), running.log());
    let too_large: Vec<_> = memory.iter().filter(|(_, peak)| **peak > MEMORY).collect();
    assert!(too_large.is_empty() && !memory.is_empty(), "{memory:?}");
    assert!(http_get(&program.address(), "/readyz").expect("an answer").contains("200 OK"));
    assert_eq!(running.terminate(), 0);
}

/// A client's behaviour: what it sends, and whether it then reads the answer.
struct Client {
    name: &'static str,
    sends: Vec<u8>,
    reads: bool,
    /// Starts of answers that are right; empty: any, or none.
    answers: &'static [&'static str],
}

fn clients(token: &str) -> Vec<Client> {
    let client = |name, sends: &str, answers| Client { name, sends: sends.as_bytes().to_vec(), reads: true, answers };
    let refused: &[&str] = &["HTTP/1.1 4", ""];
    let request = |head: &str, body: &str| {
        format!("{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nConnection: close\r\n{body}")
    };
    let query = |body: &str| {
        request(
            "POST /api/v1/query",
            &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        )
    };
    let long = |text: &str, count: usize| text.repeat(count);
    vec![
        client("a huge header", &request("GET /healthz", &format!("X: {}\r\n\r\n", long("a", 1 << 20))), refused),
        client("many headers", &request("GET /healthz", &format!("{}\r\n", long("X: y\r\n", 100_000))), refused),
        client(
            "a huge target",
            &format!("GET /api/v1/tree?pod={} HTTP/1.1\r\nHost: localhost\r\n\r\n", long("a", 1 << 20)),
            refused,
        ),
        client("odd escapes", &request("GET /api/v1/tree?pod=%00%ff%zz%E2%28", "\r\n"), &["HTTP/1.1 400"]),
        client(
            "a parameter twice",
            &request(&format!("GET /api/v1/tree?{}", long("pod=a&", 2_000)), "\r\n"),
            &["HTTP/1.1 400"],
        ),
        client(
            "unknown parameters",
            &request(&format!("GET /api/v1/tree?{}", long("x=1&", 2_000)), "\r\n"),
            &["HTTP/1.1 400"],
        ),
        client("a path with dots", &request("GET /api/v1/../../etc/passwd", "\r\n"), &["HTTP/1.1 404"]),
        client(
            "another host's target",
            "POST http://evil.example/api/v1/query HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            &["HTTP/1.1 403"],
        ),
        client("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", refused),
        client("no host", "GET /api/v1/tree HTTP/1.1\r\n\r\n", refused),
        client(
            "two hosts",
            "GET /api/v1/tree HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            refused,
        ),
        client("HTTP/1.0", "GET /api/v1/tree HTTP/1.0\r\n\r\n", &["HTTP/1.0 403", "HTTP/1.1 403"]),
        client("HTTP/0.9", "GET /healthz\r\n\r\n", refused),
        client("HTTP/9.9", "GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", refused),
        client("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused),
        client("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n", refused),
        client("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", refused),
        client("zero bytes in the head", "GET /healthz HTTP/1.1\r\nHost: local\0host\r\n\r\n", refused),
        client("an upgrade", &request("GET /api/v1/query", "Upgrade: websocket\r\n\r\n"), &["HTTP/1.1 405"]),
        client("another method", &request("DELETE /api/v1/query", "\r\n"), &["HTTP/1.1 405"]),
        client("a method of one's own", &request("POSSST /api/v1/query", "\r\n"), &["HTTP/1.1 405"]),
        client("a trace", &request("TRACE /healthz", "\r\n"), &["HTTP/1.1 405"]),
        client(
            "a body that is too large",
            &request("POST /api/v1/query", &format!("Content-Length: 2000000\r\n\r\n{}", long("a", 2_000_000))),
            &["HTTP/1.1 413", ""],
        ),
        client(
            "an endless body",
            &request(
                "POST /api/v1/query",
                &format!("Transfer-Encoding: chunked\r\n\r\n{}", long("10000\r\n", 1) + &long("a", 1 << 21)),
            ),
            &["HTTP/1.1 4", ""],
        ),
        client(
            "endless chunk extensions",
            &request("POST /api/v1/query", &format!("Transfer-Encoding: chunked\r\n\r\n1;{}", long("a", 1 << 20))),
            refused,
        ),
        client(
            "two lengths",
            &request("POST /api/v1/query", "Content-Length: 8\r\nContent-Length: 9\r\n\r\nselect 1"),
            refused,
        ),
        client(
            "length and chunks",
            &request("POST /api/v1/query", "Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            &["HTTP/1.1 4", "HTTP/1.1 2", ""],
        ),
        client("a negative length", &request("POST /api/v1/query", "Content-Length: -1\r\n\r\n"), refused),
        client("JSON of another type", &query("[1, 2]"), &["HTTP/1.1 400"]),
        client(
            "deep JSON",
            &query(&format!("{{\"sql\": {}1{}}}", long("[", 100_000), long("]", 100_000))),
            &["HTTP/1.1 400"],
        ),
        client(
            "an endless number",
            &query(&format!("{{\"sql\": \"select 1\", \"max_rows\": {}}}", long("9", 100_000))),
            &["HTTP/1.1 400"],
        ),
        client("a negative timeout", &query("{\"sql\": \"select 1\", \"timeout\": -1}"), &["HTTP/1.1 400"]),
        client(
            "bytes that are no text",
            &request("POST /api/v1/query", "Content-Length: 2\r\n\r\n\u{7f}\0"),
            &["HTTP/1.1 400"],
        ),
        client(
            "another site",
            &request("POST /api/v1/query", "Origin: http://evil.example\r\nContent-Length: 8\r\n\r\nselect 1"),
            &["HTTP/1.1 403"],
        ),
        client(
            "another site's link",
            &request("GET /api/v1/tree", "Sec-Fetch-Site: cross-site\r\n\r\n"),
            &["HTTP/1.1 403"],
        ),
        client(
            "no token",
            "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 8\r\n\r\nselect 1",
            &["HTTP/1.1 401"],
        ),
        client(
            "a wrong token",
            "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0\r\nConnection: close\r\nContent-Length: 8\r\n\r\nselect 1",
            &["HTTP/1.1 401"],
        ),
        client(
            "a forged caller",
            "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nkerntrail-caller: {\"name\":\"root\",\"origin\":\"process\",\"rights\":\"write\"}\r\nConnection: close\r\nContent-Length: 8\r\n\r\nselect 1",
            &["HTTP/1.1 401"],
        ),
        client(
            "an import with the token",
            &request("POST /api/v1/import?name=x", "Content-Length: 2\r\n\r\n{}"),
            &["HTTP/1.1 403"],
        ),
        client(
            "a replay with the token",
            &request("POST /api/v1/rejected/replay", "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
            &["HTTP/1.1 403"],
        ),
        Client {
            reads: false,
            ..client(
                "a large answer that nobody reads",
                &query("{\"sql\": \"select repeat('a', 1000) from range(100000)\"}"),
                &[],
            )
        },
    ]
}

fn answers_honest(program: &Program, after: &str) {
    let answer = ask(program, "select 1 as n", PATIENCE);
    assert_eq!(kind(&answer), "answered", "an honest query after {after}: {answer}");
}

#[test]
fn hostile_clients_harm_nobody() {
    let (program, running) = served();
    let token = program.authorization();
    let mut unread = Vec::new();
    for client in clients(&token) {
        let mut socket = TcpStream::connect(program.address()).expect("a connection");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        // The server may refuse it before it has everything.
        let _ = socket.write_all(&client.sends);
        if !client.reads {
            unread.push(socket);
            continue;
        }
        // A client that is done sending is gone for the server, so only those may be whose request has no end.
        if client.answers.contains(&"") {
            let _ = socket.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let answer = text(&answer);
        let right = client.answers.iter().any(|start| match *start {
            "" => answer.is_empty(),
            start => answer.starts_with(start),
        });
        assert!(right, "{}: {:.300}\n{}", client.name, answer, running.log());
        answers_honest(&program, client.name);
    }
    // As many silent connections as there is room for, on both sockets, and more: they make room for others.
    let tcp: Vec<_> = (0..600).filter_map(|_| TcpStream::connect(program.address()).ok()).collect();
    let unix: Vec<_> = (0..600).filter_map(|_| UnixStream::connect(program.data_dir().join("socket")).ok()).collect();
    assert!(tcp.len() + unix.len() > 600, "{} {}", tcp.len(), unix.len());
    answers_honest(&program, "silent connections");
    // And as many that began a request.
    let begun: Vec<_> = (0..600)
        .filter_map(|_| {
            let mut socket = TcpStream::connect(program.address()).ok()?;
            let head = format!("POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n");
            socket.write_all(format!("{head}Content-Length: 100\r\n\r\nselect").as_bytes()).ok()?;
            Some(socket)
        })
        .collect();
    answers_honest(&program, "requests that only began");
    let before = program.count("select count(*) from process_events");
    // An import that hardly sends anything gives way to another one.
    let mut slow = UnixStream::connect(program.data_dir().join("socket")).expect("a connection");
    let head = "POST /api/v1/import?name=slow HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    slow.write_all(format!("{head}1\r\n{{\r\n").as_bytes()).expect("a request");
    slow.set_nonblocking(true).expect("a socket");
    let mut answer = String::new();
    wait_for("the slow import says why it ended", || {
        // Adds the same rows once; waits if the slow import came first.
        import(&program, before, before + 100);
        let mut part = [0; 4096];
        let length = slow.read(&mut part).unwrap_or(0);
        answer.push_str(&text(&part[..length]));
        if answer.contains("another import waits") { Ok(()) } else { Err(answer.clone()) }
    });
    assert_eq!(program.count("select count(*) from process_events"), before + 100);
    drop((unread, tcp, unix, begun, slow));
    assert_eq!(running.terminate(), 0);
}

#[test]
fn a_dead_query_process_is_replaced_and_nothing_else_notices() {
    let (program, running) = served();
    let mut killed = BTreeMap::new();
    peaks(running.id(), &mut killed);
    let (&child, _) = killed.first_key_value().expect("a query process");
    std::thread::scope(|scope| {
        let slow = "select count(*) from range(100000) a cross join range(100000) b where a.value < b.value - 100000";
        let interrupted = scope.spawn(|| ask(&program, slow, "60s"));
        wait_for("the query runs", || {
            let metrics = http_get(&program.address(), "/metrics").map_err(|error| error.to_string())?;
            if metrics.contains("kerntrail_query_running 1") { Ok(()) } else { Err(metrics) }
        });
        // SAFETY: the process is a child of the program that this test started, and still runs a query.
        unsafe { libc::kill(child as libc::pid_t, libc::SIGKILL) };
        let answer = interrupted.join().expect("a client");
        assert!(answer.starts_with("HTTP/1.1 503") && kind(&answer) == "interrupted", "{answer}");
    });
    let answer = ask(&program, "select count(*) as n from process_events", PATIENCE);
    assert_eq!(kind(&answer), "answered", "{answer}");
    assert!(running.log().contains("the query process ended"), "{}", running.log());
    import(&program, 1_000, 1_100);
    assert_eq!(program.count("select count(*) from process_events"), 1_100);
    assert_eq!(running.terminate(), 0);
}
