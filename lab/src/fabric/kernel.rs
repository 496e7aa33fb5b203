//! The fabric in the kernel of this machine.
//!
//! One lock around everything: calls are rare, and a change must not meet half of another one. The namespaces are the
//! truth about links; the table here only says what the cloud wants, so that lost links can be put back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

use super::monitor::Monitor;
use super::{
    EniNet, Fabric, FabricError, FabricEvent, InstanceNet, Membership, SecurityGroupNet, names,
    netns, port, preflight, router, security, snapshot, tool,
};

/// What a freshly booted instance is like: everything against a router, as real distributions set it.
const HOSTILE: [(&str, &str); 8] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv4.conf.all.rp_filter", "2"),
    ("net.ipv4.conf.default.rp_filter", "2"),
    // The cloud's address service guarantees uniqueness; waiting a second for a proof of it only slows tests down.
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
];

/// An ENI that the cloud wants plugged.
#[derive(Debug)]
struct Plugged {
    eni: EniNet,
    instance: String,
}

#[derive(Debug, Default)]
struct Wanted {
    instances: BTreeSet<String>,
    enis: BTreeMap<String, Plugged>,
}

/// The lab's network in namespaces of this machine. Needs root, `ip` and `nft`.
///
/// Dropping it stops the watch for lost links and leaves the network; [`super::cleanup`] removes it.
#[derive(Debug)]
pub struct KernelFabric {
    network: Arc<Network>,
    _monitor: Monitor,
}

impl KernelFabric {
    /// Removes what a former lab of this id left and makes an empty VPC. `on_event` hears what the watch does.
    ///
    /// # Errors
    /// [`FabricError::Unsupported`] names everything that this machine lacks, with remedies.
    pub fn start(
        lab_id: &str,
        on_event: impl Fn(FabricEvent) + Send + 'static,
    ) -> Result<Self, FabricError> {
        names::check_lab_id(lab_id)?;
        preflight::check()?;
        super::cleanup(lab_id)?;
        let network = Arc::new(Network {
            lab_id: lab_id.to_owned(),
            vpc: names::vpc_namespace(lab_id),
            wanted: Mutex::default(),
        });
        if let Err(error) = router::create(&network.vpc) {
            super::cleanup(lab_id)?;
            return Err(error);
        }
        let watched = Arc::clone(&network);
        let monitor = Monitor::start(move || watched.restore_lost(&on_event))
            .map_err(|source| FabricError::Io { doing: "starting the watch".to_owned(), source })?;
        Ok(Self { network, _monitor: monitor })
    }

    /// The namespace of the VPC's router; services of the cloud listen in it.
    pub fn vpc_namespace(&self) -> &str {
        &self.network.vpc
    }

    /// The namespace of an instance.
    pub fn instance_namespace(&self, instance: &str) -> String {
        names::instance_namespace(&self.network.lab_id, instance)
    }
}

