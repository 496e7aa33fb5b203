//! A fabric without a network: for tests of the cloud half and for machines without root.

use std::sync::{Mutex, PoisonError};

use super::{EniNet, Fabric, FabricError, InstanceNet, Membership, SecurityGroupNet};

/// One call that reached a [`NoFabric`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FabricCall {
    /// [`Fabric::create_instance`]
    CreateInstance(InstanceNet),
    /// [`Fabric::delete_instance`]
    DeleteInstance(String),
    /// [`Fabric::attach`]: the ENI and the instance's name.
    Attach(EniNet, String),
    /// [`Fabric::detach`]
    Detach(String),
    /// [`Fabric::set_addresses`]
    SetAddresses(EniNet),
    /// [`Fabric::set_security_groups`]
    SetSecurityGroups(Vec<SecurityGroupNet>, Vec<Membership>),
    /// [`Fabric::meddle`]
    Meddle(String),
}

/// Records every changing call and does nothing.
#[derive(Debug, Default)]
pub struct NoFabric {
    calls: Mutex<Vec<FabricCall>>,
}

impl NoFabric {
    /// The calls so far, oldest first.
    pub fn calls(&self) -> Vec<FabricCall> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, call: FabricCall) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

impl Fabric for NoFabric {
    fn create_instance(&self, instance: &InstanceNet) -> Result<(), FabricError> {
        self.record(FabricCall::CreateInstance(instance.clone()));
        Ok(())
    }

    fn delete_instance(&self, instance: &str) -> Result<(), FabricError> {
        self.record(FabricCall::DeleteInstance(instance.to_owned()));
        Ok(())
    }

    fn attach(&self, eni: &EniNet, instance: &str) -> Result<(), FabricError> {
        self.record(FabricCall::Attach(eni.clone(), instance.to_owned()));
        Ok(())
    }

    fn detach(&self, eni_id: &str) -> Result<(), FabricError> {
        self.record(FabricCall::Detach(eni_id.to_owned()));
        Ok(())
    }

    fn set_addresses(&self, eni: &EniNet) -> Result<(), FabricError> {
        self.record(FabricCall::SetAddresses(eni.clone()));
        Ok(())
    }

    fn set_security_groups(
        &self,
        groups: &[SecurityGroupNet],
        membership: &[Membership],
    ) -> Result<(), FabricError> {
        self.record(FabricCall::SetSecurityGroups(groups.to_vec(), membership.to_vec()));
        Ok(())
    }

    fn snapshot(&self, _instance: &str) -> Result<String, FabricError> {
        Ok(String::new())
    }

    fn restore_lost(&self) -> Result<Vec<String>, FabricError> {
        Ok(Vec::new())
    }

    fn meddle(&self, eni_id: &str) -> Result<(), FabricError> {
        self.record(FabricCall::Meddle(eni_id.to_owned()));
        Ok(())
    }
}
