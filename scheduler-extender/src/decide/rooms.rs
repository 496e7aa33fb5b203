//! What subnets can still give. Several nodes take from one subnet, so its room is counted once, here, and what any of them
//! needs beyond what it holds is a claim on it.
//!
//! Nodes with the same set of subnets form a group. A group's room is what its subnets have less the claims of every group
//! that shares one of them: exact where all nodes use the same subnets, careful where sets overlap in part.
//!
//! A pod that holds units on many nodes takes them on one: however many nodes of a group it makes grow, it claims no more
//! than it can need at one place.
//!
//! A daemon asks for a subnet's figure now and then and repeats it in between. What nodes are seen to take meanwhile is
//! subtracted here, until a figure comes that can have it.

use std::collections::HashMap;

use super::kind::{Kind, PerKind, Wants};

/// A set of subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GroupId(usize);

#[derive(Debug, Default)]
struct Group {
    subnets: Vec<usize>,
    /// Groups that share a subnet, itself included.
    overlaps: Vec<usize>,
    /// For what is in use.
    claims: u64,
    /// What its nodes would claim beside, if every pod in flight took all that it holds.
    held: u64,
    /// What the pods in flight can need, each at one place.
    needs: u64,
    free: PerKind<u64>,
    warm: PerKind<u64>,
}

#[derive(Debug, Default)]
struct Subnet {
    /// Addresses that it can give, as was last said.
    left: u32,
    /// Taken since.
    taken: u32,
    /// Taken before the last [`Rooms::age`].
    taken_before: u32,
}

impl Subnet {
    fn left(&self) -> u32 {
        self.left.saturating_sub(self.taken).saturating_sub(self.taken_before)
    }
}

/// All subnets.
#[derive(Debug)]
pub(super) struct Rooms {
    names: HashMap<Box<str>, usize>,
    subnets: Vec<Subnet>,
    groups: Vec<Group>,
    sets: HashMap<Vec<usize>, usize>,
}

/// What a node adds to its group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Addresses that the subnets must still give for what is in use.
    pub(super) claims: u32,
    /// The same for what is held.
    pub(super) held: u32,
    /// Zero for nodes that are closed to new pods.
    pub(super) free: PerKind<u32>,
    pub(super) warm: PerKind<u32>,
}

/// How a node's part in its group differs for one pod.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// Of [`Share::held`], without what the pod itself holds here.
    pub(super) held: u32,
    /// What the pod itself can need.
    pub(super) needs: u32,
    /// Claims of others that are not in the node's load.
    pub(super) others: u32,
}

/// What a pod in flight can need of the subnets: a shared address may come with an ENI, which has one of its own.
pub(super) fn needs(wants: Wants) -> u32 {
    match wants.kind {
        Kind::Shared => wants.units.saturating_mul(2),
        Kind::Exclusive | Kind::Member => wants.units,
    }
}

/// What the groups can give at one moment.
#[derive(Debug)]
pub(super) struct Lefts<'a> {
    rooms: &'a Rooms,
    left: Vec<Option<u32>>,
}

impl Lefts<'_> {
    pub(super) fn of(&mut self, group: GroupId) -> u32 {
        match self.left.get_mut(group.0) {
            Some(left) => *left.get_or_insert_with(|| self.rooms.left(group)),
            None => 0,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        // Group 0 is that of nodes that named no subnet: nothing is known against them.
        Self {
            names: HashMap::new(),
            subnets: Vec::new(),
            groups: vec![Group::default()],
            sets: HashMap::from([(Vec::new(), 0)]),
        }
    }
}

