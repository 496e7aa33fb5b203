//! The VPC as a state machine: who holds what, and what is on its way.
//!
//! Invariants: an address is held in its vSwitch's [`super::addresses::AddressSpace`] exactly as long as an ENI has it,
//! and the ledger books both ends; an ENI is attached to at most one instance; a state change ends only through
//! [`Vpc::tick`] and, where the network has a part in it, through [`Vpc::finished`].

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::addresses::Refusal;
use super::catalog::{Catalog, CatalogError, InstanceType};
use super::cause::Cause;
use super::clock::Millis;
use super::dice::Dice;
use super::faults::{FaultKind, Faults, Occasion};
use super::latency::Work;
use super::ledger::Ledger;
use super::profile::Profile;
use super::resources::{Attachment, Eni, EniState, Instance, SecurityGroup, VSwitch};
use crate::config::LabConfig;

mod build;
mod lifecycle;

/// How long past states are kept for stale reads and the metadata service.
const HISTORY: Millis = 60_000;

/// The ENIs at one moment.
pub type EniView = BTreeMap<String, Arc<Eni>>;

/// The ENIs of an instance, in the order of their creation.
pub fn plugged<'a>(instance: &Instance, view: &'a EniView) -> Vec<&'a Eni> {
    let mut list: Vec<&Eni> = view
        .values()
        .map(AsRef::as_ref)
        .filter(|e| e.instance.as_deref() == Some(instance.id.as_str()))
        .collect();
    list.sort_by_key(|e| e.index);
    list
}

/// What the network has to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Plug the ENI into its instance.
    Attach(String),
    /// Unplug the ENI.
    Detach(String),
    /// The addresses of an attached ENI changed.
    Addresses(String),
    /// Groups or their members changed.
    Groups,
    /// Meddle with the ENI in the guest.
    Meddle(String),
    /// Boot the instance (its name) anew: nothing in its kernel stays.
    Reboot(String),
    /// Remove the instance (its name) with all that is plugged into it.
    Terminate(String),
}

/// The VPC cannot be built from this configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Instance types.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An instance finds no address.
    #[error(
        "instance {instance} finds no free address in vSwitch {vswitch}: list it or make it larger"
    )]
    NoAddress {
        /// Name of the instance.
        instance: String,
        /// Name of the vSwitch.
        vswitch: String,
    },
}

/// Everything in the VPC.
#[derive(Debug)]
pub struct Vpc {
    /// Configuration that it was made from.
    pub config: LabConfig,
    /// How its cloud is.
    pub profile: &'static Profile,
    /// `vpc-bp1…`.
    pub id: String,
    /// Account id.
    pub owner: String,
    /// Instance types.
    pub catalog: Catalog,
    /// Subnets by id.
    pub vswitches: BTreeMap<String, VSwitch>,
    /// Groups by id.
    pub groups: BTreeMap<String, SecurityGroup>,
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// Faults in force.
    pub faults: Faults,
    /// The book.
    pub ledger: Ledger,
    /// Source of identifiers and latencies.
    pub dice: Dice,
    /// When it was made.
    pub created: Millis,
    enis: EniView,
    history: VecDeque<(Millis, EniView)>,
    effects: VecDeque<(u64, Effect)>,
    last_effect: u64,
    last_index: u32,
    last_attachment: u64,
}

impl Vpc {
    /// A fresh ENI without addresses, not yet in the VPC.
    pub fn blank_eni(&mut self, vswitch: &str, groups: Vec<String>, now: Millis) -> Eni {
        self.last_index += 1;
        let [_, a, b, c] = self.last_index.to_be_bytes();
        let site = u8::try_from(self.config.seed % 256).unwrap_or_default();
        let [first, second, third] = self.profile.mac;
        Eni {
            id: self.profile.id("eni", &mut self.dice),
            index: self.last_index,
            mac: [first, second, third, a ^ site, b, c],
            primary: false,
            vswitch: vswitch.to_owned(),
            state: EniState::Available,
            instance: None,
            attachment: None,
            v4: Vec::new(),
            v6: Vec::new(),
            prefixes: Vec::new(),
            groups,
            tags: BTreeMap::new(),
            name: String::new(),
            description: String::new(),
            delete_on_release: false,
            resource_group: String::new(),
            traffic_mode: "Standard".to_owned(),
            queues: None,
            source_dest_check: self.profile.source_dest_check,
            tracking: [910, 3, 30],
            created: now,
            due: None,
            busy_until: 0,
        }
    }

    /// A new attachment.
    pub fn attachment(&mut self, card: u32, device: u32, now: Millis) -> Attachment {
        self.last_attachment += 1;
        // Arbitrary to look at, and never the same: an odd factor only permutes the numbers.
        let number = self.last_attachment.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Attachment { id: format!("eni-attach-0{number:016x}"), device, card, since: now }
    }

