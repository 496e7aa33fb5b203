//! The model runtime: sandboxes, and how far their ADD is from the runtime's side.

use std::collections::BTreeMap;

use tideway_model::{AttachmentKey, PodRef};

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Its ADD is on the way.
    Adding,
    /// ADD succeeded.
    Running,
    /// ADD failed or the runtime gave up, or the sandbox is being stopped: DEL is owed.
    Ending,
    /// DEL was answered, or is a ticket.
    Ended,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Attachment.
    pub key: AttachmentKey,
    /// Its pod.
    pub pod: PodRef,
    /// Number of the pod.
    pub uid: u32,
    /// Progress.
    pub progress: Progress,
}

/// The container runtime.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    /// Sandboxes that the runtime lists, by number.
    pub sandboxes: BTreeMap<u32, Sandbox>,
    /// It was restarted and lists nothing yet.
    pub blank: bool,
    next: u32,
}

impl Runtime {
    /// A number for a new container, never used before.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}
