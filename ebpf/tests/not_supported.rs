//! A kernel that refuses a probe: an optional one is left out with the kernel's reason, a required one ends it all.

use std::process::Command;

use kerntrail_common::error::chain;
use kerntrail_ebpf::probes::{BpfProgram, CONCERNS, Concern, Need, Probe, privilege, process, tasks};
use kerntrail_ebpf::{Hook, LoadError, LoadOptions, Programs};

use crate::live::{Live, allowed, checked};
use crate::older_kernels::renamed;

/// A probe whose second program has nowhere to go, after a first one that has.
const fn absent(need: Need, programs: &'static [BpfProgram]) -> [Probe; 1] {
    [Probe { name: "absent", need, depends_on: None, activities: &["chroot"], programs }]
}

const SYSCALL: &[BpfProgram] = &[
    BpfProgram::new("enter_chroot", Hook::Syscall("sys_enter_chroot")),
    BpfProgram::new("exit_chroot", Hook::Syscall("sys_exit_absent")),
];

const TRACEPOINT: &[BpfProgram] = &[
    BpfProgram::new("socket_owner", Hook::Tracepoint("inet_sock_set_state")),
    BpfProgram::new("socket_progress", Hook::Tracepoint("absent_tracepoint")),
];

static OPTIONAL_SYSCALL: [Probe; 1] = absent(Need::Optional, SYSCALL);
static REQUIRED_SYSCALL: [Probe; 1] = absent(Need::Required, SYSCALL);
static OPTIONAL_TRACEPOINT: [Probe; 1] = absent(Need::Optional, TRACEPOINT);
static REQUIRED_TRACEPOINT: [Probe; 1] = absent(Need::Required, TRACEPOINT);

/// What is required, and `probes`.
fn with(probes: &'static [Probe]) -> [Concern; 3] {
    [tasks::CONCERN, process::CONCERN, Concern { probes, ..privilege::CONCERN }]
}

#[test]
fn an_optional_probe_that_cannot_be_attached_is_left_out_completely() {
    if !allowed() {
        return;
    }
    let cases = [
        (&OPTIONAL_SYSCALL, "exit_chroot", "sys_exit_absent"),
        (&OPTIONAL_TRACEPOINT, "socket_progress", "absent_tracepoint"),
    ];
    for (probes, program, reason) in cases {
        let mut live = Live::with_concerns(&with(probes));
        let refused = live.programs.not_supported();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!((refused[0].probe.name, refused[0].program), ("absent", program));
        assert!(refused[0].reason.contains(reason) && !refused[0].reason.contains('\n'), "{}", refused[0].reason);
        let loaded: Vec<_> = live.programs.probes().iter().map(|probe| probe.name).collect();
        assert_eq!(loaded, ["tasks", "process"]);
        assert!(!live.programs.existing("/proc".as_ref()).unwrap().is_empty());
        // SAFETY: a NUL-ended string; changes the root of the child.
        let story = live.run_in_child(|| unsafe { checked(libc::chroot(c"/".as_ptr())).map(drop) });
        assert_eq!((story.fork.len(), story.privilege.len(), story.exit.len()), (1, 0, 1));
    }
}

#[test]
fn a_required_probe_that_cannot_be_attached_fails_the_load() {
    if !allowed() {
        return;
    }
    for (probes, wanted) in [(&REQUIRED_SYSCALL, "exit_chroot"), (&REQUIRED_TRACEPOINT, "socket_progress")] {
        let Err(error) = Programs::load_concerns(&LoadOptions::default(), &with(probes)) else {
            panic!("loaded without {wanted}")
        };
        assert!(matches!(error, LoadError::Refused { program, .. } if program == wanted), "{error}");
        assert!(chain(&error).contains("absent"), "{}", chain(&error));
    }
}

/// The programs read a field that this kernel's types do not have: the verifier gets an invalid instruction.
#[test]
fn a_probe_that_the_verifier_rejects_is_left_out_with_its_dependents() {
    if !allowed() {
        return;
    }
    let mut live = Live::with_btf(&renamed(&[("inet_sport", "inet_x")]));
    let refused: Vec<_> = live.programs.not_supported().iter().map(|refused| refused.probe.name).collect();
    assert_eq!(refused, ["connections", "accept", "connect", "listen"]);
    let reasons: Vec<_> = live.programs.not_supported().iter().map(|refused| refused.reason.as_str()).collect();
    assert!(
        reasons[0].starts_with("the verifier rejects it: ") && !reasons[0].contains("processed "),
        "{}",
        reasons[0]
    );
    assert!(reasons[1..].iter().all(|reason| reason.contains("depends on probe connections")), "{reasons:?}");
    // Everything else works.
    let all = CONCERNS.iter().flat_map(|concern| concern.probes).count();
    assert_eq!(live.programs.probes().len() + refused.len(), all);
    let story = live.run(&mut Command::new("/bin/true"));
    assert_eq!((story.exec.len(), story.network().len()), (1, 0));
    // SAFETY: changes the namespaces of the child.
    let story = live.run_in_child(|| unsafe { checked(libc::unshare(libc::CLONE_NEWUTS)).map(drop) });
    assert_eq!(story.privilege.len(), 1);
}

#[test]
fn this_kernel_supports_every_probe() {
    let Some(live) = Live::start() else { return };
    assert!(live.programs.not_supported().is_empty(), "{:?}", live.programs.not_supported());
}
