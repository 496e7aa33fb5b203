//! Who is where: the pods, nodes and Services that rows of the matrix name.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::matrix::Policy;
use crate::{
    cluster::{list, text},
    lab::{CloudKind, Lab},
};

/// Host port of the shared pods that have one.
const HOST_PORT_SHARED: u16 = 8081;
/// Host port of the exclusive pods.
const HOST_PORT_EXCLUSIVE: u16 = 8082;

/// Address family of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Kind of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An address of a shared ENI.
    Shared,
    /// A whole ENI.
    Exclusive,
}

impl Kind {
    /// As in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// A pod by kind, node and number among those (by name): `shared/n1/0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Spot {
    /// Kind.
    pub kind: Kind,
    /// Node.
    pub node: String,
    /// Number.
    pub index: usize,
}

impl TryFrom<String> for Spot {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Self> {
        let mut parts = text.split('/');
        let kind = match parts.next() {
            Some("shared") => Kind::Shared,
            Some("exclusive") => Kind::Exclusive,
            _ => bail!("spot {text:?}: shared/NODE/INDEX or exclusive/NODE/INDEX is expected"),
        };
        let node = parts.next().with_context(|| format!("spot {text:?} names no node"))?.to_owned();
        let index = parts.next().with_context(|| format!("spot {text:?} has no index"))?.parse()?;
        Ok(Self { kind, node, index })
    }
}

/// A pair of addresses with a name.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Name of the pod or node.
    pub name: String,
    /// Instance id, for nodes.
    pub instance: String,
    v4: IpAddr,
    v6: IpAddr,
}

impl Peer {
    /// The address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// A Service with one backend.
#[derive(Debug, Clone)]
pub struct Service {
    v4: IpAddr,
    v6: IpAddr,
    /// Node port.
    pub node_port: u16,
}

impl Service {
    /// The cluster address of a family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// The metadata service of the lab's cloud.
#[derive(Debug, Clone, Copy)]
pub struct MetadataService {
    /// Where it answers.
    pub address: IpAddr,
    /// How the probe speaks to it.
    pub protocol: &'static str,
}

/// Everything that rows name.
#[derive(Debug, Default)]
pub struct Scene {
    metadata: Option<MetadataService>,
    pods: BTreeMap<Spot, Peer>,
    host_port_pods: BTreeMap<String, Peer>,
    nodes: BTreeMap<String, Peer>,
    services: BTreeMap<String, Service>,
}

impl Scene {
    /// From the lab and `kubectl get pods -o json`; Services come later.
    pub fn of(lab: &Lab, pods: &Value) -> Result<Self> {
        let mut scene = Self { metadata: Some(metadata(lab)?), ..Self::default() };
        for instance in &lab.instances {
            let node = Peer {
                name: instance.name.clone(),
                instance: instance.id.clone(),
                v4: instance.ipv4.into(),
                v6: instance.ipv6.into(),
            };
            scene.nodes.insert(instance.name.clone(), node);
        }
        let mut sorted: Vec<&Value> = list(pods, "/items").iter().collect();
        sorted.sort_by_key(|pod| text(pod, "/metadata/name"));
        for pod in sorted {
            let peer = peer(pod)?;
            let node = text(pod, "/spec/nodeName").to_owned();
            let kind = match text(pod, "/metadata/labels/kind") {
                "shared" => Kind::Shared,
                "exclusive" => Kind::Exclusive,
                "hostport" => {
                    scene.host_port_pods.insert(node, peer);
                    continue;
                }
                other => bail!("pod {} has the unknown kind {other:?}", peer.name),
            };
            let index = scene.pods.keys().filter(|s| s.kind == kind && s.node == node).count();
            scene.pods.insert(Spot { kind, node, index }, peer);
        }
        Ok(scene)
    }

    /// Adds the Services of `kubectl get services -o json`.
    pub fn add_services(&mut self, services: &Value) -> Result<()> {
        for service in list(services, "/items") {
            let name = text(service, "/metadata/name");
            let (v4, v6) = both(list(service, "/spec/clusterIPs").iter().filter_map(Value::as_str))
                .with_context(|| format!("Service {name}"))?;
            let port = service.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64);
            let node_port =
                u16::try_from(port.with_context(|| format!("Service {name} has no node port"))?)?;
            self.services.insert(name.to_owned(), Service { v4, v6, node_port });
        }
        Ok(())
    }

    /// The metadata service.
    pub fn metadata(&self) -> Result<MetadataService> {
        self.metadata.context("the scene has no metadata service")
    }

