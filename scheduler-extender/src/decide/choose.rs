//! Which of the nodes with room are better, and which are returned when not all are.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::nodes::NodeId;
use super::sight::Room;
use super::{Map, Profile};

/// A node that has room for the pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Place in the request's list.
    pub(super) index: usize,
    /// None: a node without books.
    pub(super) id: Option<NodeId>,
    pub(super) zone: u16,
    pub(super) room: Room,
    /// The pod holds units here already, or a lease of its own waits here.
    pub(super) own: bool,
}

impl Candidate {
    /// What makes one node better than another; nodes of one rank are equals. Room counts in powers of two, or hardly two
    /// nodes would be equals and every pod would be sent to the same few.
    fn rank(&self, profile: Profile, units: u32) -> u32 {
        let size = 32 - self.room.free.leading_zeros();
        let size = match profile {
            Profile::Spread => size,
            Profile::Pack => 32 - size,
        };
        let warm = u32::from(self.room.warm >= units);
        (u32::from(self.own) << 8) | (warm << 7) | size
    }

    /// Its rank, and among equals the place in their mixture.
    pub(super) fn worth(&self, profile: Profile, units: u32, seed: u64) -> u64 {
        (u64::from(self.rank(profile, units)) << 32) | (mix(seed, self.index) >> 32)
    }
}

/// A number from which equals are mixed: another for each pod, the same for the same pod.
pub(super) fn seed(uid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

fn mix(seed: u64, index: usize) -> u64 {
    let mut z = seed ^ u64::try_from(index).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The best node for a pod that gets no choice. What pods hold there that will mostly go elsewhere (`undecided`) decides only
/// among equals: else nodes that have pods already would look roomier than empty ones that many pods were offered.
pub(super) fn best(
    candidates: &[Candidate],
    profile: Profile,
    units: u32,
    seed: u64,
    undecided: &Map<NodeId, u32>,
) -> Option<Candidate> {
    let settled = |c: &Candidate| {
        let held = c.id.and_then(|id| undecided.get(&id)).copied().unwrap_or_default();
        let room = Room { free: c.room.free.saturating_add(held), ..c.room };
        Candidate { room, ..*c }.rank(profile, units)
    };
    candidates.iter().copied().max_by_key(|c| (settled(c), c.room.free, mix(seed, c.index)))
}

/// The best `limit` nodes, taken from the zones in turn, so that spreading over zones keeps its choice.
pub(super) fn short_list(
    candidates: Vec<Candidate>,
    limit: usize,
    profile: Profile,
    units: u32,
    seed: u64,
) -> Vec<Candidate> {
    if limit == 0 || candidates.len() <= limit {
        return candidates;
    }
    let mut zones: BTreeMap<u16, Vec<(u64, Candidate)>> = BTreeMap::new();
    for candidate in candidates {
        let worth = candidate.worth(profile, units, seed);
        zones.entry(candidate.zone).or_default().push((worth, candidate));
    }
    for zone in zones.values_mut() {
        // No zone gives more than `limit`: the rest need not be sorted.
        if zone.len() > limit {
            zone.select_nth_unstable_by_key(limit, |(worth, _)| Reverse(*worth));
            zone.truncate(limit);
        }
        zone.sort_unstable_by_key(|(worth, _)| *worth);
    }
    let mut chosen = Vec::with_capacity(limit);
    while chosen.len() < limit && !zones.is_empty() {
        zones.retain(|_, left| {
            if let Some((_, candidate)) = left.pop().filter(|_| chosen.len() < limit) {
                chosen.push(candidate);
            }
            !left.is_empty()
        });
    }
    chosen
}

/// Scores from 0 to 10 in the order of `rooms`: nodes that need no cloud call first, then by room.
pub(super) fn scores(rooms: &[(Option<Room>, bool)], profile: Profile, units: u32) -> Vec<u8> {
    let most = rooms.iter().filter_map(|(room, _)| *room).map(|r| r.free).max().unwrap_or(0).max(1);
    let score = |(room, own): &(Option<Room>, bool)| {
        // A node of which nothing is known is neither preferred nor avoided.
        let Some(room) = room else { return 5 };
        if *own {
            return 10;
        }
        if room.free < units {
            return 0;
        }
        let part = |whole: u32| {
            let part = u64::from(room.free) * u64::from(whole) / u64::from(most);
            let part = u8::try_from(part).unwrap_or(0);
            match profile {
                Profile::Spread => part,
                Profile::Pack => u8::try_from(whole).unwrap_or(0) - part,
            }
        };
        if room.warm >= units { 6 + part(4) } else { 1 + part(4) }
    };
    rooms.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: usize, zone: u16, free: u32, warm: u32) -> Candidate {
        Candidate { index, id: None, zone, room: Room { free, warm }, own: false }
    }

    #[test]
    fn a_short_list_keeps_every_zone() {
        // Zone 1 has by far more room, and more nodes.
        let many = (0..90).map(|i| candidate(i, 1, 200, 10));
        let few = (90..100).map(|i| candidate(i, 2, 5, 0));
        let all: Vec<Candidate> = many.chain(few).collect();
        let chosen = short_list(all, 16, Profile::Spread, 1, 7);
        assert_eq!(chosen.len(), 16);
        assert_eq!(chosen.iter().filter(|c| c.zone == 2).count(), 8);
    }

    #[test]
    fn equal_nodes_are_mixed_so_that_pods_do_not_crowd_on_the_same_few() {
        let all: Vec<Candidate> = (0..500).map(|i| candidate(i, 0, 200, 10)).collect();
        let mut seen = std::collections::BTreeSet::new();
        for pod in 0..100 {
            let chosen =
                short_list(all.clone(), 16, Profile::Spread, 1, seed(&format!("pod-{pod}")));
            seen.extend(chosen.iter().map(|c| c.index));
        }
        assert!(seen.len() > 450, "only {} of 500 equal nodes were ever offered", seen.len());
    }

    #[test]
    fn warm_nodes_come_before_roomy_ones_and_profiles_differ_in_the_rest() {
        let room = |free, warm| (Some(Room { free, warm }), false);
        let rooms = [room(100, 0), room(10, 1), room(100, 1), room(0, 0), (None, false)];
        assert_eq!(scores(&rooms, Profile::Spread, 1), [5, 6, 10, 0, 5]);
        assert_eq!(scores(&rooms, Profile::Pack, 1), [1, 10, 6, 0, 5]);
    }
}
