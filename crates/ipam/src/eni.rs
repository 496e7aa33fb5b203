//! One ENI of ours and its addresses.
//!
//! Invariants: an address is in one state; only a `Free` one of a `Ready` shared ENI that the host map knows (`mapped`) and
//! that no look doubts (`absent`) can be handed out; one change of an ENI is in work at a time (`busy`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use ipnet::IpNet;
use tideway_model::{
    AttachmentKey, EniId, EniState, Families, Family, Mac, SecurityGroupId, SlotId, SubnetId,
};

use crate::{IntentId, hold::Hold, prefixes::block, record::EniRecord, view::Use};

/// State of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nobody's, since then.
    Free { since: Duration },
    /// Promised to this attachment.
    Assigned(AttachmentKey),
    /// Rests until then and until it was flushed twice.
    Cooling { until: Duration, flush: Flush },
    /// Has rested and waits for its identity: see [`crate::leases`].
    Leased,
    /// Its Unassign was decided.
    Releasing,
    /// Kept from pods.
    Reserved,
}

/// How far the traces of an address's former owner are gone. A client that has not heard of the pod's end makes new
/// conntrack entries while the address rests, so it is flushed once more when the rest is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// The first flush was ordered then: the owner's link may still be there.
    First(Duration),
    /// The first one is done, the last one waits for the end of the rest.
    Done,
    /// The last flush was ordered then.
    Last(Duration),
}

/// One address of an ENI.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) held: Held,
    /// The host's source → ENI map has it.
    pub(crate) mapped: bool,
    /// Last word of the cloud that it is there (`Now::boot`).
    pub(crate) born: Duration,
    /// First look since then that did not show it.
    pub(crate) absent: Option<Duration>,
    /// Two looks did not show it: it is dropped as soon as nobody holds it.
    pub(crate) lost: bool,
    /// It came with a prefix and goes with it (see [`crate::prefixes`]).
    pub(crate) within: bool,
}

impl Address {
    pub(crate) fn new(held: Held, mapped: bool, born: Duration) -> Self {
        Self { held, mapped, born, absent: None, lost: false, within: false }
    }

    pub(crate) fn usable(&self) -> bool {
        matches!(self.held, Held::Free { .. }) && self.mapped && self.absent.is_none() && !self.lost
    }

    /// A pod has it, or it waits for its identity.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self.held, Held::Assigned(_) | Held::Leased)
    }
}

/// A `Prepare` whose end was not told.
#[derive(Debug, Clone)]
pub(crate) struct Preparing {
    pub(crate) since: Duration,
    /// What it names.
    pub(crate) addresses: BTreeSet<IpAddr>,
}

/// One ENI of ours.
#[derive(Debug, Clone)]
pub(crate) struct Eni {
    pub(crate) number: u32,
    pub(crate) id: Option<EniId>,
    pub(crate) mac: Option<Mac>,
    pub(crate) state: EniState,
    /// Attached to the instance, or an Attach may have been effective.
    pub(crate) attached: bool,
    /// To be given back.
    pub(crate) leaving: bool,
    pub(crate) usage: Use,
    /// Adapter slot that it takes.
    pub(crate) slot: SlotId,
    pub(crate) subnet: SubnetId,
    pub(crate) security_groups: Vec<SecurityGroupId>,
    pub(crate) table_slot: u16,
    pub(crate) planned: u16,
    pub(crate) primary: Option<IpAddr>,
    pub(crate) addresses: BTreeMap<IpAddr, Address>,
    /// The change in work.
    pub(crate) busy: Option<IntentId>,
    /// A `Prepare` in work.
    pub(crate) preparing: Option<Preparing>,
    pub(crate) hold: Hold,
    /// Backing off of `Prepare` on an ENI that serves already: a cloud call that fails must not keep new addresses from pods.
    pub(crate) map_hold: Hold,
    /// When the cloud last told that it exists and how (answer or look).
    pub(crate) born: Duration,
    /// First look that did not show it attached although it should be, or did not show it at all.
    pub(crate) missing: Option<Duration>,
    /// Not to be deleted before: its addresses rest.
    pub(crate) delete_after: Option<Duration>,
    /// It was found in the cloud: which addresses of its prefixes pods had before is not known.
    pub(crate) adopted: bool,
}

