//! The network of the lab: what the cloud half promises, made true in the kernel.
//!
//! The cloud half knows ENIs, addresses and security groups as entries in a table. This half turns them into
//! namespaces, links, routes and filters, and nothing else: it decides nothing and remembers only what it was told.
//! The two meet in [`Fabric`]. Calls come from one task of the cloud half (they block, so through `spawn_blocking`),
//! but every method may be called from any thread.
//!
//! Every method is idempotent: the same call again succeeds and changes nothing. Nothing here panics.

mod cleanup;
mod error;
mod kernel;
mod monitor;
mod names;
pub mod netns;
mod none;
mod port;
mod preflight;
mod router;
mod security;
mod snapshot;
mod tool;
mod types;

pub use cleanup::cleanup;
pub use error::{FabricError, FabricEvent};
pub use kernel::KernelFabric;
pub use none::{FabricCall, NoFabric};
pub use router::{API_ADDRESS, METADATA_ADDRESS, METADATA_ADDRESS_EC2, OUTSIDE_V4, OUTSIDE_V6};
pub use types::{
    Direction, EniNet, GroupPeer, InstanceNet, Membership, Policy, PortRange, Protocol,
    SecurityGroupNet, SecurityRuleNet,
};

/// What the cloud half asks of the network.
pub trait Fabric: Send + Sync + std::fmt::Debug {
    /// Makes the namespace of an instance: `lo` up, hostile sysctls, no ENI yet.
    fn create_instance(&self, instance: &InstanceNet) -> Result<(), FabricError>;

    /// Removes the namespace of an instance. ENIs still attached to it are unplugged first.
    fn delete_instance(&self, instance: &str) -> Result<(), FabricError>;

    /// Plugs an ENI into an instance (`instance` is its name).
    ///
    /// A primary ENI appears as `eth0` with addresses and default routes, as after a boot. A secondary one appears
    /// under the first free `ethN`, without addresses and DOWN, as hot-plugged hardware does.
    fn attach(&self, eni: &EniNet, instance: &str) -> Result<(), FabricError>;

    /// Unplugs an ENI wherever its link is now: in the instance, in a pod's namespace, or gone.
    /// An ENI that is not attached is no error.
    fn detach(&self, eni_id: &str) -> Result<(), FabricError>;

    /// The full list of addresses of an ENI from now on. Only they receive and may send. An ENI that is not attached is
    /// no error and changes nothing: [`Fabric::attach`] brings the list along.
    fn set_addresses(&self, eni: &EniNet) -> Result<(), FabricError>;

    /// All security groups and their members from now on, in one atomic change. Before the first call nothing is
    /// filtered; after it, an address that is in no membership neither sends nor receives through the VPC.
    fn set_security_groups(
        &self,
        groups: &[SecurityGroupNet],
        membership: &[Membership],
    ) -> Result<(), FabricError>;

    /// Canonical text of all network state of an instance's namespace: two snapshots are equal if nothing changed.
    fn snapshot(&self, instance: &str) -> Result<String, FabricError>;

    /// Puts attached ENIs back whose link vanished with the namespace that they were in: into the instance's namespace,
    /// bare and DOWN under a free `ethN`, as the kernel does with hardware. Returns the ids of the ENIs put back.
    ///
    /// The real fabric also does this by itself several times a second.
    fn restore_lost(&self) -> Result<Vec<String>, FabricError>;

    /// The fault `meddling`: does to an attached secondary ENI what udev, cloud-init and DHCP clients do to hot-plugged
    /// ones: renames it, sets it up, gives it an address with a prefix and adds a second default route.
    fn meddle(&self, eni_id: &str) -> Result<(), FabricError>;
}
