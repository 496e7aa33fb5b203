//! One node without Kubernetes: a lab with real packets, the real `tidewayd` inside an instance's namespace, the real
//! `tideway-cni` run as a runtime runs it, and pods that are fresh network namespaces.
//!
//! Everything here is a fixture of the tests in `tests/node`. Invariants: nothing outlives its value (processes are
//! ended by their own handle, namespaces and labs go with their values, also while a failed test unwinds), and nothing
//! is shared between two tests but the programs themselves.

pub mod api_server;
pub mod bed;
pub mod cni;
pub mod kubelet;
pub mod lab;
pub mod leaks;
pub mod netns;
pub mod node;
pub mod pod;
pub mod programs;
pub mod rpc;
pub mod runtime;
pub mod turn;
pub mod wait;

pub use api_server::FakeApiServer;
pub use bed::{Bed, Setup};
pub use cni::Answer;
pub use kubelet::FakeKubelet;
pub use lab::Lab;
pub use node::Node;
pub use pod::Pod;
pub use runtime::FakeRuntime;
