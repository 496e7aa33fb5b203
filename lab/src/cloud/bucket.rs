//! The shape of EC2's throttling: a bucket of tokens, one for each call, filled again at a steady rate.

use serde::{Deserialize, Serialize};

use super::clock::Millis;

/// One token, in the unit that is counted: a rate in tokens per second is then one in units per millisecond.
const TOKEN: u64 = 1000;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    size: u64,
    refill: u64,
    level: u64,
    at: Millis,
}

impl Bucket {
    /// A full bucket of `size` tokens; `refill` come back in a second.
    pub fn new(size: u32, refill: u32, now: Millis) -> Self {
        let size = u64::from(size) * TOKEN;
        Self { size, refill: refill.into(), level: size, at: now }
    }

    /// Takes one token; false when there is none.
    pub fn take(&mut self, now: Millis) -> bool {
        let came = now.saturating_sub(self.at).saturating_mul(self.refill);
        self.level = self.level.saturating_add(came).min(self.size);
        self.at = now;
        let enough = self.level >= TOKEN;
        if enough {
            self.level -= TOKEN;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_empties_the_bucket_and_a_steady_caller_gets_the_rate() {
        let mut bucket = Bucket::new(3, 2, 1000);
        let burst: Vec<bool> = (0..5).map(|_| bucket.take(1000)).collect();
        assert_eq!(burst, [true, true, true, false, false]);
        assert!(!bucket.take(1499), "half a second for a token at two in a second");
        assert!(bucket.take(1500));
        assert!(!bucket.take(1500));
        let later: Vec<bool> = (0..4).map(|_| bucket.take(60_000)).collect();
        assert_eq!(later, [true, true, true, false], "never more than its size");
    }
}
