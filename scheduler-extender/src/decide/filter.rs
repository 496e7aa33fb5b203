//! Filter and prioritize.

use std::sync::Arc;
use std::time::Duration;

use super::choose::{self, Candidate};
use super::facts::PodFacts;
use super::flights::{Flight, Place, Why};
use super::kind::{Kind, PerKind, Wants};
use super::nodes::{Node, NodeId};
use super::sight::{Look, Room};
use super::wake::Refused;
use super::{Decider, Map, Profile, Set, late};

/// The answer of filter; figures are places in the request's list of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The pod needs nothing of ours: every node is fine.
    Any,
    /// These nodes; the pod holds its units on each.
    Nodes(Vec<usize>),
    /// None.
    Nobody(Refusal),
}

/// Why no node was returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One text for all nodes.
    pub text: Arc<str>,
    /// Nodes for which waiting is enough: what the pod was nominated for is leaving or cooling. Everything else is refused as
    /// unresolvable.
    pub wait: Vec<usize>,
}

impl Decider {
    /// Which of these nodes the pod may go to.
    pub fn filter<N: AsRef<str>>(&mut self, now: Duration, pod: &PodFacts, names: &[N]) -> Choice {
        self.expire(now);
        let Some(wants) = pod.wants else { return Choice::Any };
        self.caution.asked(now, &pod.uid, self.policy.caution);
        if self.late.has_left(&pod.uid) {
            return Choice::Nobody(Refusal { text: late::GONE.into(), wait: Vec::new() });
        }
        if let Some(index) = self.pinned(&pod.uid, names) {
            return Choice::Nodes(vec![index]);
        }
        self.cycle_failed(now, pod);
        self.passed_over(pod, names);
        let counted = self.flights.get(&pod.uid).is_some_and(Flight::is_open);
        let own = if counted { 0 } else { wants.units };
        let in_flight = self.flights.open(wants.kind).saturating_add(own);
        let plenty = wants.units.saturating_add(in_flight);

        let candidates = self.candidates(now, pod, wants, names);
        let volume = pod
            .claims
            .iter()
            .any(|c| !self.claims.contains(format!("{}/{c}", pod.namespace).as_str()));
        let (profile, seed) = (self.policy.profile, choose::seed(&pod.uid));
        let roomy: Vec<Candidate> = if volume {
            Vec::new()
        } else {
            candidates.iter().filter(|c| c.room.free >= plenty).copied().collect()
        };
        let chosen = if roomy.is_empty() {
            let undecided = self.undecided(&pod.uid, wants.kind);
            choose::best(&candidates, profile, wants.units, seed, &undecided).into_iter().collect()
        } else {
            let limit = if pod.choosy { 0 } else { self.policy.short_list };
            choose::short_list(roomy, limit, profile, wants.units, seed)
        };
        if chosen.is_empty() {
            return Choice::Nobody(self.refuse(now, pod, wants, names));
        }
        self.waiting.forget(&pod.uid);
        let hold = if volume { self.policy.volume_hold } else { self.policy.hold };
        Choice::Nodes(self.offer((now, now + hold), pod, wants, &chosen))
    }

    /// How good these nodes are for the pod, 0 to 10. What it needs is known since filter.
    pub fn prioritize<N: AsRef<str>>(&self, uid: &str, names: &[N]) -> Vec<u8> {
        let flight = self.flights.get(uid);
        let record = || self.pods.get(uid).and_then(|record| record.wants);
        let Some(wants) = flight.map(|f| f.wants).or_else(record) else {
            return vec![0; names.len()];
        };
        let room = |name: &N| {
            let node = self.nodes.id(name.as_ref()).and_then(|id| Some((id, self.nodes.get(id)?)));
            let Some((id, node)) = node else { return (None, false) };
            let held = flight.filter(|f| f.place(id).is_some());
            let leased = flight.is_some_and(|f| has_lease(node, &f.namespace, &f.name));
            let own = held.map_or(0, |f| f.wants.units);
            (self.nodes.free(node, wants.kind, own, PerKind::default()), leased)
        };
        let rooms: Vec<(Option<Room>, bool)> = names.iter().map(room).collect();
        choose::scores(&rooms, self.policy.profile, wants.units)
    }

    /// A pod that was bound, or of which a bind may have happened, can only go where it may be.
    fn pinned<N: AsRef<str>>(&self, uid: &str, names: &[N]) -> Option<usize> {
        let places = self.flights.get(uid).map(|f| f.places.as_slice()).unwrap_or_default();
        let bound = places.iter().filter(|p| !p.why.is_offer());
        let shown = self.pods.get(uid).and_then(|record| record.node);
        let ids: Vec<NodeId> = bound.map(|p| p.node).chain(shown).collect();
        if ids.is_empty() {
            return None;
        }
        names.iter().position(|n| self.nodes.id(n.as_ref()).is_some_and(|id| ids.contains(&id)))
    }

