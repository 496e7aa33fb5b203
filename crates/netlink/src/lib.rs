//! The datapath's hands: executes operations in the kernel, observes it, enters network namespaces.
//!
//! [`Datapath`] is what the daemon holds. Decisions are made in `tideway-datapath`; this crate turns its values into netlink
//! requests, sysctl writes and nftables scripts. It is the only crate that changes a thread's namespace ([`netns`]) or speaks
//! netlink.
//!
//! All kernel work runs on blocking threads, one job at a time on each: a caller that goes away does not leave a job half
//! done, and the RTNL lock never stalls the async executor.

mod apply;
mod attr;
mod conntrack;
mod datapath;
mod enis;
mod error;
mod guard;
mod links;
mod message;
pub mod netns;
mod nft;
mod observe;
mod pending;
mod pods;
mod quiet;
mod repair;
mod socket;
mod strays;
mod sysctl;
mod tc;

pub use datapath::{Datapath, DatapathSettings};
pub use enis::HostLink;
pub use error::DatapathError;
pub use tideway_datapath::{
    HostFacts, Plumbed, PlumbedInterface, PlumbedIp, PlumbedRoute, SharedEniNet,
};
