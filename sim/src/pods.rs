//! What kubelet and runtime do: pods and sandboxes come, go, are killed and come back.

use tideway_ipam::{BoundPod, Event};

use crate::{
    ids,
    node::{Pod, Progress, Sandbox},
    world::{Collection, World},
};

/// Names of pods: few, so that they come back.
const NAMES: usize = 10;
/// Containers that are remembered after their end.
const FORMER: usize = 20;

impl World {
    fn room(&self) -> bool {
        self.node.kubelet.pods.len() < self.profile.max_pods
            && self.node.runtime.sandboxes.len() < 3 * self.profile.max_pods
    }

    fn new_name(&mut self) -> u32 {
        let name = u32::try_from(self.dice.below(NAMES)).unwrap_or(0);
        // pod-resources names pods without UID: a name that holds a device is not used again before it is free.
        let key = ids::pod(name, 0).key;
        let held = self.node.kubelet.holders.values().any(|(_, held)| *held == key);
        let exclusive =
            self.node.kubelet.pods.values().any(|p| p.slot.is_some() && p.pod.key == key);
        let n = u32::try_from(NAMES).unwrap_or(0);
        if held || exclusive { n + self.node.kubelet.number() } else { name }
    }

    pub(crate) fn new_pod(&mut self) -> bool {
        if !self.room() {
            return false;
        }
        let name = self.new_name();
        self.new_pod_named(name)
    }

    pub(crate) fn new_pod_named(&mut self, name: u32) -> bool {
        let uid = self.node.kubelet.number();
        let pod = ids::pod(name, uid);
        self.node.kubelet.pods.insert(uid, Pod { pod, slot: None, sandbox: None });
        self.sandbox_of(uid)
    }

    pub(crate) fn new_exclusive(&mut self) -> bool {
        if !self.room() || self.daemon.is_none() {
            return false;
        }
        let Some(slot) = self.node.kubelet.offer() else { return false };
        let mut name = self.new_name();
        let uid = self.node.kubelet.number();
        let key = ids::pod(name, uid).key;
        if self.node.runtime.sandboxes.values().any(|s| s.pod.key == key)
            || self.node.kubelet.pods.values().any(|p| p.pod.key == key)
        {
            name = u32::try_from(NAMES).unwrap_or(0) + uid;
        }
        let pod = ids::pod(name, uid);
        self.note(|| format!("pod     {} uid-{uid} gets {slot}", pod.key));
        self.node.kubelet.holders.insert(slot, (uid, pod.key.clone()));
        self.oracle.devices.insert((slot, pod.clone()));
        self.node.kubelet.pods.insert(uid, Pod { pod, slot: Some(slot), sandbox: None });
        self.tell(Event::Allocated { slot });
        true
    }

    /// A pod without a sandbox gets one.
    pub(crate) fn run_sandbox(&mut self) -> bool {
        let bare = self.node.kubelet.pods.iter().filter(|(_, p)| p.sandbox.is_none());
        let bare: Vec<u32> = bare.map(|(uid, _)| *uid).collect();
        let Some(uid) = self.dice.pick(&bare).copied() else { return false };
        self.sandbox_of(uid)
    }

    fn sandbox_of(&mut self, uid: u32) -> bool {
        if self.node.runtime.sandboxes.len() >= 3 * self.profile.max_pods {
            return false;
        }
        let number = self.node.runtime.number();
        let container = ids::container(number);
        let Some(pod) = self.node.kubelet.pods.get_mut(&uid) else { return false };
        pod.sandbox = Some(number);
        let pod = pod.pod.clone();
        let key = ids::key(&container);
        self.node.kernel.namespaces.insert(container);
        let progress = Progress::Adding;
        let sandbox = Sandbox { key: key.clone(), pod: pod.clone(), uid, progress };
        self.node.runtime.sandboxes.insert(number, sandbox);
        self.node.runtime.blank = false;
        self.send_add(number, key, pod);
        true
    }

    fn some_sandbox(&mut self, fits: impl Fn(Progress) -> bool) -> Option<u32> {
        let all = self.node.runtime.sandboxes.iter().filter(|(_, s)| fits(s.progress));
        let all: Vec<u32> = all.map(|(n, _)| *n).collect();
        self.dice.pick(&all).copied()
    }

    /// A pod is deleted; its sandbox is to be stopped.
    pub(crate) fn end_pod(&mut self) -> bool {
        let all: Vec<u32> = self.node.kubelet.pods.keys().copied().collect();
        let Some(uid) = self.dice.pick(&all).copied() else { return false };
        self.remove_pod(uid);
        true
    }

    pub(crate) fn remove_pod(&mut self, uid: u32) {
        let Some(pod) = self.node.kubelet.pods.remove(&uid) else { return };
        self.note(|| format!("pod     {} uid-{uid} ends", pod.pod.key));
        if let Some(n) = pod.sandbox {
            self.ends(n);
        }
    }

    /// The sandbox is to go: DEL is owed.
    fn ends(&mut self, n: u32) {
        if let Some(s) = self.node.runtime.sandboxes.get_mut(&n)
            && s.progress != Progress::Ended
        {
            s.progress = Progress::Ending;
        }
    }

    /// The sandbox dies, its pod lives on and will get another one. Its namespace dies with it, or not.
    pub(crate) fn kill_sandbox(&mut self) -> bool {
        let Some(n) = self.some_sandbox(|p| p == Progress::Running) else { return false };
        self.ends(n);
        for pod in self.node.kubelet.pods.values_mut().filter(|p| p.sandbox == Some(n)) {
            pod.sandbox = None;
        }
        if self.dice.percent(50) {
            self.end_namespace_of(n);
        }
        true
    }