    /// Units that other pods hold on nodes of which they will take but one.
    fn undecided(&self, uid: &str, kind: Kind) -> Map<NodeId, u32> {
        let mut units = Map::default();
        let others = self.flights.iter().filter(|(other, flight)| {
            other.as_ref() != uid && flight.wants.kind == kind && flight.places.len() > 1
        });
        for (_, flight) in others {
            for place in &flight.places {
                *units.entry(place.node).or_default() += flight.wants.units;
            }
        }
        units
    }

    /// Whether pods may be on their way that we could not count.
    pub(super) fn is_careful(&self, now: Duration) -> bool {
        self.caution.units(now) != PerKind::default()
    }

    /// Nodes with enough units for the pod.
    fn candidates<N: AsRef<str>>(
        &self,
        now: Duration,
        pod: &PodFacts,
        wants: Wants,
        names: &[N],
    ) -> Vec<Candidate> {
        let flight = self.flights.get(&pod.uid);
        let usual = flight.is_none() && !self.is_careful(now);
        let mut lefts = self.nodes.rooms.lefts();
        let mut candidates = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let id = self.nodes.id(name.as_ref());
            let sight = id.map(|id| self.nodes.sight(id)).unwrap_or_default();
            let zone = sight.zone;
            let (room, own) = match sight.look {
                // Fine for a pod that needs nothing special.
                Look::Unknown if wants.kind == Kind::Shared => {
                    let room = Room { free: u32::MAX, warm: 0 };
                    candidates.push(Candidate { index, id: None, zone, room, own: false });
                    continue;
                }
                Look::Unknown => continue,
                Look::Plain if usual => (sight.room(wants.kind, lefts.of(sight.group)), false),
                Look::Plain | Look::Special => {
                    let Some((id, node)) = id.and_then(|id| Some((id, self.nodes.get(id)?))) else {
                        continue;
                    };
                    let held = flight.filter(|f| f.place(id).is_some());
                    let own = held.map_or(0, |f| f.wants.units);
                    let room = self.room_for(now, node, pod, wants, own).unwrap_or_default();
                    (room, own > 0 || has_lease(node, &pod.namespace, &pod.name))
                }
            };
            if room.free >= wants.units {
                candidates.push(Candidate { index, id, zone, room, own });
            }
        }
        candidates
    }

    /// Room for this pod, beside what is kept for pods that may be on their way and for those for whom the node was cleared.
    pub(super) fn room_for(
        &self,
        now: Duration,
        node: &Node,
        pod: &PodFacts,
        wants: Wants,
        own: u32,
    ) -> Option<Room> {
        let mut kept = self.caution.units(now);
        for nominated in &node.nominated {
            if nominated.uid != pod.uid
                && nominated.priority >= pod.priority
                && !self.holds_on(&nominated.uid, node)
            {
                kept.add(nominated.wants);
            }
        }
        let mut room = self.nodes.free(node, wants.kind, own, kept)?;
        if wants.kind == Kind::Shared && has_lease(node, &pod.namespace, &pod.name) {
            room.free = room.free.saturating_add(1);
            room.warm = room.warm.saturating_add(1);
        }
        Some(room)
    }

    fn holds_on(&self, uid: &str, node: &Node) -> bool {
        let id = self.nodes.id(&node.name);
        id.zip(self.flights.get(uid)).is_some_and(|(id, f)| f.place(id).is_some())
    }

    /// Lets the pod hold its units on the chosen nodes. Holds of earlier cycles stay: nobody said how those ended.
    fn offer(
        &mut self,
        (since, until): (Duration, Duration),
        pod: &PodFacts,
        wants: Wants,
        chosen: &[Candidate],
    ) -> Vec<usize> {
        let shown = self.pods.get(&pod.uid).filter(|record| record.version > pod.version);
        let (asked, known) =
            shown.map_or((pod.version, pod.failure), |record| (record.version, record.failure));
        let mut seen: Set<NodeId> = Set::default();
        let mut indexes = Vec::with_capacity(chosen.len());
        let mut nodes = Vec::with_capacity(chosen.len());
        for candidate in chosen {
            match candidate.id {
                // A name that was sent twice.
                Some(id) if !seen.insert(id) => continue,
                Some(id) => nodes.push(id),
                None => {}
            }
            indexes.push(candidate.index);
        }
        if nodes.is_empty() {
            return indexes;
        }
        let new = Flight {
            wants,
            namespace: pod.namespace.as_str().into(),
            name: pod.name.as_str().into(),
            places: Vec::new(),
            groups: Vec::new(),
        };
        self.fly(&pod.uid, Some(new), |flight| {
            flight.places.retain(|p| !matches!(p.why, Why::Addressed(_)));
            let before: Set<NodeId> = flight.places.iter().map(|p| p.node).collect();
            flight.places.retain(|p| !seen.contains(&p.node));
            flight.places.extend(nodes.iter().map(|node| {
                let older = before.contains(node);
                let why = Why::Offered { since, until, asked, known, failed: false, older };
                Place { node: *node, why }
            }));
        });
        self.flights.ends_at(until, &pod.uid);
        indexes
    }

    fn refuse<N: AsRef<str>>(
        &mut self,
        now: Duration,
        pod: &PodFacts,
        wants: Wants,
        names: &[N],
    ) -> Refusal {
        let ids: Vec<Option<NodeId>> = names.iter().map(|n| self.nodes.id(n.as_ref())).collect();
        let wait = ids
            .iter()
            .enumerate()
            .filter(|(_, id)| id.is_some_and(|id| self.clears(now, id, pod, wants)));
        let wait = wait.map(|(index, _)| index).collect();
        let text = if let ([name], [id]) = (names, ids.as_slice()) {
            let node = id.and_then(|id| self.nodes.get(id));
            let room = node.and_then(|n| self.nodes.free(n, wants.kind, 0, PerKind::default()));
            self.words.exact(now, name.as_ref(), node, wants, room)
        } else {
            // Without a free unit the pod waits for one, whatever caution keeps.
            let careful = self.is_careful(now) && self.nodes.rooms.total(wants.kind) > 0;
            self.words.coarse(now, &self.nodes, wants.kind, careful)
        };
        let refused = Refused {
            wants,
            freed: self.nodes.freed.of(wants.kind),
            anywhere: !pod.choosy && pod.claims.is_empty(),
            priority: pod.priority,
            namespace: &pod.namespace,
            name: &pod.name,
        };
        let sample = ids.into_iter().flatten().collect();
        // A pod that is on a node by now waits for nothing.
        if self.pods.get(&pod.uid).is_none_or(|record| record.node.is_none()) {
            self.waiting.refused(now, &pod.uid, refused, names.len(), sample);
        }
        Refusal { text, wait }
    }

    /// Whether preemption cleared this node for the pod, which lacks units of ours there now, and what left it covers the pod
    /// once it has cooled. A node that takes no new pods clears nothing.
    pub(super) fn clears(&self, now: Duration, id: NodeId, pod: &PodFacts, wants: Wants) -> bool {
        let Some(node) = self.nodes.get(id).filter(|n| n.serves()) else { return false };
        let cleared = node.nominated.iter().any(|n| n.uid == pod.uid)
            || pod.nominated.as_deref() == Some(&*node.name);
        if !cleared || self.is_ours(&pod.uid, id) {
            return false;
        }
        let held = self.flights.get(&pod.uid).filter(|f| f.place(id).is_some());
        let room = self.room_for(now, node, pod, wants, held.map_or(0, |f| f.wants.units));
        room.unwrap_or_default().free < wants.units && self.soon(node, pod, wants) >= wants.units
    }

    /// Units that this pod can have here once everything that leaves has left and cooled.
    pub(super) fn soon(&self, node: &Node, pod: &PodFacts, wants: Wants) -> u32 {
        let free =
            self.nodes.free(node, wants.kind, 0, PerKind::default()).unwrap_or_default().free;
        let ahead = node.nominated.iter().filter(|n| {
            n.uid != pod.uid
                && n.priority >= pod.priority
                && n.wants.kind == wants.kind
                && !self.holds_on(&n.uid, node)
        });
        let ahead = ahead.fold(0, |sum: u32, n| sum.saturating_add(n.wants.units));
        free.saturating_add(node.standing.soon.of(wants.kind))
            .saturating_add(node.ending.of(wants.kind))
            .saturating_sub(ahead)
    }
}

/// Whether an address waits on the node for this pod and no other.
fn has_lease(node: &Node, namespace: &str, name: &str) -> bool {
    let leases = node.report.as_ref().map(|r| r.strict_leases.as_slice()).unwrap_or_default();
    leases.iter().any(|l| l.split_once('/') == Some((namespace, name)))
}

/// The profile as a word of the configuration.
impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pack => "pack",
            Self::Spread => "spread",
        })
    }
}
