//! The objects that the scenarios create, as JSON.

use serde_json::{Value, json};

use crate::agent::Kind;

pub(crate) const NODES: &str = "/api/v1/nodes";
pub(crate) const NODE_NETWORKS: &str = "/apis/tideway.dev/v1alpha1/nodenetworks";

/// What in-tree filters see of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allocatable {
    /// kubelet's `maxPods`.
    pub(crate) pods: u32,
    /// `aliyun/eni`.
    pub(crate) enis: u32,
}

impl Default for Allocatable {
    /// More than any node here has: only the extender limits.
    fn default() -> Self {
        Self { pods: 110, enis: 64 }
    }
}

/// A node that is ready, in one of three zones.
pub(crate) fn node(name: &str, number: usize, allocatable: Allocatable) -> Value {
    let resources = json!({
        "cpu": "64", "memory": "256Gi", "ephemeral-storage": "100Gi",
        "pods": allocatable.pods.to_string(), "aliyun/eni": allocatable.enis.to_string(),
    });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", number % 3),
        }},
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Fake"}],
        },
    })
}

pub(crate) fn node_network(name: &str) -> Value {
    json!({
        "apiVersion": "tideway.dev/v1alpha1", "kind": "NodeNetwork",
        "metadata": {"name": name}, "spec": {},
    })
}

/// A pod that asks for a unit of this kind.
pub(crate) fn pod(name: &str, kind: Kind) -> Value {
    let limits = match kind {
        Kind::Shared => json!({}),
        Kind::Exclusive => json!({"aliyun/eni": "1"}),
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "test"}},
        "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "c", "image": "none",
                "resources": {"requests": {"cpu": "10m"}, "limits": limits},
            }],
        },
    })
}

/// The same with other values in its spec.
pub(crate) fn with(mut pod: Value, spec: Value) -> Value {
    if let (Some(old), Value::Object(new)) =
        (pod.pointer_mut("/spec").and_then(Value::as_object_mut), spec)
    {
        old.extend(new);
    }
    pod
}
