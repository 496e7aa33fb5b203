//! The books as people and metrics see them.

use tideway_model::{Family, Now};

use crate::{
    AddressState, Books, DeviceBook, EniBook, Ipam, LeaseBook, WaitingBook,
    eni::{Address, Flush, Held},
};

fn shown(a: &Address) -> AddressState {
    if a.lost {
        return AddressState::Lost;
    }
    match &a.held {
        Held::Free { .. } => AddressState::Free,
        Held::Assigned(key) => AddressState::Assigned(key.clone()),
        Held::Cooling { until, flush } => {
            AddressState::Cooling { until: *until, quiet: !matches!(flush, Flush::First(_)) }
        }
        Held::Leased => AddressState::Leased,
        Held::Releasing => AddressState::Releasing,
        Held::Reserved => AddressState::Reserved,
    }
}

impl Ipam {
    /// All of it at one moment.
    pub fn books(&self, now: Now) -> Books {
        let enis = self.enis.values().map(|e| EniBook {
            id: e.id.clone(),
            mac: e.mac,
            state: e.shown_state(),
            usage: e.usage,
            subnet: e.subnet.clone(),
            security_groups: e.security_groups.clone(),
            table_slot: e.table_slot,
            prefixes: Family::BOTH.iter().flat_map(|f| e.prefixes(*f)).collect(),
            addresses: e.addresses.iter().map(|(ip, a)| (*ip, shown(a))).collect(),
        });
        let waiting = self.waiting.iter().map(|w| WaitingBook {
            pod: w.request.pod.clone(),
            key: w.request.key.clone(),
            since: w.since,
            why: self.waits_for(w, now.boot),
        });
        let published = self.devices.published.iter().flatten();
        let devices = published.map(|state| {
            let d = self.devices.get(state.slot);
            let owner = d.and_then(|d| d.owner.as_ref()).map(|o| o.pod.clone());
            let holder = d.and_then(|d| d.holder.clone());
            DeviceBook {
                slot: state.slot,
                healthy: state.healthy,
                holder: owner
                    .or_else(|| holder.map(|key| tideway_model::PodRef { key, uid: None })),
                eni: d.and_then(|d| d.eni).and_then(|n| self.enis.get(&n)?.id.clone()),
            }
        });
        let leases = self.leases.map.values().map(|l| LeaseBook {
            pod: l.pod.clone(),
            eni: self.enis.get(&l.eni).and_then(|e| e.id.clone()),
            addresses: l.addresses,
            terms: l.terms.clone(),
            until: l.until,
        });
        Books {
            enis: enis.collect(),
            attachments: self.attachments().cloned().collect(),
            waiting: waiting.collect(),
            devices: devices.collect(),
            leases: leases.collect(),
            free: u32::from(self.free_units()),
            shortfall: self.shortfall(now.boot),
        }
    }
}
