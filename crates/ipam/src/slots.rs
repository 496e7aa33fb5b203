//! Adapter slots: which devices are offered, which ENI stands behind a device, and who may take a slot for the shared pool.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tideway_model::{EniState, PodKey, PodRef, SlotId};

use crate::{
    Command, DeviceState, Effects, Ipam,
    devices::{Allocation, List, Owner, WITHDRAWAL},
    eni::Held,
    view::Use,
};

impl Ipam {
    pub(crate) fn allocated(&mut self, t: Duration, slot: SlotId) {
        let Some(d) = self.devices.map.get_mut(&slot) else { return };
        d.allocated = Some(Allocation { at: t, absent: None });
        d.withdrawn = None;
        self.devices.want_look(t);
    }

    pub(crate) fn devices_seen(
        &mut self,
        t: Duration,
        begun: Duration,
        holders: BTreeMap<SlotId, PodKey>,
        out: &mut Effects,
    ) {
        if !self.devices.is_of_this_kubelet(begun) {
            return;
        }
        self.devices.look_out = None;
        if self.devices.list.as_ref().is_some_and(|l| l.begun > begun) {
            return;
        }
        let settle = self.settings.settle;
        let mut freed = Vec::new();
        for (slot, d) in &mut self.devices.map {
            let holder = holders.get(slot);
            d.holder = holder.cloned();
            if let Some(o) = &mut d.owner {
                if holder == Some(&o.pod.key) {
                    o.absent = None;
                    if o.attached && d.allocated.as_ref().is_some_and(|a| a.at <= begun) {
                        d.allocated = None;
                    }
                } else if !o.attached && begun >= o.touched {
                    let ended = o.ended.is_some_and(|at| begun > at);
                    let first = *o.absent.get_or_insert(begun);
                    if ended || begun >= first + settle {
                        d.owner = None;
                        freed.push(*slot);
                    }
                }
            }
            match holder {
                Some(key) if d.owner.as_ref().is_none_or(|o| o.pod.key != *key) => {
                    d.allocated.get_or_insert(Allocation { at: begun, absent: None }).absent = None;
                }
                Some(_) => {}
                None => {
                    let gone = d.allocated.as_mut().is_some_and(|a| {
                        begun >= a.at && begun >= *a.absent.get_or_insert(begun) + settle
                    });
                    if gone {
                        d.allocated = None;
                    }
                }
            }
        }
        self.devices.list = Some(List { begun, holders });
        for slot in freed {
            self.drop_slot_eni(t, slot, out);
        }
    }

    /// Makes the pod the owner of the device that the kubelet says it holds. False: the former owner's container still
    /// has the ENI.
    pub(crate) fn match_device(
        &mut self,
        t: Duration,
        slot: SlotId,
        pod: &PodRef,
        out: &mut Effects,
    ) -> bool {
        let Some(d) = self.devices.map.get_mut(&slot) else { return false };
        let told = self.devices.list.as_ref();
        if let Some(at) = d.allocated.as_ref().map(|a| a.at)
            && told.is_none_or(|list| list.begun < at)
        {
            // A list from before the last Allocate may name the former holder; after the kubelet's restart there is none.
            self.devices.want_look(at);
            return false;
        }
        if told.is_some_and(|list| list.holders.get(&slot) != Some(&pod.key)) {
            return false;
        }
        let mut former_used = false;
        if let Some(o) = &d.owner {
            let same = o.pod.key == pod.key && o.pod.uid == pod.uid;
            if same && (pod.uid.is_some() || !o.used) {
                d.allocated = None;
                return !o.attached;
            }
            if o.attached {
                return false;
            }
            former_used = o.used;
        }
        d.allocated = None;
        d.owner = Some(Owner {
            pod: pod.clone(),
            used: false,
            attached: false,
            ended: None,
            absent: None,
            touched: t,
        });
        if former_used {
            self.drop_slot_eni(t, slot, out);
        }
        true
    }

    /// The ENI behind a device goes: its addresses rest, it is detached when they are quiet, deleted when they have rested.
    pub(crate) fn drop_slot_eni(&mut self, t: Duration, slot: SlotId, out: &mut Effects) {
        let Some(number) = self.devices.map.get_mut(&slot).and_then(|d| d.eni.take()) else {
            return;
        };
        let until = t + self.settings.cooldown;
        let Some(eni) = self.eni_mut(number) else { return };
        eni.leaving = true;
        eni.delete_after = Some(until);
        let reserved = eni.addresses.iter().filter(|(_ip, a)| a.held == Held::Reserved);
        let reserved: Vec<IpAddr> = reserved.map(|(ip, _a)| *ip).collect();
        self.rest(t, number, &reserved, out);
    }

