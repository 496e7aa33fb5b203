//! Leases: the address of a pod with a stable identity waits until the pod is back.
//!
//! A lease is made when an identity (namespace and name of a pod) gets an address, and belongs to this node. It is *claimed*
//! while a container of the identity has the address, and then lasts `lease_ttl`. Its address rests like any other, then it
//! is `Leased`: nobody gets it but the identity, which need not wait for the end of the rest, since what still flows to the
//! address is meant for it. Watermarks do not count it, and its ENI is not idle.
//!
//! A lease that is not strict yields: to a pod that waits while nothing is free and nothing comes, the oldest first; and its
//! own pod takes another address when the leased one cannot be had. What the cloud takes away ends any lease.
//!
//! Ends are wall time, since only that outlives a reboot. When the wall clock jumps, they jump along.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tideway_model::{Attachment, Cause, LeaseTerms, Mode, Now, PodAddresses, PodKey, PodRef, Why};

use crate::{
    BoundPod, Effects, Ipam, Record,
    eni::{Address, Eni, Flush, Held},
    intents::Phase,
    record::{self, Entry, LeaseRecord},
    requests::{Waiting, Wants},
};

/// The wall clock runs with the boot clock; a difference from this on is a jump.
const JUMP: Duration = Duration::from_mins(1);

/// The leases of this node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases {
    pub(crate) map: BTreeMap<PodKey, LeaseRecord>,
    /// Time of this step.
    clock: Now,
}

impl Leases {
    /// Those that no container claims.
    pub(crate) fn unclaimed(&self) -> impl Iterator<Item = &LeaseRecord> {
        self.map.values().filter(|l| l.until.is_some())
    }

    fn put(&mut self, lease: LeaseRecord, out: &mut Effects) {
        let value = Some(Entry::Lease(Box::new(lease.clone())));
        out.records.push(Record { key: record::lease_key(&lease.pod), value });
        self.map.insert(lease.pod.clone(), lease);
    }

    /// Gives every unclaimed lease another end.
    fn set_ends(&mut self, end: impl Fn(u64) -> u64, out: &mut Effects) {
        for lease in self.map.values_mut() {
            let Some(until) = &mut lease.until else { continue };
            let new = end(until.0);
            if new != until.0 {
                until.0 = new;
                let value = Some(Entry::Lease(Box::new(lease.clone())));
                out.records.push(Record { key: record::lease_key(&lease.pod), value });
            }
        }
    }
}

/// Same pod, as far as both know.
pub(crate) fn same_pod(a: &PodRef, b: &PodRef) -> bool {
    a.key == b.key && (a.uid.is_none() || b.uid.is_none() || a.uid == b.uid)
}

/// Whether the identity itself may have the address again: no flush is to come or in work, it would hit the new container.
fn is_claimable(a: &Address) -> bool {
    let at_rest = matches!(a.held, Held::Leased | Held::Cooling { flush: Flush::Done, .. });
    at_rest && a.mapped && a.absent.is_none() && !a.lost
}

/// The former container's traces are still there although the rest is over.
fn is_haunted(a: &Address, t: Duration) -> bool {
    matches!(a.held, Held::Cooling { until, flush: Flush::First(_) } if until <= t)
}

impl Ipam {
    /// A lease of the journal. Who claims it is told by the attachments.
    pub(crate) fn restore_lease(&mut self, mut lease: LeaseRecord) {
        let claims = |a: &Attachment| a.pod.key == lease.pod && a.addresses == lease.addresses;
        let claimed =
            self.attachments.values().any(|g| g.eni == lease.eni && claims(&g.attachment));
        lease.until = if claimed { None } else { Some(lease.until.unwrap_or_default()) };
        self.leases.map.insert(lease.pod.clone(), lease);
    }

    /// The first step of a run: no lease lasts longer from now on than a new one would, whatever the clock says.
    pub(crate) fn begin_leases(&mut self, now: Now, out: &mut Effects) {
        self.leases.clock = now;
        let latest = now.wall.plus(self.settings.lease_ttl).0;
        self.leases.set_ends(|until| until.min(latest), out);
    }

    /// Takes the time of this step, before anything else.
    pub(crate) fn follow_clock(&mut self, now: Now, out: &mut Effects) {
        let before = std::mem::replace(&mut self.leases.clock, now);
        let expected = before.wall.plus(now.boot.saturating_sub(before.boot)).0;
        let jump = now.wall.0.abs_diff(expected);
        if u128::from(jump) < JUMP.as_millis() {
            return;
        }
        let ahead = now.wall.0 > expected;
        let shifted = |until: u64| {
            if ahead { until.saturating_add(jump) } else { until.saturating_sub(jump) }
        };
        self.leases.set_ends(shifted, out);
    }