impl Fabric for KernelFabric {
    fn create_instance(&self, instance: &InstanceNet) -> Result<(), FabricError> {
        names::check_instance(&instance.name)?;
        let namespace = self.instance_namespace(&instance.name);
        let mut wanted = self.network.lock();
        if wanted.instances.contains(&instance.name) {
            return Ok(());
        }
        let io =
            |source| FabricError::Io { doing: format!("making namespace {namespace}"), source };
        let mut sysctls = Vec::new();
        sysctls.extend(HOSTILE.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        for (key, value) in &instance.sysctls {
            names::check_sysctl(key)?;
            sysctls.push((key.clone(), value.clone()));
        }
        netns::delete(&namespace).map_err(io)?; // half made by a call that failed
        netns::create(&namespace).map_err(io)?;
        netns::set_sysctls(&namespace, &sysctls).map_err(io)?;
        wanted.instances.insert(instance.name.clone());
        Ok(())
    }

    fn delete_instance(&self, instance: &str) -> Result<(), FabricError> {
        names::check_instance(instance)?;
        let namespace = self.instance_namespace(instance);
        let mut wanted = self.network.lock();
        let ports: Vec<String> = wanted
            .enis
            .values()
            .filter(|plugged| plugged.instance == instance)
            .map(|plugged| format!("link del dev {}", port::name(&plugged.eni)))
            .collect();
        tool::ip_remove(&self.network.vpc, "unplugging an instance", &ports)?;
        wanted.enis.retain(|_, plugged| plugged.instance != instance);
        netns::delete(&namespace)
            .map_err(|source| FabricError::Io { doing: format!("removing {namespace}"), source })?;
        wanted.instances.remove(instance);
        Ok(())
    }

    fn attach(&self, eni: &EniNet, instance: &str) -> Result<(), FabricError> {
        let mut wanted = self.network.lock();
        if !wanted.instances.contains(instance) {
            return Err(FabricError::UnknownInstance { instance: instance.to_owned() });
        }
        match wanted.enis.get(&eni.id) {
            Some(plugged) if plugged.instance != instance => {
                return Err(FabricError::AttachedElsewhere {
                    eni: eni.id.clone(),
                    instance: plugged.instance.clone(),
                });
            }
            Some(_) if self.network.ports()?.contains(&port::name(eni)) => {
                return self.network.set_addresses(&mut wanted, eni);
            }
            Some(_) | None => {}
        }
        self.network.disown(&mut wanted, eni)?;
        self.network.plug(eni, instance, !eni.primary)?;
        if eni.primary {
            let namespace = self.instance_namespace(instance);
            let lines = port::configure_primary(eni);
            if let Err(error) = tool::ip(&namespace, "configuring the primary ENI", &lines) {
                self.network.unplug(eni)?;
                return Err(error);
            }
        }
        let plugged = Plugged { eni: eni.clone(), instance: instance.to_owned() };
        wanted.enis.insert(eni.id.clone(), plugged);
        Ok(())
    }

    fn detach(&self, eni_id: &str) -> Result<(), FabricError> {
        let mut wanted = self.network.lock();
        if let Some(plugged) = wanted.enis.get(eni_id) {
            self.network.unplug(&plugged.eni)?;
            wanted.enis.remove(eni_id);
        }
        Ok(())
    }

    fn set_addresses(&self, eni: &EniNet) -> Result<(), FabricError> {
        let mut wanted = self.network.lock();
        if !wanted.enis.contains_key(&eni.id) {
            return Ok(());
        }
        self.network.set_addresses(&mut wanted, eni)
    }

    fn set_security_groups(
        &self,
        groups: &[SecurityGroupNet],
        membership: &[Membership],
    ) -> Result<(), FabricError> {
        let script = security::script(groups, membership);
        let _one_at_a_time = self.network.lock();
        tool::nft(&self.network.vpc, "security groups", &script)
    }

    fn snapshot(&self, instance: &str) -> Result<String, FabricError> {
        if !self.network.lock().instances.contains(instance) {
            return Err(FabricError::UnknownInstance { instance: instance.to_owned() });
        }
        snapshot::take(&self.instance_namespace(instance))
    }

    fn restore_lost(&self) -> Result<Vec<String>, FabricError> {
        let mut restored = Vec::new();
        let mut wanted = self.network.lock();
        self.network.restore(&mut wanted, &mut restored)?;
        Ok(restored.into_iter().map(|(eni, _)| eni).collect())
    }

    fn meddle(&self, eni_id: &str) -> Result<(), FabricError> {
        let wanted = self.network.lock();
        let Plugged { eni, instance } = wanted
            .enis
            .get(eni_id)
            .ok_or_else(|| FabricError::NotAttached { eni: eni_id.to_owned() })?;
        let namespace = self.instance_namespace(instance);
        let links = snapshot::links_by_mac(&namespace)?;
        let old = links.get(&eni.mac_text()).ok_or_else(|| FabricError::LinkAway {
            eni: eni_id.to_owned(),
            instance: instance.clone(),
        })?;
        if old.starts_with("ens") {
            return Ok(());
        }
        // As predictable names go on virtual machines: by slot, and the slots of NICs start at 5.
        let new = (5..=u16::MAX)
            .map(|slot| format!("ens{slot}"))
            .find(|name| !links.values().any(|taken| taken == name))
            .unwrap_or_else(|| old.clone());
        tool::ip(&namespace, "meddling", &port::meddle(eni, old, &new))
    }
}

/// The kernel side, shared with the watch.
#[derive(Debug)]
struct Network {
    lab_id: String,
    vpc: String,
    wanted: Mutex<Wanted>,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        // A panic under the lock leaves the table as it was before the change: still true.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ports(&self) -> Result<BTreeSet<String>, FabricError> {
        let links = netns::links(&self.vpc).map_err(|source| FabricError::Io {
            doing: format!("listing the links of {}", self.vpc),
            source,
        })?;
        Ok(links.into_iter().collect())
    }

