//! The next step of each ENI: `Creating → Attaching → Ready → Draining → Detaching → Deleting`. One change in work per ENI;
//! what comes next follows from the state alone, so a restart goes on where the last run stopped.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tideway_cloud::{CloudOp, CreateEni};
use tideway_model::{
    Cause, EniId, EniState, Family, IPV4_OF_PREFIX, Now, SlotId, Why,
    names::{TAG_CREATED, TAG_INTENT},
};

use crate::{
    Command, Effects, Ipam, Settings, SharedEni, Urgency,
    effect::COMMAND_PATIENCE,
    eni::{Eni, Flush, Held, Preparing},
    hold::Hold,
    requests::Wants,
    view::Use,
};

/// Creating waits so long for the cloud's first answer after a start, then goes on with the journal alone.
const FIRST_LOOK: Duration = Duration::from_secs(15);
/// Highest table slot (the mark has eight bits, and the last ones are taken).
pub(crate) const TABLE_SLOTS: u16 = 250;

impl Ipam {
    /// Whether new ENIs may be decided: the cloud has told what is there, or keeps silent.
    pub(crate) fn may_create(&self, t: Duration) -> bool {
        !self.uninstalling && (self.cloud_known || t >= self.started + FIRST_LOOK)
    }

    /// Decides a new ENI.
    pub(crate) fn plan_eni(&mut self, usage: Use, slot: SlotId, planned: u16) -> u32 {
        let number = self.counters.eni;
        self.counters.eni = self.counters.eni.saturating_add(1);
        let table_slot = if usage == Use::Shared { self.table_slot() } else { 0 };
        let subnet = self.facts.subnets.first().map(|s| s.id.clone());
        let Some(subnet) = subnet else { return number };
        self.insert_eni(Eni {
            number,
            id: None,
            mac: None,
            state: EniState::Creating,
            attached: false,
            leaving: false,
            usage,
            slot,
            subnet,
            security_groups: self.facts.security_groups.clone(),
            table_slot,
            planned,
            primary: None,
            addresses: std::collections::BTreeMap::new(),
            busy: None,
            preparing: None,
            hold: Hold::default(),
            map_hold: Hold::default(),
            born: Duration::ZERO,
            missing: None,
            delete_after: None,
            adopted: false,
        });
        number
    }

    /// The lowest table slot that no ENI of ours has.
    pub(crate) fn table_slot(&self) -> u16 {
        let used: BTreeSet<u16> = self.enis.values().map(|e| e.table_slot).collect();
        (1..=TABLE_SLOTS).find(|n| !used.contains(n)).unwrap_or(TABLE_SLOTS)
    }

    pub(crate) fn plan_enis(&mut self, now: Now, out: &mut Effects) {
        let t = now.boot;
        self.lose_silent(t);
        self.give_back_overcommitted();
        self.give_way();
        let numbers: Vec<u32> = self.enis.keys().copied().collect();
        for number in numbers {
            // A few states are passed through in one step.
            for _turn in 0..4 {
                let before = self.enis.get(&number).map(|e| e.state.clone());
                self.plan_one(now, number, out);
                if self.enis.get(&number).map(|e| e.state.clone()) == before {
                    break;
                }
            }
        }
    }

    /// Shared ENIs for which no adapter slot is left (the type changed, others attached, a lost Create was made twice) are
    /// given back: an ENI that waits for a slot that never comes must not pass for addresses on their way.
    fn give_back_overcommitted(&mut self) {
        let slots = usize::from(self.facts.limits.slots());
        loop {
            let own = self.enis.values().filter(|e| e.takes_slot()).count();
            if own + usize::from(self.looks.foreign) <= slots {
                return;
            }
            let waits = |e: &&Eni| {
                e.is_shared()
                    && !e.leaving
                    && !e.attached
                    && e.busy.is_none()
                    && !e.in_use()
                    && matches!(e.state, EniState::Creating | EniState::Attaching)
            };
            let last = self.enis.values().rev().find(waits).map(|e| e.number);
            let Some(eni) = last.and_then(|number| self.eni_mut(number)) else { return };
            eni.leaving = true;
            if eni.state == EniState::Attaching {
                eni.state = EniState::Deleting;
            }
        }
    }

