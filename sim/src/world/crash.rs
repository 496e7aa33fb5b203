//! The process dies: what was in memory is gone, what is on the wire goes on without it.

use std::collections::BTreeSet;

use tideway_cloud::CloudOp;
use tideway_ipam::{Command, Effects, Event, IntentId};

use super::{World, adds::AddStage, dels::DelStage};
use crate::{
    coverage::{Boundary, Cell, Kind, State},
    daemon::Stage,
    node::Progress,
};

/// Where the next turn of the engine is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The records are not written.
    BeforeCommit,
    /// They are, and so many commands are executed.
    AfterCommit(usize),
    /// All commands are executed too.
    AfterTurn,
}

fn kind_of(op: &CloudOp) -> Option<Kind> {
    Some(match op {
        CloudOp::Create(_) => Kind::Create,
        CloudOp::Attach { .. } => Kind::Attach,
        CloudOp::Detach { .. } => Kind::Detach,
        CloudOp::Delete { .. } => Kind::Delete,
        CloudOp::Assign { .. } | CloudOp::AssignPrefixes { .. } => Kind::Assign,
        CloudOp::Unassign { .. } | CloudOp::UnassignPrefixes { .. } => Kind::Unassign,
        CloudOp::Describe { .. } => return None,
    })
}

impl World {
    /// The daemon dies. `out`: effects of the turn that was cut, of which `done` commands were executed; `events`: taken
    /// and not committed.
    pub(crate) fn crash(
        &mut self,
        boundary: Boundary,
        out: &Effects,
        done: usize,
        events: &[Event],
    ) {
        let Some(daemon) = self.daemon.take() else { return };
        self.counts.crashes += 1;
        self.note(|| format!("CRASH   {boundary:?}"));
        for (kind, state) in self.open_work(boundary, &daemon, out, done, events) {
            self.coverage.hit(Cell(boundary, kind, state));
        }
        self.node.kubelet.devices = None;
        for call in daemon.calls {
            self.outlive(call);
        }
        // Callers hear that the connection broke.
        for at in (0..self.adds.len()).rev() {
            let sent = self.adds.get(at).is_some_and(|a| a.stage == AddStage::Sent);
            if !sent {
                self.add_failed(at);
            }
        }
        let (waiting, sent) = std::mem::take(&mut self.dels)
            .into_iter()
            .partition(|d| matches!(d.stage, DelStage::Waiting(_)));
        self.dels = sent;
        let waiting: Vec<super::Deletion> = waiting;
        for del in waiting.into_iter().filter(|d| !d.ticket) {
            if self.dice.percent(80) {
                self.leave_ticket(del.key);
            }
        }
        self.dels.retain(|d| !d.ticket);
    }

    /// An ambush strikes when its work is open in this turn.
    pub(crate) fn spring(&mut self, out: &Effects) {
        let Some((kind, state)) = self.ambush.filter(|_| !self.calm && self.cut.is_none()) else {
            return;
        };
        let is = |c: &Command| match c {
            Command::Cloud { op, .. } => kind_of(op) == Some(kind),
            Command::Grant { .. } => kind == Kind::Grant,
            Command::Unplumb { .. } => kind == Kind::Release,
            _ => false,
        };
        if state == State::Recorded {
            let Some(at) = out.commands.iter().position(is) else { return };
            if at == 0 && self.dice.percent(75) {
                // Wait for a turn in which other commands go first.
                return;
            }
            self.ambush = None;
            let early = at == 0 || self.dice.percent(20);
            self.cut = Some(match self.dice.below(4) {
                0 => Cut::BeforeCommit,
                _ if early => Cut::AfterCommit(0),
                _ => Cut::AfterCommit(at),
            });
            return;
        }
        let Some(d) = self.daemon.as_ref() else { return };
        let open = d.calls.iter().any(|c| {
            kind_of(&c.op) == Some(kind)
                && match &c.stage {
                    Stage::Queued(_) => state == State::Queued,
                    Stage::Sent(_) => state == State::Sent,
                    Stage::Applied(_, result) => {
                        (state == State::Effect) == result.is_ok()
                            && matches!(state, State::Effect | State::Refused)
                    }
                    Stage::Settling(_) => state == State::Effect,
                }
        });
        if open {
            self.ambush = None;
            let some = 1 + self.dice.below(2);
            self.cut = Some(match self.dice.below(5) {
                0 => Cut::BeforeCommit,
                2 => Cut::AfterTurn,
                3 => Cut::AfterCommit(1),
                1 => Cut::AfterCommit(0),
                _ => Cut::AfterCommit(some),
            });
        }
    }

