//! Waiting for a condition: never a bare sleep, always a deadline and a message that says what was seen last.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::interrupt;

/// What one look at a condition found.
#[derive(Debug)]
pub enum Look<T> {
    /// The condition holds.
    Seen(T),
    /// It does not hold yet; the text says what is there instead.
    NotYet(String),
}

/// Shortest pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest one.
const LONG_PAUSE: Duration = Duration::from_millis(500);

/// Looks until the condition holds. Fails at `limit`, at an error of `look`, or when the user interrupts.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        interrupt::check()?;
        let began = Instant::now();
        match look()? {
            Look::Seen(value) => return Ok(value),
            Look::NotYet(seen) if started.elapsed() >= limit => {
                bail!("{what}: not within {} s; last seen: {seen}", limit.as_secs());
            }
            // A look by a `kubectl` costs a tenth of a second of a core, which what is waited for needs too.
            Look::NotYet(_) => thread::sleep((2 * began.elapsed()).clamp(PAUSE, LONG_PAUSE)),
        }
    }
}

/// As [`until`] for teardown: an interrupt does not end it, and the answer is whether the condition came true.
pub fn settled(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_deadline_says_what_was_seen_last() {
        let error = until::<()>("pod ready", Duration::from_millis(1), || {
            Ok(Look::NotYet("phase Pending".into()))
        })
        .unwrap_err();
        assert!(error.to_string().contains("pod ready"), "{error}");
        assert!(error.to_string().contains("phase Pending"), "{error}");
    }
}
