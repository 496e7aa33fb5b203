//! Pauses between tries of one thing.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// Doubles from a second to a minute; jitter takes up to half of each away, so that nodes do not come back in step.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self::at_most(LONGEST)
    }
}

impl Pauses {
    /// Pauses that grow to another length.
    pub fn at_most(longest: Duration) -> Self {
        Self { next: FIRST, longest }
    }

    /// The pause before the next try; `jitter` lies in `0.0..1.0`.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let pause = self.next.mul_f64(0.5f64.mul_add(-jitter, 1.0));
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_never_beyond() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.next(0.0), FIRST);
        let all: Vec<Duration> = (0..20).map(|_| pauses.next(0.0)).collect();
        assert!(all.is_sorted() && all.last() == Some(&LONGEST), "{all:?}");
        assert!(pauses.next(0.99) > LONGEST / 2, "two tries at once");
    }
}
