//! Users of one machine, told apart by the kernel: members of the group `kerntrail` read, nobody but root and the
//! program's own user writes, and the others get nothing.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use kerntrail_testbed::require;

use crate::program::{Program, Running, http, http_get, text, wait_for, write};
use crate::tetragon::lines;

/// A user and a group that the machine need not know.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// Runs `work` on a thread with the credentials of a user who is in `group`, or in none.
fn as_user<T: Send>(group: Option<u32>, work: impl FnOnce() -> T + Send) -> T {
    let lower = move || {
        let groups: Vec<libc::gid_t> = group.into_iter().collect();
        // SAFETY: the calls read `groups` only, which outlives them; made directly, they change this thread alone.
        let failed = unsafe {
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())
                | libc::syscall(libc::SYS_setresgid, USER, USER, USER)
                | libc::syscall(libc::SYS_setresuid, USER, USER, USER)
        };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
    };
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            lower();
            work()
        });
        done.join().expect("the thread")
    })
}

/// The answer to a request over the Unix socket.
fn over_socket(socket: &Path, request: &str, body: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The program, for which the group `kerntrail` exists: it sees a list of groups of its own.
fn start(program: &Program) -> Running {
    let groups =
        write(program.data_dir().parent().unwrap(), "group", format!("root:x:0:\nkerntrail:x:{GROUP}:\n").as_bytes());
    let run = program.command(&["run", "--collector-enabled=false"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount --bind \"$1\" /etc/group && shift && exec \"$@\"").arg("sh").arg(groups);
    command.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let running = Running::spawn(command);
    wait_for("it is ready", || match http_get(&program.address(), "/readyz") {
        Ok(answer) if answer.contains("200 OK") => Ok(()),
        other => Err(format!("{other:?}\n{}", running.log())),
    });
    running
}

/// Every file and folder below `folder`, with its mode and group.
fn modes(folder: &Path, found: &mut Vec<(String, u32, u32)>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let metadata = entry.metadata().expect("metadata");
        found.push((entry.path().display().to_string(), metadata.mode(), metadata.gid()));
        if metadata.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[test]
fn members_of_the_group_read_and_others_do_not() {
    if !require::root() {
        return;
    }
    let program = Program::new();
    let top = program.data_dir().parent().unwrap().to_owned();
    std::fs::set_permissions(&top, std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = program.path("kerntrail");
    std::fs::copy(env!("CARGO_BIN_EXE_kerntrail"), &copy).unwrap();
    let running = start(&program);
    let file = write(&top, "export.json", lines(0, 10).as_bytes());
    program.run(&["replay", "-q", file.to_str().unwrap()]);

    let (socket, token) = (program.data_dir().join("socket"), program.data_dir().join("token"));
    let query = || over_socket(&socket, "POST /api/v1/query", "select count(*) as n from process_events");
    let import = || over_socket(&socket, "POST /api/v1/import?name=x", &lines(10, 20));
    let replay = || over_socket(&socket, "POST /api/v1/rejected/replay", "{}");

    let answer = as_user(Some(GROUP), query).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("10"), "{answer}");
    for (what, answer) in [("import", as_user(Some(GROUP), import)), ("replay", as_user(Some(GROUP), replay))] {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
    }
    for (what, refused) in [("query", as_user(None, query)), ("import", as_user(None, import))] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
    }
    let refused = as_user(None, || std::fs::read_to_string(&token)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    let secret = as_user(Some(GROUP), || std::fs::read_to_string(&token)).unwrap();
    let bearer = format!("Bearer {}", secret.trim());
    let headers = [("Authorization", bearer.as_str())];
    let answer = http(&program.address(), "POST", "/api/v1/query", &headers, b"select 1 as n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // The command line, as the same two users.
    let sql = "select count(*) as n from process_events";
    for (groups, expected) in [(format!("--groups={GROUP}"), Some("10")), ("--clear-groups".to_owned(), None)] {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), &groups]).arg(&copy);
        command.args(["query", sql, "-o", "csv", "--data-dir"]).arg(program.data_dir());
        let output = command.output().unwrap();
        let shown = text(&output.stdout);
        assert_eq!(shown.lines().nth(1), expected, "{groups}: {shown}{}", text(&output.stderr));
    }

    let mut found = Vec::new();
    modes(&program.data_dir(), &mut found);
    assert!(found.len() > 10, "{found:?}");
    let open: Vec<_> = found.iter().filter(|(_, mode, group)| mode & 0o007 != 0 || *group != GROUP).collect();
    assert!(open.is_empty(), "others than the group: {open:?}");
    let answer = over_socket(&socket, "POST /api/v1/import?name=x", &lines(10, 20)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"rows\":10"), "root: {answer}");
    assert_eq!(running.terminate(), 0);
}
