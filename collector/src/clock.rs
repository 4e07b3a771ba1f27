//! Kernel time (CLOCK_BOOTTIME) as UTC.
//!
//! Invariant: a node's events are ordered by `boot_ns`, never by UTC, which may be stepped.

use kerntrail_schemas::cell::Micros;

/// Time between two readings of the offset, ns of CLOCK_BOOTTIME: short enough to follow a step of UTC, and cheap.
const REFRESH_NS: u64 = 10_000_000_000;

/// Turns CLOCK_BOOTTIME into UTC.
#[derive(Clone, Debug)]
pub struct BootClock {
    /// UTC minus CLOCK_BOOTTIME, ns.
    offset_ns: i64,
    /// When it was read; `None` for a fixed clock.
    read_at: Option<u64>,
}

impl BootClock {
    /// This machine's clocks.
    pub fn of_this_machine() -> Self {
        Self { offset_ns: read_offset(), read_at: Some(now_boot_ns()) }
    }

    /// A clock with a fixed boot time `boot_utc`.
    pub fn fixed(boot_utc: Micros) -> Self {
        Self { offset_ns: boot_utc.0.saturating_mul(1_000), read_at: None }
    }

    /// UTC of `boot_ns`.
    pub fn utc(&self, boot_ns: u64) -> Micros {
        let boot_ns = i64::try_from(boot_ns).unwrap_or(i64::MAX);
        Micros(boot_ns.saturating_add(self.offset_ns).div_euclid(1_000))
    }

    /// Reads the offset again when it is older than ten seconds at `now_ns`.
    pub fn refresh(&mut self, now_ns: u64) {
        if self.read_at.is_some_and(|read| now_ns.saturating_sub(read) >= REFRESH_NS) {
            self.offset_ns = read_offset();
            self.read_at = Some(now_ns);
        }
    }
}

/// CLOCK_BOOTTIME, ns.
pub fn now_boot_ns() -> u64 {
    u64::try_from(read(libc::CLOCK_BOOTTIME)).unwrap_or(0)
}

/// The best of a few readings: the one that took the least time between its two looks at UTC.
fn read_offset() -> i64 {
    let reading = || {
        let before = read(libc::CLOCK_REALTIME);
        let boot = read(libc::CLOCK_BOOTTIME);
        let after = read(libc::CLOCK_REALTIME);
        (after - before, before + (after - before) / 2 - boot)
    };
    (0..5).map(|_| reading()).filter(|(took, _)| *took >= 0).min().unwrap_or_else(reading).1
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the length of the call; the two clocks used exist since Linux 2.6.39,
    // and if the call failed, `time` would be unchanged.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_is_converted_to_utc() {
        let clock = BootClock::fixed(Micros(1_700_000_000_000_000));
        for (boot_ns, utc) in [(0, 0), (999, 0), (1_000, 1), (5_000_000_000, 5_000_000)] {
            assert_eq!(clock.utc(boot_ns), Micros(1_700_000_000_000_000 + utc));
        }
    }

    #[test]
    fn the_clock_of_this_machine_matches_its_utc() {
        let before = read(libc::CLOCK_REALTIME) / 1_000;
        let shown = BootClock::of_this_machine().utc(now_boot_ns()).0;
        let after = read(libc::CLOCK_REALTIME) / 1_000;
        // A reading of the offset may be off by the time it took.
        assert!((before - 1_000_000..=after + 1_000_000).contains(&shown), "{before} {shown} {after}");
    }

    #[test]
    fn a_fixed_clock_is_not_refreshed() {
        let mut clock = BootClock::fixed(Micros(7));
        clock.refresh(u64::MAX);
        assert_eq!(clock.utc(0), Micros(7));
    }
}
