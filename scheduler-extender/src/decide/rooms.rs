//! What subnets can still give. Several nodes take from one subnet, so its room is counted once, here, and what any of them
//! needs beyond what it holds is a claim on it.
//!
//! Nodes with the same set of subnets form a group. A group's room is what its subnets have less the claims of every group
//! that shares one of them: exact where all nodes use the same subnets, careful where sets overlap in part.

use std::collections::HashMap;

use super::kind::{Kind, PerKind};

/// A set of subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GroupId(usize);

#[derive(Debug, Default)]
struct Group {
    subnets: Vec<usize>,
    /// Groups that share a subnet, itself included.
    overlaps: Vec<usize>,
    claims: u64,
    free: PerKind<u64>,
    warm: PerKind<u64>,
}

/// All subnets.
#[derive(Debug)]
pub(super) struct Rooms {
    subnets: HashMap<Box<str>, usize>,
    /// Addresses that each can give, as was last said.
    left: Vec<u32>,
    groups: Vec<Group>,
    sets: HashMap<Vec<usize>, usize>,
}

/// What a node adds to its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) claims: u32,
    /// Zero for nodes that are closed to new pods.
    pub(super) free: PerKind<u32>,
    pub(super) warm: PerKind<u32>,
}

impl Default for Rooms {
    fn default() -> Self {
        // Group 0 is that of nodes that named no subnet: nothing is known against them.
        Self {
            subnets: HashMap::new(),
            left: Vec::new(),
            groups: vec![Group::default()],
            sets: HashMap::from([(Vec::new(), 0)]),
        }
    }
}

impl Rooms {
    /// The group of a set of subnets. `before` is what the same node said last: only a figure that changed is news, since a
    /// quiet node repeats an old one.
    pub(super) fn report(&mut self, now: &[(String, u32)], before: &[(String, u32)]) -> GroupId {
        let mut set: Vec<usize> = Vec::with_capacity(now.len());
        for (id, left) in now {
            let next = self.left.len();
            let index = *self.subnets.entry(id.as_str().into()).or_insert(next);
            if index == next {
                self.left.push(*left);
            } else if !before.contains(&(id.clone(), *left))
                && let Some(known) = self.left.get_mut(index)
            {
                *known = *left;
            }
            set.push(index);
        }
        set.sort_unstable();
        set.dedup();
        if let Some(group) = self.sets.get(&set) {
            return GroupId(*group);
        }
        let id = self.groups.len();
        let mut overlaps = vec![id];
        for (other, group) in self.groups.iter_mut().enumerate() {
            if group.subnets.iter().any(|s| set.contains(s)) {
                group.overlaps.push(id);
                overlaps.push(other);
            }
        }
        self.groups.push(Group { subnets: set.clone(), overlaps, ..Group::default() });
        self.sets.insert(set, id);
        GroupId(id)
    }

    /// Addresses that the group's subnets can give beyond all claims.
    pub(super) fn left(&self, group: GroupId) -> u32 {
        let Some(group) = self.groups.get(group.0) else { return 0 };
        if group.subnets.is_empty() {
            return u32::MAX;
        }
        let has: u64 = group
            .subnets
            .iter()
            .filter_map(|s| self.left.get(*s))
            .map(|left| u64::from(*left))
            .sum();
        let claims: u64 =
            group.overlaps.iter().filter_map(|g| self.groups.get(*g)).map(|g| g.claims).sum();
        u32::try_from(has.saturating_sub(claims)).unwrap_or(u32::MAX)
    }

    pub(super) fn add(&mut self, group: GroupId, share: Share) {
        let Some(group) = self.groups.get_mut(group.0) else { return };
        group.claims += u64::from(share.claims);
        for kind in Kind::ALL {
            *group.free.of_mut(kind) += u64::from(share.free.of(kind));
            *group.warm.of_mut(kind) += u64::from(share.warm.of(kind));
        }
    }

    pub(super) fn take(&mut self, group: GroupId, share: Share) {
        let Some(group) = self.groups.get_mut(group.0) else { return };
        group.claims = group.claims.saturating_sub(u64::from(share.claims));
        for kind in Kind::ALL {
            let free = group.free.of_mut(kind);
            *free = free.saturating_sub(u64::from(share.free.of(kind)));
            let warm = group.warm.of_mut(kind);
            *warm = warm.saturating_sub(u64::from(share.warm.of(kind)));
        }
    }

    /// Units that all open nodes together can still take.
    pub(super) fn total(&self, kind: Kind) -> u64 {
        let of_group = |(index, group): (usize, &Group)| {
            let left = u64::from(self.left(GroupId(index)));
            group.free.of(kind).min(group.warm.of(kind).saturating_add(left))
        };
        self.groups.iter().enumerate().map(of_group).sum()
    }

    /// Whether some subnet stands in the way of units that the instances could take.
    pub(super) fn is_short(&self, kind: Kind) -> bool {
        self.groups.iter().enumerate().any(|(index, group)| {
            let left = u64::from(self.left(GroupId(index)));
            group.free.of(kind) > group.warm.of(kind).saturating_add(left)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(list: &[(&str, u32)]) -> Vec<(String, u32)> {
        list.iter().map(|(id, left)| ((*id).to_owned(), *left)).collect()
    }

    #[test]
    fn nodes_of_one_subnet_share_its_room() {
        let mut rooms = Rooms::default();
        let a = rooms.report(&set(&[("s1", 10)]), &[]);
        let b = rooms.report(&set(&[("s1", 10), ("s2", 5)]), &[]);
        rooms.add(a, Share { claims: 4, ..Share::default() });
        assert_eq!((rooms.left(a), rooms.left(b)), (6, 11));
        rooms.add(b, Share { claims: 3, ..Share::default() });
        assert_eq!((rooms.left(a), rooms.left(b)), (3, 8));
        rooms.take(a, Share { claims: 4, ..Share::default() });
        assert_eq!((rooms.left(a), rooms.left(b)), (7, 12));
    }

    #[test]
    fn a_quiet_node_does_not_bring_an_old_figure_back() {
        let mut rooms = Rooms::default();
        let a = rooms.report(&set(&[("s1", 10)]), &[]);
        rooms.report(&set(&[("s1", 2)]), &set(&[("s1", 9)]));
        assert_eq!(rooms.left(a), 2);
        // The first node reports again, for another reason, what it had heard of the subnet long ago.
        rooms.report(&set(&[("s1", 10)]), &set(&[("s1", 10)]));
        assert_eq!(rooms.left(a), 2);
    }

    #[test]
    fn a_node_without_subnets_is_not_limited_by_any() {
        let mut rooms = Rooms::default();
        let none = rooms.report(&[], &[]);
        assert_eq!(rooms.left(none), u32::MAX);
    }
}
