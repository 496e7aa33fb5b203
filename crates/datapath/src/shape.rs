//! Rate limits: from the bits of `runtimeConfig.bandwidth` to the bytes and ticks of the kernel's token bucket.

use serde::{Deserialize, Serialize};
use tideway_model::Bandwidth;

/// Burst that the CNI bandwidth convention uses for "no particular burst": `math.MaxUint32` bits.
pub const BURST_DEFAULT: u64 = 4_294_967_295;
/// Smallest burst that lets a maximum segmentation offload packet (64 KiB) pass at once; below it TCP starves.
const BURST_MIN: u64 = 64 * 1024;
/// Longest time that a packet waits in the bucket's queue.
const LATENCY_MS: u64 = 25;

/// A token bucket filter (`tc-tbf(8)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tbf {
    /// Bytes per second, never zero.
    pub rate: u64,
    /// Bytes that may pass at once.
    pub burst: u32,
    /// Bytes that may wait.
    pub limit: u32,
}

impl Tbf {
    /// The bucket for a rate in bit/s and a burst in bits; `None` when the rate is zero (no limit).
    ///
    /// A burst of zero or [`BURST_DEFAULT`] means "choose": what the rate gives in 10 ms, at least 64 KiB.
    pub fn new(rate_bits: u64, burst_bits: u64) -> Option<Self> {
        if rate_bits == 0 {
            return None;
        }
        let rate = (rate_bits / 8).max(1);
        let burst = if burst_bits == 0 || burst_bits >= BURST_DEFAULT {
            (rate / 100).max(BURST_MIN)
        } else {
            burst_bits / 8
        };
        let burst = burst.clamp(2048, u64::from(u32::MAX) / 2);
        let limit = rate.saturating_mul(LATENCY_MS) / 1000 + burst;
        let fit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Self { rate, burst: fit(burst), limit: fit(limit) })
    }

    /// To the pod.
    pub fn ingress(bandwidth: &Bandwidth) -> Option<Self> {
        Self::new(bandwidth.ingress_rate, bandwidth.ingress_burst)
    }

    /// From the pod.
    pub fn egress(bandwidth: &Bandwidth) -> Option<Self> {
        Self::new(bandwidth.egress_rate, bandwidth.egress_burst)
    }

    /// Time that `bytes` take at this rate, in the kernel's scheduler ticks of 64 ns (`PSCHED_SHIFT` 6).
    pub fn ticks(&self, bytes: u64) -> u32 {
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        u32::try_from(ns / 64).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes_once() {
        let tbf = Tbf::new(100_000_000, 8 * 200_000).unwrap();
        assert_eq!((tbf.rate, tbf.burst), (12_500_000, 200_000));
        assert_eq!(tbf.ticks(12_500_000), 1_000_000_000 / 64);
    }

    #[test]
    fn no_rate_is_no_limit_and_the_default_burst_is_no_real_burst() {
        assert_eq!(Tbf::new(0, 1000), None);
        assert_eq!(Tbf::new(1_000_000, BURST_DEFAULT).unwrap().burst, 65_536);
        assert_eq!(Tbf::new(1_000_000, 0).unwrap().burst, 65_536);
    }

    #[test]
    fn rates_beyond_32_bits_survive() {
        let tbf = Tbf::new(100_000_000_000, BURST_DEFAULT).unwrap();
        assert_eq!(tbf.rate, 12_500_000_000);
        assert!(tbf.limit > tbf.burst);
        assert_eq!(Tbf::new(1, 1).unwrap().rate, 1);
    }
}
