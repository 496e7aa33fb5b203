//! Waiting for a condition: a deadline, and a message that says what was seen last.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Limits are written for a machine that has nothing else to do; a condition that comes late all the same is no failure of
/// what is tested.
const SLACK: u32 = 4;

/// What one look found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Seen(T),
    /// Not yet; this is there instead.
    NotYet(String),
}

impl Look<()> {
    /// From a condition and what is shown while it does not hold.
    pub fn of(holds: bool, seen: impl FnOnce() -> String) -> Self {
        if holds { Self::Seen(()) } else { Self::NotYet(seen()) }
    }
}

/// Looks until the condition holds; fails at the first error of `look`, and when it does not hold after several times `limit`.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let (begun, limit) = (Instant::now(), limit * SLACK);
    loop {
        match look()? {
            Look::Seen(value) => return Ok(value),
            Look::NotYet(seen) if begun.elapsed() >= limit => {
                bail!("{what}: not within {limit:?}; last seen: {seen}");
            }
            Look::NotYet(_) => thread::sleep(PAUSE),
        }
    }
}

/// Seconds, for short calls.
pub const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
