//! A VPC in one process: the emulated cloud that Tideway is tested and tried against.
//!
//! Two halves: `cloud` with `wire` is the API (state, limits, signatures, metadata service), `fabric` makes it true in
//! the kernel. They meet in [`fabric::Fabric`]. The lab shares no code with the rest of the workspace: a common
//! mistake in field names or signing would hide from every test.
//!
//! Tests start a [`Lab`] in their own process:
//!
//! ```
//! use tideway_lab::{FaultKind, FaultSpec, Lab, LabConfig, LatencyMode};
//!
//! let config = LabConfig { latency: LatencyMode::None, ..LabConfig::default() };
//! let lab = Lab::start(config)?;
//! assert!(lab.endpoint().starts_with("http://127.0.0.1:"));
//! lab.add_fault(FaultSpec::new(FaultKind::Throttle).on("CreateNetworkInterface").times(2))?;
//! assert!(lab.verify().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cloud;
pub mod config;
mod control;
mod describe;
pub mod description;
mod effects;
pub mod fabric;
mod lab;
pub mod wire;

pub use cloud::faults::{Fault, FaultKind, FaultSpec};
pub use cloud::latency::LatencyMode;
pub use cloud::ledger::{CallCount, Violation};
pub use config::{CloudKind, LabConfig};
pub use description::LabDescription;
pub use lab::{Lab, LabError, LabHost};
