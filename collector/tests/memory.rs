//! Memory of a full process table.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use kerntrail_collector::cgroups::Cgroups;
use kerntrail_collector::clock::BootClock;
use kerntrail_collector::enrich::Enricher;
use kerntrail_collector::event::{EventKind, KernelEvent, ProcessRef, Program, Task};
use kerntrail_collector::mask::{Mask, MaskConfig};
use kerntrail_schemas::cell::Micros;

use crate::script::{Setup, task};

thread_local! {
    /// Bytes that this thread holds.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes every call on to the system's allocator as it is; the counter is no part of the memory given out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.try_with(|held| held.set(held.get().wrapping_add(layout.size()))).ok();
        // SAFETY: the caller's layout, as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size()))).ok();
        // SAFETY: the caller's pointer and layout, as they came; `alloc` above got it from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Each with a program of its own, arguments as long as a Java server's, a container and an ancestry of ten.
#[test]
fn ten_thousand_processes_fit_in_64_mib() {
    let setup = Setup::default();
    let before = HELD.get();
    let mask = Mask::new(&MaskConfig::default()).unwrap();
    let clock = BootClock::fixed(Micros(0));
    let mut enricher = Enricher::new(Arc::new(setup.node), Arc::default(), Cgroups::none(), mask, clock, 20_000);
    for number in 0..10_000_u32 {
        let event = process(number);
        enricher.actor_of(&event);
        if number % 1_000 == 0 {
            enricher.batch_ended();
        }
    }
    let held = HELD.get().wrapping_sub(before);
    assert_eq!(enricher.table().len(), 10_000);
    eprintln!("10,000 processes: {} KiB", held / 1024);
    assert!(held < 64 << 20, "{held} bytes");
}

fn process(number: u32) -> KernelEvent {
    let at = |number: u32| ProcessRef { tgid: number + 2, start_boottime: u64::from(number) };
    let parent = if number.is_multiple_of(10) { ProcessRef::default() } else { at(number - 1) };
    let args = (0..25).map(|place| format!("--some-option-of-a-server-{place}=value-{number}")).collect();
    let program = Program {
        path: format!("/opt/application-{number}/bin/server"),
        args,
        cwd: format!("/opt/application-{number}"),
        cgroup_path: format!(
            "/kubepods/burstable/pod8c1a7e5e-2f9d-4b0a-9a51-{:012x}/{:064x}",
            number / 10,
            number / 10
        ),
        ..Program::default()
    };
    let task = Task { process: at(number), parent, tty: "pts0".into(), ..task() };
    KernelEvent {
        cpu: 0,
        seq: u64::from(number),
        boot_ns: u64::from(number),
        flags: 0,
        task,
        kind: EventKind::Exec(Box::new(program)),
    }
}
