//! Watermarks and times of the pool.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Watermarks and times of the pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Below so many addresses that can be handed out now, addresses are asked from the cloud. At most `high`.
    pub low: u16,
    /// So many are asked up to, and what is above goes back after `settle`.
    pub high: u16,
    /// Seconds that an address rests between two pods, at least 1. Safe: longer than a kube-proxy of the cluster takes to sync.
    pub cooldown_seconds: u32,
    /// Seconds between two looks that prove an absence, and that a surplus must last before it goes back; at least 1.
    pub settle_seconds: u32,
    /// Seconds that an ADD waits for an address, 1 to 230: the runtime gives up after 240.
    pub add_timeout_seconds: u32,
    /// Seconds that a call of unknown outcome is waited for beyond its deadline (longest late effect + longest stale read); at
    /// least 1.
    pub late_effect_seconds: u32,
    /// Whether addresses are asked for in prefixes.
    pub prefix_mode: PrefixMode,
}

/// Whether addresses are asked for in prefixes (/28 of IPv4, /80 of IPv6): each takes the place of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PrefixMode {
    /// Single addresses. Prefixes that ENIs have stay while pods need them.
    #[default]
    Off,
    /// Prefixes; single addresses where a subnet has no whole one.
    Preferred,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            low: 2,
            high: 6,
            cooldown_seconds: 30,
            settle_seconds: 30,
            add_timeout_seconds: 60,
            late_effect_seconds: 60,
            prefix_mode: PrefixMode::Off,
        }
    }
}

impl PoolConfig {
    /// The times that the allocator's promises rest on: each with its key, its default, and what a 0 would do.
    fn times(&self) -> [(&'static str, u32, u32, &'static str); 3] {
        let safe = Self::default();
        [
            (
                "pool.cooldownSeconds",
                self.cooldown_seconds,
                safe.cooldown_seconds,
                "without a rest an address reaches its next pod while others still send to the last one",
            ),
            (
                "pool.settleSeconds",
                self.settle_seconds,
                safe.settle_seconds,
                "without time between two looks one look that errs frees what lives",
            ),
            (
                "pool.lateEffectSeconds",
                self.late_effect_seconds,
                safe.late_effect_seconds,
                "without it a call that takes effect late is taken for one that failed",
            ),
        ]
    }

    /// Those of the times that are allowed, for tests, and shorter than what is held for safe, which is the default: `key
    /// value (default)`.
    pub fn hasty(&self) -> Vec<String> {
        let hasty = self.times().into_iter().filter(|(_, value, safe, _)| value < safe);
        hasty.map(|(key, value, safe, _)| format!("{key} {value} ({safe})")).collect()
    }

    pub(super) fn validate(&self) -> Result<(), Refusal> {
        if self.low > self.high {
            return Err((
                "pool.low",
                format!(
                    "{} is above pool.high ({}); low must not exceed high",
                    self.low, self.high
                ),
            ));
        }
        if !(1..=230).contains(&self.add_timeout_seconds) {
            return Err((
                "pool.addTimeoutSeconds",
                "1 to 230 is expected: the runtime gives up after 240".into(),
            ));
        }
        match self.times().into_iter().find(|(_, value, ..)| *value == 0) {
            Some((key, _, safe, why)) => {
                Err((key, format!("at least 1 is expected: {why}; the default, {safe}, is safe")))
            }
            None => Ok(()),
        }
    }
}
