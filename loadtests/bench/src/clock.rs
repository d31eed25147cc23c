//! The only file that reads the clock: CLOCK_MONOTONIC, which two processes of one machine share.

use std::num::NonZeroU64;

/// Nanoseconds of CLOCK_MONOTONIC.
pub fn now() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Lets this thread wake within a microsecond of its deadline; the kernel's default is fifty.
pub fn wake_exactly() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000));
}
