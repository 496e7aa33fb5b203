//! The model kubelet: pods that are to run here, and who holds which device.

use std::collections::BTreeMap;

use tideway_ipam::DeviceState;
use tideway_model::{PodKey, PodRef, SlotId};

/// A pod that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Identity.
    pub pod: PodRef,
    /// Its device, when it has an ENI of its own.
    pub slot: Option<SlotId>,
    /// The sandbox that is to carry it.
    pub sandbox: Option<u32>,
}

/// The kubelet.
#[derive(Debug, Clone, Default)]
pub struct Kubelet {
    /// Pods by number.
    pub pods: BTreeMap<u32, Pod>,
    /// Who holds a device: number of the pod and its name. Outlives the pod for a while.
    pub holders: BTreeMap<SlotId, (u32, PodKey)>,
    /// The plugin's list; none: the plugin is not registered.
    pub devices: Option<Vec<DeviceState>>,
    next: u32,
}

impl Kubelet {
    /// A number for a new pod, never used before.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// What pod-resources tells.
    pub fn told(&self) -> BTreeMap<SlotId, PodKey> {
        self.holders.iter().map(|(slot, (_uid, key))| (*slot, key.clone())).collect()
    }

    /// A device that can be given to a new pod.
    pub fn offer(&self) -> Option<SlotId> {
        let offered = self.devices.iter().flatten().filter(|d| d.healthy);
        offered.map(|d| d.slot).find(|slot| !self.holders.contains_key(slot))
    }
}
