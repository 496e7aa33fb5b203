//! Texts for people: why a pod waits or is refused, and what to do. Kubernetes shows them in the pod's events.

use std::time::Duration;

use tideway_model::{Cause, EniState, PodRef, Why};

use crate::{
    AddRequest, Ipam, Refusal,
    eni::{Eni, Held},
    requests::{Waiting, Wants},
    view::Use,
};

fn refusal(cause: Cause, message: impl Into<String>, text: &str) -> Refusal {
    Refusal { message: message.into(), why: Why::new(cause, text) }
}

pub(crate) fn leaving() -> Refusal {
    refusal(
        Cause::Uninstalling,
        "this node gives no more addresses",
        "tidewayd is being uninstalled; drain the node, or start tidewayd again",
    )
}

pub(crate) fn deleted_meanwhile() -> Refusal {
    refusal(
        Cause::SandboxDeleted,
        "the sandbox was deleted while it waited for an address",
        "the runtime sent DEL before ADD had its answer; it creates a new sandbox by itself",
    )
}

pub(crate) fn too_many_devices(n: usize) -> Refusal {
    let message = format!("the pod holds {n} devices aliyun/eni");
    refusal(Cause::TooManyDevices, message, Cause::TooManyDevices.person())
}

pub(crate) fn no_device(pod: &PodRef) -> Refusal {
    let message = format!("pod {} asks for aliyun/eni but holds no device", pod.key);
    refusal(Cause::NoDevice, message, Cause::NoDevice.person())
}

pub(crate) fn too_late(request: &AddRequest, waits_for: Why) -> Refusal {
    Refusal { message: format!("no address for pod {} in time", request.pod.key), why: waits_for }
}

impl Ipam {
    /// What a request waits for, in words.
    pub(crate) fn waits_for(&self, w: &Waiting, t: Duration) -> Why {
        match w.wants {
            Wants::Unknown { .. } => Why::new(
                Cause::KubeletSilent,
                "waits for the kubelet to tell which devices the pod holds (pod-resources); check the kubelet's pod-resources socket if it lasts",
            ),
            Wants::Shared => self.lease_waits_for(w).unwrap_or_else(|| self.shared_waits_for(t)),
            Wants::Exclusive(slot) => match self.devices.get(slot) {
                None => Why::new(
                    Cause::DeviceUnknown,
                    format!(
                        "the kubelet names device {slot}, which this node does not have; restart tidewayd and delete the pod"
                    ),
                ),
                Some(d) if d.owner.as_ref().is_some_and(|o| o.attached) => {
                    let owner = d.owner.as_ref().map(|o| o.pod.key.to_string()).unwrap_or_default();
                    Why::new(
                        Cause::FormerContainer,
                        format!(
                            "the ENI of {slot} is still with a former container of pod {owner}; waits for the runtime to delete it"
                        ),
                    )
                }
                Some(d) if d.holder.as_ref().is_some_and(|h| *h != w.request.pod.key) => Why::new(
                    Cause::DeviceMoved,
                    format!(
                        "the kubelet has given {slot} to another pod meanwhile; this pod is about to be deleted"
                    ),
                ),
                Some(d) => match d.eni.and_then(|n| self.enis.get(&n)) {
                    Some(eni) => self.eni_waits_for(eni, t),
                    None => {
                        self.create_waits_for(t).after(format_args!("waits for an ENI for {slot}"))
                    }
                },
            },
        }
    }

