//! The pool's plan: how many addresses, on which ENI.
//!
//! A unit is one address of each family on one ENI. Watermarks count units that can be handed out now: what rests or is on
//! its way is not there yet. Batches form by themselves: the first need is asked for at once, and what arrives while a call
//! is in work waits for its end and forms the next.

use std::{net::IpAddr, time::Duration};

use tideway_cloud::CloudOp;
use tideway_model::{EniState, Family, IPV4_OF_PREFIX, IPV6_OF_PREFIX, Now, PodRef};

use crate::{
    BoundPod, Effects, Ipam, Settings,
    eni::{Eni, Held},
    leases::same_pod,
    requests::Wants,
    view::Use,
};

impl Ipam {
    /// Units that can be handed out now.
    pub(crate) fn free_units(&self) -> u16 {
        let families = self.facts.families;
        self.enis.values().map(|e| e.free_units(families)).fold(0, u16::saturating_add)
    }

    /// Why fewer units can be handed out than the low watermark, in words with the remedy; none: there are enough.
    pub fn shortfall(&self, t: Duration) -> Option<String> {
        let low = self.free_units() < self.settings.low && !self.uninstalling;
        low.then(|| self.shared_waits_for(t).to_string())
    }

    /// Waiting requests for shared addresses, and pods that are bound here and have not asked yet. Whose own address waits
    /// needs none.
    pub(crate) fn demand(&self) -> u16 {
        let new = |pod: &PodRef| self.awaited(&pod.key).is_none();
        let shared = self.waiting.iter().filter(|w| w.wants == Wants::Shared);
        let waiting = shared.filter(|w| new(&w.request.pod)).count();
        let asked = |pod: &PodRef| {
            self.attachments.values().any(|g| same_pod(&g.attachment.pod, pod))
                || self.waiting.iter().any(|w| same_pod(&w.request.pod, pod))
        };
        let early =
            |b: &&BoundPod| !b.host_network && !b.wants_eni && !asked(&b.pod) && new(&b.pod);
        let early = self.bound.iter().filter(early).count();
        u16::try_from(waiting.saturating_add(early)).unwrap_or(u16::MAX)
    }

    /// Units that a shared ENI can carry, in the subnet that gives most.
    pub(crate) fn units_per_eni(&self) -> u16 {
        let t = self.looks.clock;
        self.units(self.facts.subnets.iter().any(|s| self.asks_prefixes(t, &s.id)))
    }

    pub(crate) fn plan_pool(&mut self, now: Now, out: &mut Effects) {
        let t = now.boot;
        self.looks.clock = t;
        self.wants_slot = false;
        self.pair_up(now, out);
        if self.uninstalling {
            self.leave_all(t, out);
            return;
        }
        let demand = self.demand();
        let free = self.free_units();
        let coming =
            self.enis.values().map(|e| self.units_coming(t, e)).fold(0, u16::saturating_add);
        let have = free.saturating_add(coming);
        if have < self.settings.low.saturating_add(demand) {
            self.surplus_since = None;
            let want = self.settings.high.saturating_add(demand).saturating_sub(have);
            self.grow(now, want, out);
            return;
        }
        let above = free.saturating_sub(self.settings.high.saturating_add(demand));
        let paired = self.enis.values().all(|e| self.surplus(e, 0).is_empty());
        if above == 0 && paired && self.spare(t, free, demand).is_none() {
            self.surplus_since = None;
            return;
        }
        let since = *self.surplus_since.get_or_insert(t);
        if t >= since + self.settings.settle {
            self.shrink(now, free, demand, out);
        }
    }

    /// Units that are on their way on this ENI.
    pub(crate) fn units_coming(&self, t: Duration, eni: &Eni) -> u16 {
        if eni.is_stuck(t) || (eni.is_unborn() && !self.can_create(t)) {
            return 0;
        }
        if eni.coming() {
            if eni.id.is_none() {
                return eni.planned;
            }
            let families = self.facts.families.list();
            return families.iter().map(|f| eni.soon_free(*f)).min().unwrap_or(0);
        }
        if !eni.serves() {
            return 0;
        }
        let families = self.facts.families;
        let intent = eni.busy.and_then(|id| self.intents.get(&id));
        let asked = |f: Family| match intent.map(|i| &i.record.op) {
            Some(CloudOp::Assign { family, count, .. }) if *family == f => *count,
            Some(CloudOp::AssignPrefixes { family, count, .. }) if *family == f => match f {
                Family::V4 => count.saturating_mul(IPV4_OF_PREFIX),
                Family::V6 => IPV6_OF_PREFIX,
            },
            Some(_) | None => 0,
        };
        let then = |f: &Family| eni.soon_free(*f).saturating_add(asked(*f));
        let after = families.list().iter().map(then).min().unwrap_or(0);
        after.saturating_sub(eni.free_units(families))
    }

