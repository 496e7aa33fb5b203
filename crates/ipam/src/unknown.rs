//! Operations of unknown outcome: what the looks decide.
//!
//! Seen is seen: an effect that a look shows is adopted at once. Not seen counts only in two looks begun after the call's late
//! effect is over; then the ENI's own state plans the next step anew.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use tideway_cloud::{CloudOp, CreateEni, EniStatus, EniView};
use tideway_model::{EniId, Family, Now, names::TAG_INTENT};

use crate::{
    Command, Effects, IntentId, Ipam, Urgency,
    intents::{Intent, Phase},
    record::IntentRecord,
};

/// How long a token is taken to live.
const TOKEN_LIFE: Duration = Duration::from_mins(10);

impl Ipam {
    /// What a look says about operations of unknown outcome.
    pub(crate) fn judge_unknown(
        &mut self,
        now: Now,
        begun: Duration,
        views: &BTreeMap<&EniId, &EniView>,
        out: &mut Effects,
    ) {
        let ids: Vec<IntentId> = self.intents.keys().copied().collect();
        for id in ids {
            let Some(intent) = self.intents.get_mut(&id) else { continue };
            let Phase::Unknown { from, looks, last } = &mut intent.phase else { continue };
            if begun < *last {
                // Asked before the answer was lost: what it shows may be older than the call.
                continue;
            }
            let counts = begun >= *from && (*looks == 0 || begun > *last);
            if counts {
                *looks = looks.saturating_add(1);
            }
            *last = begun.max(*last);
            let decisive = counts && *looks >= 2;
            let record = intent.record.clone();
            self.judge(now, &record, (begun, decisive), views, out);
        }
    }

    fn judge(
        &mut self,
        now: Now,
        r: &IntentRecord,
        (begun, decisive): (Duration, bool),
        views: &BTreeMap<&EniId, &EniView>,
        out: &mut Effects,
    ) {
        let t = now.boot;
        let view = r.op.eni().and_then(|id| views.get(id).copied());
        let ours = |v: &EniView| v.instance.as_ref() == Some(&self.facts.instance);
        let in_use = view.is_some_and(|v| v.status == EniStatus::InUse && ours(v));
        let available = view.is_some_and(|v| v.status == EniStatus::Available && !ours(v));
        let gone = available || view.is_none();
        // An older picture may show it before it was attached. An uninstall hands nothing out, and the cloud refuses to
        // delete an ENI that is still attached.
        let born = self.enis.get(&r.eni).map_or(begun, |e| e.born + self.settings.late_effect);
        let grown = begun >= born || self.uninstalling;
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
            CloudOp::Detach { .. } if (available && grown) || (decisive && gone) => {
                self.end_intent(r.id, out);
                self.detached(r.eni);
            }
            CloudOp::Delete { .. } if decisive && view.is_none() => {
                self.end_intent(r.id, out);
                self.bury_eni(t, r.eni, out);
            }
            CloudOp::Assign { family, count, .. } => {
                // What the books have on another ENI was moved by somebody else: no effect of ours.
                let elsewhere = |ip: &IpAddr| {
                    self.enis.values().any(|e| e.number != r.eni && e.addresses.contains_key(ip))
                };
                let new = view.map_or(0, |v| {
                    let fresh = |ip: &IpAddr| !r.before.contains(ip) && !elsewhere(ip);
                    v.of_family(*family).filter(fresh).count()
                });
                let shown = self.knows_what_left(begun) && new >= usize::from(*count);
                if decisive || shown {
                    self.end_intent(r.id, out);
                }
            }
            CloudOp::AssignPrefixes { family, count, .. } => {
                let known = |p: &IpNet| {
                    let elsewhere = self.enis.values().filter(|e| e.number != r.eni);
                    let mut elsewhere = elsewhere.flat_map(|e| e.addresses.keys());
                    r.before.iter().any(|ip| p.contains(ip)) || elsewhere.any(|ip| p.contains(ip))
                };
                let new = view.map_or(0, |v| {
                    let own = v.prefixes.iter().filter(|p| Family::of(p.addr()) == *family);
                    own.filter(|p| !known(p)).count()
                });
                let shown = self.knows_what_left(begun) && new >= usize::from(*count);
                if decisive || shown {
                    self.end_intent(r.id, out);
                }
            }
            CloudOp::Unassign { .. } | CloudOp::UnassignPrefixes { .. } if decisive => {
                self.end_intent(r.id, out);
                let is_there = |ip: &IpAddr| view.is_some_and(|v| v.has(*ip));
                let named = self.named_by(r);
                let (there, gone): (Vec<IpAddr>, Vec<IpAddr>) =
                    named.into_iter().partition(is_there);
                self.unassigned(t, r.eni, &gone);
                self.stay(r.eni, &there, view);
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
            | CloudOp::UnassignPrefixes { .. }
            | CloudOp::Describe { .. } => {}
        }
    }

    /// The addresses that an Unassign names, singly or within a prefix.
    pub(crate) fn named_by(&self, r: &IntentRecord) -> Vec<IpAddr> {
        match &r.op {
            CloudOp::Unassign { addresses, .. } => addresses.clone(),
            CloudOp::UnassignPrefixes { prefixes, .. } => {
                let eni = self.enis.get(&r.eni);
                let own =
                    prefixes.iter().flat_map(|p| eni.into_iter().flat_map(|e| e.of_prefix(*p)));
                own.map(|(ip, _a)| *ip).collect()
            }
            CloudOp::Create(_)
            | CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Assign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::Describe { .. } => Vec::new(),
        }
    }

    /// These addresses left the host's map before an Unassign that had no effect. Others may have put a prefix around them.
    fn stay(&mut self, number: u32, ips: &[IpAddr], view: Option<&EniView>) {
        let Some(eni) = self.eni_mut(number) else { return };
        for ip in ips {
            if let Some(a) = eni.addresses.get_mut(ip) {
                a.mapped = false;
                a.within = view.is_some_and(|v| v.prefix_of(*ip).is_some());
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
        let record = IntentRecord { id, op: op.clone(), sent: r.sent, ..r.clone() };
        if let Some(eni) = self.eni_mut(r.eni) {
            eni.busy = Some(id);
        }
        self.put_intent(Intent { record, phase: Phase::Flying { since: now.boot } }, out);
        out.commands.push(Command::Cloud { intent: id, op, urgency: Urgency::Warm });
    }
}
