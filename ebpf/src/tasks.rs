//! Runs the task iterator: the processes that already ran when the programs were attached.

use std::fs;
use std::io::{self, Read};
use std::mem::offset_of;
use std::path::Path;

use aya::programs::links::LinkError;
use aya::programs::{Iter, ProgramError};

use crate::Batch;
use crate::probes::process::Program;
use crate::records::{self, Header, flags};

/// As many bytes of arguments as an exec record holds.
const ARGS_MAX: usize = 8192;
/// Clock tick of /proc/<pid>/stat, ns: USER_HZ is 100 on all machines the programs compile for.
const TICK_NS: u64 = 10_000_000;

/// One record for each process, arguments from `procfs` added.
pub(crate) fn run(program: &mut Iter, procfs: &Path) -> Result<Batch, TasksError> {
    let link = program.attach().map_err(TasksError::Attach)?;
    let link = program.take_link(link).map_err(TasksError::Attach)?;
    let mut bytes = Vec::new();
    link.into_file().map_err(TasksError::Open)?.read_to_end(&mut bytes).map_err(TasksError::Read)?;
    let mut batch = Batch::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (record, after) = split_record(rest).ok_or(TasksError::Cut { bytes: rest.len() })?;
        push_with_args(&mut batch, record, procfs);
        rest = after;
    }
    Ok(batch)
}

/// Why the task iterator failed.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// It can't be started.
    #[error("cannot start the task iterator")]
    Attach(#[source] ProgramError),
    /// Its output can't be opened.
    #[error("cannot open the task iterator")]
    Open(#[source] LinkError),
    /// Reading it failed.
    #[error("cannot read the task iterator")]
    Read(#[source] io::Error),
    /// It ended inside a record.
    #[error("the task iterator ended inside a record, {bytes} bytes in")]
    Cut {
        /// Bytes of the record that were read.
        bytes: usize,
    },
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, _) = records::read::<Header>(bytes)?;
    let size = header.size as usize;
    if size < size_of::<Program>() { None } else { bytes.split_at_checked(size) }
}

fn push_with_args(batch: &mut Batch, record: &[u8], procfs: &Path) {
    let args = records::read::<Program>(record).and_then(|(program, _)| args_of(&program, procfs));
    let Some((args, cut)) = args else {
        batch.push(record);
        return;
    };
    let mut fixed = record.to_vec();
    let mut put = |offset: usize, value: u32| fixed[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    let number = |offset: usize| {
        u32::from_ne_bytes([record[offset], record[offset + 1], record[offset + 2], record[offset + 3]])
    };
    let (size, flag) = (offset_of!(Header, size), offset_of!(Header, flags));
    put(size, number(size) + args.len() as u32);
    put(flag, number(flag) & !flags::ARGS_UNREAD | if cut { flags::ARGS_CUT } else { 0 });
    put(offset_of!(Program, args_len), args.len() as u32);
    batch.push_parts(&[&fixed, &args]);
}

/// The arguments, and whether they were truncated. `None` when they can't be read, the process has exited, or `procfs`
/// is of another pid namespace: then the pid belongs to a process with another start time.
fn args_of(program: &Program, procfs: &Path) -> Option<(Vec<u8>, bool)> {
    if program.header.flags & (flags::KERNEL_THREAD | flags::EXE_UNREAD) != 0 {
        return None;
    }
    let process = program.task.process;
    let folder = procfs.join(process.tgid.to_string());
    let mut args = Vec::new();
    fs::File::open(folder.join("cmdline")).ok()?.take(ARGS_MAX as u64 + 1).read_to_end(&mut args).ok()?;
    let cut = args.len() > ARGS_MAX;
    args.truncate(ARGS_MAX);
    let started = start_ticks(&fs::read(folder.join("stat")).ok()?)?;
    (started == process.start_boottime / TICK_NS).then_some((args, cut))
}

/// Field 22 of /proc/<pid>/stat; the name in field 2 may hold anything, its parenthesis closes last.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(&stat[name_end + 1..]).ok()?.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_after_any_process_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        for name in ["(cat)", "(a b)", "(x) S (y)"] {
            assert_eq!(start_ticks(format!("7 {name} {rest}").as_bytes()), Some(4242), "{name}");
        }
        assert_eq!(start_ticks(b"7 (cat"), None);
        assert_eq!(start_ticks(b"7 (cat) S 1"), None);
    }

    #[test]
    fn bytes_that_are_not_a_record_are_rejected() {
        assert!(split_record(&[0; 8]).is_none());
        assert!(split_record(&[0; 512]).is_none());
        assert!(split_record(&[0xff; 512]).is_none());
    }
}