impl Rooms {
    /// The group of a set of subnets. `before` is what the same node said last: only a figure that changed is news, since a
    /// quiet node repeats an old one. `grown`: addresses that the node has more than in its last report.
    pub(super) fn report(
        &mut self,
        now: &[(String, u32)],
        before: &[(String, u32)],
        grown: i64,
    ) -> GroupId {
        let mut set: Vec<usize> = Vec::with_capacity(now.len());
        let (mut more, mut less) =
            (u32::try_from(grown).unwrap_or(0), u32::try_from(-grown).unwrap_or(0));
        for (id, left) in now {
            let next = self.subnets.len();
            let index = *self.names.entry(id.as_str().into()).or_insert(next);
            set.push(index);
            if index == next {
                self.subnets.push(Subnet { left: *left, ..Subnet::default() });
                continue;
            }
            let Some(subnet) = self.subnets.get_mut(index) else { continue };
            if !before.iter().any(|(i, l)| i == id && l == left) {
                *subnet = Subnet { left: *left, ..Subnet::default() };
                // Nodes take from the first that has room, and the figure has that already.
                more = 0;
            }
            let given = more.min(subnet.left());
            subnet.taken += given;
            more -= given;
            let back = less.min(subnet.taken);
            subnet.taken -= back;
            less -= back;
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

    /// Daemons have asked for all figures anew since the last call: one that is the same still has what was taken before.
    pub(super) fn age(&mut self) {
        for subnet in &mut self.subnets {
            subnet.taken_before = std::mem::take(&mut subnet.taken);
        }
    }

    /// Addresses that the group's subnets can give beyond all claims.
    pub(super) fn left(&self, group: GroupId) -> u32 {
        self.left_for(group, Share::default(), Part::default())
    }

    /// [`Rooms::left`] of each group, counted when it is first asked for.
    pub(super) fn lefts(&self) -> Lefts<'_> {
        Lefts { rooms: self, left: vec![None; self.groups.len()] }
    }

    /// The same for a pod for which `share`, a node's of this group, is different.
    pub(super) fn left_for(&self, id: GroupId, share: Share, part: Part) -> u32 {
        let Some(group) = self.groups.get(id.0) else { return 0 };
        if group.subnets.is_empty() {
            return u32::MAX;
        }
        let has: u64 = group
            .subnets
            .iter()
            .filter_map(|s| self.subnets.get(*s))
            .map(|subnet| u64::from(subnet.left()))
            .sum();
        let claims = |index: &usize| {
            let Some(group) = self.groups.get(*index) else { return 0 };
            if *index != id.0 {
                return group.claims + group.held.min(group.needs);
            }
            let held = (group.held + u64::from(part.held)).saturating_sub(u64::from(share.held));
            let needs = group.needs.saturating_sub(u64::from(part.needs));
            group.claims + held.min(needs) + u64::from(part.others)
        };
        let claims: u64 = group.overlaps.iter().map(claims).sum();
        u32::try_from(has.saturating_sub(claims)).unwrap_or(u32::MAX)
    }

    /// A pod in flight begins to hold units in these groups.
    pub(super) fn need(&mut self, groups: &[GroupId], wants: Wants) {
        for group in groups {
            if let Some(group) = self.groups.get_mut(group.0) {
                group.needs += u64::from(needs(wants));
            }
        }
    }

    /// It ends.
    pub(super) fn need_no_more(&mut self, groups: &[GroupId], wants: Wants) {
        for group in groups {
            if let Some(group) = self.groups.get_mut(group.0) {
                group.needs = group.needs.saturating_sub(u64::from(needs(wants)));
            }
        }
    }

    pub(super) fn add(&mut self, group: GroupId, share: Share) {
        let Some(group) = self.groups.get_mut(group.0) else { return };
        group.claims += u64::from(share.claims);
        group.held += u64::from(share.held);
        for kind in Kind::ALL {
            *group.free.of_mut(kind) += u64::from(share.free.of(kind));
            *group.warm.of_mut(kind) += u64::from(share.warm.of(kind));
        }
    }

    pub(super) fn take(&mut self, group: GroupId, share: Share) {
        let Some(group) = self.groups.get_mut(group.0) else { return };
        group.claims = group.claims.saturating_sub(u64::from(share.claims));
        group.held = group.held.saturating_sub(u64::from(share.held));
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
        let a = rooms.report(&set(&[("s1", 10)]), &[], 0);
        let b = rooms.report(&set(&[("s1", 10), ("s2", 5)]), &[], 0);
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
        let a = rooms.report(&set(&[("s1", 10)]), &[], 0);
        rooms.report(&set(&[("s1", 2)]), &set(&[("s1", 9)]), 0);
        assert_eq!(rooms.left(a), 2);
        // The first node reports again, for another reason, what it had heard of the subnet long ago.
        rooms.report(&set(&[("s1", 10)]), &set(&[("s1", 10)]), 0);
        assert_eq!(rooms.left(a), 2);
    }

    #[test]
    fn what_a_node_takes_between_two_figures_is_not_promised_again() {
        let mut rooms = Rooms::default();
        let said = set(&[("s1", 10), ("s2", 5)]);
        let a = rooms.report(&said, &[], 0);
        rooms.report(&said, &said, 12);
        assert_eq!(rooms.left(a), 3, "first from the one, then from the other");
        rooms.report(&said, &said, -1);
        assert_eq!(rooms.left(a), 4, "given back");
        // A new figure has what was taken until then.
        rooms.report(&set(&[("s1", 1), ("s2", 5)]), &said, 2);
        assert_eq!(rooms.left(a), 4);
        // One that stays the same was asked for anew meanwhile, and then others gave back.
        rooms.age();
        rooms.age();
        assert_eq!(rooms.left(a), 6);
    }

    #[test]
    fn a_pod_that_holds_many_nodes_claims_what_it_can_need_on_one() {
        let mut rooms = Rooms::default();
        let group = rooms.report(&set(&[("s1", 10)]), &[], 0);
        let wants = Wants { kind: Kind::Shared, units: 1 };
        let share = Share { claims: 1, held: 1, ..Share::default() };
        for _ in 0..5 {
            rooms.add(group, share);
        }
        rooms.need(&[group], wants);
        assert_eq!(rooms.left(group), 3, "five in use, and one with its ENI");
        // For the pod itself only the others count.
        let part = Part { held: 0, needs: needs(wants), others: 0 };
        assert_eq!(rooms.left_for(group, share, part), 5);
        rooms.need(&[group], wants);
        rooms.need(&[group], wants);
        assert_eq!(rooms.left(group), 0, "no more than the nodes would grow by");
        rooms.need_no_more(&[group], wants);
        rooms.need_no_more(&[group], wants);
        assert_eq!(rooms.left(group), 3);
    }

    #[test]
    fn a_node_without_subnets_is_not_limited_by_any() {
        let mut rooms = Rooms::default();
        let none = rooms.report(&[], &[], 0);
        assert_eq!(rooms.left(none), u32::MAX);
    }
}
