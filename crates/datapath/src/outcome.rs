//! What an ADD tells the runtime, in the words of the CNI result.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tideway_model::{Attachment, Family, IfName, Mac, Mode};

use crate::{
    HostFacts, View,
    naming::{host_link_name, peer_in_pod, veth_macs},
    wanted,
};

/// Result of an ADD. The pod's interface comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plumbed {
    /// Interfaces in the pod and their ends on the host.
    pub interfaces: Vec<PlumbedInterface>,
    /// Addresses of the pod.
    pub ips: Vec<PlumbedIp>,
    /// Routes in the pod that are not to a single neighbour.
    pub routes: Vec<PlumbedRoute>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlumbedInterface {
    /// Name.
    pub name: IfName,
    /// Ethernet address.
    pub mac: Mac,
    /// Path of the namespace; absent for the host's.
    pub sandbox: Option<String>,
    /// MTU in bytes.
    pub mtu: u32,
}

/// An address of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlumbedIp {
    /// Address and prefix length.
    pub address: IpNet,
    /// Default gateway of the family.
    pub gateway: Option<IpAddr>,
    /// Index into [`Plumbed::interfaces`].
    pub interface: usize,
}

/// A route in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlumbedRoute {
    /// Destination.
    pub dst: IpNet,
    /// Gateway.
    pub gw: Option<IpAddr>,
}

impl Plumbed {
    /// The result for an attachment: follows from the wanted state alone, so that a second ADD answers the same.
    pub fn of(a: &Attachment, facts: &HostFacts) -> Self {
        let View { addresses, routes, .. } = wanted::pod(a, facts);
        let (host_mac, pod_mac) = veth_macs(&a.key);
        let inside = |name: IfName, mac| PlumbedInterface {
            name,
            mac,
            sandbox: Some(a.netns.clone()),
            mtu: a.mtu,
        };
        let mut interfaces = match a.mode {
            Mode::Veth => vec![inside(a.key.ifname.clone(), pod_mac)],
            Mode::Exclusive => {
                vec![inside(a.key.ifname.clone(), a.eni_mac), inside(peer_in_pod(), pod_mac)]
            }
        };
        let name = host_link_name(&a.key, a.mode);
        interfaces.push(PlumbedInterface { name, mac: host_mac, sandbox: None, mtu: a.mtu });
        let gateway = |family| {
            let default = wanted::default_net(family);
            routes.iter().find(|r| r.dst == default).and_then(|r| r.via)
        };
        let ips = addresses.iter().map(|address| PlumbedIp {
            address: address.net,
            gateway: gateway(Family::of(address.net.addr())),
            interface: 0,
        });
        let routes = routes.iter().filter(|r| r.via.is_some() && r.src.is_none());
        Self {
            interfaces,
            ips: ips.collect(),
            routes: routes.map(|r| PlumbedRoute { dst: r.dst, gw: r.via }).collect(),
        }
    }
}
