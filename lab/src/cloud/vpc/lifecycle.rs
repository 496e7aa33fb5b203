//! What happens to an ENI or an instance as a whole, with or without a call.

use super::{Effect, Vpc};
use crate::cloud::cause::Cause;
use crate::cloud::clock::Millis;
use crate::cloud::resources::{Eni, EniState, Instance, InstanceStatus};

impl Vpc {
    /// Detaches an ENI behind its owner's back.
    pub fn force_detach(&mut self, id: &str, now: Millis) -> Result<(), Cause> {
        let eni = self.eni(id)?;
        if eni.state != EniState::InUse || eni.primary {
            return Err(Cause::EniState { id: id.to_owned(), state: eni.state });
        }
        let mut next = eni.clone();
        next.state = EniState::Detaching;
        next.due = None;
        self.order(Effect::Detach(id.to_owned()));
        self.put(next);
        self.remember(now);
        Ok(())
    }

    /// Boots an instance anew: all network state in its kernel goes, ENIs stay attached and come back as hardware does.
    /// Whoever calls ends the processes of the instance first; the network knows of none. Answers the number of the order.
    pub fn reboot(&mut self, name: &str) -> Result<u64, Cause> {
        let name = self.living(name)?.name.clone();
        Ok(self.order(Effect::Reboot(name)))
    }

    /// Ends an instance for good. Its ENIs go with it or stay, each as it says. Answers the number of the order.
    pub fn terminate(&mut self, name: &str, now: Millis) -> Result<u64, Cause> {
        let (id, name) = {
            let instance = self.living(name)?;
            (instance.id.clone(), instance.name.clone())
        };
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.status = InstanceStatus::Terminated;
        }
        for mut eni in self.plugged_into(&id) {
            eni.state = EniState::Detaching;
            eni.due = None;
            self.put(eni);
        }
        self.remember(now);
        Ok(self.order(Effect::Terminate(name)))
    }

    pub(super) fn terminated(&mut self, name: &str, now: Millis) {
        let Some(id) = self.instance_named(name).map(|instance| instance.id.clone()) else {
            return;
        };
        for mut eni in self.plugged_into(&id) {
            if eni.delete_on_release {
                self.vanish(&eni, now);
            } else {
                eni.unplug();
                self.put(eni);
            }
        }
        self.order(Effect::Groups);
        self.remember(now);
    }

    fn plugged_into(&self, instance: &str) -> Vec<Eni> {
        let all = self.enis.values().filter(|e| e.instance.as_deref() == Some(instance));
        all.map(|e| Eni::clone(e)).collect()
    }

    /// The instance with this name or id, unless it is gone.
    fn living(&self, name: &str) -> Result<&Instance, Cause> {
        let found = self.instance_named(name);
        found
            .filter(|instance| instance.status != InstanceStatus::Terminated)
            .ok_or_else(|| Cause::NoInstance(name.to_owned()))
    }
}
