//! Waits between attempts: short at first, since 200 ms is all the time there is after a kubelet restart.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from 10 ms to 1 s.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = FIRST;
    }

    /// The wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = wait.saturating_mul(2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_one_second_and_start_small_after_a_reset() {
        let mut backoff = Backoff::new();
        let longest = std::iter::repeat_with(|| backoff.next()).take(20).max();
        assert_eq!(longest, Some(LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(), FIRST);
    }
}