    pub(crate) fn shared_waits_for(&self, t: Duration) -> Why {
        let shared: Vec<&Eni> = self.enis.values().filter(|e| e.is_shared()).collect();
        let held = shared.iter().filter(|e| e.hold.until(t).is_some());
        let mut causes = held.filter_map(|e| Some((&e.subnet, e.hold.cause.as_ref()?)));
        let refused = |place: &str, why: &Why| {
            why.clone().after(format_args!("the cloud gives no address{place}"))
        };
        if let Some((subnet, why)) = causes.next() {
            return refused(&format!(" (subnet {subnet})"), why);
        }
        let create = Some(&self.create_hold).filter(|h| h.until(t).is_some());
        if let Some(why) = create.and_then(|h| h.cause.as_ref()) {
            return refused("", why);
        }
        if let Some((subnet, hold)) = self.refusing(t).next() {
            let full = Why::new(Cause::SubnetFull, "it is full");
            return refused(&format!(" (subnet {subnet})"), hold.cause.as_ref().unwrap_or(&full));
        }
        if let Some(eni) = shared.iter().find(|e| e.coming() || (e.serves() && e.busy.is_some())) {
            return self.eni_waits_for(eni, t);
        }
        if !self.may_create(t) {
            return self.create_waits_for(t);
        }
        let cooling = shared.iter().flat_map(|e| e.addresses.values());
        let cooling = cooling.filter(|a| matches!(a.held, Held::Cooling { .. })).count();
        if self.wants_slot {
            let text = format!(
                "all shared ENIs are full and no adapter slot is free for another one ({cooling} addresses rest after their last pod); delete pods that hold aliyun/eni, or use a larger instance type"
            );
            return Why::new(Cause::NoSlot, text);
        }
        let strict = self.leases.unclaimed().filter(|l| l.terms.strict).count();
        if strict > 0 {
            let text = format!(
                "all addresses that this instance type allows are in use, rest after their last pod ({cooling}), or are kept by strict leases ({strict}); run fewer pods on the node, use a larger instance type, or make leases fewer (leases.max, leases.strictKinds)"
            );
            return Why::new(Cause::StrictLeases, text);
        }
        let text = format!(
            "all addresses that this instance type allows are in use or rest after their last pod ({cooling} rest); run fewer pods on the node, or use a larger instance type"
        );
        Why::new(Cause::NoAddress, text)
    }

    fn create_waits_for(&self, t: Duration) -> Why {
        if !self.may_create(t) {
            return Why::new(
                Cause::CloudUnseen,
                "the cloud has not told yet which ENIs the node has; check the route to the cloud API if it lasts",
            );
        }
        let subnets = self.refusing(t).map(|(_subnet, h)| h);
        let holds = Some(&self.create_hold).filter(|h| h.until(t).is_some()).into_iter();
        holds
            .chain(subnets)
            .find_map(|h| h.cause.clone())
            .unwrap_or_else(|| Why::new(Cause::OnTheWay, "it is being created"))
    }

    fn eni_waits_for(&self, eni: &Eni, t: Duration) -> Why {
        if let Some(cause) = &eni.hold.cause {
            return cause.clone();
        }
        let name = eni.id.as_ref().map_or_else(|| "a new ENI".to_owned(), ToString::to_string);
        let coming = |text: String| Why::new(Cause::OnTheWay, text);
        match &eni.state {
            EniState::Creating if eni.busy.is_some() => {
                coming(format!("waits for the cloud to create {name}"))
            }
            EniState::Creating => self.create_waits_for(t),
            EniState::Attaching if eni.attached => {
                coming(format!("waits until {name} is prepared on the host"))
            }
            EniState::Attaching if eni.busy.is_some() => {
                coming(format!("waits for the cloud to attach {name}"))
            }
            EniState::Attaching => Why::new(
                Cause::NoSlot,
                format!(
                    "{name} waits for a free adapter slot: {} of {} are taken; another ENI must be detached first",
                    self.adapters(),
                    self.facts.limits.slots()
                ),
            ),
            EniState::Failed(why) => Why::new(Cause::EniLost, why),
            EniState::Ready | EniState::Draining | EniState::Detaching | EniState::Deleting => {
                match eni.usage {
                    Use::Shared => {
                        coming(format!("waits for the cloud to assign addresses to {name}"))
                    }
                    Use::Exclusive(_) => Why::new(
                        Cause::FormerContainer,
                        format!("waits for {name} to come back from its former pod"),
                    ),
                }
            }
        }
    }
}
