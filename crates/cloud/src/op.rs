//! Operations as values, and the trait that executes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{EniId, Family, InstanceId, Limits, SecurityGroupId, SubnetId};

use crate::{CloudError, EniFilter, EniView, InstanceView, SubnetView};

/// A new ENI with its first addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateEni {
    /// Subnet.
    pub subnet: SubnetId,
    /// Security groups, at least one.
    pub security_groups: Vec<SecurityGroupId>,
    /// IPv4 addresses beside the primary one.
    pub secondary_v4: u16,
    /// IPv6 addresses.
    pub v6: u16,
    /// IPv4 prefixes (/28). Absent in intents of older daemons.
    #[serde(default)]
    pub prefixes_v4: u16,
    /// IPv6 prefixes (/80).
    #[serde(default)]
    pub prefixes_v6: u16,
    /// Tags, written with the creation so that a lost answer can be found again.
    pub tags: BTreeMap<String, String>,
    /// Idempotency token, at most 64 ASCII characters.
    pub token: String,
}

/// A change of the cloud. One value is one intent in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudOp {
    /// Creates an ENI. Idempotent by token while the token lives.
    Create(CreateEni),
    /// Attaches it and waits until the cloud shows it attached.
    Attach {
        /// ENI.
        eni: EniId,
        /// Instance.
        instance: InstanceId,
    },
    /// Detaches it and waits until the cloud shows it available.
    Detach {
        /// ENI.
        eni: EniId,
        /// Instance.
        instance: InstanceId,
    },
    /// Deletes a detached ENI.
    Delete {
        /// ENI.
        eni: EniId,
    },
    /// Asks for more addresses of one family. Idempotent by token where the cloud has one.
    Assign {
        /// ENI.
        eni: EniId,
        /// Family.
        family: Family,
        /// How many.
        count: u16,
        /// Idempotency token.
        token: String,
    },
    /// Gives addresses back; all of one family.
    Unassign {
        /// ENI.
        eni: EniId,
        /// Addresses.
        addresses: Vec<IpAddr>,
    },
    /// Asks for prefixes of one family: /28 of IPv4, /80 of IPv6. Idempotent by token where the cloud has one.
    AssignPrefixes {
        /// ENI.
        eni: EniId,
        /// Family.
        family: Family,
        /// How many.
        count: u16,
        /// Idempotency token.
        token: String,
    },
    /// Gives whole prefixes back; all of one family.
    UnassignPrefixes {
        /// ENI.
        eni: EniId,
        /// Prefixes.
        prefixes: Vec<IpNet>,
    },
    /// Reads the ENIs of an instance together with detached ones that carry our tags. Changes nothing.
    Describe {
        /// Instance.
        instance: InstanceId,
        /// Tags that mark our detached ENIs.
        tags: BTreeMap<String, String>,
    },
}

impl CloudOp {
    /// The action that lists ENIs.
    pub const DESCRIBE: &str = "DescribeNetworkInterfaces";

    /// The API action that it begins with, as limiter, counters and people know it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Create(_) => "CreateNetworkInterface",
            Self::Attach { .. } => "AttachNetworkInterface",
            Self::Detach { .. } => "DetachNetworkInterface",
            Self::Delete { .. } => "DeleteNetworkInterface",
            Self::Assign { family: Family::V4, .. }
            | Self::AssignPrefixes { family: Family::V4, .. } => "AssignPrivateIpAddresses",
            Self::Assign { family: Family::V6, .. }
            | Self::AssignPrefixes { family: Family::V6, .. } => "AssignIpv6Addresses",
            Self::Unassign { .. } | Self::UnassignPrefixes { .. } => "UnassignPrivateIpAddresses",
            Self::Describe { .. } => Self::DESCRIBE,
        }
    }

    /// The ENI that the operation changes, when it exists already.
    pub fn eni(&self) -> Option<&EniId> {
        match self {
            Self::Create(_) | Self::Describe { .. } => None,
            Self::Attach { eni, .. }
            | Self::Detach { eni, .. }
            | Self::Delete { eni }
            | Self::Assign { eni, .. }
            | Self::Unassign { eni, .. }
            | Self::AssignPrefixes { eni, .. }
            | Self::UnassignPrefixes { eni, .. } => Some(eni),
        }
    }
}

/// What a successful operation tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpAnswer {
    /// The new ENI.
    Created(EniView),
    /// Addresses that an assign added. May be fewer than asked.
    Assigned(Vec<IpAddr>),
    /// Prefixes that an assign added. May be fewer than asked.
    AssignedPrefixes(Vec<IpNet>),
    /// Attach, detach, delete and unassign tell nothing more.
    Done,
    /// Every ENI of the instance, and detached ones with our tags.
    Enis(Vec<EniView>),
}

/// A cloud. Calls are single requests to the API (describes read all pages); nothing is retried inside, and an answer that
/// may have been lost is [`crate::ErrorKind::Unknown`].
pub trait Cloud: Send + Sync + 'static {
    /// The instance that we run on.
    fn instance(
        &self,
        id: &InstanceId,
    ) -> impl Future<Output = Result<InstanceView, CloudError>> + Send;
    /// Those of the instances that exist, in whatever state. A complete answer or an error.
    fn existing(
        &self,
        ids: &BTreeSet<InstanceId>,
    ) -> impl Future<Output = Result<BTreeSet<InstanceId>, CloudError>> + Send;
    /// Limits of an instance type.
    fn limits(
        &self,
        instance_type: &str,
    ) -> impl Future<Output = Result<Limits, CloudError>> + Send;
    /// ENIs that match.
    fn enis(
        &self,
        filter: &EniFilter,
    ) -> impl Future<Output = Result<Vec<EniView>, CloudError>> + Send;
    /// Subnets by id.
    fn subnets(
        &self,
        ids: &[SubnetId],
    ) -> impl Future<Output = Result<Vec<SubnetView>, CloudError>> + Send;
    /// Creates an ENI.
    fn create(
        &self,
        request: &CreateEni,
    ) -> impl Future<Output = Result<EniView, CloudError>> + Send;
    /// Starts attaching. The end shows in [`Cloud::enis`].
    fn attach(
        &self,
        eni: &EniId,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// Starts detaching. The end shows in [`Cloud::enis`].
    fn detach(
        &self,
        eni: &EniId,
        instance: &InstanceId,
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// Deletes.
    fn delete(&self, eni: &EniId) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// Assigns addresses.
    fn assign(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        token: &str,
    ) -> impl Future<Output = Result<Vec<IpAddr>, CloudError>> + Send;
    /// Unassigns addresses of one family.
    fn unassign(
        &self,
        eni: &EniId,
        addresses: &[IpAddr],
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// Assigns prefixes. A subnet that has addresses but no whole prefix answers [`crate::ErrorKind::Fragmented`].
    fn assign_prefixes(
        &self,
        eni: &EniId,
        family: Family,
        count: u16,
        token: &str,
    ) -> impl Future<Output = Result<Vec<IpNet>, CloudError>> + Send;
    /// Unassigns whole prefixes of one family.
    fn unassign_prefixes(
        &self,
        eni: &EniId,
        prefixes: &[IpNet],
    ) -> impl Future<Output = Result<(), CloudError>> + Send;
}
