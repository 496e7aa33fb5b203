//! Why the VPC does not do what it is asked, in the words of no cloud. Each cloud has its own code for each cause:
//! [`super::actions::codes`] those of ECS, [`super::ec2::codes`] those of EC2.

use super::resources::{EniState, InstanceStatus};

/// A refusal, before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A mandatory parameter is absent.
    Missing(String),
    /// A parameter is malformed or out of its range.
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Two parameters exclude each other.
    Exclusive(&'static str, &'static str),
    /// A text is no IP address.
    NoAddress(String),
    /// More tags than this.
    TooManyTags(usize),
    /// A page token that was never given.
    NextToken,
    /// A client token of an earlier request with other parameters.
    TokenReused,
    /// No such ENI.
    NoEni(String),
    /// No such instance.
    NoInstance(String),
    /// No such subnet.
    NoSubnet(String),
    /// No such security group.
    NoGroup(String),
    /// No such attachment.
    NoAttachment(String),
    /// The ENI is in a state that does not allow the call.
    EniState {
        /// Its id.
        id: String,
        /// Its state.
        state: EniState,
    },
    /// Another change of the ENI is in work.
    EniBusy(String),
    /// A primary ENI stays where it is.
    PrimaryEni(String),
    /// The ENI is attached to another instance.
    OtherInstance(String),
    /// The instance is in a state that does not allow the call.
    InstanceState {
        /// Its id.
        id: String,
        /// Its state.
        state: InstanceStatus,
    },
    /// ENI and instance are in different zones.
    OtherZone,
    /// The instance's type is not known.
    NoType,
    /// The instance type, or one of its network cards, takes no more ENIs than this.
    EnisOfType(u32),
    /// The instance type has no such network card.
    NoCard(u32),
    /// An ENI has this device index on the network card already.
    DeviceTaken(u32),
    /// The limit of addresses of one ENI.
    AddressesOfEni {
        /// IPv6 instead of IPv4.
        ipv6: bool,
    },
    /// The account's limit of ENIs.
    EnisOfAccount,
    /// The account's limit of addresses in a VPC.
    AddressesOfVpc,
    /// The account's limit of addresses in a security group.
    AddressesOfGroup(String),
    /// The subnet has no free address.
    SubnetFull,
    /// The subnet has no free block for a prefix, however many single addresses are free.
    NoBlock,
    /// Outside the subnet's block or reserved.
    Outside(String),
    /// Somebody has the address.
    Taken(String),
    /// The address is given twice in one call.
    Repeated(String),
    /// The subnet has no IPv6 block.
    NoIpv6,
    /// The ENI does not have this address or prefix.
    Unassigned(String),
    /// The primary address of an ENI stays.
    PrimaryAddress(String),
}

impl Cause {
    /// A parameter is malformed or out of its range.
    pub fn invalid(name: &str, why: impl Into<String>) -> Self {
        Self::Invalid { name: name.to_owned(), why: why.into() }
    }
}
