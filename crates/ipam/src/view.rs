//! The allocator's books, for people and metrics.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{
    Attachment, AttachmentKey, EniId, EniState, LeaseTerms, Mac, PodAddresses, PodKey, PodRef,
    SecurityGroupId, SlotId, SubnetId, UnixMillis, Why,
};

/// State of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressState {
    /// Can be handed out now.
    Free,
    /// In use by this attachment.
    Assigned(AttachmentKey),
    /// Rests until then (`Now::boot`), and until it is known to be quiet.
    Cooling {
        /// End of the rest.
        until: Duration,
        /// Whether the former owner's traces are gone.
        quiet: bool,
    },
    /// Waits for its identity (see [`Books::leases`]).
    Leased,
    /// Unassign was decided or sent.
    Releasing,
    /// The cloud no longer shows it.
    Lost,
    /// Kept from pods (primary address where pods may not use it, exclusive ENI without pod).
    Reserved,
}

/// What an ENI is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// Carries many pods.
    Shared,
    /// Belongs to the pod that holds the device.
    Exclusive(SlotId),
}

/// One ENI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EniBook {
    /// Identity; none while it is being created.
    pub id: Option<EniId>,
    /// MAC, once known.
    pub mac: Option<Mac>,
    /// State.
    pub state: EniState,
    /// Use.
    pub usage: Use,
    /// Subnet.
    pub subnet: SubnetId,
    /// Security groups.
    pub security_groups: Vec<SecurityGroupId>,
    /// Table slot of a shared ENI, 1 to 250; 0 for an exclusive one.
    pub table_slot: u16,
    /// Addresses; of an IPv6 prefix only those that pods can take.
    pub addresses: Vec<(IpAddr, AddressState)>,
    /// Prefixes that some of them lie in.
    pub prefixes: Vec<IpNet>,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingBook {
    /// Pod.
    pub pod: PodRef,
    /// Attachment.
    pub key: AttachmentKey,
    /// Since when (`Now::boot`).
    pub since: Duration,
    /// What it waits for.
    pub why: Why,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceBook {
    /// Device.
    pub slot: SlotId,
    /// Healthy in the kubelet's list.
    pub healthy: bool,
    /// Holder, when known.
    pub holder: Option<PodRef>,
    /// ENI behind it, when there is one.
    pub eni: Option<EniId>,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseBook {
    /// The identity.
    pub pod: PodKey,
    /// ENI of its addresses.
    pub eni: Option<EniId>,
    /// Its addresses.
    pub addresses: PodAddresses,
    /// What was promised.
    pub terms: LeaseTerms,
    /// Ends then; none while a container of the identity has the addresses.
    pub until: Option<UnixMillis>,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    /// ENIs.
    pub enis: Vec<EniBook>,
    /// Attachments.
    pub attachments: Vec<Attachment>,
    /// Waiting requests.
    pub waiting: Vec<WaitingBook>,
    /// Devices.
    pub devices: Vec<DeviceBook>,
    /// Leases.
    pub leases: Vec<LeaseBook>,
    /// Addresses (units: one of each family) that can be handed out now.
    pub free: u32,
    /// Why that is less than the low watermark.
    pub shortfall: Option<String>,
}
