//! ADD and DEL: who asks, who waits, who gets which address.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tideway_model::{
    Attachment, AttachmentKey, EniState, ExclusiveEni, Mode, PodAddresses, SlotId,
};

use crate::{
    AddRequest, Command, Effects, Ipam, Record, Refusal, RequestId, cause,
    dead::Absences,
    devices::Claim,
    eni::Held,
    record::{self, Entry, LeaseRecord},
};

/// A promised attachment.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) attachment: Attachment,
    /// ENI in our books.
    pub(crate) eni: u32,
    /// Last event that says it lives (`Now::boot`).
    pub(crate) touched: Duration,
    pub(crate) absences: Absences,
    /// The lease that a former container of the identity claimed until this one did, with another address.
    pub(crate) former_lease: Option<LeaseRecord>,
}

impl Granted {
    pub(crate) fn restored(attachment: Attachment, eni: u32) -> Self {
        let absences = Absences::default();
        Self { attachment, eni, touched: Duration::ZERO, absences, former_lease: None }
    }
}

/// What a waiting request is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Not known before the kubelet has told who holds which device, in a list begun at this time or later.
    Unknown { list_from: Duration },
    /// An address of a shared ENI.
    Shared,
    /// The ENI of this slot.
    Exclusive(SlotId),
}

/// A request that waits.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) request: AddRequest,
    /// Callers and their deadlines.
    pub(crate) ids: BTreeMap<RequestId, Duration>,
    pub(crate) since: Duration,
    pub(crate) wants: Wants,
}

impl Ipam {
    pub(crate) fn add(&mut self, t: Duration, request: AddRequest, out: &mut Effects) {
        if let Some(granted) = self.attachments.get_mut(&request.key) {
            granted.touched = t;
            granted.absences = Absences::default();
            let attachment = Box::new(granted.attachment.clone());
            out.commands.push(Command::Grant { id: request.id, attachment, again: true });
            return;
        }
        if let Some(w) = self.waiting.iter_mut().find(|w| w.request.key == request.key) {
            w.ids.insert(request.id, request.deadline);
            return;
        }
        let ids = BTreeMap::from([(request.id, request.deadline)]);
        let wants = Wants::Unknown { list_from: Duration::ZERO };
        let waiting = Waiting { request, ids, since: t, wants };
        if self.uninstalling {
            Self::refuse(&waiting, &cause::leaving(), out);
        } else {
            self.waiting.push_back(waiting);
        }
    }

    pub(crate) fn refuse(waiting: &Waiting, refusal: &Refusal, out: &mut Effects) {
        for id in waiting.ids.keys() {
            out.commands.push(Command::Refuse { id: *id, refusal: refusal.clone() });
        }
    }

    /// The pod never had what it was promised: its identity keeps the address that a former container has.
    pub(crate) fn plumb_failed(&mut self, t: Duration, key: &AttachmentKey, out: &mut Effects) {
        let lease = self.attachments.get_mut(key).and_then(|granted| granted.former_lease.take());
        self.release(t, key, None, out);
        if let Some(lease) = lease {
            self.reclaim(lease, out);
        }
    }

    pub(crate) fn del(
        &mut self,
        t: Duration,
        id: RequestId,
        key: AttachmentKey,
        out: &mut Effects,
    ) {
        if let Some(at) = self.waiting.iter().position(|w| w.request.key == key)
            && let Some(w) = self.waiting.remove(at)
        {
            Self::refuse(&w, &cause::deleted_meanwhile(), out);
        }
        if self.attachments.contains_key(&key) {
            self.release(t, &key, Some(id), out);
        } else {
            out.commands.push(Command::Unknown { id, key });
        }
    }

