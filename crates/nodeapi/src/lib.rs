//! Clients of the node's local sockets: which pods hold which devices (the kubelet's pod-resources API), and which sandboxes
//! exist (the container runtime's CRI).
//!
//! These two are the witnesses by which the daemon decides whether something may be freed. So an answer is whole or it is an
//! error: an entry that cannot be read is never left out, since an entry that is missing looks like a pod that is gone.
//! Each call dials anew: calls are rare, a dial costs less than a millisecond, and a socket that was replaced in a restart is
//! met at once. Nothing here acts on what it reads.

mod error;
mod pod_resources;
mod runtime;
mod socket;

pub use error::NodeApiError;
pub use pod_resources::{DeviceHolding, DeviceHoldings, PodResources};
pub use runtime::{Runtime, RuntimeVersion, Sandbox};
