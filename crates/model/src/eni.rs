//! What an instance type allows, and the life of an ENI.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Family, SubnetId};

/// Addresses of an IPv4 prefix (/28).
pub const IPV4_OF_PREFIX: u16 = 16;
/// Addresses of an IPv6 prefix (/80) that pods get at most: more than all IPv4 addresses that an ENI can have.
pub const IPV6_OF_PREFIX: u16 = 1024;

/// Limits of an instance type, as the cloud publishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Network interfaces of the instance, the primary one included (`EniQuantity`).
    pub enis: u16,
    /// IPv4 addresses of each interface, its primary address included (`EniPrivateIpAddressQuantity`).
    pub ipv4_per_eni: u16,
    /// IPv6 addresses of each interface (`EniIpv6AddressQuantity`).
    pub ipv6_per_eni: u16,
    /// Whether a trunk ENI can be attached.
    pub trunk: bool,
    /// Member ENIs on the trunk; 0 without one.
    pub members: u16,
}

impl Limits {
    /// Adapter slots beside the primary ENI: what shared and exclusive ENIs share.
    pub fn slots(&self) -> u16 {
        self.enis.saturating_sub(1)
    }

    /// Addresses of one family that an ENI can hold.
    pub fn per_eni(&self, family: Family) -> u16 {
        match family {
            Family::V4 => self.ipv4_per_eni,
            Family::V6 => self.ipv6_per_eni,
        }
    }
}

/// Life of an ENI of ours, as the allocator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EniState {
    /// Create was decided or sent.
    Creating,
    /// Exists in the cloud; attach was decided or sent, or the host side is being prepared.
    Attaching,
    /// Attached, found in the kernel, prepared.
    Ready,
    /// Gives no more addresses; leaves when its last pod is gone.
    Draining,
    /// Detach was decided or sent.
    Detaching,
    /// Delete was decided or sent.
    Deleting,
    /// Cannot be used; the text tells why and what to do.
    Failed(String),
}

impl fmt::Display for EniState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creating => f.write_str("Creating"),
            Self::Attaching => f.write_str("Attaching"),
            Self::Ready => f.write_str("Ready"),
            Self::Draining => f.write_str("Draining"),
            Self::Detaching => f.write_str("Detaching"),
            Self::Deleting => f.write_str("Deleting"),
            Self::Failed(why) => write!(f, "Failed: {why}"),
        }
    }
}

/// What is known of a subnet: its blocks tell gateways and prefix lengths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    /// The subnet.
    pub id: SubnetId,
    /// IPv4 block.
    pub ipv4: Option<IpNet>,
    /// IPv6 block.
    pub ipv6: Option<IpNet>,
    /// Gateway of the IPv4 block.
    pub gateway_v4: Option<IpAddr>,
    /// Gateway of the IPv6 block.
    pub gateway_v6: Option<IpAddr>,
}

impl SubnetPlan {
    /// Block of a family.
    pub fn block(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// Gateway of a family.
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.gateway_v4,
            Family::V6 => self.gateway_v6,
        }
    }
}
