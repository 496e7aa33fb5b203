//! The books from the journal, after a restart or a reboot.
//!
//! What was promised stays promised; what rested rests again from the start; a call whose outcome is not known waits for its
//! late effect and is then read back. Nothing is sent here: [`Ipam::start`] does the first step.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_model::{Attachment, EniState, Family, Mode, Now};

use crate::{
    Effects, Entry, IntentId, Ipam, NodeFacts, Settings,
    devices::{Allocation, Owner},
    eni::{Address, Eni, Flush, Held},
    intents::{Intent, Phase},
    prefixes::block,
    record::{self, CoolingRecord, Counters, DeviceRecord, IntentRecord},
    requests::Granted,
    sound,
    view::Use,
};

/// Why the journal's entries make no books.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// An entry contradicts itself, or another one.
    #[error(
        "journal entry {key}: {cause}; the journal is damaged: start once with --rebuild-journal, which reads cloud, runtime and kernel instead"
    )]
    Contradiction {
        /// Key of the entry.
        key: String,
        /// What is wrong.
        cause: String,
    },
}

impl RestoreError {
    fn in_entry(key: &str, cause: impl Into<String>) -> Self {
        Self::Contradiction { key: key.to_owned(), cause: cause.into() }
    }
}

impl Ipam {
    /// The allocator as it was when the last record was committed. Attachments without an ENI record (a journal that was
    /// rebuilt from the kernel) bring their ENI with them.
    pub fn restore(
        settings: Settings,
        facts: NodeFacts,
        seed: u64,
        entries: Vec<(String, Entry)>,
    ) -> Result<Self, RestoreError> {
        let mut ipam = Self::new(settings, facts, seed);
        let mut attachments: Vec<(String, Attachment)> = Vec::new();
        let mut cooling: Vec<CoolingRecord> = Vec::new();
        let mut devices: Vec<DeviceRecord> = Vec::new();
        let mut intents: Vec<(String, IntentRecord)> = Vec::new();
        let mut leases = Vec::new();
        let mut stored_enis = BTreeMap::new();
        let mut stored_devices = BTreeMap::new();
        let mut stored_counters = None;
        for (key, entry) in entries {
            let own = entry.key();
            if own != key {
                return Err(RestoreError::in_entry(&key, format!("its value belongs to {own}")));
            }
            match entry {
                Entry::Attachment(a) => attachments.push((key, *a)),
                Entry::Eni(r) => {
                    r.is_sound(&ipam.facts.primary_eni)
                        .map_err(|cause| RestoreError::in_entry(&key, cause))?;
                    stored_enis.insert(r.number, (*r).clone());
                    ipam.counters.eni = ipam.counters.eni.max(r.number.saturating_add(1));
                    ipam.insert_eni(Eni::from_record(*r));
                }
                Entry::Intent(r) => intents.push((key, *r)),
                Entry::Device(d) => {
                    stored_devices.insert(d.slot, d.clone());
                    devices.push(d);
                }
                Entry::Cooling(c) => cooling.push(c),
                Entry::Lease(l) => leases.push((key, *l)),
                Entry::Counters(c) => {
                    stored_counters = Some(c);
                    ipam.counters.eni = ipam.counters.eni.max(c.eni);
                    ipam.counters.intent = ipam.counters.intent.max(c.intent);
                }
            }
        }
        // As those of lost records that turn up in such a subnet: no new pods there, and the ENI goes when its pods have gone.
        let names = |e: &Eni| e.id.is_none() || ipam.facts.names(&e.subnet);
        for eni in ipam.enis.values_mut().filter(|e| e.is_shared() && !names(e)) {
            eni.leaving = true;
        }
        let keeps_primary = !ipam.settings.use_primary_address;
        for eni in ipam.enis.values_mut().filter(|e| keeps_primary && e.is_shared()) {
            let primary = eni.primary;
            if let Some(a) = primary.and_then(|p| eni.addresses.get_mut(&p)) {
                a.held = Held::Reserved;
            }
        }
        for c in cooling {
            let eni = ipam.enis.get_mut(&c.eni);
            if let Some(a) = eni.and_then(|e| e.addresses.get_mut(&c.ip))
                && a.held != Held::Releasing
            {
                a.held =
                    Held::Cooling { until: Duration::ZERO, flush: Flush::First(Duration::ZERO) };
            }
        }
        for d in devices {
            ipam.restore_device(d);
        }
        for (key, attachment) in attachments {
            ipam.restore_attachment(&key, attachment)?;
        }
        for (key, lease) in leases {
            if ipam.enis.get(&lease.eni).is_some_and(|e| !e.is_shared()) {
                return Err(RestoreError::in_entry(&key, "its ENI is a pod's own"));
            }
            ipam.restore_lease(lease);
        }
        ipam.set_leased_aside();
        ipam.restore_slots()?;
        for (key, r) in intents {
            ipam.restore_intent(r).map_err(|cause| RestoreError::in_entry(&key, cause))?;
        }
        let Counters { intent, eni } = ipam.counters;
        if intent > sound::LAST.intent || eni > sound::LAST.eni {
            let cause = format!("intent {intent} or ENI {eni} is a number that no node reaches");
            return Err(RestoreError::in_entry(record::COUNTERS_KEY, cause));
        }
        ipam.inherited = !stored_enis.is_empty();
        ipam.remember_stored(stored_enis, stored_devices, stored_counters);
        ipam.check().map_err(|violation| RestoreError::in_entry("(all)", violation.to_string()))?;
        Ok(ipam)
    }

    fn restore_device(&mut self, d: DeviceRecord) {
        let device = self.devices.map.entry(d.slot).or_default();
        device.owner = Some(Owner {
            pod: d.pod,
            used: d.used,
            attached: false,
            ended: None,
            absent: None,
            touched: Duration::ZERO,
        });
    }

