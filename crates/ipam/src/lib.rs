//! The allocator: one for each node, single writer, pure. It decides who gets which address and what is asked of the cloud.
//!
//! [`Ipam::step`] takes one fact and adds records and commands to `out`. The shell commits the records, then executes the
//! commands. Nothing is promised before it is durable; no effect on the cloud starts before its intent is.

pub mod effect;
pub mod event;
pub mod rebuilt;
pub mod record;
pub mod view;

mod books;
mod cause;
mod check;
mod counts;
mod dead;
mod devices;
mod eni;
mod hold;
mod intents;
mod ipam;
mod leases;
mod looks;
mod outcome;
mod pool;
mod prefixes;
mod progress;
mod requests;
mod rest;
mod restore;
mod rng;
mod settings;
mod slots;
mod sound;
mod subnets;
mod unknown;

pub use check::Violation;
pub use counts::{AdapterCounts, Counts, ExclusiveCounts, LeaseCounts, SharedCounts};
pub use effect::{COMMAND_PATIENCE, Command, DeviceState, Effects, Refusal, SharedEni, Urgency};
pub use event::{AddRequest, BoundPod, Event, IntentId, Look, RequestId, Source};
pub use intents::CALL_LIMIT;
pub use ipam::Ipam;
pub use prefixes::hosts as prefix_hosts;
pub use record::{CoolingRecord, EniRecord, Entry, LeaseRecord, Record};
pub use restore::RestoreError;
pub use settings::{NodeFacts, Settings};
pub use view::{AddressState, Books, DeviceBook, EniBook, LeaseBook, Use, WaitingBook};

#[cfg(test)]
mod tests;