    /// Number of pods of all kinds.
    pub fn pods(&self) -> usize {
        self.pods.len() + self.host_port_pods.len()
    }

    /// A pod.
    pub fn pod(&self, spot: &Spot) -> Result<&Peer> {
        self.pods.get(spot).with_context(|| format!("no pod is at {spot:?}"))
    }

    /// A node.
    pub fn node(&self, name: &str) -> Result<&Peer> {
        self.nodes.get(name).with_context(|| format!("there is no node {name}"))
    }

    /// A Service.
    pub fn service(&self, policy: Policy, backend: &Spot) -> Result<&Service> {
        let name = service_name(policy, backend);
        self.services.get(&name).with_context(|| format!("there is no Service {name}"))
    }

    /// The pod behind a node's host port of a kind, and the port.
    pub fn host_port(&self, node: &str, kind: Kind) -> Result<(&Peer, u16)> {
        let pod = match kind {
            Kind::Shared => self.host_port_pods.get(node),
            Kind::Exclusive => self.pods.get(&Spot { kind, node: node.to_owned(), index: 0 }),
        };
        let port = match kind {
            Kind::Shared => HOST_PORT_SHARED,
            Kind::Exclusive => HOST_PORT_EXCLUSIVE,
        };
        Ok((
            pod.with_context(|| format!("no {} pod with a host port is on {node}", kind.name()))?,
            port,
        ))
    }

    /// A small scene for tests of this module's users.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        let metadata = MetadataService { address: [100, 100, 100, 200].into(), protocol: "http" };
        let mut scene = Self { metadata: Some(metadata), ..Self::default() };
        let mut last = 0u8;
        let mut peer = |name: &str| {
            last += 1;
            Peer {
                name: name.to_owned(),
                instance: format!("i-{name}"),
                v4: IpAddr::from([10, 0, 0, last]),
                v6: IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)]),
            }
        };
        for node in ["n1", "n2"] {
            for (kind, count) in [(Kind::Shared, 3), (Kind::Exclusive, 1)] {
                for index in 0..count {
                    let name = format!("{}-{node}-{index}", kind.name());
                    let spot = Spot { kind, node: node.to_owned(), index };
                    for policy in [Policy::Cluster, Policy::Local] {
                        let service = Service {
                            v4: [10, 96, 0, 9].into(),
                            v6: IpAddr::from([0u8; 16]),
                            node_port: 30000,
                        };
                        scene.services.insert(service_name(policy, &spot), service);
                    }
                    scene.pods.insert(spot, peer(&name));
                }
            }
            scene.nodes.insert(node.to_owned(), peer(node));
            scene.host_port_pods.insert(node.to_owned(), peer(&format!("hostport-{node}")));
        }
        // The first pod calls from 10.0.0.1, whatever order they were made in.
        scene
    }
}

fn metadata(lab: &Lab) -> Result<MetadataService> {
    let url = &lab.endpoints.inside.metadata;
    let host = url.strip_prefix("http://").unwrap_or(url);
    let address = host.parse().with_context(|| format!("metadata service {url:?}"))?;
    let protocol = match lab.cloud {
        CloudKind::Aliyun => "http",
        CloudKind::Aws => "imds",
    };
    Ok(MetadataService { address, protocol })
}

/// Name of the Service with a policy and a backend; also the label value of the backend.
pub fn service_name(policy: Policy, backend: &Spot) -> String {
    let policy = match policy {
        Policy::Cluster => "any",
        Policy::Local => "local",
    };
    format!("{policy}-{}", backend_label(backend))
}

/// Label value of a backend.
pub fn backend_label(backend: &Spot) -> String {
    format!("{}-{}-{}", backend.kind.name(), backend.node, backend.index)
}

fn peer(pod: &Value) -> Result<Peer> {
    let name = text(pod, "/metadata/name");
    let (v4, v6) = both(list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip")))
        .with_context(|| format!("pod {name}"))?;
    Ok(Peer { name: name.to_owned(), instance: String::new(), v4, v6 })
}

/// One address of each family.
fn both<'a, I>(addresses: I) -> Result<(IpAddr, IpAddr)>
where
    I: Iterator<Item = &'a str>,
{
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        let address: IpAddr = address.parse().with_context(|| format!("address {address:?}"))?;
        *(if address.is_ipv4() { &mut v4 } else { &mut v6 }) = Some(address);
    }
    Ok((v4.context("it has no IPv4 address")?, v6.context("it has no IPv6 address")?))
}
