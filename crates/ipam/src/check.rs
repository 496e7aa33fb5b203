//! The invariants, stated once. They hold after every step; tests and debug builds check them there.
//!
//! They are about the books alone. The type's limits are not among them: the type may change while the node is off, and
//! others may attach and assign, so the books can show more than fits; nothing more is asked for then (`attach`, `grow`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tideway_model::{EniState, Family, Mode};

use crate::{
    Ipam,
    eni::{Address, Held},
    progress::TABLE_SLOTS,
    view::Use,
};

/// A broken invariant, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the allocator's books contradict themselves: {0}")]
pub struct Violation(pub String);

macro_rules! holds {
    ($cond:expr, $($text:tt)+) => {
        if !$cond {
            return Err(Violation(format!($($text)+)));
        }
    };
}

impl Ipam {
    /// Checks every invariant of the books.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_addresses()?;
        self.check_attachments()?;
        self.check_enis()?;
        self.check_intents()?;
        self.check_devices()?;
        self.check_leases()?;
        for w in &self.waiting {
            let key = &w.request.key;
            holds!(!self.attachments.contains_key(key), "{key:?} waits and is granted");
            holds!(!w.ids.is_empty(), "{key:?} waits for nobody");
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), Violation> {
        let mut owners: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for eni in self.enis.values() {
            for (ip, a) in &eni.addresses {
                if let Some(other) = owners.insert(*ip, eni.number) {
                    return Err(Violation(format!("{ip} is on ENIs {other} and {}", eni.number)));
                }
                if let Held::Assigned(key) = &a.held {
                    let promised = self.attachments.get(key);
                    let fits = promised.is_some_and(|g| {
                        g.eni == eni.number && g.attachment.addresses.iter().any(|own| own == *ip)
                    });
                    holds!(fits, "{ip} is assigned to {key:?}, which does not have it");
                }
            }
        }
        Ok(())
    }

    fn check_attachments(&self) -> Result<(), Violation> {
        for (key, g) in &self.attachments {
            let eni = self.enis.get(&g.eni);
            holds!(eni.is_some(), "{key:?} has no ENI");
            for ip in g.attachment.addresses.iter() {
                let held = eni.and_then(|e| e.addresses.get(&ip)).map(|a| &a.held);
                holds!(held == Some(&Held::Assigned(key.clone())), "{key:?}: {ip} is {held:?}");
            }
            let exclusive = g.attachment.mode == Mode::Exclusive;
            let usage = eni.map(|e| e.usage);
            let right = matches!(usage, Some(Use::Exclusive(_))) == exclusive;
            holds!(right, "{key:?} and its ENI disagree on the mode");
        }
        Ok(())
    }

    fn check_enis(&self) -> Result<(), Violation> {
        let mut tables = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for eni in self.enis.values() {
            let n = eni.number;
            for prefix in Family::BOTH.iter().flat_map(|f| eni.prefixes(*f)) {
                let leaves = |(_ip, a): (&IpAddr, &Address)| a.held == Held::Releasing;
                let all = eni.of_prefix(prefix).all(leaves);
                holds!(all || !eni.of_prefix(prefix).any(leaves), "{prefix} is given back in part");
            }
            if let Some(id) = &eni.id {
                holds!(ids.insert(id.clone()), "{id} is in the books twice");
            } else {
                let unborn = eni.state == EniState::Creating;
                holds!(unborn && eni.addresses.is_empty(), "ENI {n} has no identity");
            }
            if eni.table_slot != 0 {
                holds!(tables.insert(eni.table_slot), "table slot {} twice", eni.table_slot);
            }
            if eni.is_shared() && eni.state == EniState::Ready {
                holds!(eni.attached, "shared ENI {n} is ready but not attached");
                holds!((1..=TABLE_SLOTS).contains(&eni.table_slot), "ENI {n} has no table slot");
            }
            if !eni.is_shared() {
                let users: BTreeSet<_> = eni
                    .addresses
                    .values()
                    .filter_map(|a| match &a.held {
                        Held::Assigned(key) => Some(key),
                        Held::Free { .. }
                        | Held::Cooling { .. }
                        | Held::Leased
                        | Held::Releasing
                        | Held::Reserved => None,
                    })
                    .collect();
                holds!(users.len() <= 1, "exclusive ENI {n} has {} users", users.len());
            }
        }
        Ok(())
    }

    fn check_intents(&self) -> Result<(), Violation> {
        for (id, intent) in &self.intents {
            let eni = self.enis.get(&intent.record.eni);
            let busy = eni.and_then(|e| e.busy);
            holds!(busy == Some(*id), "intent {} is not the one in work on its ENI", id.0);
            holds!(id.0 < self.counters.intent, "intent {} is beyond the counter", id.0);
            for ip in self.named_by(&intent.record) {
                let held = eni.and_then(|e| e.addresses.get(&ip)).map(|a| &a.held);
                let leaves = held.is_none_or(|h| *h == Held::Releasing);
                holds!(leaves, "{ip} is being unassigned and is {held:?}");
            }
        }
        for eni in self.enis.values() {
            let known = eni.busy.is_none_or(|id| self.intents.contains_key(&id));
            holds!(known, "ENI {} waits for an intent that is not known", eni.number);
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), Violation> {
        let mut waiting = BTreeSet::new();
        for (pod, lease) in &self.leases.map {
            for ip in lease.addresses.iter() {
                let held = self.enis.get(&lease.eni).and_then(|e| e.addresses.get(&ip));
                let held = held.map(|a| &a.held);
                if lease.until.is_none() {
                    let fits = matches!(held, Some(Held::Assigned(key))
                        if self.attachments.get(key).is_some_and(|g| g.attachment.pod.key == *pod));
                    holds!(fits, "{ip} is claimed by {pod} and {held:?}");
                    continue;
                }
                // What was lost in this step ends its lease in the next.
                let waits = matches!(held, None | Some(Held::Leased | Held::Cooling { .. }));
                holds!(waits, "{ip} waits for {pod} and is {held:?}");
                holds!(waiting.insert((lease.eni, ip)), "{ip} waits for {pod} and for another pod");
            }
        }
        for eni in self.enis.values() {
            for (ip, a) in eni.addresses.iter().filter(|(_ip, a)| a.held == Held::Leased) {
                let known = waiting.contains(&(eni.number, *ip));
                holds!(known, "{ip} is {:?} and waits for nobody", a.held);
            }
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<(), Violation> {
        for (slot, d) in &self.devices.map {
            if let Some(n) = d.eni {
                let usage = self.enis.get(&n).map(|e| e.usage);
                holds!(usage == Some(Use::Exclusive(*slot)), "{slot} and ENI {n} disagree");
            }
        }
        let published = self.devices.published.iter().flatten();
        for state in published {
            let held = self.devices.get(state.slot).is_some_and(crate::devices::Device::held);
            holds!(state.healthy || !held, "{} is held and listed unhealthy", state.slot);
        }
        let families = self.facts.families;
        for eni in self.enis.values().filter(|e| e.serves()) {
            let free = |f: Family| if families.has(f) { eni.free(f) } else { u16::MAX };
            let units = eni.free_units(families);
            holds!(units <= free(Family::V4) && units <= free(Family::V6), "units are miscounted");
        }
        Ok(())
    }
}
