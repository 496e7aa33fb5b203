//! The connectivity matrix: the committed list of rows, what each becomes as a call, and whether its outcome is right.
//!
//! Pure. The number of pairs is the number of rows times their families, whatever happened to run.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::scene::{Family, Kind, Scene, Spot};

/// Time of one try.
const TIMEOUT_MS: u64 = 1500;

/// The committed list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    rows: Vec<Row>,
}

/// One row: a call in one or both families.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// For people.
    pub what: String,
    /// Who calls.
    pub from: Place,
    /// What is called.
    pub to: Destination,
    /// In which families.
    pub families: Vec<Family>,
    /// Whether it must work.
    #[serde(default)]
    pub expect: Expectation,
    /// What the answering side must see of the caller.
    #[serde(default)]
    pub client: Client,
}

/// Whether a call must work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// It must be answered.
    #[default]
    Ok,
    /// It must not.
    Denied,
}

/// What the answering side must see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// Anything: the path may translate.
    #[default]
    Any,
    /// The caller's own address.
    Caller,
}

/// A caller: a pod, or a node itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Place {
    /// `node/NAME`.
    Node(String),
    /// `KIND/NODE/INDEX`.
    Pod(Spot),
}

impl TryFrom<String> for Place {
    type Error = anyhow::Error;
    fn try_from(text: String) -> Result<Self> {
        match text.strip_prefix("node/") {
            Some(node) => Ok(Self::Node(node.to_owned())),
            None => Spot::try_from(text).map(Self::Pod),
        }
    }
}

/// What is called.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Destination {
    /// A pod's own address.
    Pod {
        /// Which.
        spot: Spot,
        /// Port it serves.
        port: u16,
    },
    /// A node's primary address.
    Node {
        /// Which.
        name: String,
        /// Port it serves.
        port: u16,
    },
    /// The cluster address of the Service with this backend.
    ClusterIp {
        /// The only backend.
        backend: Spot,
    },
    /// The host port of the pod of a kind.
    HostPort {
        /// Node that is called.
        node: String,
        /// Kind of the pod.
        kind: Kind,
    },
    /// The node port of the Service with this backend.
    NodePort {
        /// Node that is called.
        node: String,
        /// The only backend.
        backend: Spot,
        /// `externalTrafficPolicy`.
        policy: Policy,
    },
    /// The metadata service.
    Metadata {
        /// Path.
        path: String,
    },
}

/// `externalTrafficPolicy` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Policy {
    /// Any backend; the client's address may be lost.
    Cluster,
    /// Backends of the called node only; the client's address is kept.
    Local,
}

/// A call as the probe reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Number of the pair.
    pub name: String,
    proto: &'static str,
    address: IpAddr,
    port: u16,
    path: String,
    timeout_ms: u64,
    expect: Expectation,
}

/// One pair: a row in one family.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The row.
    pub row: Row,
    /// The family.
    pub family: Family,
    /// What the caller's probe is told.
    pub target: Target,
    /// Who must answer.
    answerer: String,
    /// What the answerer must see.
    client: Option<IpAddr>,
}

/// What the probe found.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Number of the pair.
    pub name: String,
    answered: bool,
    latency_us: Option<u64>,
    reply: String,
    error: String,
}

/// Whether a pair is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Answered by the right one; microseconds.
    Answered(u64),
    /// Refused, as it must be.
    Refused,
    /// Not answered, or not as it must be.
    Hole(String),
    /// Answered although it must not.
    Leak(String),
}

impl Verdict {
    /// Whether the pair counts.
    pub fn is_right(&self) -> bool {
        matches!(self, Self::Answered(_) | Self::Refused)
    }
}

/// Parses a list of rows.
pub fn rows(text: &str) -> Result<Vec<Row>> {
    let matrix: Matrix = serde_saphyr::from_str(text).context("connectivity matrix")?;
    Ok(matrix.rows)
}

