//! What is in the VPC: interfaces, instances, subnets, groups. Plain values; the rules are in `vpc` and `actions`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

use super::addresses::AddressSpace;
use super::clock::Millis;
use crate::config::{HttpTokens, PolicyConfig, RuleConfig};

/// State of an ENI, named as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum EniState {
    /// Exists, not attached.
    Available,
    /// On its way to an instance.
    Attaching,
    /// Attached.
    InUse,
    /// On its way off.
    Detaching,
    /// About to vanish.
    Deleting,
}

impl EniState {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Attaching => "Attaching",
            Self::InUse => "InUse",
            Self::Detaching => "Detaching",
            Self::Deleting => "Deleting",
        }
    }

    /// Whether it is on its way to another state.
    pub fn changes(self) -> bool {
        matches!(self, Self::Attaching | Self::Detaching | Self::Deleting)
    }

    /// Reads the word of the API.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Available, Self::Attaching, Self::InUse, Self::Detaching, Self::Deleting]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// One attachment of an ENI to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `eni-attach-…`; another one every time.
    pub id: String,
    /// Device index, unique on its network card; 0 on card 0 is the primary ENI's.
    pub device: u32,
    /// Network card.
    pub card: u32,
    /// When it was asked for.
    pub since: Millis,
}

/// An elastic network interface.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Eni {
    /// `eni-bp1…`.
    pub id: String,
    /// Small number, unique in the lab; also the order of creation.
    pub index: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// Came with its instance.
    pub primary: bool,
    /// Id of its vSwitch.
    pub vswitch: String,
    /// State.
    pub state: EniState,
    /// Id of the instance while attaching, attached or detaching.
    pub instance: Option<String>,
    /// Where it is on the instance, as long as there is one.
    pub attachment: Option<Attachment>,
    /// IPv4 addresses, the primary one first.
    pub v4: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
    /// IPv4 and IPv6 prefixes.
    pub prefixes: Vec<IpNet>,
    /// Ids of its security groups.
    pub groups: Vec<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Goes away with its instance.
    pub delete_on_release: bool,
    /// Resource group.
    pub resource_group: String,
    /// `Standard` or `HighPerformance`.
    pub traffic_mode: String,
    /// Queues, when set.
    pub queues: Option<u32>,
    /// Source and destination check.
    pub source_dest_check: bool,
    /// Connection tracking timeouts in seconds: established, closed, UDP.
    pub tracking: [u32; 3],
    /// When it was made.
    pub created: Millis,
    /// When the running state change ends; `None` when none runs or the fabric is at work.
    #[serde(skip)]
    pub due: Option<Millis>,
    /// Until when another change of addresses conflicts.
    #[serde(skip)]
    pub busy_until: Millis,
}

impl Eni {
    /// All single addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.iter().copied().map(IpAddr::V4);
        v4.chain(self.v6.iter().copied().map(IpAddr::V6))
    }

    /// IPv4 prefixes.
    pub fn prefixes_v4(&self) -> impl Iterator<Item = &IpNet> {
        self.prefixes.iter().filter(|p| p.addr().is_ipv4())
    }

    /// IPv6 prefixes.
    pub fn prefixes_v6(&self) -> impl Iterator<Item = &IpNet> {
        self.prefixes.iter().filter(|p| p.addr().is_ipv6())
    }

    /// IPv4 slots in use; a prefix takes one.
    pub fn slots_v4(&self) -> usize {
        self.v4.len() + self.prefixes_v4().count()
    }

    /// IPv6 slots in use; a prefix takes one.
    pub fn slots_v6(&self) -> usize {
        self.v6.len() + self.prefixes_v6().count()
    }

    /// Detached.
    pub fn unplug(&mut self) {
        self.state = EniState::Available;
        self.instance = None;
        self.attachment = None;
    }

    /// `00:16:3e:…`.
    pub fn mac_text(&self) -> String {
        let bytes = self.mac.map(|byte| format!("{byte:02x}"));
        bytes.join(":")
    }

    /// `Primary` or `Secondary`.
    pub fn kind(&self) -> &'static str {
        if self.primary { "Primary" } else { "Secondary" }
    }
}

/// State of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum InstanceStatus {
    /// Runs.
    Running,
    /// Stopped.
    Stopped,
    /// On its way to Running: changes are refused.
    Starting,
    /// On its way to Stopped: changes are refused.
    Stopping,
    /// Gone for good, never by the status alone. ECS shows it no more, EC2 does.
    #[serde(skip_deserializing)]
    Terminated,
}

impl InstanceStatus {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Starting => "Starting",
            Self::Stopping => "Stopping",
            Self::Terminated => "Terminated",
        }
    }

    /// Whether ENIs may be changed.
    pub fn settled(self) -> bool {
        matches!(self, Self::Running | Self::Stopped)
    }
}

/// An instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `i-bp1…`.
    pub id: String,
    /// Name in the lab.
    pub name: String,
    /// Id of its type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// vSwitch of the primary ENI.
    pub vswitch: String,
    /// The primary ENI.
    pub primary_eni: String,
    /// State.
    pub status: InstanceStatus,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Mode of its metadata service.
    pub http_tokens: HttpTokens,
    /// How far a token of the metadata service travels; AWS only.
    pub hop_limit: u8,
    /// Sysctls on top of the hostile defaults.
    pub sysctls: BTreeMap<String, String>,
    /// When it was made.
    pub created: Millis,
}

/// A subnet.
#[derive(Debug, Clone)]
pub struct VSwitch {
    /// `vsw-bp1…`.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
    /// Zone.
    pub zone: String,
    /// Its addresses.
    pub space: AddressSpace,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Millis,
}

/// A security group.
#[derive(Debug, Clone)]
pub struct SecurityGroup {
    /// `sg-bp1…`.
    pub id: String,
    /// Name in the configuration.
    pub name: String,
    /// Whether members reach each other without a rule.
    pub inner: PolicyConfig,
    /// Rules.
    pub rules: Vec<RuleConfig>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Millis,
}

/// Single addresses of each ENI, for the ledger.
pub fn present<'a, I: Iterator<Item = &'a Eni>>(enis: I) -> BTreeMap<String, BTreeSet<IpAddr>> {
    enis.map(|eni| (eni.id.clone(), eni.addresses().collect())).collect()
}