    /// A pod's own ENI finds no adapter while an idle shared one beyond the reserved ones has one: that one is given back.
    fn give_way(&mut self) {
        let waits = |e: &Eni| {
            !e.is_shared()
                && !e.leaving
                && !e.attached
                && e.busy.is_none()
                && e.state == EniState::Attaching
        };
        let going = |e: &Eni| e.attached && e.leaving && !matches!(e.state, EniState::Failed(_));
        let wanted = self.enis.values().filter(|e| waits(e)).count();
        let free = usize::from(self.facts.limits.slots().saturating_sub(self.adapters()));
        let coming = self.enis.values().filter(|e| going(e)).count();
        let shared = self.enis.values().filter(|e| e.serves()).count();
        if wanted <= free + coming || shared <= usize::from(self.settings.min_shared) {
            return;
        }
        let idle = |e: &&Eni| {
            e.serves() && e.busy.is_none() && !e.in_use() && !self.keeps_leases(e.number)
        };
        let idle = self.enis.values().filter(idle);
        let least = idle.min_by_key(|e| e.addresses.len()).map(|e| e.number);
        if let Some(eni) = least.and_then(|number| self.eni_mut(number)) {
            eni.leaving = true;
        }
    }

    fn plan_one(&mut self, now: Now, number: u32, out: &mut Effects) {
        let t = now.boot;
        self.map_new_addresses(t, number, out);
        let Some(eni) = self.enis.get(&number) else { return };
        if eni.hold.holds(t) {
            return;
        }
        if eni.busy.is_some() {
            if self.serves_beside_its_call(eni) {
                self.prepare(t, number, out);
            }
            return;
        }
        match &eni.state {
            EniState::Creating if eni.leaving => self.bury_eni(t, number, out),
            EniState::Creating => self.create(now, number, out),
            EniState::Attaching if eni.attached => self.after_attach(t, number, out),
            EniState::Attaching if eni.leaving => self.set_state(number, EniState::Deleting),
            EniState::Attaching => self.attach(now, number, out),
            EniState::Ready | EniState::Draining if eni.leaving => self.drain(number),
            EniState::Ready | EniState::Draining => self.tend(now, number, out),
            EniState::Detaching => {
                // An older picture may show it before it was attached, and whoever waits for the Detach takes that for its end.
                let grown = t >= eni.born + self.settings.late_effect;
                if grown || self.uninstalling {
                    self.change(now, number, Urgency::Release, out);
                }
            }
            EniState::Deleting => {
                let rests = eni.delete_after.is_some_and(|after| t < after) && !self.uninstalling;
                if !rests {
                    self.change(now, number, Urgency::Release, out);
                }
            }
            EniState::Failed(_) => self.after_loss(t, number, out),
        }
    }

    /// After a restart the outcome of a call takes a minute to be known. One that changes addresses of a shared ENI does not
    /// keep its other ones from pods.
    fn serves_beside_its_call(&self, eni: &Eni) -> bool {
        let call = eni.busy.and_then(|id| self.intents.get(&id)).map(|i| &i.record.op);
        let of_addresses = matches!(
            call,
            Some(
                CloudOp::Assign { .. }
                    | CloudOp::Unassign { .. }
                    | CloudOp::AssignPrefixes { .. }
                    | CloudOp::UnassignPrefixes { .. }
            )
        );
        of_addresses && eni.is_shared() && eni.attached && eni.state == EniState::Attaching
    }

    pub(crate) fn set_state(&mut self, number: u32, state: EniState) {
        if let Some(eni) = self.eni_mut(number) {
            eni.state = state;
        }
    }

