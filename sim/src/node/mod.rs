//! The model node: kernel, container runtime and kubelet. The kernel is the oracle's witness of who lives.

mod kernel;
mod kubelet;
mod runtime;

pub use self::{
    kernel::{Kernel, Link},
    kubelet::{Kubelet, Pod},
    runtime::{Progress, Runtime, Sandbox},
};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Namespaces, links, conntrack.
    pub kernel: Kernel,
    /// Sandboxes.
    pub runtime: Runtime,
    /// Pods and devices.
    pub kubelet: Kubelet,
}
