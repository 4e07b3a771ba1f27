//! What the kernel says when it refuses a program.

use std::error::Error;
use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::sys::SyscallError;
use kerntrail_common::error::chain;

use crate::probes::Probe;

/// Why the kernel does not run a program.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its verifier objects.
    #[error("the verifier rejects it: {verdict}")]
    Verifier {
        /// The end of the verifier's log.
        verdict: String,
        /// Error of bpf(2).
        source: io::Error,
    },
    /// Loading fails for another reason, such as a tracepoint that this kernel lacks, so there is no verdict.
    #[error("it cannot be loaded")]
    Load(#[source] ProgramError),
    /// It can't be attached.
    #[error("it cannot be attached to {hook}")]
    Attach {
        /// Name of the tracepoint.
        hook: String,
        /// Why.
        source: ProgramError,
    },
    /// The ids of system call tracepoints can't be read.
    #[error("tracefs is not mounted and cannot be mounted; run as root: mount -t tracefs tracefs /sys/kernel/tracing")]
    Tracefs(#[source] io::Error),
    /// A probe that it depends on is not there.
    #[error("it depends on probe {0}, which is not supported")]
    DependsOn(&'static str),
}

/// Errors that say nothing about the program: a signal came in between, or memory or descriptors ran out.
const TRANSIENT: [i32; 5] = [libc::EAGAIN, libc::EINTR, libc::ENOMEM, libc::EMFILE, libc::ENFILE];

impl Refusal {
    pub(crate) fn of_load(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                tracing::debug!(%log, "the verifier's log");
                Self::of_verifier(io_error, &log)
            }
            error => Self::Load(error),
        }
    }

    fn of_verifier(io_error: io::Error, log: &str) -> Self {
        match verdict(log) {
            Some(verdict) => Self::Verifier { verdict: verdict.to_owned(), source: io_error },
            None => Self::Load(SyscallError { call: "bpf_prog_load", io_error }.into()),
        }
    }

    /// Whether the kernel may accept the same program the next time.
    pub(crate) fn is_transient(&self) -> bool {
        let code = match self {
            Self::Verifier { source, .. } | Self::Tracefs(source) => source.raw_os_error(),
            Self::Load(error) | Self::Attach { source: error, .. } => os_error(error),
            Self::DependsOn(_) => None,
        };
        code.is_some_and(|code| TRANSIENT.contains(&code))
    }
}

/// The errno that `error` comes from.
fn os_error(error: &ProgramError) -> Option<i32> {
    match error {
        // Transparent: they are no source of their own.
        ProgramError::IOError(error) | ProgramError::MapError(MapError::IoError(error)) => error.raw_os_error(),
        error => std::iter::successors(error.source(), |error| (*error).source())
            .find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error()),
    }
}

/// The last line of a verifier's log that states a cause, before the statistics; `None` when the verifier names none.
fn verdict(log: &str) -> Option<&str> {
    let statistics = ["processed ", "verification time ", "stack depth ", "max_states"];
    let is_cause = |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
    log.lines().map(str::trim).rfind(is_cause)
}

/// An optional probe that this kernel refuses.
#[derive(Clone, Debug)]
pub struct RefusedProbe {
    /// The probe; its activities are incomplete.
    pub probe: &'static Probe,
    /// The program that was refused.
    pub program: &'static str,
    /// The kernel's reason, in a line.
    pub reason: String,
}

impl RefusedProbe {
    pub(crate) fn new(probe: &'static Probe, program: &'static str, refusal: &Refusal) -> Self {
        Self { probe, program, reason: chain(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use aya::programs::trace_point::TracePointError;

    use super::*;

    #[test]
    fn the_verdict_is_the_last_line_with_a_cause() {
        let log = "0: (b7) r0 = 0\nR1 invalid mem access 'scalar'\n\nverification time 3 usec\nstack depth 0\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n";
        for (log, expected) in [(log, Some("R1 invalid mem access 'scalar'")), ("processed 2 insns", None), ("", None)]
        {
            assert_eq!(verdict(log), expected);
        }
    }

    fn load(code: i32, log: &str) -> Refusal {
        Refusal::of_verifier(io::Error::from_raw_os_error(code), log)
    }

    #[test]
    fn a_verdict_is_only_reported_with_the_log_of_the_verifier() {
        let cases = [
            (load(libc::EACCES, "R1 invalid mem access 'scalar'\n"), "the verifier rejects it: R1 invalid mem access"),
            (load(libc::E2BIG, ""), "it cannot be loaded: `bpf_prog_load` failed: Argument list too long"),
            (
                load(libc::EINVAL, "processed 2 insns\n"),
                "it cannot be loaded: `bpf_prog_load` failed: Invalid argument",
            ),
            (Refusal::of_load(ProgramError::UnexpectedProgramType), "it cannot be loaded: unexpected program type"),
        ];
        for (refusal, expected) in cases {
            let said = chain(&refusal);
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn a_lack_of_memory_or_descriptors_or_a_signal_is_not_a_refusal() {
        let io = io::Error::from_raw_os_error;
        let call = |code| SyscallError { call: "bpf_raw_tracepoint_open", io_error: io(code) };
        let attach = |source| Refusal::Attach { hook: "tp_btf/a".into(), source };
        let file = |io_error| TracePointError::FileError { filename: "/sys/kernel/tracing/id".into(), io_error };
        let shapes = |code: i32| {
            [
                load(code, ""),
                load(code, "R1 invalid mem access 'scalar'"),
                Refusal::of_load(call(code).into()),
                attach(call(code).into()),
                attach(file(io(code)).into()),
                attach(io(code).into()),
                attach(MapError::IoError(io(code)).into()),
                Refusal::Tracefs(io(code)),
            ]
        };
        let cases = [
            (libc::EAGAIN, true),
            (libc::EINTR, true),
            (libc::ENOMEM, true),
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::EPERM, false),
            (libc::EACCES, false),
            (libc::EINVAL, false),
            (libc::ENOENT, false),
            (libc::E2BIG, false),
        ];
        for (code, expected) in cases {
            for refusal in shapes(code) {
                assert_eq!(refusal.is_transient(), expected, "{}", chain(&refusal));
            }
        }
        for refusal in [Refusal::DependsOn("connections"), Refusal::of_load(ProgramError::UnexpectedProgramType)] {
            assert!(!refusal.is_transient(), "{}", chain(&refusal));
        }
    }
}
