//! What fails next: the same for the same seed.

/// A fault; of a node it says whether it is the second one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    DaemonKilled(bool),
    RuntimeKilled(bool),
    ExtenderKilled,
    ApiServerAway,
    /// As the lab's control interface takes it.
    Cloud(&'static str),
}

const CLOUD: [&str; 7] = [
    r#"{"kind": "throttle", "count": 6}"#,
    r#"{"kind": "server-error", "count": 4}"#,
    r#"{"kind": "lost-answer", "count": 1}"#,
    r#"{"kind": "stale-reads", "ms": 3000, "seconds": 15}"#,
    r#"{"kind": "latency", "ms": 2500, "seconds": 20}"#,
    r#"{"kind": "full-subnet", "seconds": 15}"#,
    r#"{"kind": "metadata-down", "seconds": 20}"#,
];

/// Random numbers (`SplitMix64`).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap_or(1)).unwrap_or(0)
    }

    /// Half of the rounds have one.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        let second = self.below(2) == 1;
        match self.below(40) {
            0..6 => Some(Fault::DaemonKilled(second)),
            6..8 => Some(Fault::RuntimeKilled(second)),
            8..10 => Some(Fault::ExtenderKilled),
            10 => Some(Fault::ApiServerAway),
            11..20 => Some(Fault::Cloud(CLOUD[self.below(CLOUD.len())])),
            _ => None,
        }
    }
}
