//! A small seeded generator: identifiers, IPv6 interface parts and latencies look arbitrary, and a seed replays them.

/// xorshift64*; not for secrets.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Starts from `seed`; zero is replaced, since the generator would stay there.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A value of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1).max(1);
        low.saturating_add(self.roll() % span)
    }

    /// An identifier as Alibaba Cloud makes them: prefix, `-bp1`, 17 characters of `[0-9a-z]`.
    pub fn id(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut id = format!("{prefix}-bp1");
        for _ in 0..17 {
            let at = usize::try_from(self.roll() % 36).unwrap_or_default();
            id.push(char::from(ALPHABET.get(at).copied().unwrap_or(b'0')));
        }
        id
    }

    /// An identifier as AWS makes them: prefix, `-`, 17 hexadecimal digits.
    pub fn hex_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.roll())
    }
}