    fn plug(&self, eni: &EniNet, instance: &str, bare: bool) -> Result<(), FabricError> {
        let namespace = names::instance_namespace(&self.lab_id, instance);
        let lines = port::plug(eni, &namespace, bare);
        let outcome = tool::ip(&self.vpc, &format!("plugging {}", eni.id), &lines);
        if outcome.is_err() {
            self.unplug(eni)?;
        }
        outcome
    }

    fn unplug(&self, eni: &EniNet) -> Result<(), FabricError> {
        let line = format!("link del dev {}", port::name(eni));
        tool::ip_remove(&self.vpc, &format!("unplugging {}", eni.id), &[line])
    }

    fn set_addresses(&self, wanted: &mut Wanted, eni: &EniNet) -> Result<(), FabricError> {
        self.disown(wanted, eni)?;
        let Some(plugged) = wanted.enis.get_mut(&eni.id) else { return Ok(()) };
        let (old, new) = (plugged.eni.delivered(), eni.delivered());
        let gone: BTreeSet<IpNet> = old.difference(&new).copied().collect();
        let added: BTreeSet<IpNet> = new.difference(&old).copied().collect();
        tool::ip_remove(&self.vpc, "withdrawing addresses", &port::withdraw(eni, &gone))?;
        plugged.eni.forget(&gone);
        if self.ports()?.contains(&port::name(eni)) {
            tool::ip(&self.vpc, "assigning addresses", &port::assign(eni, &added))?;
        } // else: lost with a namespace; put back with the new list
        plugged.eni.addresses.clone_from(&eni.addresses);
        plugged.eni.blocks.clone_from(&eni.blocks);
        Ok(())
    }

    /// Takes the addresses of `eni` from every other ENI: the cloud's last word about an address wins.
    fn disown(&self, wanted: &mut Wanted, eni: &EniNet) -> Result<(), FabricError> {
        let claimed = eni.delivered();
        for other in wanted.enis.values_mut().filter(|other| other.eni.id != eni.id) {
            let moved: BTreeSet<IpNet> =
                other.eni.delivered().intersection(&claimed).copied().collect();
            if !moved.is_empty() {
                let lines = port::withdraw(&other.eni, &moved);
                tool::ip_remove(&self.vpc, "moving addresses", &lines)?;
                other.eni.forget(&moved);
            }
        }
        Ok(())
    }

    /// Puts lost links back and adds (ENI, instance) to `restored` for each. Goes on after a failure, reports the first.
    fn restore(
        &self,
        wanted: &mut Wanted,
        restored: &mut Vec<(String, String)>,
    ) -> Result<(), FabricError> {
        if wanted.enis.is_empty() {
            return Ok(());
        }
        let present = self.ports()?;
        let mut outcome = Ok(());
        for Plugged { eni, instance } in wanted.enis.values() {
            if present.contains(&port::name(eni)) {
                continue;
            }
            match self.plug(eni, instance, true) {
                Ok(()) => restored.push((eni.id.clone(), instance.clone())),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// One round of the watch.
    fn restore_lost(&self, on_event: &impl Fn(FabricEvent)) {
        let mut restored = Vec::new();
        let outcome = self.restore(&mut self.lock(), &mut restored);
        for (eni, instance) in restored {
            on_event(FabricEvent::Restored { eni, instance });
        }
        if let Err(error) = outcome {
            on_event(FabricEvent::RestoreFailed(error));
        }
    }
}
