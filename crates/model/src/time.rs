//! Time as an argument: pure code receives it, it never asks for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch. The only kind of time that may be journalled; it may jump in both directions.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This moment plus `d`, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The two clocks of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Time since the machine booted (`CLOCK_BOOTTIME`): never jumps, starts at zero after a reboot. For waits and cooling.
    pub boot: Duration,
    /// Wall time: for leases and for people.
    pub wall: UnixMillis,
}
