//! A journal in memory for tests and simulations: it can fail, and it can be set back to what was committed.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{Change, Journal, JournalError};

/// A journal that forgets with its process.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    kept: BTreeMap<String, Vec<u8>>,
    failing: u32,
    commits: u64,
}

impl MemoryJournal {
    /// A journal with this content, such as a [`MemoryJournal::snapshot`] of another one.
    pub fn with(kept: BTreeMap<String, Vec<u8>>) -> Self {
        Self { kept, ..Self::default() }
    }

    /// The next `n` commits fail and change nothing, as on a full disk.
    pub fn fail_next(&mut self, n: u32) {
        self.failing = n;
    }

    /// What is durable now: what a crash at this moment leaves.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        self.kept.clone()
    }

    /// Commits that succeeded.
    pub fn commits(&self) -> u64 {
        self.commits
    }
}

impl Journal for MemoryJournal {
    fn load(&mut self) -> Result<Vec<(String, Vec<u8>)>, JournalError> {
        Ok(self.kept.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), JournalError> {
        if self.failing > 0 {
            self.failing = self.failing.saturating_sub(1);
            let (path, cause) = (PathBuf::from("(memory)"), "injected failure".to_owned());
            return Err(JournalError::Commit { path, cause });
        }
        for (key, value) in batch {
            match value {
                Some(value) => self.kept.insert(key.clone(), value.clone()),
                None => self.kept.remove(key),
            };
        }
        self.commits = self.commits.saturating_add(1);
        Ok(())
    }
}