    fn end_namespace_of(&mut self, n: u32) {
        let Some(container) = self.node.runtime.sandboxes.get(&n).map(|s| s.key.container.clone())
        else {
            return;
        };
        self.note(|| format!("netns   {container} ends"));
        let lived = self.node.kernel.end_namespace(&container);
        self.oracle.lived(self.time, lived);
    }

    /// The runtime gives up an ADD that goes on in the daemon.
    pub(crate) fn give_up_add(&mut self) -> bool {
        let Some(n) = self.some_sandbox(|p| p == Progress::Adding) else { return false };
        self.ends(n);
        for pod in self.node.kubelet.pods.values_mut().filter(|p| p.sandbox == Some(n)) {
            pod.sandbox = None;
        }
        true
    }

    /// The runtime stops a sandbox: DEL. Twice, sometimes.
    pub(crate) fn stop_sandbox(&mut self) -> bool {
        let Some(n) = self.some_sandbox(|p| p == Progress::Ending) else { return false };
        let Some(key) = self.node.runtime.sandboxes.get(&n).map(|s| s.key.clone()) else {
            return false;
        };
        // A pod whose sandbox failed gets another one.
        for pod in self.node.kubelet.pods.values_mut().filter(|p| p.sandbox == Some(n)) {
            pod.sandbox = None;
        }
        self.send_del(key.clone());
        if self.profile.troubles.runtime && self.strikes(15) {
            self.send_del(key);
        }
        true
    }

    /// The DEL of a sandbox never comes.
    pub(crate) fn lose_del(&mut self) -> bool {
        if !self.profile.troubles.runtime {
            return false;
        }
        let Some(n) = self.some_sandbox(|p| p == Progress::Ending) else { return false };
        if let Some(s) = self.node.runtime.sandboxes.get_mut(&n) {
            s.progress = Progress::Ended;
        }
        for pod in self.node.kubelet.pods.values_mut().filter(|p| p.sandbox == Some(n)) {
            pod.sandbox = None;
        }
        true
    }

    /// Somebody says DEL for a container of the past, or leaves a ticket for it.
    pub(crate) fn late_del(&mut self) -> bool {
        if !self.profile.troubles.runtime {
            return false;
        }
        let Some(key) = self.dice.pick(&self.former).cloned() else { return false };
        self.send_del(key);
        true
    }

    /// What is left of an ended sandbox goes: first the namespace, then the entry in the runtime's list.
    pub(crate) fn remove_sandbox(&mut self) -> bool {
        let Some(n) = self.some_sandbox(|p| p == Progress::Ended) else { return false };
        let container = self.node.runtime.sandboxes.get(&n).map(|s| s.key.container.clone());
        let lives = container.is_some_and(|c| self.node.kernel.namespaces.contains(&c));
        if lives {
            self.end_namespace_of(n);
            return true;
        }
        if let Some(s) = self.node.runtime.sandboxes.remove(&n) {
            self.former.push(s.key);
            if self.former.len() > FORMER {
                self.former.remove(0);
            }
        }
        true
    }

    /// The kubelet takes a device back from a pod that is gone.
    pub(crate) fn release_device(&mut self) -> bool {
        let pods = &self.node.kubelet.pods;
        let free = self.node.kubelet.holders.iter().filter(|(_, (uid, _))| !pods.contains_key(uid));
        // Not before the pod's containers have ended.
        let running = |uid: &u32| {
            self.node.runtime.sandboxes.values().any(|s| {
                s.uid == *uid && matches!(s.progress, Progress::Running | Progress::Adding)
            })
        };
        let free: Vec<_> =
            free.filter(|(_, (uid, _))| !running(uid)).map(|(slot, _)| *slot).collect();
        let Some(slot) = self.dice.pick(&free).copied() else { return false };
        self.node.kubelet.holders.remove(&slot);
        self.note(|| format!("device  {slot} is free"));
        true
    }

    /// The runtime makes its list for a CNI GC.
    pub(crate) fn make_list(&mut self) -> bool {
        if !self.profile.troubles.runtime || self.collections.len() > 2 {
            return false;
        }
        let sandboxes = self.node.runtime.sandboxes.values();
        let valid = sandboxes.filter(|s| s.progress != Progress::Ended).map(|s| s.key.clone());
        let valid = valid.collect();
        self.collections.push(Collection { valid });
        true
    }

    /// The list reaches the daemon, later.
    pub(crate) fn deliver_list(&mut self) -> bool {
        if self.daemon.is_none() || self.collections.is_empty() {
            return false;
        }
        let collection = self.collections.remove(0);
        self.collect(collection);
        true
    }

    /// The API server tells which pods are bound here, or were.
    pub(crate) fn tell_bound(&mut self) -> bool {
        if self.daemon.is_none() {
            return false;
        }
        let mut bound: Vec<BoundPod> = self
            .node
            .kubelet
            .pods
            .values()
            .map(|p| BoundPod {
                pod: p.pod.clone(),
                wants_eni: p.slot.is_some(),
                host_network: false,
                lease: self.terms(&p.pod.key),
            })
            .collect();
        if self.strikes(20) {
            bound.truncate(self.dice.below(bound.len() + 1));
        }
        self.tell(Event::PodsBound(bound));
        true
    }
}
