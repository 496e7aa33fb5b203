//! Cloud operations: durable before they are sent, never sent again before their outcome is known.
//!
//! An operation whose answer was lost waits until its late effect is over, then two looks decide: what is seen is adopted,
//! what is not seen is planned anew (Create: sent again with its token while the token lives). An effect that a look shows
//! earlier is adopted at once: seen is seen.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tideway_cloud::{CloudError, CloudOp, ErrorKind, OpAnswer};
use tideway_model::Now;

use crate::{
    Command, Effects, IntentId, Ipam, Record, Urgency,
    record::{self, Entry, IntentRecord},
};

/// A call that nobody answers for so long counts as of unknown outcome. The shell sends nothing after that: all its waits for
/// one call, from the command to the answer, are shorter together.
pub const CALL_LIMIT: Duration = Duration::from_mins(5);
/// Time between the two looks that decide an unknown outcome.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Time between the looks that may show an effect before it is decided.
const EARLY_LOOKS: Duration = Duration::from_secs(10);

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sent then, no answer yet.
    Flying { since: Duration },
    /// The answer was lost. Looks begun at `from` or later decide; `looks` have been taken, the last begun at `last`.
    Unknown { from: Duration, looks: u8, last: Duration },
}

/// A started operation.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) record: IntentRecord,
    pub(crate) phase: Phase,
}

impl Intent {
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Flying { since } => Some(since + CALL_LIMIT),
            // The look that is due then is in the looks' own deadlines.
            Phase::Unknown { .. } => None,
        }
    }

    /// When the next look is wanted, for an unknown outcome.
    pub(crate) fn look_due(&self) -> Option<Duration> {
        match self.phase {
            Phase::Flying { .. } => None,
            Phase::Unknown { from, looks: 0, last } => Some(from.min(last + EARLY_LOOKS)),
            Phase::Unknown { from, last, .. } => Some(from.max(last + SECOND_LOOK)),
        }
    }
}

impl Ipam {
    /// Starts an operation: the intent's record goes before the command.
    pub(crate) fn send(
        &mut self,
        now: Now,
        number: u32,
        op: CloudOp,
        urgency: Urgency,
        out: &mut Effects,
    ) {
        let id = IntentId(self.counters.intent);
        self.counters.intent = self.counters.intent.saturating_add(1);
        let Some(eni) = self.enis.get_mut(&number) else { return };
        eni.busy = Some(id);
        let lately = self.buried.keys().filter(|(n, _ip)| *n == number).map(|(_n, ip)| *ip);
        // What a look has shown already is no effect of this call, even if the books do not have it yet.
        let seen = self.looks.strangers_on(number).chain(lately);
        let before: BTreeSet<IpAddr> = eni.addresses.keys().copied().chain(seen).collect();
        let record = IntentRecord { id, op: op.clone(), eni: number, before, sent: now.wall };
        self.put_intent(Intent { record, phase: Phase::Flying { since: now.boot } }, out);
        out.commands.push(Command::Cloud { intent: id, op, urgency });
    }

    pub(crate) fn put_intent(&mut self, intent: Intent, out: &mut Effects) {
        let value = Some(Entry::Intent(Box::new(intent.record.clone())));
        out.records.push(Record { key: record::intent_key(intent.record.id), value });
        self.intents.insert(intent.record.id, intent);
    }

    /// A token that was never used: the intent's number is durable, the seed is the run's own.
    pub(crate) fn token(&mut self) -> String {
        format!("tw-{:x}-{:016x}", self.counters.intent, self.rng.next())
    }

    /// The operation has ended, one way or the other.
    pub(crate) fn end_intent(&mut self, id: IntentId, out: &mut Effects) -> Option<Intent> {
        let intent = self.intents.remove(&id)?;
        out.records.push(Record { key: record::intent_key(id), value: None });
        if let Some(eni) = self.eni_mut(intent.record.eni)
            && eni.busy == Some(id)
        {
            eni.busy = None;
            // What the lost answer said is settled now.
            if !eni.hold.has_end() {
                eni.hold.clear();
            }
        }
        Some(intent)
    }

    pub(crate) fn cloud_done(
        &mut self,
        now: Now,
        id: IntentId,
        result: Result<OpAnswer, CloudError>,
        out: &mut Effects,
    ) {
        let t = now.boot;
        match result {
            Ok(answer) => {
                if let Some(intent) = self.end_intent(id, out) {
                    self.succeeded(t, &intent.record, answer, out);
                }
            }
            Err(error) if error.kind == ErrorKind::Unknown => self.lost_answer(t, id, &error),
            Err(error) => {
                let flying = self.intents.get(&id).is_some_and(|i| i.deadline().is_some());
                if flying && let Some(intent) = self.end_intent(id, out) {
                    self.failed(now, &intent.record, &error, out);
                }
            }
        }
    }

    fn lost_answer(&mut self, t: Duration, id: IntentId, error: &CloudError) {
        let from = t + self.settings.late_effect;
        let Some(intent) = self.intents.get_mut(&id) else { return };
        if intent.deadline().is_none() {
            return;
        }
        intent.phase = Phase::Unknown { from, looks: 0, last: t };
        let number = intent.record.eni;
        if let Some(eni) = self.enis.get_mut(&number) {
            eni.hold.cause = Some(error.into());
        }
        self.looks.want(t);
    }

    /// Operations that nobody answered.
    pub(crate) fn lose_silent(&mut self, t: Duration) {
        let silent = |i: &&Intent| i.deadline().is_some_and(|d| d <= t);
        let ids: Vec<IntentId> =
            self.intents.values().filter(silent).map(|i| i.record.id).collect();
        for id in ids {
            let error = CloudError {
                action: "the cloud call".into(),
                kind: ErrorKind::Unknown,
                code: "NoAnswer".into(),
                message: "nothing came back".into(),
                request_id: None,
            };
            self.lost_answer(t, id, &error);
        }
    }
}
