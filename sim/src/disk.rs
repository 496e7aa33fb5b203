//! The disk: the journal's own logic in memory, and what a lying disk can do to it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tideway_ipam::{Entry, Record, record::IntentRecord};
use tideway_journal::{Change, Journal as _, MemoryJournal};

/// Commits that can be taken back.
const REMEMBERED: usize = 12;

/// The journal with its last commits.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    // Shared by the clones of a world until one of them commits.
    journal: Arc<MemoryJournal>,
    kept: Arc<BTreeMap<String, Vec<u8>>>,
    undo: VecDeque<Vec<Change>>,
    /// It never takes a commit back.
    pub honest: bool,
    /// It is full or read-only until then (true time): no commit holds.
    pub ill_until: Duration,
    /// Commits that the journal has seen, as the journal itself knows.
    pub commits: u64,
}

impl Disk {
    /// A disk with this journal.
    pub fn with(kept: BTreeMap<String, Vec<u8>>) -> Self {
        Self {
            journal: Arc::new(MemoryJournal::with(kept.clone())),
            kept: Arc::new(kept),
            undo: VecDeque::new(),
            honest: false,
            ill_until: Duration::ZERO,
            commits: 0,
        }
    }

    /// One durable commit. Text: why not.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        let encode = |r: &Record| -> Result<Change, String> {
            let value = r.value.as_ref().map(serde_json::to_vec).transpose();
            Ok((r.key.clone(), value.map_err(|e| e.to_string())?))
        };
        let batch: Vec<Change> = records.iter().map(encode).collect::<Result<_, _>>()?;
        Arc::make_mut(&mut self.journal).commit(&batch).map_err(|e| e.to_string())?;
        let mut undo = Vec::new();
        let kept = Arc::make_mut(&mut self.kept);
        for (key, value) in batch {
            let old = match value {
                Some(value) => kept.insert(key.clone(), value),
                None => kept.remove(&key),
            };
            undo.push((key, old));
        }
        self.commits += 1;
        self.undo.push_back(undo);
        if self.honest || self.undo.len() > REMEMBERED {
            self.undo.pop_front();
        }
        Ok(())
    }

    /// A commit that fails. `lands`: the file has it all the same, and nobody knows.
    pub fn fail(&mut self, records: &[Record], lands: bool) -> Result<(), String> {
        if lands { self.commit(records) } else { Ok(()) }
    }

    /// The last `n` commits never happened. Answers how many could be taken back.
    pub fn roll_back(&mut self, n: usize) -> usize {
        let mut done = 0;
        let kept = Arc::make_mut(&mut self.kept);
        while done < n {
            let Some(mut undo) = self.undo.pop_back() else { break };
            undo.reverse();
            for (key, old) in undo {
                match old {
                    Some(old) => kept.insert(key, old),
                    None => kept.remove(&key),
                };
            }
            done += 1;
            self.commits = self.commits.saturating_sub(1);
        }
        self.journal = Arc::new(MemoryJournal::with(kept.clone()));
        done
    }

    /// Whether a key is durable.
    pub fn has(&self, key: &str) -> bool {
        self.kept.contains_key(key)
    }

    /// Keys and values as they are written.
    pub fn entries(&self) -> impl Iterator<Item = (&str, std::borrow::Cow<'_, str>)> {
        self.kept.iter().map(|(key, value)| (key.as_str(), String::from_utf8_lossy(value)))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }

    /// Cloud operations that are recorded and not over.
    pub fn intents(&self) -> Vec<IntentRecord> {
        let bytes = self.kept.iter().filter(|(key, _)| key.starts_with("intent/"));
        let entry = |(_, bytes): (&String, &Vec<u8>)| match serde_json::from_slice(bytes) {
            Ok(Entry::Intent(record)) => Some(*record),
            Ok(_) | Err(_) => None,
        };
        bytes.filter_map(entry).collect()
    }

    /// What a start reads.
    pub fn load(&mut self) -> Result<Vec<(String, Entry)>, String> {
        let raw = Arc::make_mut(&mut self.journal).load().map_err(|e| e.to_string())?;
        let decode = |(key, bytes): (String, Vec<u8>)| {
            serde_json::from_slice(&bytes)
                .map(|entry| (key.clone(), entry))
                .map_err(|e| format!("journal entry {key}: {e}"))
        };
        raw.into_iter().map(decode).collect()
    }
}
