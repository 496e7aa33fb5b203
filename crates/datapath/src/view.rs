//! The objects of one network namespace, in the words in which we want them and observe them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{Family, IfName, Mac};

/// Number of the main routing table.
pub const MAIN: u32 = 254;

/// State of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Ethernet address; absent for links without one.
    pub mac: Option<Mac>,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
}

/// An address on a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkAddress {
    /// The link.
    pub link: IfName,
    /// Address and prefix length.
    pub net: IpNet,
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.net, self.link)
    }
}

/// A unicast route with our protocol number. With `via` it goes through that gateway (IPv4: on-link), without it has link scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Routing table.
    pub table: u32,
    /// Destination.
    pub dst: IpNet,
    /// Gateway.
    pub via: Option<IpAddr>,
    /// Outgoing link.
    pub link: IfName,
    /// Preferred source address.
    pub src: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(f, " dev {}", self.link)?;
        if let Some(src) = self.src {
            write!(f, " src {src}")?;
        }
        if self.table != MAIN {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

/// A route of somebody else on one of our ENIs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForeignRoute {
    /// The route.
    pub route: Route,
    /// Its protocol number (`/etc/iproute2/rt_protos`): 16 is DHCP, 9 router advertisement.
    pub protocol: u8,
    /// Its metric.
    pub metric: u32,
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Neighbour {
    /// The link.
    pub link: IfName,
    /// Address of layer three.
    pub ip: IpAddr,
    /// Address of layer two.
    pub mac: Mac,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lladdr {} dev {}", self.ip, self.mac, self.link)
    }
}

/// A policy rule with our protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Family.
    pub family: Family,
    /// Priority; lower ones are asked first.
    pub priority: u32,
    /// Mark and mask that packets must have; absent: all packets.
    pub mark: Option<(u32, u32)>,
    /// The table that is asked.
    pub table: u32,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.family, self.priority)?;
        if let Some((mark, mask)) = self.mark {
            write!(f, "fwmark {mark:#x}/{mask:#x} ")?;
        }
        write!(f, "lookup {}", self.table)
    }
}

/// One namespace: as wanted, or as observed. Observed routes and rules are only ours (by protocol number), observed
/// neighbours only permanent ones; `foreign` holds what others put on our ENIs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct View {
    /// Links by name.
    pub links: BTreeMap<IfName, Link>,
    /// Addresses.
    pub addresses: BTreeSet<LinkAddress>,
    /// Routes.
    pub routes: BTreeSet<Route>,
    /// Policy rules.
    pub rules: BTreeSet<Rule>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// Rate of the token bucket at the root of a link, in bytes per second.
    pub shapes: BTreeMap<IfName, u64>,
    /// Routes of other protocols than ours and the kernel's own.
    pub foreign: BTreeSet<ForeignRoute>,
}

impl View {
    /// Joins another view of the same namespace.
    pub fn extend(&mut self, other: Self) {
        self.links.extend(other.links);
        self.addresses.extend(other.addresses);
        self.routes.extend(other.routes);
        self.rules.extend(other.rules);
        self.neighbours.extend(other.neighbours);
        self.shapes.extend(other.shapes);
        self.foreign.extend(other.foreign);
    }
}
