//! The arithmetic of one node: from what its daemon reported and what we know since, to what it can still take.
//!
//! The report is always a bit old. What we know ourselves comes on top: pods that are bound, pods that left after the report,
//! units that are promised. Where both count the same thing the larger figure is taken, so a report and a pod watch that are
//! not at the same point can only make a node look fuller for a moment, never emptier.

use super::facts::Report;
use super::kind::{Kind, PerKind};

/// Units in use beside the report's cooling and unusable ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Of pods that are bound here.
    pub(super) pods: PerKind<u32>,
    /// Of pods that are gone, and not yet in the report's own figures.
    pub(super) gone: PerKind<u32>,
    /// Promised to pods whose binding is not seen yet.
    pub(super) held: PerKind<u32>,
}

/// What a node can still take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// By the limits of the instance; the subnets may give less.
    pub(super) free: PerKind<u32>,
    /// Of those, without a cloud call.
    pub(super) warm: PerKind<u32>,
    /// Addresses that the subnets must still give for what is in use and promised already.
    pub(super) growth: u32,
    /// Units that will be free soon: cooling, or of pods that left.
    pub(super) soon: PerKind<u32>,
}

impl Standing {
    /// O(1): nothing is walked.
    pub(super) fn of(report: &Report, load: &Load) -> Self {
        let r = report;
        let in_use = |kind: Kind, leaving: u32, assigned: u32| {
            let known =
                load.pods.of(kind).saturating_add(load.gone.of(kind)).saturating_add(leaving);
            known.max(assigned).saturating_add(load.held.of(kind))
        };
        let shared = in_use(Kind::Shared, r.shared_leaving, r.shared_assigned)
            .saturating_add(r.shared_cooling)
            .saturating_add(r.shared_unusable);
        let exclusive = in_use(Kind::Exclusive, r.exclusive_leaving, r.exclusive_assigned);
        let member = in_use(Kind::Member, r.member_leaving, r.member_assigned);

        // Adapters that are spoken for since the report. They can be either, so each kind takes from the other.
        let new_exclusive = exclusive.saturating_sub(r.exclusive_assigned);
        let beyond = shared.saturating_sub(r.shared_capacity);
        let new_shared = beyond.div_ceil(r.per_adapter.max(1));
        let left = r.adapters_free.saturating_sub(new_exclusive).saturating_sub(new_shared);
        let left_for_shared = left.min(r.free_for_shared.saturating_sub(new_shared));

        let adapters = new_shared.saturating_add(left_for_shared);
        let capacity = r.shared_capacity.saturating_add(adapters.saturating_mul(r.per_adapter));
        // Exclusive pods may have taken the adapters that `beyond` counts on.
        let overdrawn = new_exclusive.saturating_add(new_shared) > r.adapters_free
            || new_shared > r.free_for_shared;
        let free_shared =
            if overdrawn && new_shared > 0 { 0 } else { capacity.saturating_sub(shared) };
        let offered = r.exclusive_offered.saturating_sub(new_exclusive);
        let members = r.member_limit.saturating_sub(r.member_unusable);
        let free = PerKind {
            shared: free_shared,
            exclusive: offered.min(left),
            member: members.saturating_sub(member),
        };
        let warm = PerKind {
            shared: r.shared_held.saturating_sub(shared).min(free.shared),
            exclusive: r.exclusive_ready.saturating_sub(new_exclusive).min(free.exclusive),
            member: 0,
        };
        let growth = shared
            .saturating_sub(r.shared_held)
            .saturating_add(new_shared)
            .saturating_add(new_exclusive.saturating_sub(r.exclusive_ready))
            .saturating_add(member.saturating_sub(r.member_assigned));
        let soon = PerKind {
            shared: r
                .shared_cooling
                .saturating_add(r.shared_leaving)
                .saturating_add(load.gone.shared),
            // A device without a holder whose adapter is taken: its ENI cools, is detached and deleted.
            exclusive: r
                .adapters_exclusive
                .saturating_sub(r.exclusive_assigned)
                .saturating_sub(r.exclusive_ready)
                .saturating_add(r.exclusive_leaving)
                .saturating_add(load.gone.exclusive),
            member: r
                .member_leaving
                .saturating_add(load.gone.member)
                .saturating_add(r.member_unusable),
        };
        Self { free, warm, growth, soon }
    }
}

#[cfg(test)]
mod tests;