    fn create(&mut self, now: Now, number: u32, out: &mut Effects) {
        let t = now.boot;
        if self.create_hold.holds(t) {
            return;
        }
        let Some(subnet) = self.subnet_for_create(t).map(|s| s.id.clone()) else { return };
        let token = self.token();
        let mut tags = self.facts.tags.clone();
        tags.insert(TAG_INTENT.into(), token.clone());
        tags.insert(TAG_CREATED.into(), now.wall.0.to_string());
        // One that had no room for as many addresses as are wanted may have it for the first: more are asked for singly.
        let refused = self.cramped.contains_key(&subnet);
        let (shared, planned) = match self.eni_mut(number) {
            Some(eni) => {
                eni.subnet = subnet.clone();
                if refused {
                    eni.planned = eni.planned.min(1);
                }
                (eni.is_shared(), eni.planned)
            }
            None => return,
        };
        let (limits, families) = (self.facts.limits, self.facts.families);
        let want = |family: Family| {
            if families.has(family) { planned.min(limits.per_eni(family)) } else { 0 }
        };
        let primary = u16::from(!shared || self.settings.use_primary_address);
        let secondary_v4 = if shared { want(Family::V4).saturating_sub(primary) } else { 0 };
        let whole = shared && self.asks_prefixes(t, &subnet);
        let (prefixes_v4, prefixes_v6) =
            if whole { self.prefixes_for_create(planned.saturating_sub(primary)) } else { (0, 0) };
        let single = |n: u16| if whole { 0 } else { n };
        let op = CloudOp::Create(CreateEni {
            subnet,
            security_groups: self.facts.security_groups.clone(),
            secondary_v4: single(secondary_v4)
                .min(self.settings.create_secondary_max)
                .min(limits.ipv4_per_eni.saturating_sub(1)),
            v6: single(want(Family::V6)).min(Settings::V6_BATCH),
            prefixes_v4,
            prefixes_v6,
            tags,
            token,
        });
        let urgency = self.urgency_of(number);
        self.send(now, number, op, urgency, out);
    }

    /// How many prefixes of each family a new ENI gets for so many units beside its primary address.
    fn prefixes_for_create(&self, units: u16) -> (u16, u16) {
        let (limits, families) = (self.facts.limits, self.facts.families);
        let v4 = units.div_ceil(IPV4_OF_PREFIX).min(limits.ipv4_per_eni.saturating_sub(1));
        let v4 = if families.has(Family::V4) { v4.min(Settings::PREFIX_BATCH) } else { 0 };
        (v4, u16::from(families.has(Family::V6) && limits.ipv6_per_eni > 0))
    }

    /// A pod waits for this ENI, or it is asked for ahead of demand.
    pub(crate) fn urgency_of(&self, number: u32) -> Urgency {
        let Some(eni) = self.enis.get(&number) else { return Urgency::Warm };
        let waits = self.waiting.iter().any(|w| match w.wants {
            Wants::Shared => eni.is_shared(),
            Wants::Exclusive(slot) => eni.usage == Use::Exclusive(slot),
            Wants::Unknown { .. } => false,
        });
        let allocated = matches!(eni.usage, Use::Exclusive(_));
        if waits || allocated { Urgency::Waiting } else { Urgency::Warm }
    }

    /// Adapters that are taken in the cloud, now or by a call in work.
    pub(crate) fn adapters(&self) -> u16 {
        let taken = |e: &&Eni| e.attached || (e.state == EniState::Attaching && e.busy.is_some());
        let own = u16::try_from(self.enis.values().filter(taken).count()).unwrap_or(u16::MAX);
        own.saturating_add(self.looks.foreign)
    }

    fn attach(&mut self, now: Now, number: u32, out: &mut Effects) {
        if self.adapters() >= self.facts.limits.slots() {
            return;
        }
        let Some(eni) = self.enis.get(&number).and_then(|e| e.id.clone()) else { return };
        let op = CloudOp::Attach { eni, instance: self.facts.instance.clone() };
        let urgency = self.urgency_of(number);
        self.send(now, number, op, urgency, out);
    }

