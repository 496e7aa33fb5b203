//! What who listens is told.

use super::{ClusterClaim, ClusterNetwork, ClusterNode, ClusterPod};

/// A step in what is known of one kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// A whole list begins. What is known stays until its end.
    ListBegins,
    /// An object of the list.
    Listed(T),
    /// The list is whole at this version: what was not in it is gone.
    ListEnds(Option<u64>),
    /// An object was created or changed.
    Applied(T),
    /// An object was deleted; its version is that of the deletion.
    Deleted(T),
}

impl<T> Change<T> {
    /// The same with its object in a box.
    pub(super) fn boxed(self) -> Change<Box<T>> {
        match self {
            Self::ListBegins => Change::ListBegins,
            Self::Listed(object) => Change::Listed(Box::new(object)),
            Self::ListEnds(version) => Change::ListEnds(version),
            Self::Applied(object) => Change::Applied(Box::new(object)),
            Self::Deleted(object) => Change::Deleted(Box::new(object)),
        }
    }
}

/// Which objects are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// `NodeNetwork` objects.
    Networks,
    /// Nodes.
    Nodes,
    /// Pods of all namespaces.
    Pods,
    /// Volume claims of all namespaces.
    Claims,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Networks, Self::Nodes, Self::Pods, Self::Claims];

    /// A word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Networks => "nodenetworks",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Claims => "persistentvolumeclaims",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Networks => "/apis/tideway.dev/v1alpha1/nodenetworks",
            Self::Nodes => "/api/v1/nodes",
            Self::Pods => "/api/v1/pods",
            Self::Claims => "/api/v1/persistentvolumeclaims",
        }
    }
}

/// Something was learned about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterEvent {
    /// Of a `NodeNetwork`.
    Network(Change<Box<ClusterNetwork>>),
    /// Of a node.
    Node(Change<ClusterNode>),
    /// Of a pod.
    Pod(Change<Box<ClusterPod>>),
    /// Of a volume claim.
    Claim(Change<ClusterClaim>),
    /// A watch works again (`None`), or does not (why). What was known stays.
    Watch(Watched, Option<String>),
}
