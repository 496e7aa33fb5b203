//! ADD from the runtime's process to the plumbed pod.

use std::{collections::BTreeMap, time::Duration};

use tideway_ipam::{AddRequest, Event, RequestId};
use tideway_model::{Attachment, AttachmentKey, Bandwidth, Mode, PodKey, PodRef, SlotId};

use super::World;
use crate::node::Progress;

/// How far an ADD is.
#[derive(Debug, Clone, PartialEq)]
pub enum AddStage {
    /// On its way to the daemon.
    Sent,
    /// The kubelet is asked who holds which device.
    Asking {
        /// Since then.
        begun: Duration,
        /// What was true then.
        then: BTreeMap<SlotId, PodKey>,
    },
    /// The allocator has it, or its inbox.
    Waiting(RequestId),
    /// Promised; the pod is being plumbed.
    Plumbing(Box<Attachment>),
}

/// An ADD.
#[derive(Debug, Clone)]
pub struct Adding {
    /// Number of the container.
    pub container: u32,
    /// Attachment.
    pub key: AttachmentKey,
    /// Pod.
    pub pod: PodRef,
    /// How far.
    pub stage: AddStage,
    /// Moves on by itself then.
    pub by: Duration,
    /// The allocator answers by then.
    pub deadline: Duration,
    /// An ENI that another container still has is waited for until then.
    pub patience: Duration,
}

impl Adding {
    /// When it moves on by itself (boot time); none: the allocator has it.
    pub fn due(&self) -> Option<Duration> {
        (!matches!(self.stage, AddStage::Waiting(_))).then_some(self.by)
    }
}

impl World {
    /// The runtime executes the plugin.
    pub(crate) fn send_add(&mut self, container: u32, key: AttachmentKey, pod: PodRef) {
        let by = self.within(2, 1_000);
        self.note(|| format!("ADD     c{container} for {} {:?}", pod.key, pod.uid));
        let deadline = Duration::MAX;
        let (stage, patience) = (AddStage::Sent, Duration::ZERO);
        self.adds.push(Adding { container, key, pod, stage, by, deadline, patience });
    }

    /// An ADD moves on by one step.
    pub(crate) fn move_add(&mut self, at: usize) {
        let Some(add) = self.adds.get(at).cloned() else { return };
        match add.stage {
            AddStage::Sent => match self.daemon.as_ref() {
                None => self.add_failed(at),
                Some(d) if d.core.ipam.needs_devices(&add.pod) => {
                    let (begun, then) = (self.boot(), self.node.kubelet.told());
                    let by = self.within(2, 2_000);
                    if let Some(add) = self.adds.get_mut(at) {
                        add.stage = AddStage::Asking { begun, then };
                        add.by = by;
                    }
                }
                Some(_) => self.submit(at, &add),
            },
            AddStage::Asking { begun, then } => {
                if self.daemon.is_none() || self.strikes(3) {
                    return self.add_failed(at);
                }
                let holders = if self.dice.percent(50) { then } else { self.node.kubelet.told() };
                if let Some(d) = self.daemon.as_mut() {
                    d.devices_told |= begun > d.kubelet_since;
                }
                self.tell(Event::DevicesSeen { begun, holders });
                let add = Adding { stage: AddStage::Sent, ..add };
                self.submit(at, &add);
            }
            AddStage::Plumbing(a) => self.plumb(at, &a),
            AddStage::Waiting(_) => {}
        }
    }

    fn submit(&mut self, at: usize, add: &Adding) {
        let deadline = self.boot() + self.profile.add_timeout;
        let lease = self.terms(&add.pod.key);
        let Some(d) = self.daemon.as_mut() else { return };
        let id = d.id();
        if let Some(add) = self.adds.get_mut(at) {
            add.stage = AddStage::Waiting(id);
            add.deadline = deadline;
        }
        self.tell(Event::Add(AddRequest {
            id,
            key: add.key.clone(),
            pod: add.pod.clone(),
            netns: format!("/run/netns/{}", add.key.container),
            bandwidth: Bandwidth::default(),
            lease,
            deadline,
        }));
    }

    /// The runtime hears an error: it tears the sandbox down.
    pub(crate) fn add_failed(&mut self, at: usize) {
        let add = self.adds.remove(at);
        if let Some(s) = self.node.runtime.sandboxes.get_mut(&add.container)
            && s.progress == Progress::Adding
        {
            s.progress = Progress::Ending;
        }
    }

    fn plumb_failed(&mut self, a: &Attachment) {
        self.tell(Event::PlumbFailed { key: a.key.clone() });
        self.identities.never_had(a);
    }

    fn plumb(&mut self, at: usize, a: &Attachment) {
        let Some(d) = self.daemon.as_ref() else { return self.add_failed(at) };
        if d.promised.get(&a.key) != Some(a) {
            return self.add_failed(at);
        }
        let here = self.cloud.is_attached(&a.eni);
        let elsewhere = self.node.kernel.users(&a.eni).any(|l| l.attachment.key != a.key);
        let boot = self.boot();
        if a.mode == Mode::Exclusive && elsewhere {
            // The ENI is still in the namespace of the pod's former container: waited for.
            let Some(add) = self.adds.get_mut(at) else { return };
            if boot < add.patience {
                add.by = boot + Duration::from_millis(500);
                return;
            }
            self.plumb_failed(a);
            return self.add_failed(at);
        }
        let Some(d) = self.daemon.as_ref() else { return };
        let usable = here && (a.mode == Mode::Exclusive || d.prepared.contains(&a.eni));
        let namespace = self.node.kernel.namespaces.contains(&a.key.container);
        if !usable || !namespace || self.strikes(1) {
            self.note(|| {
                format!("plumb   {:?} failed: usable {usable} ns {namespace}", a.key.container)
            });
            self.plumb_failed(a);
            if !usable {
                self.look_at_cloud();
            }
            return self.add_failed(at);
        }
        self.make_live(a);
        let add = self.adds.remove(at);
        if let Some(s) = self.node.runtime.sandboxes.get_mut(&add.container)
            && s.progress == Progress::Adding
        {
            s.progress = Progress::Running;
        }
    }

    /// A pod's link has its addresses from now on.
    pub(crate) fn make_live(&mut self, a: &Attachment) {
        self.note(|| format!("plumb   {} {:?}", a.key.container, a.addresses));
        self.oracle.plumbed(a, &self.node);
        self.node.kernel.plumb(a);
    }
}
