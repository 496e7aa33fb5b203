//! The whole cluster as the scheduler's extender sees it: `NodeNetwork` objects, nodes, pods and volume claims, and the few
//! writes that it makes.
//!
//! Objects are decoded slimly and handed on one by one: nothing of them is kept here, so the memory of a watch does not grow
//! with the cluster. Who listens gets a whole list first ([`Change::ListBegins`] … [`Change::ListEnds`]) and changes after it;
//! after an error the watch goes on where it was, and begins with a new list only when the server has forgotten that version.

mod calls;
mod event;
mod feed;
mod object;
mod pod;
mod units;

pub use calls::{BindOutcome, Binding, CallError, ClusterClient, Placement};
pub use event::{Change, ClusterEvent, Watched};
pub use feed::watch_cluster;
pub use object::{ClusterClaim, ClusterNetwork, ClusterNode};
pub use pod::ClusterPod;