    /// Ends what does not last, and keeps what does from everybody else.
    pub(crate) fn keep_leases(&mut self, t: Duration, out: &mut Effects) {
        let (wall, off) = (self.leases.clock.wall, self.uninstalling);
        let over = |l: &LeaseRecord| l.until.is_some_and(|until| until <= wall || !self.stands(l));
        let over = self.leases.map.values().filter(|l| off || over(l));
        let over: Vec<PodKey> = over.map(|l| l.pod.clone()).collect();
        for pod in over {
            self.end_lease(t, &pod, out);
        }
        while self.leases.unclaimed().count() > self.most_leases() {
            // Promises that nobody may break stand: then the one that came last is not made.
            let yields =
                self.leases.unclaimed().filter(|l| !l.terms.strict).min_by_key(|l| l.until);
            let last = self.leases.unclaimed().max_by_key(|l| l.until);
            let Some(pod) = yields.or(last).map(|l| l.pod.clone()) else { break };
            self.end_lease(t, &pod, out);
        }
        self.set_leased_aside();
    }

    /// Whether the node still has all of its addresses, on an ENI that stays.
    fn stands(&self, lease: &LeaseRecord) -> bool {
        let Some(eni) = self.enis.get(&lease.eni).filter(|e| !e.leaving) else { return false };
        let families = self.facts.families.list();
        let has = |ip: IpAddr| eni.addresses.get(&ip).is_some_and(|a| !a.lost);
        lease.addresses.iter().count() == families.len()
            && families.iter().all(|f| lease.addresses.get(*f).is_some_and(has))
    }

    /// Whether an address of this ENI waits for its identity.
    pub(crate) fn keeps_leases(&self, eni: u32) -> bool {
        self.leases.unclaimed().any(|l| l.eni == eni)
    }

    /// Half of the addresses that the node can have, unless the operator says otherwise.
    fn most_leases(&self) -> usize {
        let slots = self.facts.limits.slots();
        let enis = self.settings.max_shared.map_or(slots, |most| most.min(slots));
        let half = usize::from(enis) * usize::from(self.units_per_eni()) / 2;
        self.settings.lease_max.map_or(half, usize::from)
    }

    pub(crate) fn set_leased_aside(&mut self) {
        for lease in self.leases.map.values().filter(|l| l.until.is_some()) {
            let Some(eni) = self.enis.get_mut(&lease.eni) else { continue };
            for ip in lease.addresses.iter() {
                if let Some(a) = eni.addresses.get_mut(&ip)
                    && matches!(a.held, Held::Free { .. })
                {
                    a.held = Held::Leased;
                }
            }
        }
    }

    /// Ends a lease; its addresses are anybody's when they have rested.
    fn end_lease(&mut self, t: Duration, pod: &PodKey, out: &mut Effects) {
        let Some(lease) = self.leases.map.remove(pod) else { return };
        out.records.push(Record { key: record::lease_key(pod), value: None });
        let Some(eni) = self.enis.get_mut(&lease.eni) else { return };
        for ip in lease.addresses.iter() {
            if let Some(a) = eni.addresses.get_mut(&ip)
                && a.held == Held::Leased
            {
                a.held = Held::Free { since: t };
            }
        }
    }

    /// The API server says that these pods do not come back.
    pub(crate) fn owners_gone(&mut self, t: Duration, pods: &[PodKey], out: &mut Effects) {
        for pod in pods {
            if self.leases.map.get(pod).is_some_and(|l| l.until.is_some()) {
                self.end_lease(t, pod, out);
            }
        }
    }

    /// The API server tells which pods are here, and with that which of them are identities: also of those that came before
    /// it could tell.
    pub(crate) fn pods_bound(&mut self, pods: Vec<BoundPod>, out: &mut Effects) {
        self.bound = pods;
        if self.settings.lease_ttl.is_zero() {
            return;
        }
        let mut told = Vec::new();
        for bound in &self.bound {
            let Some(terms) = &bound.lease else { continue };
            let mine = self.attachments.values().filter(|g| {
                g.attachment.mode == Mode::Veth && same_pod(&g.attachment.pod, &bound.pod)
            });
            let Some(last) = mine.max_by_key(|g| g.touched) else { continue };
            let known = self.leases.map.get(&bound.pod.key);
            if known.is_none_or(|l| l.until.is_none() && l.terms != *terms) {
                let new = LeaseRecord {
                    pod: bound.pod.key.clone(),
                    eni: last.eni,
                    addresses: last.attachment.addresses,
                    terms: terms.clone(),
                    until: None,
                };
                let same = known.map(|l| LeaseRecord { terms: terms.clone(), ..l.clone() });
                told.push(same.unwrap_or(new));
            }
        }
        for lease in told {
            self.leases.put(lease, out);
        }
    }