    /// Attached: a shared ENI is prepared on the host, an exclusive one is ready for its pod.
    fn after_attach(&mut self, t: Duration, number: u32, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        if !eni.is_shared() || (eni.leaving && !eni.in_use()) {
            self.set_state(number, EniState::Ready);
            return;
        }
        self.prepare(t, number, out);
    }

    fn prepare(&mut self, t: Duration, number: u32, out: &mut Effects) {
        let facts = self.facts.clone();
        let Some(eni) = self.enis.get_mut(&number) else { return };
        if eni.preparing.as_ref().is_some_and(|p| t < p.since + COMMAND_PATIENCE) {
            return;
        }
        let (Some(id), Some(mac)) = (eni.id.clone(), eni.mac) else { return };
        let listed = eni.addresses.iter().filter(|(_ip, a)| a.held != Held::Releasing && !a.lost);
        let mut addresses: BTreeSet<IpAddr> = listed.map(|(ip, _a)| *ip).collect();
        if let Some(former) = &eni.preparing {
            // Its answer may still come: it must not speak for more than it was told.
            addresses.retain(|ip| former.addresses.contains(ip));
        }
        eni.preparing = Some(Preparing { since: t, addresses: addresses.clone() });
        out.commands.push(Command::Prepare(Box::new(SharedEni {
            id,
            mac,
            table_slot: eni.table_slot,
            subnet: facts.subnet(&eni.subnet),
            addresses: addresses.into_iter().collect(),
        })));
    }

    pub(crate) fn eni_prepared(&mut self, t: Duration, id: &EniId, result: Result<(), String>) {
        let Some(number) = self.number_of(id) else { return };
        let mut rng = self.rng.clone();
        let Some(eni) = self.eni_mut(number) else { return };
        let Some(Preparing { addresses, .. }) = eni.preparing.take() else { return };
        match result {
            Ok(()) => {
                if eni.state == EniState::Attaching {
                    eni.hold.clear();
                }
                eni.map_hold.clear();
                for ip in addresses {
                    if let Some(a) = eni.addresses.get_mut(&ip) {
                        a.mapped = true;
                    }
                }
                if eni.state == EniState::Attaching {
                    eni.state = EniState::Ready;
                }
            }
            Err(cause) => {
                let cause = format!("{id} is attached but not usable on the host: {cause}");
                let hold = if eni.state == EniState::Attaching {
                    &mut eni.hold
                } else {
                    &mut eni.map_hold
                };
                hold.fail_text(t, Why::new(Cause::HostNotReady, cause), &mut rng);
                // It may have been taken away behind our back.
                self.looks.want(t);
            }
        }
        self.rng = rng;
    }

    /// Leaves when nobody uses it and what rested on it is quiet: nothing of a former pod holds it any more.
    fn drain(&mut self, number: u32) {
        let Some(eni) = self.enis.get(&number) else { return };
        let held = eni.addresses.values().any(|a| {
            matches!(a.held, Held::Assigned(_) | Held::Cooling { flush: Flush::First(_), .. })
        });
        if held {
            return;
        }
        let rests = eni.addresses.values().filter_map(|a| match a.held {
            Held::Cooling { until, .. } => Some(until),
            Held::Assigned(_)
            | Held::Free { .. }
            | Held::Leased
            | Held::Releasing
            | Held::Reserved => None,
        });
        let until = rests.max();
        if let Some(eni) = self.eni_mut(number) {
            eni.delete_after = eni.delete_after.max(until);
            eni.state = EniState::Detaching;
        }
    }

    /// Detach or Delete.
    fn change(&mut self, now: Now, number: u32, urgency: Urgency, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let Some(id) = eni.id.clone() else {
            self.bury_eni(now.boot, number, out);
            return;
        };
        let op = match eni.state {
            EniState::Detaching => {
                CloudOp::Detach { eni: id, instance: self.facts.instance.clone() }
            }
            EniState::Creating
            | EniState::Attaching
            | EniState::Ready
            | EniState::Draining
            | EniState::Deleting
            | EniState::Failed(_) => CloudOp::Delete { eni: id },
        };
        self.send(now, number, op, urgency, out);
    }

