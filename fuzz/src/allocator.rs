//! The allocator of a small node, driven by dice: any entries, then any facts and restarts.

mod dice;
mod facts;
mod records;

use std::{collections::BTreeMap, time::Duration};

use tideway_cloud::CloudOp;
use tideway_ipam::{Command, Effects, Entry, Event, IntentId, Ipam, Settings, record::intent_key};
use tideway_model::{Now, UnixMillis};

pub(crate) use dice::Dice;
pub(crate) use records::entry;

/// Most steps of one input.
const STEPS: usize = 40;

/// The node's daemon and what it waits for.
struct Node {
    ipam: Ipam,
    /// Whether whole prefixes are asked for.
    prefixes: bool,
    now: Now,
    journal: BTreeMap<String, Entry>,
    /// Calls without an answer.
    calls: Vec<(IntentId, CloudOp)>,
    next: u64,
}

/// Restores the journal and, when it is accepted, does what the dice say.
pub(crate) fn run(journal: BTreeMap<String, Entry>, dice: &mut Dice<'_>) {
    let prefixes = journal.len() % 2 == 1;
    let ipam = match restored(&journal, prefixes) {
        Ok(ipam) => ipam,
        Err(refusal) => {
            assert!(refusal.contains("--rebuild-journal"), "it says what to do: {refusal}");
            return;
        }
    };
    let now = Now { boot: Duration::from_secs(1000), wall: UnixMillis(1_800_000_000_000) };
    let mut node = Node { ipam, prefixes, now, journal, calls: Vec::new(), next: 1 };
    node.start();
    for _step in 0..STEPS {
        if dice.is_empty() {
            break;
        }
        node.step(dice);
    }
    node.show();
}

fn restored(journal: &BTreeMap<String, Entry>, prefixes: bool) -> Result<Ipam, String> {
    let settings = Settings { prefixes, ..facts::settings() };
    let entries = journal.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
    Ipam::restore(settings, facts::node(), 1, entries).map_err(|error| error.to_string())
}

impl Node {
    fn start(&mut self) {
        let mut out = Effects::default();
        self.ipam.start(self.now, &mut out);
        // Each step ends with that check.
        self.ipam.check().expect("the books are right");
        self.take(out);
    }

    /// What people and the scheduler see of it.
    fn show(&self) {
        drop(self.ipam.books(self.now));
        let counts = self.ipam.counts(self.now.boot, |_pod, _uid| false);
        assert!(counts.shared.assigned <= counts.shared.held, "{counts:?}");
    }

    fn step(&mut self, dice: &mut Dice<'_>) {
        let seconds = [0, 0, 0, 1, 5, 31, 61, 601];
        let passed = Duration::from_secs(dice.of(&seconds));
        self.now = Now { boot: self.now.boot + passed, wall: self.now.wall.plus(passed) };
        if dice.roll(16) == 15 {
            return self.restart();
        }
        let Some(event) = self.event(dice) else { return };
        let mut out = Effects::default();
        self.ipam.step(self.now, event, &mut out);
        self.take(out);
    }

    /// The daemon dies and comes back: it accepts what it wrote itself.
    fn restart(&mut self) {
        self.calls.clear();
        self.ipam =
            restored(&self.journal, self.prefixes).expect("a journal of our own is accepted");
        self.start();
    }

    /// Commits, and remembers what must be answered.
    fn take(&mut self, out: Effects) {
        let due = self.ipam.next_deadline();
        assert!(due.is_none_or(|due| due > self.now.boot), "{due:?} is overdue");
        for record in out.records {
            match record.value {
                Some(entry) => {
                    assert_eq!(entry.key(), record.key, "an entry stands under its own key");
                    self.journal.insert(record.key, entry);
                }
                None => drop(self.journal.remove(&record.key)),
            }
        }
        for command in out.commands {
            if let Command::Cloud { intent, op, .. } = command {
                assert!(self.journal.contains_key(&intent_key(intent)), "{op:?}");
                self.calls.push((intent, op));
            }
        }
    }

    fn event(&mut self, dice: &mut Dice<'_>) -> Option<Event> {
        self.next += 1;
        if dice.roll(3) == 0 && !self.calls.is_empty() {
            let (intent, op) = self.calls.remove(dice.below(self.calls.len()));
            return Some(facts::answer(dice, intent, &op));
        }
        facts::event(dice, self.now, self.next)
    }
}
