//! The CNI plugin as a library: everything but the process around it, so that tests run it without starting one.
//!
//! The plugin decides nothing. It checks what the runtime says, asks the daemon once, and says the answer in the words of
//! the specification version that was asked for (<https://www.cni.dev/docs/spec/>). Invariants:
//! - what stands on stdout is one JSON object of the protocol, or nothing;
//! - DEL never loses a release: what the daemon does not hear goes into a durable ticket;
//! - an ADD that fails undoes what it did; what the daemon gave no answer about, the runtime's DEL releases.

mod args;
mod bandwidth;
mod environment;
mod error;
mod netconf;
mod node;
mod plugin;
mod portmap;
mod previous;
mod result;
mod ticket;
mod version;

pub use environment::{Environment, ProcessEnvironment};
pub use error::CniError;
pub use netconf::MAX_STDIN;
pub use plugin::{Question, question, run};
pub use ticket::Ticket;
pub use version::SpecVersion;
