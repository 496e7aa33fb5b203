//! The wanted state of one pod's network: what the journal keeps and what the datapath makes true.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ContainerId, EniId, Family, IfName, Mac, PodRef, SlotId};

/// Identity of an attachment: the runtime's container id and the interface in the pod. A pod that comes back has another
/// container id, so an old DEL never meets a new pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// `CNI_CONTAINERID`.
    pub container: ContainerId,
    /// `CNI_IFNAME`.
    pub ifname: IfName,
}

/// How the pod reaches the VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Addresses of a shared ENI behind a veth pair.
    Veth,
    /// The ENI itself is moved into the pod.
    Exclusive,
}

/// The addresses of one pod, at most one of each family, never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodAddresses {
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl PodAddresses {
    /// The addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Address of a family.
    pub fn get(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Collects addresses; a second one of a family replaces the first.
    pub fn from_ips(ips: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut out = Self { v4: None, v6: None };
        for ip in ips {
            match ip {
                IpAddr::V4(ip) => out.v4 = Some(ip),
                IpAddr::V6(ip) => out.v6 = Some(ip),
            }
        }
        out
    }
}

/// Rates in bits per second, bursts in bits, as `runtimeConfig.bandwidth` carries them. Zero: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Bandwidth {
    /// To the pod, bit/s.
    pub ingress_rate: u64,
    /// To the pod, bits.
    pub ingress_burst: u64,
    /// From the pod, bit/s.
    pub egress_rate: u64,
    /// From the pod, bits.
    pub egress_burst: u64,
}

/// What an exclusive attachment needs beyond its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusiveEni {
    /// The device that the kubelet gave the pod.
    pub slot: SlotId,
    /// Blocks of the ENI's subnet, for prefix lengths in the pod.
    pub blocks: Vec<IpNet>,
    /// Gateways of the subnet, one of each family.
    pub gateways: Vec<IpAddr>,
}

/// The wanted state of one pod's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Identity.
    pub key: AttachmentKey,
    /// The pod.
    pub pod: PodRef,
    /// Path of the pod's network namespace; the namespace may be gone at any time.
    pub netns: String,
    /// Mode.
    pub mode: Mode,
    /// The ENI that carries the addresses, or that is moved.
    pub eni: EniId,
    /// MAC of that ENI.
    pub eni_mac: Mac,
    /// Addresses of the pod.
    pub addresses: PodAddresses,
    /// MTU of the pod's interfaces, bytes.
    pub mtu: u32,
    /// Rate limits.
    pub bandwidth: Bandwidth,
    /// Present exactly when `mode` is [`Mode::Exclusive`].
    pub exclusive: Option<ExclusiveEni>,
}
