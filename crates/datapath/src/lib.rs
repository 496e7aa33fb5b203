//! From the wanted state of a pod to operations on the kernel, as values.
//!
//! An [`Attachment`](tideway_model::Attachment) says what a pod has. [`wanted`] turns it into the objects that must exist in the
//! host's and in the pod's namespace ([`View`]); [`plan`] lists the operations that make them ([`NetOp`]); [`repair`] and [`check`]
//! compare wanted and observed views. All of it comes from the one description in [`wanted`], so that ADD, CHECK, DEL and
//! repair cannot drift apart. Nothing here does IO: `tideway-netlink` observes and executes.
//!
//! Invariants
//! - Our routes and rules carry protocol [`names::PROTOCOL`](tideway_model::names::PROTOCOL); no operation names an object of another protocol,
//!   except foreign addresses and routes on ENIs, which nobody but us may configure.
//! - Table 510 holds only host routes of local shared pods. The host route of an exclusive pod is in `main`, so that shared
//!   and exclusive pods reach each other through the VPC and its security groups.

pub mod check;
pub mod facts;
#[cfg(test)]
mod fixture;
pub mod naming;
pub mod nft;
pub mod op;
pub mod outcome;
pub mod plan;
pub mod repair;
pub mod shape;
pub mod view;
pub mod wanted;

pub use check::Finding;
pub use facts::{HostFacts, LinkFacts, SharedEniNet};
pub use op::{NetOp, Place, VethPair};
pub use outcome::{Plumbed, PlumbedInterface, PlumbedIp, PlumbedRoute};
pub use shape::Tbf;
pub use view::{ForeignRoute, Link, LinkAddress, Neighbour, Route, Rule, View};