    /// Asks for `want` more units: on ENIs that have room, the fullest first, then on new ENIs.
    fn grow(&mut self, now: Now, mut want: u16, out: &mut Effects) {
        let t = now.boot;
        let families = self.facts.families;
        let mut serving: Vec<(usize, u32)> =
            self.enis.values().filter(|e| e.serves()).map(|e| (e.assigned(), e.number)).collect();
        serving.sort_by_key(|(assigned, number)| (std::cmp::Reverse(*assigned), *number));
        for (_assigned, number) in serving {
            let Some(eni) = self.enis.get(&number) else { continue };
            let room = eni.room(families, |f| self.places(eni, f));
            let full = self.is_full(t, &eni.subnet);
            if room == 0 || want == 0 || full || (eni.hold.holds(t) && eni.hold.elsewhere) {
                continue;
            }
            let take = want.min(room);
            want = want.saturating_sub(take);
            // Before the first look an ENI may have addresses that the books do not know.
            if eni.busy.is_none() && !eni.hold.holds(t) && self.may_create(t) {
                self.assign(now, number, take, out);
            }
        }
        let units = self.units_per_eni();
        for eni in self.enis.values().filter(|e| e.coming() && !e.is_stuck(t)) {
            let left = units.saturating_sub(self.units_coming(t, eni));
            want = want.saturating_sub(left);
        }
        let mut shared = self.enis.values().filter(|e| e.is_shared() && e.takes_slot()).count();
        let most = self.settings.max_shared.map_or(usize::MAX, usize::from);
        while want > 0 && units > 0 && shared < most && self.may_create(t) {
            // Devices are withdrawn for what is needed at least, not for the last addresses up to the high watermark.
            let need = want.saturating_sub(self.settings.high.saturating_sub(self.settings.low));
            let more = usize::from(need.div_ceil(units)).clamp(1, most - shared);
            let Some(slot) = self.slot_for_shared(t, more) else { break };
            let planned = want.min(units);
            self.plan_eni(Use::Shared, slot, planned);
            want = want.saturating_sub(units);
            shared = shared.saturating_add(1);
        }
    }

    /// Single addresses or prefixes of a family that the type still lets the ENI have. What a look showed on it takes its
    /// place there, also while nobody knows yet whose it is.
    pub(crate) fn slots(&self, eni: &Eni, family: Family) -> u16 {
        let strangers = self.looks.strange_places(eni.number, family);
        let taken = usize::from(eni.count(family)).saturating_add(strangers);
        let limit = self.facts.limits.per_eni(family);
        limit.saturating_sub(u16::try_from(taken).unwrap_or(u16::MAX))
    }

    /// Brings the free units of an ENI up by `more`; one family a call, first the one that has least: what a subnet lacks of
    /// the other one must not keep its partners away. After a refusal one address is asked for: there may be fewer than are
    /// wanted.
    fn assign(&mut self, now: Now, number: u32, more: u16, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let target = eni.free_units(self.facts.families).saturating_add(more);
        let Some(id) = eni.id.clone() else { return };
        let prefixes = self.asks_prefixes(now.boot, &eni.subnet);
        let seated = !eni.wide().is_empty();
        let refused = self.subnet_holds.contains_key(&eni.subnet);
        let most = |f: Family| if refused { 1 } else { self.settings.batch(f) };
        let mut families = self.facts.families.list().to_vec();
        families.sort_by_key(|f| eni.free(*f));
        let lacking = families.iter().find_map(|f| {
            if seated && *f == Family::V6 {
                let n = target.saturating_sub(eni.soon_free(*f));
                return (n > 0).then_some((*f, n));
            }
            let (lacking, slots) = (target.saturating_sub(eni.free(*f)), self.slots(eni, *f));
            let n = match f {
                _ if !prefixes => lacking.min(slots).min(most(*f)),
                Family::V4 => {
                    lacking.div_ceil(IPV4_OF_PREFIX).min(slots).min(Settings::PREFIX_BATCH)
                }
                Family::V6 => lacking.min(slots).min(1),
            };
            (n > 0).then_some((*f, n))
        });
        let Some((family, count)) = lacking else { return };
        if seated && family == Family::V6 {
            self.seat(now.boot, number, count, out);
            return;
        }
        let token = self.token();
        let urgency = self.urgency_of(number);
        let op = if prefixes {
            CloudOp::AssignPrefixes { eni: id, family, count, token }
        } else {
            CloudOp::Assign { eni: id, family, count, token }
        };
        self.send(now, number, op, urgency, out);
    }