    /// An ENI that stands behind a device stays there until the kubelet's lists say otherwise.
    fn restore_slots(&mut self) -> Result<(), RestoreError> {
        let exclusive: Vec<_> = self
            .enis
            .values()
            .filter_map(|e| match e.usage {
                Use::Exclusive(slot) if !e.leaving => Some((slot, e.number)),
                Use::Exclusive(_) | Use::Shared => None,
            })
            .collect();
        for (slot, number) in exclusive {
            let device = self.devices.map.entry(slot).or_default();
            if let Some(other) = device.eni.replace(number) {
                let cause = format!("ENI {other} stands behind {slot} too");
                return Err(RestoreError::in_entry(&record::eni_key(number), cause));
            }
            if device.owner.is_none() {
                device.allocated = Some(Allocation { at: Duration::ZERO, absent: None });
            }
        }
        Ok(())
    }

    fn restore_attachment(&mut self, key: &str, a: Attachment) -> Result<(), RestoreError> {
        let wrong = |cause: String| RestoreError::in_entry(key, cause);
        let ips: Vec<IpAddr> = a.addresses.iter().collect();
        if ips.is_empty() || (a.mode == Mode::Exclusive) != a.exclusive.is_some() {
            return Err(wrong("it has no address, or its mode and its device disagree".into()));
        }
        if a.eni == self.facts.primary_eni {
            return Err(wrong("its ENI is the primary one, which is never ours".into()));
        }
        let number = self.number_of(&a.eni).unwrap_or_else(|| self.eni_of(&a));
        let Some(eni) = self.enis.get(&number) else {
            return Err(wrong("its ENI is not there and no subnet is known for it".into()));
        };
        eni.can_carry(&a).map_err(wrong)?;
        // A rebuilt journal may show an address that others moved on two ENIs: the pod's word counts.
        let has =
            |e: &&Eni| e.number != number && ips.iter().any(|ip| e.addresses.contains_key(ip));
        let others: Vec<u32> = self.enis.values().filter(has).map(|e| e.number).collect();
        for other in others {
            let Some(other) = self.eni_mut(other) else { continue };
            let idle = |a: &Address| !matches!(a.held, Held::Assigned(_));
            other.addresses.retain(|ip, own| !(ips.contains(ip) && idle(own)));
        }
        if let Some(eni) = self.eni_mut(number) {
            for ip in ips {
                let held = Held::Assigned(a.key.clone());
                let within = eni.prefixes(Family::of(ip)).contains(&block(ip));
                let bare = Address::new(Held::Reserved, false, Duration::ZERO);
                let slot = eni.addresses.entry(ip).or_insert(Address { within, ..bare });
                if let Held::Assigned(other) = &slot.held {
                    return Err(wrong(format!("{ip} is also promised to {}", other.container)));
                }
                slot.held = held;
            }
        }
        if let Some(x) = &a.exclusive {
            let owner =
                self.devices.map.entry(x.slot).or_default().owner.get_or_insert_with(|| Owner {
                    pod: a.pod.clone(),
                    used: true,
                    attached: true,
                    ended: None,
                    absent: None,
                    touched: Duration::ZERO,
                });
            owner.attached = true;
            owner.used = true;
        }
        self.attachments.insert(a.key.clone(), Granted::restored(a, number));
        Ok(())
    }

    /// An ENI of which only an attachment tells.
    fn eni_of(&mut self, a: &Attachment) -> u32 {
        let usage = a.exclusive.as_ref().map_or(Use::Shared, |x| Use::Exclusive(x.slot));
        let slot = a.exclusive.as_ref().map_or_else(|| self.any_slot(), |x| x.slot);
        let number = self.plan_eni(usage, slot, 0);
        if let Some(eni) = self.eni_mut(number) {
            eni.id = Some(a.eni.clone());
            eni.mac = Some(a.eni_mac);
            eni.state = EniState::Attaching;
            eni.attached = true;
            eni.primary = a.exclusive.as_ref().and_then(|_x| a.addresses.v4.map(IpAddr::V4));
        }
        number
    }

    fn restore_intent(&mut self, record: IntentRecord) -> Result<(), String> {
        let id = record.id;
        self.counters.intent = self.counters.intent.max(id.0.saturating_add(1));
        let Some(eni) = self.enis.get_mut(&record.eni) else {
            // The ENI is gone from the books: whatever the call did, the looks will find it by its tags. Its number stays its own.
            self.counters.eni = self.counters.eni.max(record.eni.saturating_add(1));
            return Ok(());
        };
        eni.can_be_in(&record.op)?;
        eni.busy = Some(id);
        let phase = Phase::Unknown { from: Duration::ZERO, looks: 0, last: Duration::ZERO };
        self.intents.insert(id, Intent { record, phase });
        Ok(())
    }

    /// Waits of restored intents count from the start of this run: the call was sent before it.
    pub(crate) fn begin_unknown(&mut self, now: Now, out: &mut Effects) {
        let late = self.settings.late_effect;
        for intent in self.intents.values_mut() {
            intent.phase = Phase::Unknown { from: now.boot + late, looks: 0, last: now.boot };
        }
        for device in self.devices.map.values_mut() {
            if let Some(a) = &mut device.allocated {
                a.at = now.boot;
            }
            if let Some(o) = &mut device.owner {
                o.touched = now.boot;
            }
        }
        let known: BTreeSet<IntentId> = self.intents.keys().copied().collect();
        for eni in self.enis.values_mut() {
            eni.busy = eni.busy.filter(|id| known.contains(id));
        }
        // What rests is told again, so that the shell looks after it in this run too.
        self.begin_rests(now.boot, out);
    }
}