    /// All ENIs as they are now.
    pub fn enis(&self) -> &EniView {
        &self.enis
    }

    /// All ENIs as they were `age` milliseconds ago (as far back as is remembered).
    pub fn enis_before(&self, age: Millis, now: Millis) -> &EniView {
        if age == 0 {
            return &self.enis;
        }
        let then = now.saturating_sub(age);
        self.history
            .iter()
            .rev()
            .find(|(at, _)| *at <= then)
            .or_else(|| self.history.front())
            .map_or(&self.enis, |(_, view)| view)
    }

    /// The ENI, if there is one with this id.
    pub fn eni(&self, id: &str) -> Result<&Eni, Cause> {
        self.enis.get(id).map(Arc::as_ref).ok_or_else(|| Cause::NoEni(id.to_owned()))
    }

    /// Puts a changed or new ENI in place.
    pub fn put(&mut self, eni: Eni) {
        self.enis.insert(eni.id.clone(), Arc::new(eni));
    }

    /// The instance, if there is one with this id.
    pub fn instance(&self, id: &str) -> Result<&Instance, Cause> {
        self.instances.get(id).ok_or_else(|| Cause::NoInstance(id.to_owned()))
    }

    /// The vSwitch, if there is one with this id.
    pub fn vswitch(&self, id: &str) -> Result<&VSwitch, Cause> {
        self.vswitches.get(id).ok_or_else(|| Cause::NoSubnet(id.to_owned()))
    }

    /// The vSwitch with this name or id.
    pub fn vswitch_named(&self, name: &str) -> Option<&VSwitch> {
        self.vswitches.values().find(|v| v.name == name || v.id == name)
    }

    /// The instance with this name or id.
    pub fn instance_named(&self, name: &str) -> Option<&Instance> {
        self.instances.values().find(|i| i.name == name || i.id == name)
    }

    /// The instance that has `address` on one of its ENIs, also as one of a prefix.
    pub fn instance_at(&self, address: IpAddr) -> Option<&Instance> {
        let holder = self.vswitches.values().find_map(|v| v.space.owner(address))?;
        let eni = self.enis.get(holder)?;
        self.instances.get(eni.instance.as_deref()?)
    }

    /// Type of the instance that the ENI is attached to.
    pub fn type_of(&self, eni: &Eni) -> Option<&InstanceType> {
        let instance = self.instances.get(eni.instance.as_deref()?)?;
        self.catalog.get(&instance.instance_type)
    }

    /// Whether a fault empties this vSwitch.
    pub fn subnet_is_full(&self, vswitch: &VSwitch, now: Millis) -> bool {
        let on = Occasion { vswitch: (&vswitch.id, &vswitch.name), ..Occasion::default() };
        self.faults.holds(FaultKind::FullSubnet, on, now).is_some()
    }

    /// Gives one address to an ENI and books it.
    pub fn take(&mut self, eni: &mut Eni, address: IpAddr, now: Millis) -> Result<(), Refusal> {
        let Some(vswitch) = self.vswitches.get_mut(&eni.vswitch) else {
            return Err(Refusal::Outside);
        };
        vswitch.space.hold(address, &eni.id)?;
        self.ledger.given(address, &eni.id, now);
        match address {
            IpAddr::V4(a) => eni.v4.push(a),
            IpAddr::V6(a) => eni.v6.push(a),
        }
        Ok(())
    }

    /// Takes one address from an ENI and books it.
    pub fn give_back(&mut self, eni: &mut Eni, address: IpAddr, now: Millis) {
        if let Some(vswitch) = self.vswitches.get_mut(&eni.vswitch)
            && vswitch.space.release(address)
        {
            self.ledger.released(address, &eni.id, now);
        }
        eni.v4.retain(|a| IpAddr::V4(*a) != address);
        eni.v6.retain(|a| IpAddr::V6(*a) != address);
    }

    /// Gives one prefix to an ENI.
    pub fn take_prefix(&mut self, eni: &mut Eni, prefix: IpNet) -> Result<(), Refusal> {
        let Some(vswitch) = self.vswitches.get_mut(&eni.vswitch) else {
            return Err(Refusal::Outside);
        };
        vswitch.space.hold_prefix(prefix, &eni.id)?;
        eni.prefixes.push(prefix);
        Ok(())
    }

    /// Takes one prefix from an ENI.
    pub fn give_back_prefix(&mut self, eni: &mut Eni, prefix: IpNet) {
        if let Some(vswitch) = self.vswitches.get_mut(&eni.vswitch) {
            vswitch.space.release_prefix(prefix);
        }
        eni.prefixes.retain(|p| *p != prefix);
    }

