//! What the allocator wants done. The shell commits the records first, all of one batch in one commit, then executes the
//! commands in order. Nothing is promised to anyone before it is durable.

use std::{net::IpAddr, time::Duration};

use tideway_cloud::CloudOp;
pub use tideway_cloud::Priority as Urgency;
use tideway_model::{Attachment, AttachmentKey, EniId, Mac, SlotId, SubnetPlan, Why};

use crate::{
    event::{IntentId, RequestId},
    record::Record,
};

/// After so long without its end a [`Command::Quiesce`] or [`Command::Prepare`] is ordered again: whoever worked on it may
/// have died. The shell gives up before.
pub const COMMAND_PATIENCE: Duration = Duration::from_mins(2);

/// Records and commands of one or several steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// To be committed, in order.
    pub records: Vec<Record>,
    /// To be executed after the commit, in order.
    pub commands: Vec<Command>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Plumb this attachment, then answer the ADD. `again`: it was granted before (same container): make sure and answer
    /// the same.
    Grant {
        /// Who is answered.
        id: RequestId,
        /// What is wanted.
        attachment: Box<Attachment>,
        /// A repeated question.
        again: bool,
    },
    /// Answer the ADD with an error.
    Refuse {
        /// Who is answered.
        id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Withdraw this attachment (routes and policy at once, the link later; an exclusive ENI leaves the namespace before
    /// the answer), then answer the DEL if `id` is one.
    Unplumb {
        /// Who is answered; none when the allocator itself found the attachment dead.
        id: Option<RequestId>,
        /// What is withdrawn.
        attachment: Box<Attachment>,
    },
    /// Answer the DEL: nothing is known of it (its link may be a leftover all the same).
    Unknown {
        /// Who is answered.
        id: RequestId,
        /// The key that was asked for.
        key: AttachmentKey,
    },
    /// See to it that nothing is left of these addresses' former owners, then say [`crate::Event::Quiet`]. Ordered when a
    /// rest begins and again when it ends.
    Quiesce {
        /// Addresses.
        addresses: Vec<IpAddr>,
    },
    /// Execute a cloud operation, then say [`crate::Event::CloudDone`].
    /// Around it the shell keeps the source → ENI map true: addresses enter the map after `Assign` and before
    /// `CloudDone`; they leave it before `Unassign` is sent; a shared ENI's configuration leaves before `Detach` is sent.
    Cloud {
        /// Intent, durable before this command.
        intent: IntentId,
        /// Operation.
        op: CloudOp,
        /// Urgency.
        urgency: Urgency,
    },
    /// Find this ENI by MAC and prepare it as a shared one (up, sysctls, table, rule, map), then say
    /// [`crate::Event::EniPrepared`].
    Prepare(Box<SharedEni>),
    /// This shared ENI is no more, perhaps without a Delete of ours: nothing of it may stay on the host, and first of all not
    /// its addresses in the source → ENI map. Another one may have its table slot by now.
    Retire(EniId),
    /// The full list of devices that the kubelet may know, healthy and not.
    Devices(Vec<DeviceState>),
    /// Ask the cloud for all our ENIs, then say [`crate::Event::CloudSeen`].
    LookAtCloud,
    /// Ask the kubelet who holds which device, then say [`crate::Event::DevicesSeen`].
    LookAtDevices,
    /// `Uninstall` is complete: nothing is left in the cloud.
    Uninstalled,
}

/// What the host must know of a shared ENI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedEni {
    /// ENI.
    pub id: EniId,
    /// MAC.
    pub mac: Mac,
    /// Number of its routing table (`TABLE_ENI` + this) and of its mark; 1..=250, unique on the node, stable.
    pub table_slot: u16,
    /// Subnet, for the gateways.
    pub subnet: SubnetPlan,
    /// Addresses that pods use or may use.
    pub addresses: Vec<IpAddr>,
}

/// One device of the kubelet's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceState {
    /// Device.
    pub slot: SlotId,
    /// Whether the kubelet may give it to a pod. A held device is always healthy.
    pub healthy: bool,
}

/// Why an ADD gets no address: becomes the CNI error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {why}")]
pub struct Refusal {
    /// What happened, short.
    pub message: String,
    /// Cause and remedy; its code becomes that of the CNI error.
    pub why: Why,
}