impl Eni {
    pub(crate) fn is_shared(&self) -> bool {
        self.usage == Use::Shared
    }

    /// Shared, attached, prepared and not leaving: gives addresses to pods.
    pub(crate) fn serves(&self) -> bool {
        self.is_shared() && self.state == EniState::Ready && !self.leaving
    }

    /// Shared and on its way to serve.
    pub(crate) fn coming(&self) -> bool {
        self.is_shared()
            && !self.leaving
            && matches!(self.state, EniState::Creating | EniState::Attaching)
    }

    /// Decided, and not being asked for: whether it comes depends on what its creation waits for.
    pub(crate) fn is_unborn(&self) -> bool {
        self.state == EniState::Creating && self.busy.is_none()
    }

    /// Attached, but the host cannot use it (yet): nothing is to be expected from it.
    pub(crate) fn is_stuck(&self, t: Duration) -> bool {
        self.state == EniState::Attaching && self.attached && self.hold.holds(t)
    }

    /// Whether an attachment holds one of its addresses.
    pub(crate) fn in_use(&self) -> bool {
        self.addresses.values().any(|a| matches!(a.held, Held::Assigned(_)))
    }

    pub(crate) fn assigned(&self) -> usize {
        self.addresses.values().filter(|a| matches!(a.held, Held::Assigned(_))).count()
    }

    /// Places of a family that the cloud counts against the limit: single addresses and prefixes.
    pub(crate) fn count(&self, family: Family) -> u16 {
        let n = self.addresses.iter().filter(|(ip, a)| Family::of(**ip) == family && !a.lost);
        // In the order of addresses those of one prefix follow one another.
        let mut last = None;
        let begins = |(ip, a): &(&IpAddr, &Address)| {
            !a.within || last.replace(block(**ip)) != Some(block(**ip))
        };
        u16::try_from(n.filter(begins).count()).unwrap_or(u16::MAX)
    }

    /// Addresses of a family that pods have, had or can have.
    pub(crate) fn total(&self, family: Family) -> u16 {
        let own = |a: &Address| !a.lost && !matches!(a.held, Held::Reserved | Held::Releasing);
        let n = self.addresses.iter().filter(|(ip, a)| Family::of(**ip) == family && own(a));
        u16::try_from(n.count()).unwrap_or(u16::MAX)
    }

    /// Addresses of a family that can be handed out now.
    pub(crate) fn free(&self, family: Family) -> u16 {
        if !self.serves() {
            return 0;
        }
        let n = self.addresses.iter().filter(|(ip, a)| Family::of(**ip) == family && a.usable());
        u16::try_from(n.count()).unwrap_or(u16::MAX)
    }

    /// Addresses of a family that can be handed out as soon as the host knows them.
    pub(crate) fn soon_free(&self, family: Family) -> u16 {
        let free =
            |a: &Address| matches!(a.held, Held::Free { .. }) && a.absent.is_none() && !a.lost;
        let n = self.addresses.iter().filter(|(ip, a)| Family::of(**ip) == family && free(a));
        u16::try_from(n.count()).unwrap_or(u16::MAX)
    }

    /// Units (one address of each family) that can be handed out now.
    pub(crate) fn free_units(&self, families: Families) -> u16 {
        families.list().iter().map(|f| self.free(*f)).min().unwrap_or(0)
    }

    /// Addresses of a family that can be handed out and that no pod will ever take: beyond those of another family that are
    /// free or rest. A fault between the calls for two families leaves them, or an end of demand.
    pub(crate) fn unpaired(&self, family: Family, families: Families) -> u16 {
        let partners = |other: &Family| {
            let of = |ip: &IpAddr| Family::of(*ip) == *other;
            let free = |a: &Address| matches!(a.held, Held::Free { .. } | Held::Cooling { .. });
            let n = self.addresses.iter().filter(|(ip, a)| of(ip) && free(a)).count();
            u16::try_from(n).unwrap_or(u16::MAX)
        };
        let fewest = families.list().iter().map(partners).min().unwrap_or(0);
        self.free(family).saturating_sub(fewest)
    }

