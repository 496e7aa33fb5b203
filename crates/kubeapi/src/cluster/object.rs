//! Nodes, volume claims and `NodeNetwork` objects, slimly decoded.

use serde::Deserialize;

use crate::NodeNetworkStatus;

/// The part of an object's metadata that is read here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: String,
    namespace: String,
    resource_version: Option<String>,
}

/// Versions of one server can be compared as numbers; a text that is none counts as unknown.
pub(super) fn version(text: Option<&str>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
}

/// A node, as far as it matters who may run there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "NodeWire")]
pub struct ClusterNode {
    /// Name.
    pub name: String,
    /// `resourceVersion`.
    pub version: Option<u64>,
    /// Zone, by its label.
    pub zone: Option<String>,
    /// Neither cordoned nor tainted against new pods. A pod that tolerates the taint may still go there: this guides whom to
    /// wake, never whom to refuse.
    pub schedulable: bool,
    /// Neither cordoned nor in trouble, as the taints of Kubernetes' own tell. Other taints keep a node for certain pods.
    pub serves: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeWire {
    metadata: NodeMeta,
    spec: NodeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeMeta {
    name: String,
    #[serde(rename = "resourceVersion")]
    resource_version: Option<String>,
    labels: Option<NodeLabels>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeLabels {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    unschedulable: Option<bool>,
    taints: Option<Vec<Taint>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
    effect: String,
}

impl From<NodeWire> for ClusterNode {
    fn from(node: NodeWire) -> Self {
        let taints = node.spec.taints.iter().flatten();
        let mut taints = taints.filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
        let cordoned = node.spec.unschedulable.unwrap_or(false);
        let troubled = taints.clone().any(|t| t.key.starts_with("node.kubernetes.io/"));
        Self {
            version: version(node.metadata.resource_version.as_deref()),
            name: node.metadata.name,
            zone: node.metadata.labels.and_then(|l| l.zone),
            schedulable: taints.next().is_none() && !cordoned,
            serves: !troubled && !cordoned,
        }
    }
}

/// A volume claim: whether the scheduler may still have to wait for its volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "ClaimWire")]
pub struct ClusterClaim {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `resourceVersion`.
    pub version: Option<u64>,
    /// It has its volume.
    pub bound: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimWire {
    metadata: Meta,
    status: ClaimStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimStatus {
    phase: String,
}

impl From<ClaimWire> for ClusterClaim {
    fn from(claim: ClaimWire) -> Self {
        Self {
            version: version(claim.metadata.resource_version.as_deref()),
            namespace: claim.metadata.namespace,
            name: claim.metadata.name,
            bound: claim.status.phase == "Bound",
        }
    }
}

/// One `NodeNetwork` object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "NetworkWire")]
pub struct ClusterNetwork {
    /// Name of the object and of its node.
    pub name: String,
    /// Its `resourceVersion`.
    pub version: Option<u64>,
    /// What the node's daemon said; none when it has not spoken yet.
    pub status: Option<NodeNetworkStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkWire {
    metadata: Meta,
    status: Option<NodeNetworkStatus>,
}

impl From<NetworkWire> for ClusterNetwork {
    fn from(object: NetworkWire) -> Self {
        Self {
            version: version(object.metadata.resource_version.as_deref()),
            name: object.metadata.name,
            status: object.status,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cordoned_or_tainted_node_is_not_counted_as_room_for_waiting_pods() {
        let node = |spec| {
            let labels = json!({"topology.kubernetes.io/zone": "z1", "other": "x"});
            let node = json!({"metadata": {"name": "n", "labels": labels}, "spec": spec});
            serde_json::from_value::<ClusterNode>(node).unwrap()
        };
        assert!(node(json!({})).schedulable);
        assert!(node(json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})).schedulable);
        assert!(!node(json!({"unschedulable": true})).schedulable);
        assert!(!node(json!({"taints": [{"key": "a", "effect": "NoSchedule"}]})).schedulable);
        let tainted = |key| node(json!({"taints": [{"key": key, "effect": "NoSchedule"}]}));
        assert!(tainted("gpu").serves && !tainted("node.kubernetes.io/unreachable").serves);
        assert!(!node(json!({"unschedulable": true})).serves);
        assert_eq!(node(json!({})).zone.as_deref(), Some("z1"));
    }
}
