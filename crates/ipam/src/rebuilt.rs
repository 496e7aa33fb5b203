//! The books anew, for a journal that is lost: from the pods that live and the ENIs that the cloud shows. What cannot be learnt
//! from them, such as leases, is forgotten.

use std::{collections::BTreeSet, net::IpAddr};

use tideway_cloud::EniView;
use tideway_model::{Attachment, EniId, EniState, SlotId};

use crate::{
    Use,
    prefixes::listed,
    record::{CoolingRecord, EniRecord, Entry},
};

/// The attachments that can be side by side, and those whose ENI is another pod's. An ENI of its own carries one pod: others
/// with an address of it have lost theirs, since somebody moved it in the cloud, or the sandbox is an older one of the same
/// pod. Of two, the first one stays.
pub fn one_each(living: Vec<Attachment>) -> (Vec<Attachment>, Vec<Attachment>) {
    let own = living.iter().filter(|a| a.exclusive.is_some()).map(|a| a.eni.clone());
    let alone: BTreeSet<EniId> = own.collect();
    let (mut enis, mut slots) = (BTreeSet::new(), BTreeSet::new());
    living.into_iter().partition(|a| match &a.exclusive {
        Some(x) if slots.contains(&x.slot) || enis.contains(&a.eni) => false,
        Some(x) => slots.insert(x.slot) && enis.insert(a.eni.clone()),
        None => !alone.contains(&a.eni),
    })
}

/// The journal's entries for `living` (see [`one_each`]) and for their ENIs as the cloud shows them. Other addresses of these
/// ENIs may have been with a pod until now: they rest. ENIs without a pod are found by their tags later, like those of any lost
/// record. The node has `slots` adapter slots, `min_shared` of them reserved for shared ENIs.
pub fn entries(
    living: Vec<Attachment>,
    enis: &[EniView],
    slots: u16,
    min_shared: u16,
) -> Vec<Entry> {
    let offered = slots.saturating_sub(min_shared);
    let exclusive: BTreeSet<SlotId> =
        living.iter().filter_map(|a| a.exclusive.as_ref().map(|x| x.slot)).collect();
    // Reserved slots first, then the devices from the end, as the allocator takes them.
    let mut shared_slots = (offered..slots)
        .chain((0..offered).rev())
        .map(SlotId)
        .filter(|slot| !exclusive.contains(slot));
    let held: BTreeSet<IpAddr> = living.iter().flat_map(|a| a.addresses.iter()).collect();
    let mut entries = Vec::new();
    for (number, view) in (1_u16..).zip(enis) {
        let Some(user) = living.iter().find(|a| a.eni == view.id) else { continue };
        let own = user.exclusive.as_ref().map(|x| x.slot);
        let Some(slot) = own.or_else(|| shared_slots.next()) else { continue };
        let eni = u32::from(number);
        entries.push(Entry::Eni(Box::new(EniRecord {
            number: eni,
            id: Some(view.id.clone()),
            mac: Some(view.mac),
            state: EniState::Attaching,
            attached: true,
            leaving: false,
            usage: own.map_or(Use::Shared, Use::Exclusive),
            slot,
            subnet: view.subnet.clone(),
            security_groups: view.security_groups.clone(),
            table_slot: if own.is_some() { 0 } else { number },
            planned: 0,
            primary: view.primary_ip,
            addresses: listed(view).map(|(ip, _within)| ip).collect(),
            prefixes: view.prefixes.iter().copied().collect(),
            releasing: BTreeSet::new(),
            doubted: BTreeSet::new(),
            adopted: true,
        })));
        if own.is_none() {
            let resting = listed(view).map(|(ip, _within)| ip).filter(|ip| !held.contains(ip));
            entries.extend(resting.map(|ip| Entry::Cooling(CoolingRecord { ip, eni })));
        }
    }
    entries.extend(living.into_iter().map(|a| Entry::Attachment(Box::new(a))));
    entries
}
