//! Choices from bytes. When there are no more bytes, every choice is the first one.

pub(crate) struct Dice<'a> {
    bytes: &'a [u8],
}

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// One of 0 to `sides` − 1; `sides` is not 0.
    pub(crate) fn roll(&mut self, sides: u8) -> u8 {
        self.byte() % sides
    }

    /// A place in a list of that length, which is not empty.
    pub(super) fn below(&mut self, length: usize) -> usize {
        usize::from(self.byte()) % length
    }

    pub(super) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let place = self.below(all.len());
        all.get(place).cloned().expect("a place in the list")
    }

    /// Seldom true.
    pub(super) fn rarely(&mut self) -> bool {
        self.byte() >= 240
    }

    pub(super) fn flip(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// Some of them, one for each bit of a byte.
    pub(super) fn some<T: Clone>(&mut self, all: &[T]) -> Vec<T> {
        let bits = self.byte();
        let chosen = (0..8).zip(all).filter(|(bit, _)| (bits >> bit) & 1 == 1);
        chosen.map(|(_, one)| one.clone()).collect()
    }
}
