//! One change of the kernel's network state, as a value: printed, tested and compared before it is executed.

use std::fmt;

use serde::{Deserialize, Serialize};
use tideway_model::{IfName, Mac};

use crate::{ForeignRoute, LinkAddress, Neighbour, Route, Rule, Tbf};

/// The namespace in which an operation works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The host's.
    Host,
    /// The pod's.
    Pod,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Pod => "pod",
        })
    }
}

/// A veth pair whose second end is born in the pod's namespace with its final name, MAC and MTU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VethPair {
    /// Name of the host end.
    pub host: IfName,
    /// MAC of the host end.
    pub host_mac: Mac,
    /// Name of the pod's end.
    pub pod: IfName,
    /// MAC of the pod's end.
    pub pod_mac: Mac,
    /// MTU of both, bytes.
    pub mtu: u32,
}

/// An operation. Each is idempotent: what is already so, is left so; what is already gone, is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetOp {
    /// Write a value below `/proc/sys` if it differs.
    Sysctl {
        /// Path below `/proc/sys`.
        key: String,
        /// Value.
        value: String,
    },
    /// Run an nftables script, atomically.
    Nft(String),
    /// Create a veth pair between host and pod; the host end comes up.
    Veth(VethPair),
    /// Move the ENI from the host into the pod and rename it, in one message.
    TakeEni {
        /// MAC of the ENI.
        mac: Mac,
        /// Name in the pod.
        ifname: IfName,
        /// MTU in the pod.
        mtu: u32,
    },
    /// Move the ENI back to the host, down and without addresses.
    ReturnEni {
        /// MAC of the ENI.
        mac: Mac,
        /// Name in the pod.
        ifname: IfName,
        /// Name on the host.
        parked: IfName,
    },
    /// Set a link up.
    LinkUp(Place, IfName),
    /// Set a link down.
    LinkDown(Place, IfName),
    /// Create an ifb device, up.
    Ifb(Place, IfName),
    /// Delete a link and wait for it.
    DropLink(Place, IfName),
    /// Hand host links to the deferred deletion.
    RetireLinks(Vec<IfName>),
    /// Add an address.
    PutAddress(Place, LinkAddress),
    /// Remove a foreign address from an ENI on the host.
    CleanAddress(LinkAddress),
    /// Remove a foreign route from an ENI on the host.
    CleanRoute(ForeignRoute),
    /// Add a route.
    PutRoute(Place, Route),
    /// Remove a route of ours.
    DropRoute(Place, Route),
    /// Add or correct a permanent neighbour.
    PutNeighbour(Place, Neighbour),
    /// Remove a neighbour.
    DropNeighbour(Place, Neighbour),
    /// Add a policy rule on the host.
    PutRule(Rule),
    /// Remove a policy rule of ours from the host.
    DropRule(Rule),
    /// Put a token bucket at the root of a link.
    Shape(Place, IfName, Tbf),
    /// Redirect everything that enters by the first link to the egress of the second.
    Redirect(Place, IfName, IfName),
}

impl fmt::Display for NetOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { key, value } => write!(f, "host: set {key} = {value}"),
            Self::Nft(script) => write!(f, "host: nftables script of {} bytes", script.len()),
            Self::Veth(v) => write!(f, "host: create veth {} with {} in the pod", v.host, v.pod),
            Self::TakeEni { mac, ifname, .. } => {
                write!(f, "host: move the ENI {mac} to the pod as {ifname}")
            }
            Self::ReturnEni { mac, parked, .. } => {
                write!(f, "pod: move the ENI {mac} back to the host as {parked}")
            }
            Self::LinkUp(place, link) => write!(f, "{place}: set {link} up"),
            Self::LinkDown(place, link) => write!(f, "{place}: set {link} down"),
            Self::Ifb(place, link) => write!(f, "{place}: create ifb {link}"),
            Self::DropLink(place, link) => write!(f, "{place}: delete link {link}"),
            Self::RetireLinks(links) => {
                f.write_str("host: delete later:")?;
                links.iter().try_for_each(|link| write!(f, " {link}"))
            }
            Self::PutAddress(place, a) => write!(f, "{place}: add address {a}"),
            Self::CleanAddress(a) => write!(f, "host: remove foreign address {a}"),
            Self::CleanRoute(r) => {
                write!(f, "host: remove foreign route {} proto {}", r.route, r.protocol)
            }
            Self::PutRoute(place, r) => write!(f, "{place}: add route {r}"),
            Self::DropRoute(place, r) => write!(f, "{place}: remove route {r}"),
            Self::PutNeighbour(place, n) => write!(f, "{place}: set neighbour {n}"),
            Self::DropNeighbour(place, n) => write!(f, "{place}: remove neighbour {n}"),
            Self::PutRule(r) => write!(f, "host: add rule {r}"),
            Self::DropRule(r) => write!(f, "host: remove rule {r}"),
            Self::Shape(place, link, tbf) => {
                write!(f, "{place}: limit {link} to {} byte/s, burst {}", tbf.rate, tbf.burst)
            }
            Self::Redirect(place, from, to) => {
                write!(f, "{place}: redirect what enters by {from} to {to}")
            }
        }
    }
}