    /// A pod got a shared address: if it is an identity, that is now its own. Answers the lease that it has instead of that
    /// of a former container, which is still there.
    pub(crate) fn claim(
        &mut self,
        t: Duration,
        w: &Waiting,
        (eni, addresses): (u32, PodAddresses),
        out: &mut Effects,
    ) -> Option<LeaseRecord> {
        let pod = &w.request.pod;
        let bound = self.bound.iter().find(|b| same_pod(&b.pod, pod));
        let bound = bound.and_then(|b| b.lease.clone());
        let former = self.leases.map.get(&pod.key);
        // The annotation says less than the watch, and than what an earlier container's watch said.
        let terms: Option<LeaseTerms> =
            bound.or_else(|| former.map(|l| l.terms.clone())).or_else(|| w.request.lease.clone());
        let terms = terms.filter(|_| !self.settings.lease_ttl.is_zero())?;
        let former = former.filter(|l| l.addresses != addresses).cloned();
        if former.as_ref().is_some_and(|l| l.until.is_some()) {
            self.end_lease(t, &pod.key, out);
        }
        let lease = LeaseRecord { pod: pod.key.clone(), eni, addresses, terms, until: None };
        self.leases.put(lease, out);
        former.filter(|l| l.until.is_none())
    }

    /// The lease of a former container is the identity's again while that one is there, or its address rests for nobody else.
    pub(crate) fn reclaim(&mut self, lease: LeaseRecord, out: &mut Effects) {
        let claims = |a: &Attachment| a.pod.key == lease.pod && a.addresses == lease.addresses;
        let claimed = self.attachments.values().any(|g| claims(&g.attachment));
        let rests = |ip: IpAddr| {
            let held = self.enis.get(&lease.eni).and_then(|e| e.addresses.get(&ip));
            let waits = |l: &LeaseRecord| l.eni == lease.eni && l.addresses.iter().any(|i| i == ip);
            held.is_some_and(|a| matches!(a.held, Held::Cooling { .. }))
                && !self.leases.map.values().any(waits)
        };
        let newer = self.leases.map.get(&lease.pod).is_some_and(|l| l.until.is_none());
        if !newer && (claimed || lease.addresses.iter().all(rests)) {
            let end = self.leases.clock.wall.plus(self.settings.lease_ttl);
            self.leases.put(LeaseRecord { until: (!claimed).then_some(end), ..lease }, out);
        }
    }

    /// A container's attachment ended: the lease of its identity begins to run out.
    pub(crate) fn unclaim(&mut self, pod: &PodKey, addresses: PodAddresses, out: &mut Effects) {
        let until = Some(self.leases.clock.wall.plus(self.settings.lease_ttl));
        let own = self.leases.map.get(pod);
        let own = own.filter(|l| l.until.is_none() && l.addresses == addresses);
        if let Some(lease) = own.cloned() {
            self.leases.put(LeaseRecord { until, ..lease }, out);
        }
    }

    /// The lease that waits for this pod, unless the pod had better take another address.
    pub(crate) fn awaited(&self, pod: &PodKey) -> Option<&LeaseRecord> {
        let lease = self.leases.map.get(pod).filter(|l| l.until.is_some())?;
        let t = self.leases.clock.boot;
        let hopeless = self.enis.get(&lease.eni).is_none_or(|eni| {
            let haunted = |ip| eni.addresses.get(&ip).is_some_and(|a| is_haunted(a, t));
            // A preparation that failed once or twice is tried again within seconds: less than an address is worth.
            (eni.is_stuck(t) && eni.hold.is_lasting()) || lease.addresses.iter().any(haunted)
        });
        (lease.terms.strict || !hopeless).then_some(lease)
    }

    /// The leased address, when its identity can have it now.
    pub(crate) fn leased_place(&self, lease: &LeaseRecord) -> Option<(u32, Vec<IpAddr>)> {
        let eni = self.enis.get(&lease.eni).filter(|e| e.serves())?;
        let ready = |ip: &IpAddr| eni.addresses.get(ip).is_some_and(is_claimable);
        let addresses: Vec<IpAddr> = lease.addresses.iter().collect();
        addresses.iter().all(ready).then_some((eni.number, addresses))
    }

