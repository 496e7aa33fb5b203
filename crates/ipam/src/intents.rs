//! Cloud operations: durable before they are sent, never sent again before their outcome is known.
//!
//! An operation whose answer was lost waits until its late effect is over, then two looks decide: what is seen is adopted,
//! what is not seen is planned anew (Create: sent again with its token while the token lives). An effect that a look shows
//! earlier is adopted at once: seen is seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_cloud::{CloudError, CloudOp, CreateEni, EniView, ErrorKind, OpAnswer};
use tideway_model::{EniState, Family, Now, UnixMillis, names::TAG_INTENT};

use crate::{
    Command, Effects, IntentId, Ipam, Record, Urgency,
    eni::{Address, Held},
    record::{self, Entry, IntentRecord},
};

/// A call that nobody answers for so long counts as of unknown outcome. The shell's own limits are shorter.
const CALL_LIMIT: Duration = Duration::from_secs(300);
/// How long a token is taken to live.
const TOKEN_LIFE: Duration = Duration::from_secs(600);
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
        let before: BTreeSet<IpAddr> = eni.addresses.keys().copied().chain(lately).collect();
        let record = IntentRecord { id, op: op.clone(), eni: number, before, sent: now.wall };
        self.put_intent(Intent { record, phase: Phase::Flying { since: now.boot } }, out);
        out.commands.push(Command::Cloud { intent: id, op, urgency });
    }

    fn put_intent(&mut self, intent: Intent, out: &mut Effects) {
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
            eni.hold.cause = Some(format!("{error}; {}", error.remedy()));
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

    fn succeeded(&mut self, t: Duration, r: &IntentRecord, answer: OpAnswer, out: &mut Effects) {
        if !self.enis.contains_key(&r.eni) {
            return;
        }
        if let Some(eni) = self.eni_mut(r.eni) {
            eni.hold.clear();
            eni.born = t;
            eni.missing = None;
        }
        match (&r.op, answer) {
            (CloudOp::Create(_), OpAnswer::Created(view)) => self.created(t, r.eni, &view, out),
            (CloudOp::Attach { .. }, _) => self.attached(t, r.eni),
            (CloudOp::Detach { .. }, _) => self.detached(r.eni),
            (CloudOp::Delete { .. }, _) => self.bury_eni(t, r.eni, out),
            (CloudOp::Assign { family, count, .. }, OpAnswer::Assigned(ips)) => {
                self.assigned(t, r.eni, *family, *count, &ips);
            }
            (CloudOp::Unassign { addresses, .. }, _) => self.unassigned(t, r.eni, addresses, out),
            (CloudOp::Create(_) | CloudOp::Assign { .. } | CloudOp::Describe { .. }, _) => {
                // An answer that does not fit its question tells nothing: the next look does.
                self.looks.want(t);
            }
        }
    }

    /// The ENI exists: it has a name, a MAC and its first addresses.
    pub(crate) fn created(&mut self, t: Duration, number: u32, view: &EniView, out: &mut Effects) {
        self.create_hold.clear();
        self.subnet_holds.remove(&view.subnet);
        let known: BTreeSet<IpAddr> = view
            .addresses
            .iter()
            .copied()
            .filter(|ip| !self.owned_elsewhere(number, *ip, out))
            .collect();
        let keeps_primary = !self.settings.use_primary_address;
        let Some(eni) = self.eni_mut(number) else { return };
        eni.id = Some(view.id.clone());
        eni.mac = Some(view.mac);
        eni.subnet = view.subnet.clone();
        eni.security_groups.clone_from(&view.security_groups);
        eni.primary = view.primary_ip;
        eni.state = EniState::Attaching;
        eni.born = t;
        let shared = eni.is_shared();
        for ip in known {
            let reserved = !shared || (keeps_primary && view.primary_ip == Some(ip));
            let held = if reserved { Held::Reserved } else { Held::Free { since: t } };
            eni.addresses.entry(ip).or_insert_with(|| Address::new(held, false, t));
        }
    }

    pub(crate) fn attached(&mut self, t: Duration, number: u32) {
        if let Some(eni) = self.eni_mut(number) {
            eni.attached = true;
            eni.born = t;
            eni.missing = None;
        }
    }

    pub(crate) fn detached(&mut self, number: u32) {
        if let Some(eni) = self.eni_mut(number) {
            eni.attached = false;
            eni.state = EniState::Deleting;
        }
    }

    fn assigned(&mut self, t: Duration, number: u32, family: Family, count: u16, ips: &[IpAddr]) {
        let mut new = 0u16;
        for ip in ips.iter().filter(|ip| Family::of(**ip) == family) {
            self.buried.remove(&(number, *ip));
            let elsewhere =
                self.enis.values().any(|e| e.number != number && e.addresses.contains_key(ip));
            let Some(eni) = self.eni_mut(number) else { return };
            let reserved = !eni.is_shared();
            let held = if reserved { Held::Reserved } else { Held::Free { since: t } };
            if elsewhere {
                continue;
            }
            if !eni.addresses.contains_key(ip) {
                eni.addresses.insert(*ip, Address::new(held, true, t));
                new = new.saturating_add(1);
            }
        }
        if new < count {
            // Partly served, or books and cloud disagree: look, and do not ask again at once.
            self.looks.want(t);
            if new == 0 {
                let mut rng = self.rng.clone();
                if let Some(eni) = self.eni_mut(number) {
                    let cause = "the cloud answered an assignment without a new address";
                    eni.hold.fail_text(t, cause.into(), &mut rng);
                }
                self.rng = rng;
            }
        }
    }

    pub(crate) fn unassigned(
        &mut self,
        t: Duration,
        number: u32,
        ips: &[IpAddr],
        _out: &mut Effects,
    ) {
        let until = t + self.settings.late_effect;
        for ip in ips {
            let Some(eni) = self.eni_mut(number) else { return };
            if eni.addresses.get(ip).is_some_and(|a| a.held == Held::Releasing) {
                eni.addresses.remove(ip);
                self.buried.insert((number, *ip), until);
            }
        }
    }

    fn failed(&mut self, now: Now, r: &IntentRecord, error: &CloudError, out: &mut Effects) {
        let t = now.boot;
        let old = self.enis.get(&r.eni).is_some_and(|e| t >= e.born + self.settings.late_effect);
        if error.kind == ErrorKind::NotFound && old {
            match &r.op {
                CloudOp::Detach { .. } => return self.detached(r.eni),
                CloudOp::Delete { .. } => return self.bury_eni(t, r.eni, out),
                CloudOp::Unassign { addresses, .. } => {
                    return self.unassigned(t, r.eni, addresses, out);
                }
                CloudOp::Create(_)
                | CloudOp::Attach { .. }
                | CloudOp::Assign { .. }
                | CloudOp::Describe { .. } => {}
            }
        }
        if matches!(
            error.kind,
            ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::QuotaExceeded(_)
        ) {
            self.looks.want(t);
        }
        let mut rng = self.rng.clone();
        match &r.op {
            CloudOp::Create(create) if error.kind == ErrorKind::SubnetFull => {
                self.subnet_holds
                    .entry(create.subnet.clone())
                    .or_default()
                    .fail(t, error, &mut rng);
            }
            CloudOp::Create(_) => self.create_hold.fail(t, error, &mut rng),
            CloudOp::Assign { .. } if error.kind == ErrorKind::SubnetFull => {
                if let Some(subnet) = self.enis.get(&r.eni).map(|e| e.subnet.clone()) {
                    self.subnet_holds.entry(subnet).or_default().fail(t, error, &mut rng);
                }
            }
            CloudOp::Assign { .. }
            | CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::Describe { .. } => {
                if let Some(eni) = self.eni_mut(r.eni) {
                    eni.hold.fail(t, error, &mut rng);
                }
            }
        }
        self.rng = rng;
    }

    /// What a look says about operations of unknown outcome.
    pub(crate) fn judge_unknown(
        &mut self,
        now: Now,
        begun: Duration,
        views: &BTreeMap<&tideway_model::EniId, &EniView>,
        out: &mut Effects,
    ) {
        let ids: Vec<IntentId> = self.intents.keys().copied().collect();
        for id in ids {
            let Some(intent) = self.intents.get_mut(&id) else { continue };
            let Phase::Unknown { from, looks, last } = &mut intent.phase else { continue };
            let counts = begun >= *from && (*looks == 0 || begun > *last);
            if counts {
                *looks = looks.saturating_add(1);
            }
            *last = begun.max(*last);
            let decisive = counts && *looks >= 2;
            let record = intent.record.clone();
            self.judge(now, &record, decisive, views, out);
        }
    }

    fn judge(
        &mut self,
        now: Now,
        r: &IntentRecord,
        decisive: bool,
        views: &BTreeMap<&tideway_model::EniId, &EniView>,
        out: &mut Effects,
    ) {
        let t = now.boot;
        let view = r.op.eni().and_then(|id| views.get(id).copied());
        let ours = |v: &EniView| v.instance.as_ref() == Some(&self.facts.instance);
        let in_use = view.is_some_and(|v| v.status == tideway_cloud::EniStatus::InUse && ours(v));
        let available =
            view.is_some_and(|v| v.status == tideway_cloud::EniStatus::Available && !ours(v));
        match &r.op {
            CloudOp::Create(create) => {
                let made = views.values().find(|v| v.tags.get(TAG_INTENT) == Some(&create.token));
                if let Some(made) = made {
                    self.end_intent(r.id, out);
                    self.created(t, r.eni, made, out);
                } else if decisive {
                    self.end_intent(r.id, out);
                    self.create_again(now, r, create, out);
                }
            }
            CloudOp::Attach { .. } if in_use => {
                self.end_intent(r.id, out);
                self.attached(t, r.eni);
            }
            CloudOp::Detach { .. } if available || (decisive && view.is_none()) => {
                self.end_intent(r.id, out);
                self.detached(r.eni);
            }
            CloudOp::Delete { .. } if decisive && view.is_none() => {
                self.end_intent(r.id, out);
                self.bury_eni(t, r.eni, out);
            }
            CloudOp::Assign { family, count, .. } => {
                let new = view.map_or(0, |v| {
                    v.of_family(*family).filter(|ip| !r.before.contains(ip)).count()
                });
                if decisive || new >= usize::from(*count) {
                    self.end_intent(r.id, out);
                }
            }
            CloudOp::Unassign { addresses, .. } if decisive => {
                self.end_intent(r.id, out);
                let is_there = |ip: &&IpAddr| view.is_some_and(|v| v.addresses.contains(ip));
                let (there, gone): (Vec<&IpAddr>, Vec<&IpAddr>) =
                    addresses.iter().partition(is_there);
                let gone: Vec<IpAddr> = gone.into_iter().copied().collect();
                let there: Vec<IpAddr> = there.into_iter().copied().collect();
                self.unassigned(t, r.eni, &gone, out);
                self.unmap(r.eni, &there);
                self.rest(t, r.eni, &there, out);
            }
            CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Describe { .. }
                if decisive =>
            {
                // Not done: the ENI's own state plans the next step anew.
                self.end_intent(r.id, out);
            }
            CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::Describe { .. } => {}
        }
    }

    /// These addresses left the host's map before an Unassign that had no effect.
    fn unmap(&mut self, number: u32, ips: &[IpAddr]) {
        let Some(eni) = self.eni_mut(number) else { return };
        for ip in ips {
            if let Some(a) = eni.addresses.get_mut(ip) {
                a.mapped = false;
            }
        }
    }

    /// A Create that was not seen: sent again with its token while that lives, else planned anew.
    fn create_again(&mut self, now: Now, r: &IntentRecord, create: &CreateEni, out: &mut Effects) {
        let life = u64::try_from(TOKEN_LIFE.as_millis()).unwrap_or(u64::MAX);
        let age = now.wall.0.checked_sub(r.sent.0);
        if age.is_none_or(|age| age > life) {
            return;
        }
        let leaving = self.enis.get(&r.eni).is_none_or(|e| e.leaving);
        if leaving {
            return;
        }
        let id = IntentId(self.counters.intent);
        self.counters.intent = self.counters.intent.saturating_add(1);
        let op = CloudOp::Create(create.clone());
        let record = IntentRecord { id, op: op.clone(), sent: UnixMillis(r.sent.0), ..r.clone() };
        if let Some(eni) = self.eni_mut(r.eni) {
            eni.busy = Some(id);
        }
        self.put_intent(Intent { record, phase: Phase::Flying { since: now.boot } }, out);
        out.commands.push(Command::Cloud { intent: id, op, urgency: Urgency::Warm });
    }

    /// Whether another ENI in our books holds this address. An entry that nobody uses gives way: the cloud's newer word is
    /// that the address moved.
    fn owned_elsewhere(&mut self, number: u32, ip: IpAddr, out: &mut Effects) -> bool {
        let other =
            self.enis.values().find(|e| e.number != number && e.addresses.contains_key(&ip));
        let Some(other) = other.map(|e| e.number) else { return false };
        let Some(eni) = self.eni_mut(other) else { return false };
        let in_use = eni.addresses.get(&ip).is_some_and(|a| matches!(a.held, Held::Assigned(_)));
        if !in_use {
            eni.addresses.remove(&ip);
            self.forget_rest(ip, out);
        }
        in_use
    }
}
