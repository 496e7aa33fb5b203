//! The simulator: proves the allocator against a model world, deterministic, from a seed, without threads and real time.
//!
//! Real are the allocator, the limiter, the records and the journal's logic. Modelled are cloud, kernel, runtime, kubelet,
//! disk, clocks, and the daemon's shell between them and the allocator, with a crash at every boundary. The oracle is the
//! model world, never the allocator's books.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "mutants, coverage and moves single out a few of many variants; the shell's own matches are whole"
)]

pub mod cloud;
pub mod core;
pub mod coverage;
pub mod daemon;
pub mod dice;
pub mod disk;
pub mod fleet;
pub mod identities;
pub mod ids;
pub mod mutants;
pub mod node;
pub mod oracle;
pub mod profile;
pub mod run;
pub mod shrink;
pub mod small;
pub mod steps;
pub mod violation;
pub mod world;

mod actions;
mod calm;
mod canon;
mod pods;
mod troubles;
