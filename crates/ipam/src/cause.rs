//! Texts for people: why a pod waits or is refused, and what to do. Kubernetes shows them in the pod's events.

use std::time::Duration;

use tideway_model::{EniState, PodRef, cni_code};

use crate::{
    AddRequest, Ipam, Refusal,
    eni::{Eni, Held},
    requests::{Waiting, Wants},
    view::Use,
};

pub(crate) fn leaving() -> Refusal {
    Refusal {
        code: cni_code::TRY_AGAIN,
        message: "this node gives no more addresses".into(),
        cause: "tidewayd is being uninstalled; drain the node, or start tidewayd again".into(),
    }
}

pub(crate) fn deleted_meanwhile() -> Refusal {
    Refusal {
        code: cni_code::TRY_AGAIN,
        message: "the sandbox was deleted while it waited for an address".into(),
        cause: "the runtime sent DEL before ADD had its answer; it creates a new sandbox by itself"
            .into(),
    }
}

pub(crate) fn too_many_devices(n: usize) -> Refusal {
    Refusal {
        code: cni_code::INVALID_CONFIG,
        message: format!("the pod holds {n} devices aliyun/eni"),
        cause:
            "a pod can have one ENI of its own; ask for aliyun/eni: 1 in one container of the pod"
                .into(),
    }
}

pub(crate) fn no_device(pod: &PodRef) -> Refusal {
    Refusal {
        code: cni_code::NO_DEVICE,
        message: format!("pod {} asks for aliyun/eni but holds no device", pod.key),
        cause: "the device plugin was not registered when the kubelet admitted the pod; delete the pod so that it is admitted again".into(),
    }
}

pub(crate) fn too_late(request: &AddRequest, waits_for: &str) -> Refusal {
    Refusal {
        code: cni_code::TRY_AGAIN,
        message: format!("no address for pod {} in time", request.pod.key),
        cause: waits_for.to_owned(),
    }
}

impl Ipam {
    /// What a request waits for, in words.
    pub(crate) fn waits_for(&self, w: &Waiting, t: Duration) -> String {
        match w.wants {
            Wants::Unknown { .. } => {
                "waits for the kubelet to tell which devices the pod holds (pod-resources); check the kubelet's pod-resources socket if it lasts".into()
            }
            Wants::Shared => {
                self.lease_waits_for(w).unwrap_or_else(|| self.shared_waits_for(t))
            }
            Wants::Exclusive(slot) => match self.devices.get(slot) {
                None => format!("the kubelet names device {slot}, which this node does not have; restart tidewayd and delete the pod"),
                Some(d) if d.owner.as_ref().is_some_and(|o| o.attached) => {
                    let owner = d.owner.as_ref().map(|o| o.pod.key.to_string()).unwrap_or_default();
                    format!("the ENI of {slot} is still with a former container of pod {owner}; waits for the runtime to delete it")
                }
                Some(d) if d.holder.as_ref().is_some_and(|h| *h != w.request.pod.key) => {
                    format!("the kubelet has given {slot} to another pod meanwhile; this pod is about to be deleted")
                }
                Some(d) => match d.eni.and_then(|n| self.enis.get(&n)) {
                    Some(eni) => self.eni_waits_for(eni, t),
                    None => format!("waits for an ENI for {slot}: {}", self.create_waits_for(t)),
                },
            },
        }
    }

    pub(crate) fn shared_waits_for(&self, t: Duration) -> String {
        let shared: Vec<&Eni> = self.enis.values().filter(|e| e.is_shared()).collect();
        let held = shared.iter().filter(|e| e.hold.until(t).is_some());
        let mut causes = held.filter_map(|e| Some((&e.subnet, e.hold.cause.as_ref()?)));
        if let Some((subnet, cause)) = causes.next() {
            return format!("the cloud gives no address (subnet {subnet}): {cause}");
        }
        let create = Some(&self.create_hold).filter(|h| h.until(t).is_some());
        if let Some(cause) = create.and_then(|h| h.cause.as_ref()) {
            return format!("the cloud gives no address: {cause}");
        }
        let mut full = self.subnet_holds.iter().filter(|(_subnet, h)| h.until(t).is_some());
        if let Some((subnet, hold)) = full.next() {
            let cause = hold.cause.as_deref().unwrap_or("it is full");
            return format!("the cloud gives no address (subnet {subnet}): {cause}");
        }
        if let Some(eni) = shared.iter().find(|e| e.coming() || (e.serves() && e.busy.is_some())) {
            return self.eni_waits_for(eni, t);
        }
        let cooling = shared.iter().flat_map(|e| e.addresses.values());
        let cooling = cooling.filter(|a| matches!(a.held, Held::Cooling { .. })).count();
        if self.wants_slot {
            return format!(
                "all shared ENIs are full and no adapter slot is free for another one ({cooling} addresses rest after their last pod); delete pods that hold aliyun/eni, or use a larger instance type"
            );
        }
        let strict = self.leases.unclaimed().filter(|l| l.terms.strict).count();
        if strict > 0 {
            return format!(
                "all addresses that this instance type allows are in use, rest after their last pod ({cooling}), or are kept by strict leases ({strict}); run fewer pods on the node, use a larger instance type, or make leases fewer (leases.max, leases.strictKinds)"
            );
        }
        format!(
            "all addresses that this instance type allows are in use or rest after their last pod ({cooling} rest); run fewer pods on the node, or use a larger instance type"
        )
    }

    fn create_waits_for(&self, t: Duration) -> String {
        if !self.may_create(t) {
            return "the cloud has not told yet which ENIs the node has; check the route to the cloud API if it lasts".into();
        }
        let subnets = self.subnet_holds.values().filter(|h| h.until(t).is_some());
        let holds = Some(&self.create_hold).filter(|h| h.until(t).is_some()).into_iter();
        holds
            .chain(subnets)
            .find_map(|h| h.cause.clone())
            .unwrap_or_else(|| "it is being created".into())
    }

    fn eni_waits_for(&self, eni: &Eni, t: Duration) -> String {
        if let Some(cause) = &eni.hold.cause {
            return cause.clone();
        }
        let name = eni.id.as_ref().map_or_else(|| "a new ENI".to_owned(), ToString::to_string);
        match &eni.state {
            EniState::Creating if eni.busy.is_some() => {
                format!("waits for the cloud to create {name}")
            }
            EniState::Creating => self.create_waits_for(t),
            EniState::Attaching if eni.attached => {
                format!("waits until {name} is prepared on the host")
            }
            EniState::Attaching if eni.busy.is_some() => {
                format!("waits for the cloud to attach {name}")
            }
            EniState::Attaching => format!(
                "{name} waits for a free adapter slot: {} of {} are taken; another ENI must be detached first",
                self.adapters(),
                self.facts.limits.slots()
            ),
            EniState::Failed(why) => why.clone(),
            EniState::Ready | EniState::Draining | EniState::Detaching | EniState::Deleting => {
                match eni.usage {
                    Use::Shared => format!("waits for the cloud to assign addresses to {name}"),
                    Use::Exclusive(_) => {
                        format!("waits for {name} to come back from its former pod")
                    }
                }
            }
        }
    }
}