    /// ENIs for devices that are held; none for those that are not.
    pub(crate) fn plan_devices(&mut self, t: Duration, out: &mut Effects) {
        let mut wanted = Vec::new();
        let mut unwanted = Vec::new();
        for (slot, d) in &self.devices.map {
            let held = d.allocated.is_some() || d.owner.is_some();
            match d.eni {
                None if held => wanted.push(*slot),
                Some(_) if !held => unwanted.push(*slot),
                None | Some(_) => {}
            }
        }
        for slot in unwanted {
            self.drop_slot_eni(t, slot, out);
        }
        if self.may_create(t) {
            for slot in wanted {
                let number = self.plan_eni(Use::Exclusive(slot), self.slot_for_device(slot), 1);
                if let Some(d) = self.devices.map.get_mut(&slot) {
                    d.eni = Some(number);
                }
            }
        }
    }

    /// The slot of a device's ENI: its own, or another when a shared ENI has stayed there longer than the one of a reserved slot.
    fn slot_for_device(&self, device: SlotId) -> SlotId {
        let taken = self.shared_slots().any(|slot| slot == device);
        let other = if taken { self.any_slot() } else { device };
        if other.0 < self.facts.limits.slots() { other } else { device }
    }

    /// The slots that shared ENIs take.
    fn shared_slots(&self) -> impl Iterator<Item = SlotId> {
        self.enis.values().filter(|e| e.is_shared() && e.takes_slot()).map(|e| e.slot)
    }

    /// A slot for the first of so many more shared ENIs: one that no device is offered for, or that of a device that was
    /// withdrawn and that the kubelet then showed to nobody. Without one it begins to withdraw as many devices: one after
    /// the other each would take a second and a list of its own.
    pub(crate) fn slot_for_shared(&mut self, t: Duration, more: usize) -> Option<SlotId> {
        let slots = self.facts.limits.slots();
        let own = self.enis.values().filter(|e| e.takes_slot()).count();
        let owed = self.devices.map.values().filter(|d| d.held() && d.eni.is_none()).count();
        let taken = u16::try_from(own.saturating_add(owed)).unwrap_or(u16::MAX);
        let free = slots.saturating_sub(taken).saturating_sub(self.looks.foreign);
        if free == 0 {
            return None;
        }
        if usize::from(free) > self.devices.open().count() {
            return Some(self.any_slot());
        }
        self.wants_slot = true;
        let going: Vec<SlotId> = self.devices.open().rev().take(more).collect();
        for slot in going {
            let Some(d) = self.devices.map.get_mut(&slot) else { continue };
            let since = *d.withdrawn.get_or_insert(t);
            self.devices.want_look(since + WITHDRAWAL);
        }
        None
    }

    /// Tells the kubelet the list when it changed. Healthy are the held ones, always, and as many others as there are slots
    /// left beside shared ENIs (in use or reserved) and foreign ENIs.
    pub(crate) fn publish_devices(&mut self, out: &mut Effects) {
        let shared: Vec<SlotId> = self.shared_slots().collect();
        if !self.wants_slot {
            for d in self.devices.map.values_mut() {
                d.withdrawn = None;
            }
        }
        let reserved = usize::from(self.settings.min_shared).max(shared.len());
        let kept = self.devices.map.values().filter(|d| d.held() || d.withdrawn.is_some()).count();
        let mut left = usize::from(self.facts.limits.slots())
            .saturating_sub(reserved)
            .saturating_sub(usize::from(self.looks.foreign))
            .saturating_sub(kept);
        // Those whose slot no shared ENI has come first, so that the list changes seldom.
        let mut order: Vec<SlotId> = self.devices.map.keys().copied().collect();
        order.sort_by_key(|slot| (shared.contains(slot), *slot));
        let mut list = Vec::with_capacity(order.len());
        for slot in order {
            let Some(d) = self.devices.map.get(&slot) else { continue };
            let open = d.withdrawn.is_none() && !self.uninstalling;
            let offered = !d.held() && open && left > 0;
            if offered {
                left -= 1;
            }
            list.push(DeviceState { slot, healthy: d.held() || offered });
        }
        list.sort_by_key(|state| state.slot);
        if self.devices.published.as_ref() != Some(&list) {
            self.devices.published = Some(list.clone());
            out.commands.push(Command::Devices(list));
        }
    }

    pub(crate) fn plan_device_looks(&mut self, t: Duration, out: &mut Effects) {
        if self.devices.ask_now(t) {
            out.commands.push(Command::LookAtDevices);
        }
    }

    pub(crate) fn device_deadlines(&self) -> impl Iterator<Item = Duration> {
        self.devices.deadlines()
    }
}

impl crate::eni::Eni {
    /// Whether it takes an adapter slot, now or by what was decided. A deleted or never attached one that leaves does not.
    pub(crate) fn takes_slot(&self) -> bool {
        match self.state {
            EniState::Creating => !self.leaving,
            EniState::Attaching | EniState::Ready | EniState::Draining | EniState::Detaching => {
                true
            }
            EniState::Deleting | EniState::Failed(_) => self.attached,
        }
    }
}
