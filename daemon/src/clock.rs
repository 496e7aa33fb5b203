//! The one place of the daemon that reads clocks. Everything below receives [`Now`] as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tideway_model::{Now, UnixMillis};

/// Both clocks.
pub fn now() -> Now {
    Now { boot: boot(), wall: wall() }
}

/// Time since boot, suspend included.
pub fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Wall time.
pub fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