    /// An ENI that nobody uses and without which there is enough. Below the high watermark it goes, too, when the others can
    /// have its addresses and some more, so that it is not made again soon: it takes an adapter from pods that want a whole
    /// ENI, and these do not come to a node that offers none.
    fn spare(&self, t: Duration, free: u16, demand: u16) -> Option<u32> {
        let families = self.facts.families;
        let serving = || self.enis.values().filter(|e| e.serves());
        if serving().count() <= usize::from(self.settings.min_shared) {
            return None;
        }
        let (low, high) = (self.settings.low.saturating_add(demand), self.settings.high);
        let above = free > high.saturating_add(demand);
        let can_have = |e: &Eni| {
            let full = self.is_full(t, &e.subnet);
            let room = if full { 0 } else { e.room(families, |f| self.places(e, f)) };
            e.free_units(families).saturating_add(room)
        };
        let replaced = |e: &Eni| {
            let others = serving().filter(|other| other.number != e.number).map(can_have);
            others.fold(0, u16::saturating_add) >= low.saturating_add(high)
        };
        let idle = |e: &&Eni| {
            e.busy.is_none()
                && e.addresses
                    .values()
                    .all(|a| matches!(a.held, Held::Free { .. } | Held::Reserved))
                && free.saturating_sub(e.free_units(families)) >= low
                && (above || replaced(e))
        };
        serving().filter(idle).min_by_key(|e| e.addresses.len()).map(|e| e.number)
    }

    /// Gives back what is above the high watermark: an ENI that nobody uses first, then addresses of the sparsest ENI. And of
    /// each ENI what one family has beyond the other: a pod takes a pair.
    fn shrink(&mut self, now: Now, free: u16, demand: u16, out: &mut Effects) {
        if let Some(number) = self.spare(now.boot, free, demand)
            && let Some(eni) = self.eni_mut(number)
        {
            eni.leaving = true;
            return;
        }
        let mut above = free.saturating_sub(self.settings.high.saturating_add(demand));
        let mut sparse: Vec<(usize, u32)> =
            self.enis.values().filter(|e| e.serves()).map(|e| (e.assigned(), e.number)).collect();
        sparse.sort_unstable();
        for (_assigned, number) in sparse {
            let taken = self.unassign(now, number, above, out);
            above = above.saturating_sub(taken);
        }
    }

    /// Gives back up to `most` units of an ENI, single addresses before whole prefixes, and what is beyond its pairs, decided
    /// for all families at once: after the call for the first one the units are fewer, and nothing would speak of the others
    /// any more. Answers how many units. A prefix goes only when enough is left without it, so that it is not asked for
    /// again.
    fn unassign(&mut self, now: Now, number: u32, most: u16, out: &mut Effects) -> u16 {
        let families = self.facts.families;
        let Some(eni) = self.enis.get(&number) else { return 0 };
        if eni.busy.is_some() || eni.hold.holds(now.boot) {
            return 0;
        }
        // Partners within an IPv6 prefix stay, and cost nothing.
        let seated = families.has(Family::V4) && !eni.wide().is_empty();
        let stays = |f: &&Family| **f == Family::V4 || !seated;
        let of = |f: &Family| eni.removable(*f).count();
        let removable = families.list().iter().filter(stays).map(of).min().unwrap_or(0);
        let mut units = most.min(u16::try_from(removable).unwrap_or(u16::MAX));
        let mut going = self.surplus(eni, units);
        for prefix in eni.empty_prefixes() {
            let own: Vec<IpAddr> = eni.of_prefix(prefix).map(|(ip, _a)| *ip).collect();
            let more = units.saturating_add(u16::try_from(own.len()).unwrap_or(u16::MAX));
            if more <= most {
                units = more;
                going.extend(own);
            }
        }
        if let Some(eni) = self.eni_mut(number).filter(|_| !going.is_empty()) {
            for ip in &going {
                if let Some(a) = eni.addresses.get_mut(ip) {
                    a.held = Held::Releasing;
                }
            }
            self.tend(now, number, out);
        }
        units
    }

    /// What an ENI can give back so that it has so many units less and no address without its partner.
    fn surplus(&self, eni: &Eni, units: u16) -> Vec<IpAddr> {
        let families = self.facts.families;
        let of = |family: &Family| {
            let more = units.saturating_add(eni.unpaired(*family, families));
            eni.removable(*family).take(more.into()).collect::<Vec<_>>()
        };
        families.list().iter().flat_map(of).collect()
    }

    /// Uninstall: everything that no pod uses goes.
    fn leave_all(&mut self, t: Duration, out: &mut Effects) {
        let slots: Vec<_> = self.devices.map.keys().copied().collect();
        for slot in slots {
            let idle =
                self.devices.eni(slot).and_then(|n| self.enis.get(&n)).is_some_and(|e| !e.in_use());
            if idle {
                self.drop_slot_eni(t, slot, out);
            }
        }
        let idle: Vec<u32> = self
            .enis
            .values()
            .filter(|e| !e.leaving && !e.in_use() && !matches!(e.state, EniState::Failed(_)))
            .map(|e| e.number)
            .collect();
        for number in idle {
            if let Some(eni) = self.eni_mut(number) {
                eni.leaving = true;
            }
        }
    }

    pub(crate) fn pool_deadlines(&self) -> impl Iterator<Item = Duration> {
        let t = self.looks.clock;
        let surplus = self.surplus_since.map(|s| s + self.settings.settle).filter(|d| *d > t);
        let first =
            Some(self.started + Duration::from_secs(15)).filter(|d| !self.cloud_known && *d > t);
        surplus.into_iter().chain(first)
    }
}