    /// Remembers the ENIs as they are now.
    pub fn remember(&mut self, now: Millis) {
        self.history.push_back((now, self.enis.clone()));
        while self.history.get(1).is_some_and(|(at, _)| at.saturating_add(HISTORY) < now)
            || self.history.len() > 2000
        {
            self.history.pop_front();
        }
    }

    /// Orders work of the network; answers its number.
    pub fn order(&mut self, effect: Effect) -> u64 {
        self.last_effect += 1;
        self.effects.push_back((self.last_effect, effect));
        self.last_effect
    }

    /// Number of the last ordered piece of work.
    pub fn last_order(&self) -> u64 {
        self.last_effect
    }

    /// Takes the ordered work, oldest first.
    pub fn take_effects(&mut self) -> Vec<(u64, Effect)> {
        self.effects.drain(..).collect()
    }

    /// Addresses and groups of this ENI changed: orders what the network must know.
    pub fn order_update(&mut self, eni: &Eni) -> Option<u64> {
        eni.instance.as_ref()?;
        self.order(Effect::Addresses(eni.id.clone()));
        Some(self.order(Effect::Groups))
    }

    /// Ends the state changes that are due.
    pub fn tick(&mut self, now: Millis) {
        let due: Vec<Arc<Eni>> =
            self.enis.values().filter(|e| e.due.is_some_and(|d| d <= now)).cloned().collect();
        let mut changed = false;
        for eni in due {
            let name = self.instance_name(&eni);
            let on = Occasion {
                eni: &eni.id,
                instance: &name,
                vswitch: (&eni.vswitch, ""),
                ..Occasion::default()
            };
            let mut next = Eni::clone(&eni);
            match eni.state {
                EniState::Attaching => {
                    if self.faults.holds(FaultKind::StuckAttach, on, now).is_some() {
                        continue;
                    }
                    if self.faults.strike(FaultKind::FailedAttach, on, now).is_some() {
                        next.unplug();
                    } else {
                        self.order(Effect::Groups);
                        self.order(Effect::Attach(eni.id.clone()));
                    }
                }
                EniState::Detaching => {
                    if self.faults.holds(FaultKind::StuckDetach, on, now).is_some() {
                        continue;
                    }
                    self.order(Effect::Detach(eni.id.clone()));
                }
                EniState::Deleting => {
                    self.vanish(&eni, now);
                    changed = true;
                    continue;
                }
                EniState::Available | EniState::InUse => {}
            }
            next.due = None;
            self.put(next);
            changed = true;
        }
        if changed {
            self.remember(now);
        }
    }

    fn vanish(&mut self, eni: &Eni, now: Millis) {
        let mut gone = eni.clone();
        for address in eni.addresses().collect::<Vec<_>>() {
            self.give_back(&mut gone, address, now);
        }
        for prefix in &eni.prefixes {
            self.give_back_prefix(&mut gone, *prefix);
        }
        self.enis.remove(&eni.id);
    }

    /// When [`Vpc::tick`] has to run next. A stuck change is looked at again after 50 ms.
    pub fn next_due(&self, now: Millis) -> Option<Millis> {
        self.enis
            .values()
            .filter_map(|e| e.due)
            .map(|due| if due <= now { now.saturating_add(50) } else { due })
            .min()
    }

    /// The network did its part (or failed to).
    pub fn finished(&mut self, effect: &Effect, worked: bool, now: Millis) {
        let (id, from, to) = match effect {
            Effect::Attach(id) if worked => (id, EniState::Attaching, EniState::InUse),
            Effect::Attach(id) => (id, EniState::Attaching, EniState::Available),
            Effect::Detach(id) => (id, EniState::Detaching, EniState::Available),
            Effect::Terminate(name) => return self.terminated(name, now),
            Effect::Addresses(_) | Effect::Groups | Effect::Meddle(_) | Effect::Reboot(_) => return,
        };
        let Some(eni) = self.enis.get(id).filter(|e| e.state == from) else { return };
        let mut next = Eni::clone(eni);
        next.state = to;
        if to == EniState::Available {
            next.unplug();
        }
        self.put(next);
        self.order(Effect::Groups);
        self.remember(now);
    }

    /// Name of the instance of an ENI, or nothing.
    pub fn instance_name(&self, eni: &Eni) -> String {
        eni.instance
            .as_deref()
            .and_then(|id| self.instances.get(id))
            .map(|i| i.name.clone())
            .unwrap_or_default()
    }

    /// Draws how long some work takes.
    pub fn draw(&mut self, work: Work) -> Millis {
        self.config.latency.draw((self.profile.latency)(work), &mut self.dice)
    }
}