/// Every row in every family of it, all IPv4 before all IPv6.
pub fn pairs(rows: &[Row], scene: &Scene) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for family in [Family::V4, Family::V6] {
        for row in rows.iter().filter(|r| r.families.contains(&family)) {
            let name = pairs.len().to_string();
            let pair = pair(row, family, scene, name).with_context(|| row.what.clone())?;
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn pair(row: &Row, family: Family, scene: &Scene, name: String) -> Result<Pair> {
    let (address, port, answerer) = match &row.to {
        Destination::Pod { spot, port } => {
            let pod = scene.pod(spot)?;
            (pod.address(family), *port, pod.name.clone())
        }
        Destination::Node { name, port } => {
            (scene.node(name)?.address(family), *port, name.clone())
        }
        Destination::ClusterIp { backend } => {
            let service = scene.service(Policy::Cluster, backend)?;
            (service.address(family), 80, scene.pod(backend)?.name.clone())
        }
        Destination::HostPort { node, kind } => {
            let (pod, port) = scene.host_port(node, *kind)?;
            (scene.node(node)?.address(family), port, pod.name.clone())
        }
        Destination::NodePort { node, backend, policy } => {
            let service = scene.service(*policy, backend)?;
            (scene.node(node)?.address(family), service.node_port, scene.pod(backend)?.name.clone())
        }
        Destination::Metadata { .. } if family == Family::V6 => {
            bail!("the metadata service has no IPv6")
        }
        Destination::Metadata { .. } => {
            let node = match &row.from {
                Place::Node(node) => node,
                Place::Pod(spot) => &spot.node,
            };
            let instance = scene.node(node)?.instance.clone();
            (scene.metadata()?.address, 80, instance)
        }
    };
    let caller = match &row.from {
        Place::Node(node) => scene.node(node)?.address(family),
        Place::Pod(spot) => scene.pod(spot)?.address(family),
    };
    let (proto, path) = if let Destination::Metadata { path } = &row.to {
        (scene.metadata()?.protocol, path.clone())
    } else {
        ("tcp", String::new())
    };
    Ok(Pair {
        row: row.clone(),
        family,
        target: Target {
            name,
            proto,
            address,
            port,
            path,
            timeout_ms: TIMEOUT_MS,
            expect: row.expect,
        },
        answerer,
        client: (row.client == Client::Caller).then_some(caller),
    })
}

impl Pair {
    /// What is called.
    pub fn address(&self) -> std::net::SocketAddr {
        (self.target.address, self.target.port).into()
    }

    /// Compares what was found with what must be.
    pub fn judge(&self, found: Option<&Outcome>) -> Verdict {
        let Some(found) = found else {
            return Verdict::Hole("it was not called".into());
        };
        if self.row.expect == Expectation::Denied {
            return if found.answered {
                Verdict::Leak(found.reply.clone())
            } else {
                Verdict::Refused
            };
        }
        if !found.answered {
            return Verdict::Hole(found.error.clone());
        }
        let mut words = found.reply.split(' ');
        let answerer = words.next().unwrap_or_default();
        if answerer != self.answerer {
            return Verdict::Hole(format!("{answerer} answered instead of {}", self.answerer));
        }
        let seen: Option<IpAddr> = words.nth(1).and_then(|w| w.parse().ok());
        match self.client {
            Some(client) if seen != Some(client) => {
                Verdict::Hole(format!("{answerer} saw the client as {seen:?} instead of {client}"))
            }
            _ => Verdict::Answered(found.latency_us.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../demo/matrix.yaml");

    #[test]
    fn the_committed_list_names_every_kind_of_row_in_both_families() {
        let rows = rows(COMMITTED).unwrap();
        let scene = Scene::example();
        let pairs = pairs(&rows, &scene).unwrap();
        assert_eq!(pairs.len(), rows.iter().map(|r| r.families.len()).sum::<usize>());
        for family in [Family::V4, Family::V6] {
            let of = |test: fn(&Destination) -> bool| {
                pairs.iter().filter(|p| p.family == family && test(&p.row.to)).count()
            };
            assert_eq!(of(|d| matches!(d, Destination::Pod { .. })), 18);
            assert_eq!(of(|d| matches!(d, Destination::Node { .. })), 4);
            assert_eq!(of(|d| matches!(d, Destination::ClusterIp { .. })), 8);
            assert_eq!(of(|d| matches!(d, Destination::HostPort { .. })), 6);
            let ports = |wanted| {
                let to = |p: &&Pair| matches!(p.row.to, Destination::NodePort { policy, .. } if policy == wanted);
                pairs.iter().filter(|p| p.family == family).filter(to).count()
            };
            assert_eq!((ports(Policy::Local), ports(Policy::Cluster)), (6, 11));
            let denied = |kind| {
                pairs.iter().any(|p| {
                    p.family == family
                        && p.row.expect == Expectation::Denied
                        && matches!(&p.row.from, Place::Pod(s) if s.kind == kind)
                })
            };
            assert!(denied(Kind::Shared) && denied(Kind::Exclusive));
        }
    }

    #[test]
    fn a_wrong_answerer_and_a_translated_client_are_holes_and_an_answer_to_a_refused_call_is_a_leak()
     {
        let text = "rows: [{what: x, from: shared/n1/0, to: {pod: {spot: shared/n1/1, port: 8080}}, families: [v4], client: caller},\
                    {what: y, from: shared/n1/0, to: {pod: {spot: shared/n1/1, port: 9999}}, families: [v4], expect: denied}]";
        let pairs = pairs(&rows(text).unwrap(), &Scene::example()).unwrap();
        let outcome = |answered: bool, reply: &str| {
            Some(Outcome {
                name: "0".into(),
                answered,
                latency_us: Some(7),
                reply: reply.into(),
                error: "time out".into(),
            })
        };
        let right = outcome(true, "shared-n1-1 10.0.0.2 10.0.0.1");
        assert_eq!(pairs[0].judge(right.as_ref()), Verdict::Answered(7));
        for wrong in ["shared-n2-0 10.0.0.2 10.0.0.1", "shared-n1-1 10.0.0.2 10.0.0.250", ""] {
            assert!(
                matches!(pairs[0].judge(outcome(true, wrong).as_ref()), Verdict::Hole(_)),
                "{wrong}"
            );
        }
        assert!(matches!(pairs[0].judge(outcome(false, "").as_ref()), Verdict::Hole(_)));
        assert!(matches!(pairs[0].judge(None), Verdict::Hole(_)));
        assert!(matches!(pairs[1].judge(right.as_ref()), Verdict::Leak(_)));
        assert_eq!(pairs[1].judge(outcome(false, "").as_ref()), Verdict::Refused);
        assert!(matches!(pairs[1].judge(None), Verdict::Hole(_)));
    }
}
