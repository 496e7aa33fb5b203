//! What the daemon asks of the Kubernetes API server: which pods are bound to its node.
//!
//! The answer is for early demand and for clear errors only. No pod waits for it, and an API server that is absent for hours
//! costs nothing but that: the watch reports its error in the view and tries again for ever. Nothing may be freed because a
//! pod is missing here.
//!
//! One task owns the watch; everybody else holds a `tokio::sync::watch` receiver of whole views. No other crate names `kube`
//! or `k8s-openapi`.

mod node_network;
mod pod;
mod view;
mod watch;

pub use node_network::{
    AdapterStatus, ExclusiveStatus, InstanceStatus, LeaseStatus, MemberStatus, NodeNetwork,
    NodeNetworkCondition, NodeNetworkSpec, NodeNetworkStatus, SharedStatus, SubnetStatus,
};
pub use view::{NodePod, PodsView};
pub use watch::{KubeConfig, node_name, watch_pods};
