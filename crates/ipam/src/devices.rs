//! Devices: adapter slots that exclusive pods may have, and who has them by the kubelet's word.
//!
//! A device goes through: allocated (the kubelet called `Allocate`, or lists a holder, and no ADD has come yet) → owned (the
//! first ADD of the pod that the kubelet lists as holder; journalled) → free again by a DEL and one list that shows the
//! device free or elsewhere, or, without a DEL, by two such lists `settle` apart with no attachment left. An allocation that
//! never finds its ADD is cancelled by two lists that do not show it. A device that is allocated or owned needs an ENI.

use std::{collections::BTreeMap, time::Duration};

use tideway_model::{PodKey, PodRef, SlotId};

use crate::{DeviceState, NodeFacts, Settings, event::BoundPod, record::DeviceRecord};

/// What follows the withdrawal of a device must be seen in a list begun so much later.
pub(crate) const WITHDRAWAL: Duration = Duration::from_secs(1);
/// Longest wait for an answer of the kubelet before it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two lists while something is open.
const AGAIN: Duration = Duration::from_secs(10);

/// An `Allocate` without its ADD.
#[derive(Debug, Clone)]
pub(crate) struct Allocation {
    pub(crate) at: Duration,
    /// First list begun since then that did not show it.
    pub(crate) absent: Option<Duration>,
}

/// The pod that a device belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) pod: PodRef,
    /// One of its containers was promised the ENI's addresses.
    pub(crate) used: bool,
    /// An attachment lives.
    pub(crate) attached: bool,
    /// Its last attachment ended then.
    pub(crate) ended: Option<Duration>,
    /// First list since its last event that did not show it.
    pub(crate) absent: Option<Duration>,
    pub(crate) touched: Duration,
}

/// One device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Device {
    pub(crate) allocated: Option<Allocation>,
    pub(crate) owner: Option<Owner>,
    /// By the last list.
    pub(crate) holder: Option<PodKey>,
    /// The ENI behind it, in our books.
    pub(crate) eni: Option<u32>,
    /// Withdrawn since then, so that the shared pool may take the slot.
    pub(crate) withdrawn: Option<Duration>,
}

impl Device {
    /// Some pod has it or is about to.
    pub(crate) fn held(&self) -> bool {
        self.allocated.is_some() || self.owner.is_some() || self.holder.is_some()
    }
}

/// The last complete list.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) begun: Duration,
    pub(crate) holders: BTreeMap<SlotId, PodKey>,
}

/// What the kubelet says a pod may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A list begun at this time or later is needed.
    AskFrom(Duration),
    /// No device: a shared address.
    Nothing,
    /// This device.
    Device(SlotId),
    /// More than one.
    TooMany(usize),
    /// It asks for one and has none.
    Missing,
}

/// All devices of the node.
#[derive(Debug, Clone)]
pub(crate) struct Devices {
    pub(crate) map: BTreeMap<SlotId, Device>,
    pub(crate) list: Option<List>,
    /// A list must be begun at this time or later.
    pub(crate) look_wanted: Option<Duration>,
    /// A question is out since then.
    pub(crate) look_out: Option<Duration>,
    pub(crate) published: Option<Vec<DeviceState>>,
    /// Lists begun before this are of a kubelet that is gone.
    epoch: Duration,
}

impl Devices {
    /// The devices: all adapter slots but those reserved for shared ENIs.
    pub(crate) fn new(facts: &NodeFacts, settings: &Settings) -> Self {
        let offered = facts.limits.slots().saturating_sub(settings.min_shared);
        Self {
            map: (0..offered).map(|n| (SlotId(n), Device::default())).collect(),
            list: None,
            look_wanted: None,
            look_out: None,
            published: None,
            epoch: Duration::ZERO,
        }
    }

    pub(crate) fn get(&self, slot: SlotId) -> Option<&Device> {
        self.map.get(&slot)
    }

    pub(crate) fn eni(&self, slot: SlotId) -> Option<u32> {
        self.map.get(&slot)?.eni
    }