    /// Whether it would give a waiting pod an address at once.
    pub(crate) fn can_yield(&self, lease: &LeaseRecord) -> bool {
        let rested = |ip: IpAddr| {
            let eni = self.enis.get(&lease.eni);
            eni.and_then(|e| e.addresses.get(&ip)).is_some_and(|a| a.held == Held::Leased)
        };
        !lease.terms.strict
            && lease.addresses.iter().all(rested)
            && self.leased_place(lease).is_some()
    }

    /// Exhaustion: pods wait, nothing is free and nothing comes. The oldest leases yield, as many as are short.
    pub(crate) fn yield_leases(&mut self, t: Duration, out: &mut Effects) {
        let waits =
            |w: &&Waiting| w.wants == Wants::Shared && self.awaited(&w.request.pod.key).is_none();
        let waiting = self.waiting.iter().filter(waits).count();
        if waiting == 0 {
            return;
        }
        for _short in usize::from(self.hope(t))..waiting {
            let able = self.leases.unclaimed().filter(|l| self.can_yield(l));
            let Some(oldest) = able.min_by_key(|l| l.until).map(|l| l.pod.clone()) else { return };
            self.end_lease(t, &oldest, out);
        }
    }

    /// Units that come without anybody's lease: on their way, or asked for when the call in work ends. What failed or may
    /// have failed is no hope, although it is tried again.
    fn hope(&self, t: Duration) -> u16 {
        if !self.may_create(t) {
            return u16::MAX;
        }
        let units = self.units_per_eni();
        let of = |e: &Eni| {
            let intent = e.busy.and_then(|id| self.intents.get(&id));
            let fails =
                e.hold.holds(t) || intent.is_some_and(|i| matches!(i.phase, Phase::Unknown { .. }));
            if fails || (e.is_unborn() && !self.can_create(t)) {
                0
            } else if e.coming() {
                units
            } else if e.serves() && !self.is_full(t, &e.subnet) {
                let room = e.room(self.facts.families, |f| self.places(e, f));
                self.units_coming(t, e).max(room)
            } else {
                self.units_coming(t, e)
            }
        };
        let withdrawing =
            self.wants_slot && self.devices.map.values().any(|d| d.withdrawn.is_some());
        let slot = if withdrawing { units } else { 0 };
        self.enis.values().map(of).fold(slot, u16::saturating_add)
    }

    /// What a pod waits for whose own address cannot be had yet.
    pub(crate) fn lease_waits_for(&self, w: &Waiting) -> Option<Why> {
        let lease = self.awaited(&w.request.pod.key)?;
        let eni = self.enis.get(&lease.eni)?;
        let ips: Vec<String> = lease.addresses.iter().map(|ip| ip.to_string()).collect();
        let ips = ips.join(" and ");
        let resting = |ip| {
            let held = eni.addresses.get(&ip).map(|a| &a.held);
            matches!(held, Some(Held::Cooling { .. }))
        };
        let text = if lease.addresses.iter().any(resting) {
            format!(
                "{ips} is leased to the pod and traces of its former container are not gone yet; look for what holds its network namespace if it lasts"
            )
        } else {
            let name = eni.id.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "{ips} is leased to the pod and {name} does not serve at the moment (being prepared, or the cloud's last look did not show the address)"
            )
        };
        Some(Why::new(Cause::LeaseNotReady, text))
    }

    pub(crate) fn lease_deadlines(&self) -> impl Iterator<Item = Duration> {
        let Now { boot, wall } = self.leases.clock;
        let left = move |until: u64| boot + Duration::from_millis(until.saturating_sub(wall.0));
        let ends = self.leases.map.values().filter_map(|l| l.until).map(move |u| left(u.0));
        let waited = self.waiting.iter().filter_map(|w| self.awaited(&w.request.pod.key));
        let rests =
            waited.filter_map(|l| Some((l, self.enis.get(&l.eni)?))).flat_map(|(l, eni)| {
                l.addresses.iter().filter_map(|ip| match eni.addresses.get(&ip)?.held {
                    Held::Cooling { until, .. } => Some(until),
                    Held::Free { .. }
                    | Held::Assigned(_)
                    | Held::Leased
                    | Held::Releasing
                    | Held::Reserved => None,
                })
            });
        ends.chain(rests.filter(move |until| *until > boot))
    }
}