    /// Ends an attachment: withdrawn from the kernel, its addresses rest (shared) or stay with the slot (exclusive).
    pub(crate) fn release(
        &mut self,
        t: Duration,
        key: &AttachmentKey,
        id: Option<RequestId>,
        out: &mut Effects,
    ) {
        let Some(granted) = self.attachments.remove(key) else { return };
        out.records.push(Record { key: record::attachment_key(key), value: None });
        let attachment = granted.attachment;
        let addresses: Vec<IpAddr> = attachment.addresses.iter().collect();
        let slot = attachment.exclusive.as_ref().map(|x| x.slot);
        let (pod, held) = (attachment.pod.clone(), attachment.addresses);
        out.commands.push(Command::Unplumb { id, attachment: Box::new(attachment) });
        if let Some(slot) = slot {
            // Also when the slot has another ENI by now: the pod's own may have been taken away behind our back.
            self.devices.attachment_ended(slot, &pod, t);
            if self.devices.eni(slot) == Some(granted.eni) {
                self.keep_for_owner(granted.eni, &addresses);
                return;
            }
        }
        self.rest(t, granted.eni, &addresses, out);
        self.unclaim(&pod.key, held, out);
    }

    /// The pod's device is still its own: its addresses wait for it.
    fn keep_for_owner(&mut self, eni: u32, addresses: &[IpAddr]) {
        let Some(eni) = self.eni_mut(eni) else { return };
        for ip in addresses {
            if let Some(a) = eni.addresses.get_mut(ip) {
                a.held = Held::Reserved;
            }
        }
    }

    pub(crate) fn refuse_expired(&mut self, t: Duration, out: &mut Effects) {
        for mut w in std::mem::take(&mut self.waiting) {
            if w.ids.values().any(|deadline| *deadline <= t) {
                let refusal = cause::too_late(&w.request, self.waits_for(&w, t));
                w.ids.retain(|id, deadline| {
                    let stays = *deadline > t;
                    if !stays {
                        let refusal = refusal.clone();
                        out.commands.push(Command::Refuse { id: *id, refusal });
                    }
                    stays
                });
            }
            if !w.ids.is_empty() {
                self.waiting.push_back(w);
            }
        }
    }

    /// Finds out what undecided requests want.
    pub(crate) fn decide_waiting(&mut self, t: Duration, out: &mut Effects) {
        for mut w in std::mem::take(&mut self.waiting) {
            if !matches!(w.wants, Wants::Unknown { .. }) {
                self.waiting.push_back(w);
                continue;
            }
            let claim = self.devices.claim(&w.request.pod, w.since, &self.bound);
            match claim {
                Claim::AskFrom(list_from) => {
                    w.wants = Wants::Unknown { list_from };
                    self.devices.want_look(t.max(list_from));
                    self.waiting.push_back(w);
                }
                Claim::Nothing => {
                    w.wants = Wants::Shared;
                    self.waiting.push_back(w);
                }
                Claim::Device(slot) => {
                    w.wants = Wants::Exclusive(slot);
                    self.waiting.push_back(w);
                }
                Claim::TooMany(n) => Self::refuse(&w, &cause::too_many_devices(n), out),
                Claim::Missing => Self::refuse(&w, &cause::no_device(&w.request.pod), out),
            }
        }
    }

    /// Answers all that can be answered now, first come first served; an exclusive pod does not hold up shared ones.
    pub(crate) fn serve(&mut self, t: Duration, out: &mut Effects) {
        for w in std::mem::take(&mut self.waiting) {
            let place = match w.wants {
                Wants::Unknown { .. } => None,
                Wants::Shared => match self.awaited(&w.request.pod.key) {
                    Some(lease) => self.leased_place(lease),
                    None => self.shared_place(),
                },
                Wants::Exclusive(slot) => self.exclusive_place(t, slot, &w, out),
            };
            match place {
                Some((eni, addresses)) => self.grant(t, w, eni, &addresses, out),
                None => self.waiting.push_back(w),
            }
        }
    }

