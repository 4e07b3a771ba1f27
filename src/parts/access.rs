//! Who on this machine may reach the history: the user that runs the program, root, and members of the group
//! `kerntrail`. Files are theirs alone, and they alone can use the Unix socket and read the token for TCP.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use kerntrail_common::durable;
use kerntrail_query_service::server::Token;
use tokio::net::UnixListener;

use crate::config::Config;
use crate::parts;

/// The group whose members may read.
const GROUP: &std::ffi::CStr = c"kerntrail";
/// What the process's files and folders are not: writable for the group, or anything for others.
const UMASK: libc::mode_t = 0o027;
/// Bytes of a path that fits into the address of a Unix socket (unix(7)), with its terminating null.
const LONGEST_ADDRESS: usize = 108;

/// Makes everything that this process creates accessible to its user and the group alone, whatever its umask was.
/// Before other threads start.
pub fn restrict() {
    // SAFETY: sets a number of this process, and cannot fail.
    unsafe { libc::umask(UMASK) };
    // SAFETY: no other thread runs; what is returned is read before another call could change it.
    let group = unsafe { libc::getgrnam(GROUP.as_ptr()).as_ref() };
    if let Some(group) = group {
        // SAFETY: sets a number of this process. A user who may not do this keeps the own group.
        unsafe { libc::setegid(group.gr_gid) };
    }
}

/// Creates the data folder.
pub fn create_data_dir(config: &Config) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(&config.data_dir)
        .with_context(|| format!("cannot create the data folder {}", config.data_dir.display()))
}

/// Warns of folders that other users can read: command lines hold secrets.
pub fn warn_of_readers(config: &Config) {
    let lake = PathBuf::from(parts::lake_uri(config));
    for folder in [&config.data_dir, &lake] {
        if let Ok(metadata) = std::fs::metadata(folder)
            && metadata.permissions().mode() & 0o007 != 0
            && (*folder == config.data_dir || !folder.starts_with(&config.data_dir))
        {
            tracing::warn!("other users can read {0}: chmod o= {0}", folder.display());
        }
    }
}

/// The Unix socket of a server with this data folder.
pub fn socket_path(config: &Config) -> PathBuf {
    config.data_dir.join("socket")
}

/// `socket` by a path that fits into an address, and what keeps that path valid.
pub fn short_path(socket: &Path) -> io::Result<(PathBuf, Option<std::fs::File>)> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    if socket.as_os_str().len() < LONGEST_ADDRESS {
        return Ok((socket.to_owned(), None));
    }
    let folder = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(folder)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name), Some(folder)))
}

/// Listens on the Unix socket, in place of one that a killed server left.
pub fn bind(config: &Config) -> anyhow::Result<UnixListener> {
    let path = socket_path(config);
    let bound = || -> io::Result<UnixListener> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short, _folder) = short_path(&path)?;
        let listener = UnixListener::bind(short)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o660))?;
        Ok(listener)
    };
    bound().with_context(|| format!("cannot listen on {}", path.display()))
}

/// The token for TCP; made when there is none yet.
pub fn token(config: &Config) -> anyhow::Result<Token> {
    let path = config.data_dir.join("token");
    let secret = read_or_create(&path).with_context(|| format!("cannot read or create {}", path.display()))?;
    Ok(Token::new(&secret, &path.display().to_string()))
}

fn read_or_create(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => {
            let mode = std::fs::metadata(path)?.permissions().mode();
            if mode & 0o007 != 0 {
                tracing::warn!("other users could read {}, so it is replaced", path.display());
                return create(path);
            }
            Ok(text.trim().to_owned())
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => create(path),
    }
}

fn create(path: &Path) -> io::Result<String> {
    let mut random = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    durable::replace(path, format!("{secret}\n").as_bytes())?;
    Ok(secret)
}
