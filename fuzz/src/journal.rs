//! What the journal holds: text that should be entries, and entries that no allocator may have written.
//!
//! Whatever `restore` accepts must keep its books right through the steps that follow, and through restarts.

use std::collections::BTreeMap;

use tideway_ipam::Entry;

use crate::allocator::{self, Dice};

/// Most entries of one input.
const ENTRIES: usize = 12;

/// Entries as the journal writes them, one in a line; what stands after an empty line chooses the steps.
pub(crate) fn text(bytes: &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let (head, steps) = bytes.split_at(end);
    let mut journal = BTreeMap::new();
    for line in head.split(|byte| *byte == b'\n').take(ENTRIES) {
        let Ok(entry) = serde_json::from_slice::<Entry>(line) else { continue };
        let written = serde_json::to_vec(&entry).expect("an entry is written");
        let read: Entry = serde_json::from_slice(&written).expect("what was written is read");
        assert_eq!(read, entry, "an entry is read as it was written");
        journal.insert(entry.key(), entry);
    }
    allocator::run(journal, &mut Dice::new(steps));
}

/// Entries from a small world, made by dice, so that they meet each other often.
pub(crate) fn records(bytes: &[u8]) {
    let mut dice = Dice::new(bytes);
    let count = dice.roll(10);
    let entries = (0..count).map(|_| allocator::entry(&mut dice));
    let journal = entries.map(|entry| (entry.key(), entry)).collect();
    allocator::run(journal, &mut dice);
}
