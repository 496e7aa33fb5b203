//! Looks at the cloud: what it shows against what the books say.
//!
//! Books win over one look, two looks win over the books, and a look that may be stale proves nothing: absence counts only in
//! looks begun later than the last word of the cloud plus the longest stale read. Seen is seen: an ENI with our intent's tag,
//! and addresses that an open Assign explains, are adopted at once. Foreign ENIs are counted, never touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use tideway_cloud::{CloudOp, EniStatus, EniView};
use tideway_model::{EniId, EniState, Family, Now, SlotId};

use crate::{
    Command, Effects, Ipam,
    eni::{Address, Held},
    prefixes::{block, listed},
    view::Use,
};

/// Mean time between two looks of an idle node: a cluster's nodes share the account's limit.
const IDLE: Duration = Duration::from_mins(10);
/// Longest wait for an answer before the cloud is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// When the cloud is looked at, and what a single look left open.
#[derive(Debug, Clone, Default)]
pub(crate) struct CloudLooks {
    pub(crate) due: Option<Duration>,
    out: Option<Duration>,
    last: Option<Duration>,
    /// ENIs of others that take adapter slots.
    pub(crate) foreign: u16,
    /// Unknown addresses on our ENIs: first look that showed them, and whether they are within a prefix.
    strangers: BTreeMap<(u32, IpAddr), (Duration, bool)>,
    /// Time of the last step: deadlines before it are over.
    pub(crate) clock: Duration,
}

impl CloudLooks {
    /// Unknown addresses that were seen on an ENI of ours.
    pub(crate) fn strangers_on(&self, number: u32) -> impl Iterator<Item = IpAddr> {
        self.strangers.keys().filter(move |(n, _ip)| *n == number).map(|(_n, ip)| *ip)
    }

    /// The books have it now: it must not take a second place of the limit.
    pub(crate) fn forget(&mut self, number: u32, ip: IpAddr) {
        self.strangers.remove(&(number, ip));
    }

    /// Places that these take on the ENI.
    pub(crate) fn strange_places(&self, number: u32, family: Family) -> usize {
        let own =
            self.strangers.iter().filter(|((n, ip), _)| *n == number && Family::of(*ip) == family);
        let place = |(_n, ip): &(u32, IpAddr), within: bool| {
            if within { block(*ip) } else { (*ip).into() }
        };
        let places: BTreeSet<IpNet> = own.map(|(k, (_first, within))| place(k, *within)).collect();
        places.len()
    }

