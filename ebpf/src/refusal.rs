//! What the kernel says when it refuses a program.

use std::io;

use aya::programs::ProgramError;
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
    /// It can't be loaded for another reason, such as a tracepoint that this kernel lacks.
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

impl Refusal {
    pub(crate) fn of_load(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                tracing::debug!(%log, "the verifier's log");
                Self::Verifier { verdict: verdict(&log), source: io_error }
            }
            error => Self::Load(error),
        }
    }
}

/// The last line of a verifier's log that tells a cause: statistics follow it.
fn verdict(log: &str) -> String {
    let statistics = ["processed ", "verification time ", "stack depth ", "max_states"];
    let tells = |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
    log.lines().map(str::trim).rfind(tells).unwrap_or("no reason given").to_owned()
}

/// An optional probe that this kernel refuses.
#[derive(Clone, Debug)]
pub struct NotSupported {
    /// The probe; its activities are incomplete.
    pub probe: &'static Probe,
    /// The program that was refused.
    pub program: &'static str,
    /// The kernel's reason, in a line.
    pub reason: String,
}

impl NotSupported {
    pub(crate) fn new(probe: &'static Probe, program: &'static str, refusal: &Refusal) -> Self {
        Self { probe, program, reason: chain(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_last_line_that_tells_a_cause() {
        let log = "0: (b7) r0 = 0\nR1 invalid mem access 'scalar'\n\nverification time 3 usec\nstack depth 0\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n";
        for (log, expected) in [(log, "R1 invalid mem access 'scalar'"), ("processed 2 insns", "no reason given")] {
            assert_eq!(verdict(log), expected);
        }
    }
}