    /// Whether the run is aimed at what a crash would hit here and now.
    pub(crate) fn aims_at(
        &mut self,
        boundary: Boundary,
        out: &Effects,
        done: usize,
        events: &[Event],
    ) -> bool {
        let Some(Cell(_, kind, state)) = self.aim.filter(|aim| aim.0 == boundary && !self.calm)
        else {
            return false;
        };
        let Some(daemon) = self.daemon.as_ref() else { return false };
        let open = self.open_work(boundary, daemon, out, done, events);
        // Not every time: the run is to get beyond it, too.
        open.contains(&(kind, state)) && self.dice.percent(50)
    }

    /// Work that a crash at this boundary hits, and how far it is.
    fn open_work(
        &self,
        boundary: Boundary,
        daemon: &crate::daemon::Daemon,
        out: &Effects,
        done: usize,
        events: &[Event],
    ) -> Vec<(Kind, State)> {
        let mut hits: Vec<(Kind, State)> = Vec::new();
        let mut known: BTreeSet<IntentId> = BTreeSet::new();
        for call in &daemon.calls {
            known.insert(call.intent);
            let state = match &call.stage {
                Stage::Queued(_) => State::Queued,
                Stage::Sent(_) => State::Sent,
                Stage::Applied(_, Err(_)) => State::Refused,
                Stage::Applied(_, Ok(_)) => match call.op {
                    CloudOp::Attach { .. } | CloudOp::Detach { .. } => State::Accepted,
                    _ => State::Effect,
                },
                Stage::Settling(_) => State::Accepted,
            };
            hits.extend(kind_of(&call.op).map(|kind| (kind, state)));
        }
        let fresh =
            if boundary == Boundary::BeforeCommit { State::Decided } else { State::Recorded };
        for command in out.commands.iter().skip(done) {
            match command {
                Command::Cloud { intent, op, .. } => {
                    known.insert(*intent);
                    hits.extend(kind_of(op).map(|kind| (kind, fresh)));
                }
                Command::Grant { again: false, .. } => hits.push((Kind::Grant, fresh)),
                Command::Unplumb { .. } => hits.push((Kind::Release, fresh)),
                _ => {}
            }
        }
        let open = self.open_intents();
        for event in daemon.inbox.iter().chain(events) {
            if let Event::CloudDone { intent, .. } = event
                && let Some((_, kind)) = open.iter().find(|(id, _)| id == intent)
                && known.insert(*intent)
            {
                hits.push((*kind, State::Answered));
            }
        }
        let unknown = open.iter().filter(|(id, _)| !known.contains(id));
        hits.extend(unknown.map(|(_, kind)| (*kind, State::Unknown)));
        for add in &self.adds {
            match add.stage {
                AddStage::Waiting(_) => {
                    let decided = out.commands.iter().any(|c| matches!(c, Command::Grant { attachment, .. } if attachment.key == add.key));
                    if !decided {
                        hits.push((Kind::Grant, State::Queued));
                    }
                }
                AddStage::Plumbing(_) => hits.push((Kind::Grant, State::OnHost)),
                AddStage::Sent | AddStage::Asking { .. } => {}
            }
        }
        hits.extend(daemon.withdrawals.iter().map(|_| (Kind::Release, State::OnHost)));
        hits
    }

    /// Intents that are durable now, with their kind.
    fn open_intents(&self) -> Vec<(IntentId, Kind)> {
        self.disk.intents().into_iter().filter_map(|r| Some((r.id, kind_of(&r.op)?))).collect()
    }

    /// The machine reboots: namespaces, links, conntrack and boot time are gone. The daemon is down.
    pub(crate) fn reboot(&mut self) {
        self.crash(Boundary::Idle, &Effects::default(), 0, &[]);
        let containers: Vec<_> = self.node.kernel.namespaces.iter().cloned().collect();
        for container in containers {
            let lived = self.node.kernel.end_namespace(&container);
            self.oracle.lived(self.time, lived);
        }
        self.node.kernel.conntrack.clear();
        self.node.kernel.links.clear();
        self.adds.clear();
        self.dels.clear();
        self.collections.clear();
        for sandbox in self.node.runtime.sandboxes.values_mut() {
            if sandbox.progress != Progress::Ended {
                sandbox.progress = Progress::Ending;
            }
        }
        for pod in self.node.kubelet.pods.values_mut() {
            pod.sandbox = None;
        }
        // The kubelet admits exclusive pods before any plugin is back: they fail and are replaced.
        let failed: Vec<u32> = self
            .node
            .kubelet
            .pods
            .iter()
            .filter(|(_, p)| p.slot.is_some())
            .map(|(n, _)| *n)
            .collect();
        for uid in failed {
            self.node.kubelet.pods.remove(&uid);
        }
        if self.committed.take().is_some_and(|n| n > self.disk.commits) {
            self.oracle.snapshot_restored();
        }
        self.booted = self.time;
        self.time += std::time::Duration::from_secs(self.dice.between(5, 60));
    }
}