    /// An address of each family on the fullest ENI that has one, see [`crate::eni::Eni::next_free`].
    fn shared_place(&self) -> Option<(u32, Vec<IpAddr>)> {
        let families = self.facts.families;
        let eni = self
            .enis
            .values()
            .filter(|e| e.free_units(families) > 0)
            .max_by_key(|e| (e.assigned(), std::cmp::Reverse(e.number)))?;
        let addresses: Option<Vec<_>> = families.list().iter().map(|f| eni.next_free(*f)).collect();
        Some((eni.number, addresses?))
    }

    fn grant(
        &mut self,
        t: Duration,
        w: Waiting,
        number: u32,
        addresses: &[IpAddr],
        out: &mut Effects,
    ) {
        let Some(attachment) = self.attachment_of(&w, number, addresses) else {
            self.waiting.push_back(w);
            return;
        };
        let key = w.request.key.clone();
        if let Some(eni) = self.eni_mut(number) {
            for ip in addresses {
                if let Some(a) = eni.addresses.get_mut(ip) {
                    // Its own identity does not wait for the end of the rest.
                    if matches!(a.held, Held::Cooling { .. }) {
                        Self::forget_rest(*ip, out);
                    }
                    a.held = Held::Assigned(key.clone());
                }
            }
        }
        let former_lease = if attachment.mode == Mode::Veth {
            self.claim(t, &w, (number, attachment.addresses), out)
        } else {
            None
        };
        let value = Some(Entry::Attachment(Box::new(attachment.clone())));
        out.records.push(Record { key: record::attachment_key(&key), value });
        for id in w.ids.keys() {
            let attachment = Box::new(attachment.clone());
            out.commands.push(Command::Grant { id: *id, attachment, again: false });
        }
        let absences = Absences::default();
        let granted = Granted { attachment, eni: number, touched: t, absences, former_lease };
        self.attachments.insert(key, granted);
    }

    fn attachment_of(&self, w: &Waiting, number: u32, addresses: &[IpAddr]) -> Option<Attachment> {
        let eni = self.enis.get(&number)?;
        let exclusive = match w.wants {
            Wants::Exclusive(slot) => {
                let subnet = self.facts.subnet(&eni.subnet);
                let families = self.facts.families.list();
                Some(ExclusiveEni {
                    slot,
                    blocks: families.iter().filter_map(|f| subnet.block(*f)).collect(),
                    gateways: families.iter().filter_map(|f| subnet.gateway(*f)).collect(),
                })
            }
            Wants::Shared | Wants::Unknown { .. } => None,
        };
        Some(Attachment {
            key: w.request.key.clone(),
            pod: w.request.pod.clone(),
            netns: w.request.netns.clone(),
            mode: if exclusive.is_some() { Mode::Exclusive } else { Mode::Veth },
            eni: eni.id.clone()?,
            eni_mac: eni.mac?,
            addresses: PodAddresses::from_ips(addresses.iter().copied()),
            mtu: self.facts.mtu,
            bandwidth: w.request.bandwidth,
            exclusive,
        })
    }

    /// The addresses of the slot's ENI, when it is the pod's own, ready, and not in use by another container of the pod.
    fn exclusive_place(
        &mut self,
        t: Duration,
        slot: SlotId,
        w: &Waiting,
        out: &mut Effects,
    ) -> Option<(u32, Vec<IpAddr>)> {
        if !self.match_device(t, slot, &w.request.pod, out) {
            return None;
        }
        let number = self.devices.eni(slot)?;
        let eni = self.enis.get(&number)?;
        if eni.state != EniState::Ready || eni.leaving || eni.in_use() {
            return None;
        }
        let primary = eni.primary;
        let mut addresses = Vec::new();
        for family in self.facts.families.list() {
            let mut own = eni.addresses.iter().filter(|(ip, a)| {
                tideway_model::Family::of(**ip) == *family && a.held == Held::Reserved && !a.lost
            });
            let chosen = match family {
                tideway_model::Family::V4 => own.find(|(ip, _a)| Some(**ip) == primary),
                tideway_model::Family::V6 => own.next(),
            };
            addresses.push(*chosen?.0);
        }
        self.devices.granted(slot);
        Some((number, addresses))
    }
}
