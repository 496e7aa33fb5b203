//! `make demo`: the main job from an empty VPC to an empty VPC, shown and proved step by step.

pub mod binaries;
pub mod daemons;
pub mod extender;
pub mod holders;
pub mod inspect;
pub mod lab_process;
pub mod matrix;
pub mod measure;
pub mod node_networks;
pub mod place;
pub mod pool;
pub mod report;
mod run;
pub mod scene;
pub mod snapshot;
pub mod workloads;

pub use self::run::{Outcome, down, run};
