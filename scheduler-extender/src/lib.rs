//! `tideway-extender`: the scheduler's extender that knows which addresses and ENIs are really free.
//!
//! [`decide`] makes every decision and does no IO. Around it stand the watches that feed it (`feed`), a small HTTP/1.1 server
//! (`server`), the wire types of `k8s.io/kube-scheduler/extender/v1` (`wire`) and what answers each verb (`verbs`).
//!
//! The decider stands behind one mutex, which is held for microseconds and never over an await: the scheduler asks one
//! question at a time, and answers must come from memory.

pub mod config;
pub mod decide;
mod facts;
mod feed;
mod run;
mod server;
mod state;
mod verbs;
mod wire;

pub use run::{Running, run};
pub use state::Books;
pub use verbs::{Answer, Verb, answer, binding};
pub use wire::BindingArgs;
