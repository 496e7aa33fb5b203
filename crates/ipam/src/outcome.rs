//! What an answer of the cloud means for the books.

use std::{net::IpAddr, time::Duration};

use tideway_cloud::{CloudError, CloudOp, EniView, ErrorKind, OpAnswer};
use tideway_model::{Cause, EniState, Family, IPV4_OF_PREFIX, Now, Why};

use crate::{
    Effects, Ipam,
    eni::{Address, Held},
    hold::Hold,
    prefixes::{block, hosts, listed},
    record::IntentRecord,
};

impl Ipam {
    pub(crate) fn succeeded(
        &mut self,
        t: Duration,
        r: &IntentRecord,
        answer: OpAnswer,
        out: &mut Effects,
    ) {
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
                let got: Vec<_> = ips.into_iter().map(|ip| (ip, false)).collect();
                self.assigned(t, r.eni, (*family, *count), &got, out);
            }
            (
                CloudOp::AssignPrefixes { family, count, .. },
                OpAnswer::AssignedPrefixes(prefixes),
            ) => {
                let each = if *family == Family::V4 { IPV4_OF_PREFIX } else { 1 };
                let got: Vec<_> = prefixes.iter().flat_map(hosts).map(|ip| (ip, true)).collect();
                self.assigned(t, r.eni, (*family, count.saturating_mul(each)), &got, out);
            }
            (CloudOp::Unassign { .. } | CloudOp::UnassignPrefixes { .. }, _) => {
                self.unassigned(t, r.eni, &self.named_by(r));
            }
            (
                CloudOp::Create(_)
                | CloudOp::Assign { .. }
                | CloudOp::AssignPrefixes { .. }
                | CloudOp::Describe { .. },
                _,
            ) => {
                // An answer that does not fit its question tells nothing: the next look does.
                self.looks.want(t);
            }
        }
    }

    /// The ENI exists: it has a name, a MAC and its first addresses.
    pub(crate) fn created(&mut self, t: Duration, number: u32, view: &EniView, out: &mut Effects) {
        let known = self.number_of(&view.id).is_some_and(|other| other != number);
        if known || view.id == self.facts.primary_eni {
            // An ENI is in the books once. This one is not new, so the planned one is asked for anew.
            let cause = format!("the cloud answered with {}, which is not new", view.id);
            let mut rng = self.rng.clone();
            self.create_hold.fail_text(t, Why::new(Cause::NothingNew, cause), &mut rng);
            self.rng = rng;
            self.looks.want(t);
            return;
        }
        self.create_hold.clear();
        self.subnet_holds.remove(&view.subnet);
        self.cramped.remove(&view.subnet);
        self.fragmented.remove(&view.subnet);
        let mut known: Vec<((IpAddr, bool), Option<Held>)> = Vec::new();
        for listed in listed(view) {
            match self.take_over(number, listed.0, out) {
                Moved::InUse => {}
                Moved::New => known.push((listed, None)),
                Moved::Resting(held) => known.push((listed, Some(held))),
            }
        }
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
        for ((ip, within), rest) in known {
            let reserved = !shared || (keeps_primary && view.primary_ip == Some(ip));
            let fresh = if reserved { Held::Reserved } else { Held::Free { since: t } };
            let held = rest.unwrap_or(fresh);
            let address = Address { within, ..Address::new(held, false, t) };
            eni.addresses.entry(ip).or_insert(address);
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

    fn assigned(
        &mut self,
        t: Duration,
        number: u32,
        (family, count): (Family, u16),
        got: &[(IpAddr, bool)],
        out: &mut Effects,
    ) {
        let mut new = 0u16;
        for (ip, within) in got.iter().filter(|(ip, _within)| Family::of(*ip) == family) {
            self.buried.remove(&(number, *ip));
            self.looks.forget(number, *ip);
            let rest = match self.take_over(number, *ip, out) {
                Moved::InUse => continue,
                Moved::New => None,
                Moved::Resting(held) => Some(held),
            };
            let Some(eni) = self.eni_mut(number) else { return };
            let reserved = !eni.is_shared();
            let fresh = if reserved { Held::Reserved } else { Held::Free { since: t } };
            let held = rest.unwrap_or(fresh);
            // A single address of a prefix that the ENI has is nothing new, whatever the cloud says.
            let covered = !within && eni.prefixes(family).contains(&block(*ip));
            if !covered && !eni.addresses.contains_key(ip) {
                eni.addresses
                    .insert(*ip, Address { within: *within, ..Address::new(held, true, t) });
                let subnet = eni.subnet.clone();
                self.subnet_holds.remove(&subnet);
                new = new.saturating_add(1);
            }
        }
        self.keep_whole(t, number, out);
        if new < count {
            // Partly served, or books and cloud disagree: look, and do not ask again at once.
            self.looks.want(t);
            if new == 0 {
                let mut rng = self.rng.clone();
                if let Some(eni) = self.eni_mut(number) {
                    let cause = "the cloud answered an assignment without a new address";
                    let why = Why::new(Cause::NothingNew, cause);
                    eni.hold.fail_text(t, why, &mut rng);
                }
                self.rng = rng;
            }
        }
    }

    pub(crate) fn unassigned(&mut self, t: Duration, number: u32, ips: &[IpAddr]) {
        let until = t + self.settings.late_effect;
        for ip in ips {
            let Some(eni) = self.eni_mut(number) else { return };
            if eni.addresses.get(ip).is_some_and(|a| a.held == Held::Releasing) {
                eni.addresses.remove(ip);
                self.buried.insert((number, *ip), until);
            }
        }
    }

    pub(crate) fn failed(
        &mut self,
        now: Now,
        r: &IntentRecord,
        error: &CloudError,
        out: &mut Effects,
    ) {
        let t = now.boot;
        let old = self.enis.get(&r.eni).is_some_and(|e| t >= e.born + self.settings.late_effect);
        if error.kind == ErrorKind::NotFound && old {
            match &r.op {
                CloudOp::Detach { .. } => return self.detached(r.eni),
                CloudOp::Delete { .. } => return self.bury_eni(t, r.eni, out),
                CloudOp::Unassign { .. } | CloudOp::UnassignPrefixes { .. } => {
                    return self.unassigned(t, r.eni, &self.named_by(r));
                }
                CloudOp::Create(_)
                | CloudOp::Attach { .. }
                | CloudOp::Assign { .. }
                | CloudOp::AssignPrefixes { .. }
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
        if let Some(hold) = self.hold_for(r, &error.kind) {
            hold.fail(t, error, &mut rng);
        }
        self.rng = rng;
    }

    /// What backs off after this refusal. A subnet says only of what was asked for that it lacks it: one without room for a
    /// whole ENI may have addresses for those that are there, and one without a prefix single addresses.
    fn hold_for(&mut self, r: &IntentRecord, kind: &ErrorKind) -> Option<&mut Hold> {
        let eni = self.enis.get(&r.eni)?;
        let full = *kind == ErrorKind::SubnetFull;
        let lacks = full || *kind == ErrorKind::Fragmented;
        let holds = match &r.op {
            CloudOp::Create(c) if lacks && c.prefixes_v4 + c.prefixes_v6 > 0 => {
                &mut self.fragmented
            }
            CloudOp::AssignPrefixes { .. } if lacks => &mut self.fragmented,
            CloudOp::Create(_) if full => &mut self.cramped,
            CloudOp::Assign { .. } if full => &mut self.subnet_holds,
            CloudOp::Create(_) => return Some(&mut self.create_hold),
            CloudOp::Assign { .. }
            | CloudOp::Attach { .. }
            | CloudOp::Detach { .. }
            | CloudOp::Delete { .. }
            | CloudOp::Unassign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::UnassignPrefixes { .. }
            | CloudOp::Describe { .. } => return self.eni_mut(r.eni).map(|eni| &mut eni.hold),
        };
        Some(holds.entry(eni.subnet.clone()).or_default())
    }

    /// Takes an address from another ENI of our books: the cloud's newer word is that it moved. What an attachment holds
    /// stays; a rest that has not ended goes along.
    fn take_over(&mut self, number: u32, ip: IpAddr, out: &mut Effects) -> Moved {
        let other =
            self.enis.values().find(|e| e.number != number && e.addresses.contains_key(&ip));
        let Some(other) = other.map(|e| e.number) else { return Moved::New };
        let Some(eni) = self.eni_mut(other) else { return Moved::New };
        match eni.addresses.get(&ip).map(|a| a.held.clone()) {
            Some(Held::Assigned(_)) => Moved::InUse,
            Some(held @ Held::Cooling { .. }) => {
                eni.addresses.remove(&ip);
                Self::note_rest(ip, number, out);
                Moved::Resting(held)
            }
            Some(Held::Free { .. } | Held::Leased | Held::Releasing | Held::Reserved) | None => {
                eni.addresses.remove(&ip);
                Moved::New
            }
        }
    }
}

/// What another ENI of our books had of an address that the cloud shows on this one.
enum Moved {
    /// Nothing worth keeping.
    New,
    /// It rests.
    Resting(Held),
    /// An attachment holds it.
    InUse,
}