    /// Addresses that a look brought are handed out once the host knows them, whatever cloud call is in work or failed.
    fn map_new_addresses(&mut self, t: Duration, number: u32, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let serves = matches!(eni.state, EniState::Ready | EniState::Draining) && !eni.leaving;
        let unmapped =
            eni.addresses.values().any(|a| !a.mapped && !a.lost && a.held != Held::Releasing);
        if serves && eni.is_shared() && unmapped && !eni.map_hold.holds(t) {
            self.prepare(t, number, out);
        }
    }

    /// What a ready ENI still lacks: an exclusive ENI's IPv6 address, or an Unassign that was decided: one family and batch a
    /// call.
    pub(crate) fn tend(&mut self, now: Now, number: u32, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        let Some(id) = eni.id.clone() else { return };
        if !eni.is_shared() {
            let lacks = self.facts.families.has(Family::V6) && eni.count(Family::V6) == 0;
            if lacks && self.facts.limits.ipv6_per_eni > 0 {
                let token = self.token();
                let op = CloudOp::Assign { eni: id, family: Family::V6, count: 1, token };
                let urgency = self.urgency_of(number);
                self.send(now, number, op, urgency, out);
            }
            return;
        }
        for family in Family::BOTH {
            let mut prefixes = eni.releasing_prefixes(family);
            prefixes.truncate(Settings::PREFIX_BATCH.into());
            if !prefixes.is_empty() {
                let op = CloudOp::UnassignPrefixes { eni: id, prefixes };
                self.send(now, number, op, Urgency::Release, out);
                return;
            }
            let releasing = eni.addresses.iter().filter(|(ip, a)| {
                Family::of(**ip) == family && a.held == Held::Releasing && !a.within
            });
            let batch = usize::from(self.settings.batch(family));
            let addresses: Vec<IpAddr> = releasing.map(|(ip, _a)| *ip).take(batch).collect();
            if !addresses.is_empty() {
                let op = CloudOp::Unassign { eni: id, addresses };
                self.send(now, number, op, Urgency::Release, out);
                return;
            }
        }
    }

    /// An ENI that was taken from us: kept while pods hold its addresses, so that people see why they have no network.
    fn after_loss(&mut self, t: Duration, number: u32, out: &mut Effects) {
        let Some(eni) = self.enis.get(&number) else { return };
        if eni.in_use() {
            return;
        }
        if eni.missing.is_some() {
            self.bury_eni(t, number, out);
        } else {
            self.set_state(number, EniState::Deleting);
        }
    }

    pub(crate) fn eni_deadlines(&self) -> impl Iterator<Item = Duration> {
        let t = self.looks.clock;
        let go = move |e: &Eni| {
            let due = match e.state {
                EniState::Detaching => Some(e.born + self.settings.late_effect),
                EniState::Deleting => e.delete_after,
                EniState::Creating
                | EniState::Attaching
                | EniState::Ready
                | EniState::Draining
                | EniState::Failed(_) => None,
            };
            due.filter(|d| *d > t && e.busy.is_none() && !self.uninstalling)
        };
        let holds = self.enis.values().flat_map(move |e| [e.hold.until(t), e.map_hold.until(t)]);
        let again = self.enis.values().filter_map(|e| Some(e.preparing.as_ref()?.since));
        let again = again.map(|since| since + COMMAND_PATIENCE).filter(move |d| *d > t);
        let holds = holds.flatten().chain(again);
        let creating = self.enis.values().any(|e| e.state == EniState::Creating);
        let create = self.create_hold.until(t).filter(|_d| creating);
        let subnets = [&self.subnet_holds, &self.cramped, &self.fragmented].into_iter();
        let subnets = subnets.flat_map(|holds| holds.values()).filter_map(move |h| h.until(t));
        holds.chain(self.enis.values().filter_map(go)).chain(create).chain(subnets)
    }
}