    pub(crate) fn want(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Ipam {
    pub(crate) fn cloud_seen(
        &mut self,
        now: Now,
        begun: Duration,
        enis: &[EniView],
        out: &mut Effects,
    ) {
        let t = now.boot;
        self.looks.out = None;
        if self.looks.last.is_some_and(|last| begun < last) {
            return;
        }
        self.looks.last = Some(begun);
        self.looks.want(t + self.rng.around(IDLE));
        self.cloud_known = true;
        let views: BTreeMap<&EniId, &EniView> = enis.iter().map(|v| (&v.id, v)).collect();
        self.count_foreign(enis);
        self.compare_addresses(now, begun, &views, out);
        self.judge_unknown(now, begun, &views, out);
        self.compare_enis(t, begun, &views, out);
        self.adopt(t, enis, out);
    }

    fn ours(&self, view: &EniView) -> bool {
        self.facts.tags.iter().all(|(k, v)| view.tags.get(k) == Some(v))
    }

    fn here(&self, view: &EniView) -> bool {
        view.instance.as_ref() == Some(&self.facts.instance)
    }

    fn is_primary(&self, view: &EniView) -> bool {
        view.primary || view.id == self.facts.primary_eni
    }

    fn count_foreign(&mut self, enis: &[EniView]) {
        let foreign = |v: &&EniView| {
            self.here(v)
                && !self.is_primary(v)
                && self.number_of(&v.id).is_none()
                && !self.ours(v)
                && v.status != EniStatus::Available
        };
        self.looks.foreign = u16::try_from(enis.iter().filter(foreign).count()).unwrap_or(u16::MAX);
    }

    /// Addresses of ENIs that we know.
    fn compare_addresses(
        &mut self,
        now: Now,
        begun: Duration,
        views: &BTreeMap<&EniId, &EniView>,
        out: &mut Effects,
    ) {
        let t = now.boot;
        let (late, settle) = (self.settings.late_effect, self.settings.settle);
        let numbers: Vec<u32> = self.enis.keys().copied().collect();
        for number in numbers {
            let Some(eni) = self.enis.get(&number) else { continue };
            let Some(view) = eni.id.as_ref().and_then(|id| views.get(id).copied()) else {
                continue;
            };
            if matches!(eni.state, EniState::Failed(_)) {
                // It goes as a whole when its pods have gone, and nothing of it comes back.
                continue;
            }
            self.meet_strangers(t, begun, number, view, out);
            let Some(eni) = self.eni_mut(number) else { continue };
            // An ENI that only its pods' attachments brought back: the primary address must never be unassigned.
            eni.primary = eni.primary.or(view.primary_ip);
            let mut gone = Vec::new();
            for (ip, a) in &mut eni.addresses {
                if view.has(*ip) {
                    a.absent = None;
                    a.lost = false;
                    // What leaves is called back as it was decided, singly or with its prefix.
                    if begun >= a.born + late && a.held != Held::Releasing {
                        a.within = view.prefix_of(*ip).is_some();
                    }
                    continue;
                }
                if begun < a.born + late || a.held == Held::Releasing {
                    continue;
                }
                let first = *a.absent.get_or_insert(begun);
                if begun < first + settle {
                    continue;
                }
                match a.held {
                    Held::Assigned(_) => a.lost = true,
                    Held::Free { .. } | Held::Cooling { .. } | Held::Leased | Held::Reserved => {
                        gone.push(*ip);
                    }
                    Held::Releasing => {}
                }
            }
            // The look that decides: late enough after the last word of the cloud and after the first look.
            let open = |a: &&Address| !a.lost && a.held != Held::Releasing;
            let doubts = eni.addresses.values().filter(open);
            let doubt = doubts.filter_map(|a| Some((a.absent? + settle).max(a.born + late))).min();
            for ip in &gone {
                eni.addresses.remove(ip);
            }
            for ip in gone {
                Self::forget_rest(ip, out);
            }
            if let Some(decides) = doubt {
                self.looks.want(decides.max(t));
            }
        }
        let known: BTreeSet<(u32, IpAddr)> = views
            .iter()
            .filter_map(|(id, v)| Some((self.number_of(id)?, *v)))
            .flat_map(|(n, v)| listed(v).map(move |(ip, _within)| (n, ip)))
            .collect();
        self.looks.strangers.retain(|k, _first| known.contains(k));
    }

    /// Whether a picture cannot show any more what an earlier run gave back: which addresses that were is not kept, so an
    /// old picture of them would pass for the effect of an open Assign. An uninstall hands nothing out again.
    pub(crate) fn knows_what_left(&self, begun: Duration) -> bool {
        !self.inherited || self.uninstalling || begun >= self.started + self.settings.late_effect
    }

    /// Addresses on our ENI that the books do not have.
    fn meet_strangers(
        &mut self,
        t: Duration,
        begun: Duration,
        number: u32,
        view: &EniView,
        out: &mut Effects,
    ) {
        let Some(eni) = self.enis.get(&number) else { return };
        let intent = eni.busy.and_then(|id| self.intents.get(&id));
        let before = |within: bool| {
            let asked = intent.filter(|i| match i.record.op {
                CloudOp::Assign { .. } => !within,
                CloudOp::AssignPrefixes { .. } => within,
                CloudOp::Create(_)
                | CloudOp::Attach { .. }
                | CloudOp::Detach { .. }
                | CloudOp::Delete { .. }
                | CloudOp::Unassign { .. }
                | CloudOp::UnassignPrefixes { .. }
                | CloudOp::Describe { .. } => false,
            });
            asked.map(|i| i.record.before.clone())
        };
        let before = [before(false), before(true)];
        let (leaving, named) = match intent.map(|i| &i.record.op) {
            Some(CloudOp::Unassign { addresses, .. }) => (addresses.clone(), Vec::new()),
            Some(CloudOp::UnassignPrefixes { prefixes, .. }) => (Vec::new(), prefixes.clone()),
            Some(_) | None => Default::default(),
        };
        let releasing = Family::BOTH.iter().flat_map(|f| eni.releasing_prefixes(*f));
        let going: Vec<IpNet> = releasing.chain(named).collect();
        let flying = intent.is_some_and(|i| i.deadline().is_some());
        let shared = eni.is_shared();
        let sound = self.knows_what_left(begun);
        // An IPv6 prefix of which the books have another address is known.
        let has = |ip: IpAddr, within: bool| {
            let known = eni.addresses.contains_key(&ip);
            known || (within && ip.is_ipv6() && eni.of_prefix(block(ip)).next().is_some())
        };
        let unknown: Vec<(IpAddr, bool)> =
            listed(view).filter(|(ip, within)| !has(*ip, *within)).collect();
        for (ip, within) in unknown {
            // What an open Unassign names is not adopted before its outcome is known.
            let named = leaving.contains(&ip) || going.iter().any(|p| p.contains(&ip));
            if self.buried.contains_key(&(number, ip)) || named {
                continue;
            }
            let elsewhere =
                self.enis.values().any(|e| e.number != number && e.addresses.contains_key(&ip));
            if elsewhere {
                // It takes its place here all the same.
                self.looks.strangers.entry((number, ip)).or_insert((begun, within));
                continue;
            }
            let [single, prefix] = &before;
            let before = if within { prefix } else { single };
            let explained = sound && before.as_ref().is_some_and(|b| !b.contains(&ip));
            if explained && flying {
                // The answer is on its way and says it better.
                continue;
            }
            if !explained {
                let (first, _within) =
                    *self.looks.strangers.entry((number, ip)).or_insert((begun, within));
                if begun < first + self.settings.late_effect {
                    self.looks.want((first + self.settings.late_effect).max(t));
                    continue;
                }
            }
            self.looks.forget(number, ip);
            let held = if shared && explained { Held::Free { since: t } } else { Held::Reserved };
            if let Some(eni) = self.eni_mut(number) {
                eni.addresses.insert(ip, Address { within, ..Address::new(held, false, t) });
            }
            if shared && !explained {
                self.rest(t, number, &[ip], out);
                if within && let Some(eni) = self.eni_mut(number) {
                    eni.adopted = true;
                }
            }
        }
    }

    /// ENIs that we know: attached as the books say?
    fn compare_enis(
        &mut self,
        t: Duration,
        begun: Duration,
        views: &BTreeMap<&EniId, &EniView>,
        out: &mut Effects,
    ) {
        let (late, settle) = (self.settings.late_effect, self.settings.settle);
        let numbers: Vec<u32> = self.enis.keys().copied().collect();
        for number in numbers {
            let Some(eni) = self.enis.get(&number) else { continue };
            let Some(id) = &eni.id else { continue };
            let view = views.get(id).copied();
            let here = view.is_some_and(|v| v.status == EniStatus::InUse && self.here(v));
            let changing = view
                .is_some_and(|v| matches!(v.status, EniStatus::Attaching | EniStatus::Detaching));
            if here && !eni.attached && eni.busy.is_none() && eni.state == EniState::Attaching {
                self.attached(t, number);
                continue;
            }
            let grown = begun >= eni.born + late;
            if here && eni.state == EniState::Deleting && eni.busy.is_none() && grown {
                // An attach took effect after all: it must be detached before it can be deleted.
                if let Some(eni) = self.eni_mut(number) {
                    eni.attached = true;
                    eni.born = t;
                    eni.state = EniState::Detaching;
                    eni.missing = None;
                }
                continue;
            }
            let expected = if eni.attached { here || changing } else { view.is_some() };
            if expected || eni.busy.is_some() {
                if let Some(eni) = self.eni_mut(number)
                    && !matches!(eni.state, EniState::Failed(_))
                {
                    eni.missing = None;
                }
                continue;
            }
            if begun < eni.born + late || matches!(eni.state, EniState::Failed(_)) {
                continue;
            }
            let Some(eni) = self.eni_mut(number) else { continue };
            let first = *eni.missing.get_or_insert(begun);
            if begun < first + settle {
                self.looks.want((first + settle).max(t));
                continue;
            }
            self.lose_eni(t, number, view.is_some(), out);
        }
    }

    /// Two looks agree: the ENI was taken from us, or is no more.
    fn lose_eni(&mut self, t: Duration, number: u32, exists: bool, out: &mut Effects) {
        // What rests on it rests on there, if it still exists.
        let rested = t + self.settings.cooldown;
        let Some(eni) = self.eni_mut(number) else { return };
        eni.delete_after = eni.delete_after.max(Some(rested));
        eni.attached = false;
        eni.preparing = None;
        eni.leaving = true;
        let name = eni.id.as_ref().map(ToString::to_string).unwrap_or_default();
        let what = if exists { "was detached" } else { "was deleted" };
        eni.state = EniState::Failed(format!(
            "{name} {what} behind our back; its pods have lost their network, delete them so that they come back on another ENI"
        ));
        if exists {
            eni.missing = None;
        }
        let mut rests = Vec::new();
        for (ip, a) in &mut eni.addresses {
            a.lost = true;
            if matches!(a.held, Held::Cooling { .. }) {
                rests.push(*ip);
            }
        }
        eni.addresses.retain(|_ip, a| matches!(a.held, Held::Assigned(_)));
        let usage = eni.usage;
        for ip in rests {
            Self::forget_rest(ip, out);
        }
        if let Use::Exclusive(slot) = usage
            && let Some(d) = self.devices.map.get_mut(&slot)
            && d.eni == Some(number)
        {
            d.eni = None;
            if let Some(o) = &mut d.owner {
                // A new ENI comes with new addresses: nothing of the old promise is left to keep.
                o.used = false;
            }
        }
        self.looks.want(t + self.settings.settle);
    }

    /// ENIs with our tags that the books do not have: attached ones join the pool, detached ones are deleted.
    fn adopt(&mut self, t: Duration, enis: &[EniView], out: &mut Effects) {
        for view in enis {
            let known = self.number_of(&view.id).is_some();
            let buried = self.buried_enis.contains_key(&view.id);
            if known || buried || self.is_primary(view) || !self.ours(view) {
                continue;
            }
            let token = view.tags.get(tideway_model::names::TAG_INTENT);
            let expected = self.intents.values().any(|i| match &i.record.op {
                CloudOp::Create(c) => Some(&c.token) == token,
                CloudOp::Attach { .. }
                | CloudOp::Detach { .. }
                | CloudOp::Delete { .. }
                | CloudOp::Assign { .. }
                | CloudOp::Unassign { .. }
                | CloudOp::AssignPrefixes { .. }
                | CloudOp::UnassignPrefixes { .. }
                | CloudOp::Describe { .. } => false,
            });
            if expected {
                continue;
            }
            match view.status {
                EniStatus::InUse if self.here(view) => self.adopt_attached(t, view, out),
                EniStatus::Available => self.adopt_detached(t, view),
                EniStatus::InUse
                | EniStatus::Attaching
                | EniStatus::Detaching
                | EniStatus::Deleting => {}
            }
        }
    }

    fn adopt_attached(&mut self, t: Duration, view: &EniView, out: &mut Effects) {
        let slot = self.any_slot();
        let number = self.plan_eni(Use::Shared, slot, 0);
        self.fill(t, number, view);
        let fits =
            self.facts.names(&view.subnet) && view.security_groups == self.facts.security_groups;
        if let Some(eni) = self.eni_mut(number) {
            eni.state = EniState::Attaching;
            eni.attached = true;
            eni.leaving = !fits;
            eni.adopted = true;
        }
        // Whoever had its addresses before is not known: they rest like any other, and the flush makes them quiet.
        let own = self.enis.get(&number).map(|e| e.addresses.keys().copied().collect::<Vec<_>>());
        self.rest(t, number, &own.unwrap_or_default(), out);
    }

    fn adopt_detached(&mut self, t: Duration, view: &EniView) {
        let slot = self.any_slot();
        let number = self.plan_eni(Use::Shared, slot, 0);
        self.fill(t, number, view);
        let until = t + self.settings.cooldown;
        if let Some(eni) = self.eni_mut(number) {
            eni.state = EniState::Deleting;
            eni.leaving = true;
            eni.table_slot = 0;
            // Nobody knows who had its addresses until when.
            eni.delete_after = Some(until);
        }
    }

    /// A slot for an ENI that has one already, by the cloud's word: reserved ones first, then the highest device.
    pub(crate) fn any_slot(&self) -> SlotId {
        let used: BTreeSet<SlotId> =
            self.enis.values().filter(|e| e.takes_slot()).map(|e| e.slot).collect();
        let offered = u16::try_from(self.devices.map.len()).unwrap_or(u16::MAX);
        let slots = self.facts.limits.slots();
        let reserved = (offered..slots).map(SlotId);
        let devices = (0..offered).rev().map(SlotId);
        reserved.chain(devices).find(|s| !used.contains(s)).unwrap_or(SlotId(slots))
    }

    fn fill(&mut self, t: Duration, number: u32, view: &EniView) {
        let elsewhere: BTreeSet<IpAddr> =
            self.enis.values().flat_map(|e| e.addresses.keys().copied()).collect();
        let Some(eni) = self.eni_mut(number) else { return };
        eni.id = Some(view.id.clone());
        eni.mac = Some(view.mac);
        eni.subnet = view.subnet.clone();
        eni.security_groups.clone_from(&view.security_groups);
        eni.primary = view.primary_ip;
        eni.born = t;
        for (ip, within) in listed(view).filter(|(ip, _within)| !elsewhere.contains(ip)) {
            let address = Address::new(Held::Reserved, false, t);
            eni.addresses.insert(ip, Address { within, ..address });
        }
    }

    pub(crate) fn plan_cloud_looks(&mut self, t: Duration, out: &mut Effects) {
        for due in self.intents.values().filter_map(crate::intents::Intent::look_due) {
            self.looks.due = Some(self.looks.due.map_or(due, |d| d.min(due)));
        }
        if self.looks.out.is_some_and(|since| t < since + PATIENCE) {
            return;
        }
        if self.looks.out.is_some() || self.looks.due.is_some_and(|due| due <= t) {
            self.looks.due = None;
            self.looks.out = Some(t);
            out.commands.push(Command::LookAtCloud);
        }
    }

    pub(crate) fn cloud_look_deadline(&self) -> Option<Duration> {
        match self.looks.out {
            Some(since) => Some(since + PATIENCE),
            None => self.looks.due,
        }
    }
}
