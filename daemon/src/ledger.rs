//! What the engine owes to the journal.
//!
//! A commit that fails is tried again, with pauses that grow, until it holds: a disk is full or read-only for a while. Nothing
//! that was stepped since counts as durable until then; [`crate::engine`] does what can be done without it.

use std::{collections::BTreeMap, time::Duration};

use tideway_ipam::Refusal;
use tideway_journal::{Change, Journal, JournalError};
use tideway_model::{Cause, Why};

use crate::{clock, pauses::Pauses};

/// Longest pause between two tries: a look at the node's own disk, and pods wait for it.
const LONGEST: Duration = Duration::from_secs(10);

/// Told after each commit: why it failed, and how long it took.
pub type Told = Box<dyn Fn(Option<&JournalError>, Duration) + Send>;

/// Why no ADD is served: it would be a promise that nobody remembers. The error's text says what to do.
pub fn refusal(cause: &str) -> Refusal {
    Refusal {
        message: "the journal of this node cannot be used, so nothing can be promised".into(),
        why: Why::new(Cause::JournalFailed, cause),
    }
}

/// A journal, and the changes that are not durable yet, the last of each key.
pub struct Ledger<J> {
    journal: J,
    told: Told,
    owed: BTreeMap<String, Option<Vec<u8>>>,
    trouble: Option<Trouble>,
}

/// Commits fail.
#[derive(Debug)]
struct Trouble {
    cause: String,
    again: Duration,
    pauses: Pauses,
}

impl<J> std::fmt::Debug for Ledger<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

impl<J: Journal> Ledger<J> {
    /// A ledger that owes nothing.
    pub fn new(journal: J, told: Told) -> Self {
        Self { journal, told, owed: BTreeMap::new(), trouble: None }
    }

    /// To be durable with the next commit.
    pub fn owe(&mut self, (key, value): Change) {
        self.owed.insert(key, value);
    }

    /// Why nothing can be made durable now; none while all is well.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.cause.as_str())
    }

    /// When the next try is due.
    pub fn again(&self) -> Option<Duration> {
        self.trouble.as_ref().map(|trouble| trouble.again)
    }

    /// Makes all that is owed durable in one commit; false while that is impossible.
    pub fn commit(&mut self, now: Duration) -> bool {
        if self.again().is_some_and(|again| now < again) {
            return false;
        }
        if self.owed.is_empty() {
            return true;
        }
        let batch: Vec<Change> = std::mem::take(&mut self.owed).into_iter().collect();
        let begun = clock::boot();
        let done = self.journal.commit(&batch);
        let took = clock::boot().saturating_sub(begun);
        (self.told)(done.as_ref().err(), took);
        let Err(e) = done else {
            self.trouble = None;
            return true;
        };
        self.owed = batch.into_iter().collect();
        let mut pauses =
            self.trouble.take().map_or_else(|| Pauses::at_most(LONGEST), |trouble| trouble.pauses);
        let again = now + pauses.next(clock::jitter());
        self.trouble = Some(Trouble { cause: e.to_string(), again, pauses });
        false
    }
}

#[cfg(test)]
mod tests {
    use tideway_journal::MemoryJournal;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_a_failed_commit_held_is_committed_with_the_next_and_not_before_its_time() {
        let mut journal = MemoryJournal::default();
        journal.fail_next(2);
        let mut ledger = Ledger::new(journal, Box::new(|_failed, _took| {}));
        ledger.owe(("a".into(), Some(vec![1])));
        assert!(!ledger.commit(at(0)));
        assert!(ledger.trouble().is_some_and(|cause| cause.contains("injected")));
        ledger.owe(("a".into(), None));
        ledger.owe(("b".into(), Some(vec![2])));
        assert!(ledger.again().unwrap() > at(0) && !ledger.commit(at(0)), "too early");
        assert!(!ledger.commit(at(60)), "the second one fails too");
        assert!(ledger.again().unwrap() > at(60));
        assert!(ledger.commit(at(120)));
        assert_eq!(ledger.trouble(), None);
        assert_eq!(ledger.journal.load().unwrap(), [("b".to_owned(), vec![2])]);
        assert!(ledger.commit(at(120)) && ledger.journal.commits() == 1, "nothing is owed");
    }
}