    /// Single addresses of a family that nobody has and that can be given back: the primary one goes with the ENI.
    pub(crate) fn removable(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        let own = move |ip: &IpAddr| Family::of(*ip) == family && Some(*ip) != self.primary;
        let free = |a: &Address| matches!(a.held, Held::Free { .. }) && !a.within;
        let free = self.addresses.iter().filter(move |(_ip, a)| free(a));
        free.map(|(ip, _a)| *ip).filter(own)
    }

    /// Units that could be added, when it has so many empty places for addresses of a family.
    pub(crate) fn room(&self, families: Families, places: impl Fn(Family) -> u16) -> u16 {
        let with = |f: &Family| self.free(*f).saturating_add(places(*f));
        let most = families.list().iter().map(with).min().unwrap_or(0);
        most.saturating_sub(self.free_units(families))
    }

    /// The state that people see: a ready ENI that leaves is draining.
    pub(crate) fn shown_state(&self) -> EniState {
        if self.leaving && matches!(self.state, EniState::Ready) {
            EniState::Draining
        } else {
            self.state.clone()
        }
    }

    pub(crate) fn record(&self) -> EniRecord {
        EniRecord {
            number: self.number,
            id: self.id.clone(),
            mac: self.mac,
            state: self.state.clone(),
            attached: self.attached,
            leaving: self.leaving,
            usage: self.usage,
            slot: self.slot,
            subnet: self.subnet.clone(),
            security_groups: self.security_groups.clone(),
            table_slot: self.table_slot,
            planned: self.planned,
            primary: self.primary,
            addresses: self.addresses.keys().copied().collect(),
            releasing: self
                .addresses
                .iter()
                .filter(|(_ip, a)| a.held == Held::Releasing)
                .map(|(ip, _a)| *ip)
                .collect(),
            doubted: self
                .addresses
                .iter()
                .filter(|(_ip, a)| a.absent.is_some())
                .map(|(ip, _a)| *ip)
                .collect(),
            prefixes: Family::BOTH.iter().flat_map(|f| self.prefixes(*f)).collect(),
            adopted: self.adopted,
        }
    }

    /// Reads an ENI back. Whether it is prepared and what the cloud thinks of it is learnt again.
    pub(crate) fn from_record(r: EniRecord) -> Self {
        let held = |ip: &IpAddr| {
            if r.releasing.contains(ip) {
                Held::Releasing
            } else if matches!(r.usage, Use::Exclusive(_)) {
                Held::Reserved
            } else {
                Held::Free { since: Duration::ZERO }
            }
        };
        // A prefix leaves as a whole: of one that stays, what leaves is a single address that was there before it.
        let stays =
            |p: &IpNet| r.addresses.iter().any(|ip| p.contains(ip) && !r.releasing.contains(ip));
        let staying: BTreeSet<IpNet> = r.prefixes.iter().filter(|p| stays(p)).copied().collect();
        let single = |ip: &IpAddr| r.releasing.contains(ip) && staying.contains(&block(*ip));
        let lost = matches!(r.state, EniState::Failed(_));
        let addresses = r
            .addresses
            .iter()
            .map(|ip| {
                let absent = r.doubted.contains(ip).then_some(Duration::ZERO);
                let within = r.prefixes.contains(&block(*ip)) && !single(ip);
                let address = Address::new(held(ip), false, Duration::ZERO);
                (*ip, Address { absent, lost, within, ..address })
            })
            .collect();
        let state = if r.state == EniState::Ready { EniState::Attaching } else { r.state };
        Self {
            number: r.number,
            id: r.id,
            mac: r.mac,
            state,
            attached: r.attached,
            leaving: r.leaving,
            usage: r.usage,
            slot: r.slot,
            subnet: r.subnet,
            security_groups: r.security_groups,
            table_slot: r.table_slot,
            planned: r.planned,
            primary: r.primary,
            addresses,
            busy: None,
            preparing: None,
            hold: Hold::default(),
            map_hold: Hold::default(),
            born: Duration::ZERO,
            missing: None,
            delete_after: None,
            adopted: r.adopted,
        }
    }
}
