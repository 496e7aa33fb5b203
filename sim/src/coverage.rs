//! Where crashes hit: boundary × kind of work × how far the work was.

use std::{collections::BTreeMap, fmt::Write as _};

/// Where in the engine's turn the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boundary {
    /// Between two turns.
    Idle,
    /// Events were stepped, nothing is durable.
    BeforeCommit,
    /// Records are durable, no command was executed.
    AfterCommit,
    /// Some commands were executed.
    AmongCommands,
}

/// Kind of work that was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Cloud operations.
    Create,
    /// See above.
    Attach,
    /// See above.
    Detach,
    /// See above.
    Delete,
    /// See above.
    Assign,
    /// See above.
    Unassign,
    /// An ADD.
    Grant,
    /// A withdrawal.
    Release,
}

/// How far it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Decided, not durable.
    Decided,
    /// Durable, its command not executed.
    Recorded,
    /// Waits: a call for its turn, an ADD in the allocator.
    Queued,
    /// On the wire, no effect.
    Sent,
    /// Took effect, not answered.
    Effect,
    /// Refused, not answered.
    Refused,
    /// Accepted by the cloud, which works on it.
    Accepted,
    /// The answer waits in the inbox or was stepped and not committed.
    Answered,
    /// The answer was lost; the looks are to decide.
    Unknown,
    /// On the host: being plumbed or withdrawn.
    OnHost,
}

/// All values, for tables.
pub const BOUNDARIES: [Boundary; 4] =
    [Boundary::Idle, Boundary::BeforeCommit, Boundary::AfterCommit, Boundary::AmongCommands];
/// See above.
pub const KINDS: [Kind; 8] = [
    Kind::Create,
    Kind::Attach,
    Kind::Detach,
    Kind::Delete,
    Kind::Assign,
    Kind::Unassign,
    Kind::Grant,
    Kind::Release,
];
/// See above.
pub const STATES: [State; 10] = [
    State::Decided,
    State::Recorded,
    State::Queued,
    State::Sent,
    State::Effect,
    State::Refused,
    State::Accepted,
    State::Answered,
    State::Unknown,
    State::OnHost,
];

fn unreachable(boundary: Boundary, kind: Kind, state: State) -> Option<&'static str> {
    let call = !matches!(kind, Kind::Grant | Kind::Release);
    let slow = matches!(kind, Kind::Attach | Kind::Detach);
    match state {
        State::Decided if boundary != Boundary::BeforeCommit => {
            Some("what is decided is durable with the turn's commit")
        }
        State::Recorded if matches!(boundary, Boundary::Idle | Boundary::BeforeCommit) => {
            Some("a turn ends with its commands: between turns none is left")
        }
        State::Accepted if !slow => {
            Some("only attach and detach are accepted first and done later")
        }
        State::Effect if slow => {
            Some("the effect of attach and detach is their acceptance: see Accepted")
        }
        State::OnHost if call => Some("cloud calls have no work on the host of their own"),
        State::Sent | State::Refused | State::Effect | State::Unknown | State::Answered
            if !call =>
        {
            Some("ADD and DEL are no cloud calls")
        }
        State::Queued if kind == Kind::Release => Some("a withdrawal never waits in the allocator"),
        State::Answered if matches!(boundary, Boundary::AfterCommit | Boundary::AmongCommands) => {
            Some("a turn takes every waiting event: an answer is over with the commit")
        }
        _ => None,
    }
}

/// One cell of the table: where, what work, how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(pub Boundary, pub Kind, pub State);

impl Cell {
    /// Every cell of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        BOUNDARIES.into_iter().flat_map(|b| {
            KINDS.into_iter().flat_map(move |k| STATES.into_iter().map(move |s| Self(b, k, s)))
        })
    }

    /// Why it cannot be hit; none: it can.
    pub fn unreachable(self) -> Option<&'static str> {
        unreachable(self.0, self.1, self.2)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        format!("{:?}/{:?}/{:?}", self.0, self.1, self.2)
    }

    /// The cell of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|cell| cell.name() == name)
    }
}

/// The counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<Cell, u64>);

impl Coverage {
    /// A crash hit this work.
    pub fn hit(&mut self, cell: Cell) {
        *self.0.entry(cell).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (cell, n) in &other.0 {
            *self.0.entry(*cell).or_default() += n;
        }
    }

    /// Hits of a cell.
    pub fn hits(&self, cell: Cell) -> u64 {
        self.0.get(&cell).copied().unwrap_or(0)
    }

    /// The reachable cell with the fewest hits, and how many.
    pub fn rarest(&self) -> Option<(Cell, u64)> {
        let reachable = Cell::all().filter(|cell| cell.unreachable().is_none());
        reachable.map(|cell| (cell, self.hits(cell))).min_by_key(|(_, hits)| *hits)
    }

    /// Fewest hits of a reachable cell.
    pub fn min(&self) -> u64 {
        self.rarest().map_or(0, |(_, hits)| hits)
    }

    /// Cells that were hit although they are listed as unreachable.
    pub fn impossible(&self) -> Vec<Cell> {
        self.0.keys().copied().filter(|cell| cell.unreachable().is_some()).collect()
    }

    /// The table for people: one line a kind and state, one column a boundary; `-`: unreachable.
    pub fn table(&self) -> String {
        let mut out = format!("{:<10}{:<10}", "work", "how far");
        for b in BOUNDARIES {
            let _written = write!(out, "{:>15}", format!("{b:?}"));
        }
        out.push('\n');
        for k in KINDS {
            for s in STATES {
                if BOUNDARIES.iter().all(|b| unreachable(*b, k, s).is_some()) {
                    continue;
                }
                let _written = write!(out, "{:<10}{:<10}", format!("{k:?}"), format!("{s:?}"));
                for b in BOUNDARIES {
                    let cell = match unreachable(b, k, s) {
                        Some(_) => "-".to_owned(),
                        None => self.hits(Cell(b, k, s)).to_string(),
                    };
                    let _written = write!(out, "{cell:>15}");
                }
                out.push('\n');
            }
        }
        out
    }

    /// Why cells are unreachable: each reason with the cells it rules out.
    pub fn reasons() -> BTreeMap<&'static str, usize> {
        let mut all = BTreeMap::new();
        for cell in Cell::all() {
            if let Some(why) = cell.unreachable() {
                *all.entry(why).or_default() += 1;
            }
        }
        all
    }
}