    /// Devices that the kubelet may still give out: offered ones, and withdrawn ones of which no list since then shows that
    /// nobody got them.
    pub(crate) fn open(&self) -> impl DoubleEndedIterator<Item = SlotId> {
        let seen = self.list.as_ref().map(|l| l.begun);
        // Before the first list of ours the kubelet may know that of the daemon before.
        let offered = |slot: &SlotId| {
            let list = self.published.as_ref();
            list.is_none_or(|list| list.iter().any(|d| d.slot == *slot && d.healthy))
        };
        let open = move |(slot, d): &(&SlotId, &Device)| {
            !d.held()
                && d.withdrawn.map_or_else(
                    || offered(slot),
                    |since| seen.is_none_or(|begun| begun < since + WITHDRAWAL),
                )
        };
        self.map.iter().filter(open).map(|(slot, _)| *slot)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = DeviceRecord> {
        self.map.iter().filter_map(|(slot, d)| {
            let owner = d.owner.as_ref()?;
            Some(DeviceRecord { slot: *slot, pod: owner.pod.clone(), used: owner.used })
        })
    }

    pub(crate) fn must_ask(&self, pod: &PodRef) -> bool {
        let Some(list) = &self.list else { return true };
        list.holders.values().any(|key| *key == pod.key)
            || self.map.values().any(|d| {
                d.allocated.is_some()
                    || d.owner.as_ref().is_some_and(|o| {
                        o.pod.key == pod.key || (o.pod.uid.is_some() && o.pod.uid == pod.uid)
                    })
            })
    }

    /// What this pod may have, asked at `since`.
    pub(crate) fn claim(&self, pod: &PodRef, since: Duration, bound: &[BoundPod]) -> Claim {
        let Some(list) = &self.list else { return Claim::AskFrom(since) };
        let mut held = list.holders.iter().filter(|(_slot, key)| **key == pod.key);
        if let Some((slot, _key)) = held.next() {
            let allocated = self.get(*slot).and_then(|d| d.allocated.as_ref()).map(|a| a.at);
            if let Some(at) = allocated
                && list.begun < at
            {
                return Claim::AskFrom(at);
            }
            return match held.count() {
                0 => Claim::Device(*slot),
                more => Claim::TooMany(more.saturating_add(1)),
            };
        }
        let unseen = self.map.values().filter_map(|d| d.allocated.as_ref().map(|a| a.at)).max();
        if let Some(at) = unseen
            && list.begun < at
        {
            return Claim::AskFrom(at);
        }
        let wants = bound.iter().any(|b| {
            b.wants_eni && b.pod.key == pod.key && (pod.uid.is_none() || b.pod.uid == pod.uid)
        });
        match wants {
            true if list.begun < since => Claim::AskFrom(since),
            true => Claim::Missing,
            false => Claim::Nothing,
        }
    }

    pub(crate) fn forget_list(&mut self, t: Duration) {
        self.list = None;
        self.look_out = None;
        self.epoch = t;
        self.look_wanted = Some(t);
        // The new kubelet knows no device list yet: the whole list is told again.
        self.published = None;
    }

    pub(crate) fn is_of_this_kubelet(&self, begun: Duration) -> bool {
        begun >= self.epoch
    }

    pub(crate) fn want_look(&mut self, at: Duration) {
        let wanted = self.look_wanted.map_or(at, |w| w.min(at));
        self.look_wanted = Some(wanted);
    }

    /// The attachment of this pod ended. Of a former owner's nothing follows.
    pub(crate) fn attachment_ended(&mut self, slot: SlotId, pod: &PodRef, t: Duration) {
        let owner = self.map.get_mut(&slot).and_then(|d| d.owner.as_mut());
        if let Some(o) = owner.filter(|o| o.pod == *pod) {
            o.attached = false;
            o.ended = Some(t);
            o.absent = None;
            o.touched = t;
        }
        self.want_look(t);
    }

    pub(crate) fn granted(&mut self, slot: SlotId) {
        if let Some(o) = self.map.get_mut(&slot).and_then(|d| d.owner.as_mut()) {
            o.used = true;
            o.attached = true;
            o.ended = None;
        }
    }

    /// Whether a question must be put now; if so it is out.
    pub(crate) fn ask_now(&mut self, t: Duration) -> bool {
        let open = self.map.values().any(|d| {
            d.allocated.is_some()
                || d.withdrawn.is_some()
                || d.owner.as_ref().is_some_and(|o| !o.attached)
        });
        if open && self.look_wanted.is_none() {
            let last = self.list.as_ref().map_or(t, |l| l.begun + AGAIN);
            self.look_wanted = Some(last);
        }
        if self.look_out.is_some_and(|since| t < since + PATIENCE) {
            return false;
        }
        if self.look_out.is_none() && self.look_wanted.is_none_or(|w| t < w) {
            return false;
        }
        self.look_wanted = None;
        self.look_out = Some(t);
        true
    }

    pub(crate) fn deadlines(&self) -> impl Iterator<Item = Duration> {
        let out = self.look_out.map(|since| since + PATIENCE);
        let wanted = if out.is_some() { None } else { self.look_wanted };
        out.into_iter().chain(wanted)
    }
}
