//! What filter reads of a node. It goes through hundreds of them in each call, so this stands densely in memory, apart from
//! the rest of the books.

use super::kind::{Kind, PerKind};
use super::rooms::GroupId;

/// How much must be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// No Tideway there, as far as we know.
    #[default]
    Unknown,
    /// What stands here is all.
    Plain,
    /// Something is kept there for some pods.
    Special,
}

/// What has come of a node's standing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sight {
    pub(super) look: Look,
    pub(super) zone: u16,
    pub(super) group: GroupId,
    /// Nothing that the node cannot have, but what its subnets can give.
    pub(super) free: PerKind<u32>,
    pub(super) warm: PerKind<u32>,
}

/// What a node has for one pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Units that it can have.
    pub(super) free: u32,
    /// Of those, without a cloud call.
    pub(super) warm: u32,
}

impl Sight {
    /// Room for a pod of which nothing is special. `left`: what the group can give.
    pub(super) fn room(&self, kind: Kind, left: u32) -> Room {
        let warm = self.warm.of(kind);
        Room { free: self.free.of(kind).min(warm.saturating_add(left)), warm }
    }
}
