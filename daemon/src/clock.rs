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

/// Wall time for people and the API (RFC 3339, whole seconds).
pub fn wall_text() -> String {
    let seconds = i64::try_from(wall().0 / 1000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Wall time.
pub fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A number in `0.0..1.0` that differs between nodes: what they do after one event then spreads in time.
pub fn jitter() -> f64 {
    f64::from(boot().subsec_nanos()) / 1e9
}
