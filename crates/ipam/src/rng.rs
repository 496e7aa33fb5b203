//! Random numbers for tokens and jitter. They come from the seed that the shell gave: the same seed and the same events give
//! the same effects, so that a failing run can be replayed.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood 2014): small, and good enough for what is no secret.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A wait between three and five quarters of `d`, so that what many nodes do does not fall together.
    pub(crate) fn around(&mut self, d: Duration) -> Duration {
        d / 4 + self.jitter(d)
    }

    /// A wait between half of `d` and `d`.
    pub(crate) fn jitter(&mut self, d: Duration) -> Duration {
        let half = d / 2;
        let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_millis(self.next() % span)
    }
}
