//! What the daemon asks of the Kubernetes API server, and tells it: which pods are bound to its node, which of them wait for
//! what, and how many more the node can take; and which daemon does what one of the cluster is enough for.
//!
//! The answer is for early demand and for clear errors only. No pod waits for it, and an API server that is absent for hours
//! costs nothing but that: the watch reports its error in the view and tries again for ever. Nothing may be freed because a
//! pod is missing here.
//!
//! One task owns the watch; everybody else holds a `tokio::sync::watch` receiver of whole views. No other crate names `kube`
//! or `k8s-openapi`.

mod cluster;
mod definition;
mod lease;
mod node_network;
mod node_view;
mod notice;
mod owners;
mod pod;
mod publish;
mod view;
mod watch;

pub use cluster::{
    BindOutcome, Binding, CallError, Change, ClusterClaim, ClusterClient, ClusterEvent,
    ClusterNetwork, ClusterNode, ClusterPod, Placement, Watched, watch_cluster,
};
pub use definition::definitions;
pub use lease::ClusterLease;
pub use node_network::{
    AdapterStatus, ExclusiveStatus, InstanceStatus, LeaseStatus, MemberStatus, NodeNetwork,
    NodeNetworkCondition, NodeNetworkSpec, NodeNetworkStatus, SharedStatus, SubnetStatus,
};
pub use node_view::{NodeView, node_view};
pub use notice::{Notice, NoticeWriter, Unwritten};
pub use owners::{Ordinals, stateful_sets};
pub use publish::{Written, publish, withdraw};
pub use view::{Controller, NodePod, PodsView};
pub use watch::{KubeConfig, node_name, watch_pods};
