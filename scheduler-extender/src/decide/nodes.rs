//! The books of the nodes. Every change goes through [`Nodes::change`], which keeps the node's standing and the sums of its
//! subnets right, so that reading is O(1) for each node and kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::facts::{NodeFacts, Report, Uid};
use super::kind::{Kind, PerKind, Wants};
use super::rooms::{GroupId, Rooms, Share};
use super::standing::{Load, Standing};

/// A node, by its place in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(u32);

impl NodeId {
    fn at(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Up to which version a deletion must be accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The deletion was seen, with this version.
    Seen(u64),
    /// A list, of this version, did not have the pod any more.
    Unseen(u64),
    /// No version is known: only time ends it.
    Unknown,
}

/// A pod that left the node, until the node's report accounts for it.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    pub(super) wants: Wants,
    pub(super) end: End,
    pub(super) since: Duration,
}

/// A pod for which preemption cleared this node.
#[derive(Debug, Clone)]
pub(super) struct Nominated {
    pub(super) uid: Uid,
    pub(super) wants: Wants,
    pub(super) priority: i32,
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) zone: u16,
    labelled: bool,
    closed: bool,
    /// The API server has it no more.
    vanished: bool,
    /// None: no Tideway there, as far as we know.
    pub(super) report: Option<Box<Report>>,
    pub(super) load: Load,
    pub(super) gone: Vec<Gone>,
    /// Units of pods that are bound here and whose deletion was asked for.
    pub(super) ending: PerKind<u32>,
    pub(super) nominated: Vec<Nominated>,
    pub(super) standing: Standing,
    group: GroupId,
    share: Share,
}

impl Node {
    fn settle(&mut self) {
        let report = self.report.as_deref();
        self.standing = report.map(|r| Standing::of(r, &self.load)).unwrap_or_default();
        let open = report.is_some_and(|r| r.ready) && !self.closed;
        let grows = report.is_some_and(|r| r.grows);
        let Standing { free, warm, growth, .. } = self.standing;
        self.share = Share {
            claims: growth,
            free: if !open {
                PerKind::default()
            } else if grows {
                free
            } else {
                warm
            },
            warm: if open { warm } else { PerKind::default() },
        };
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    names: HashMap<Arc<str>, NodeId>,
    zones: HashMap<Box<str>, u16>,
    pub(super) rooms: Rooms,
    /// Grows whenever a node gets room of a kind.
    pub(super) freed: PerKind<u64>,
    /// Names of the list that is being received.
    listed: HashSet<NodeId>,
    /// Nodes with pods that left.
    pub(super) leaving: HashSet<NodeId>,
    /// Places of nodes that are gone, for new ones.
    spare: Vec<NodeId>,
    known: usize,
}

impl Nodes {
    pub(super) fn id(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// The node of this name; it is entered if it is new.
    pub(super) fn enter(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.id(name) {
            return id;
        }
        let name: Arc<str> = name.into();
        let node = Node { name: Arc::clone(&name), ..Node::default() };
        let spare = self.spare.pop().and_then(|id| Some((id, self.list.get_mut(id.at())?)));
        let id = if let Some((id, place)) = spare {
            *place = node;
            id
        } else {
            self.list.push(node);
            NodeId(u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX))
        };
        self.names.insert(name, id);
        id
    }

    /// Forgets nodes that the API server has no more and that nobody in `used` names: clusters that grow and shrink bring
    /// ever new names.
    pub(super) fn forget(&mut self, used: &HashSet<NodeId>) {
        let gone = self.names.iter().filter(|(_, id)| {
            let node = self.get(**id).filter(|n| n.vanished && n.report.is_none());
            node.is_some_and(|n| {
                n.load == Load::default() && n.gone.is_empty() && n.nominated.is_empty()
            }) && !used.contains(id)
        });
        let gone: Vec<(Arc<str>, NodeId)> =
            gone.map(|(name, id)| (Arc::clone(name), *id)).collect();
        for (name, id) in gone {
            self.names.remove(&name);
            self.spare.push(id);
        }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.list.get(id.at())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.list.iter()
    }

    /// Whether an open node has so many units.
    pub(super) fn has(&self, id: NodeId, wants: Wants) -> bool {
        let node = self.get(id).filter(|n| !n.closed);
        let room = node.and_then(|n| self.free(n, wants.kind, 0, PerKind::default()));
        room.is_some_and(|r| r.free >= wants.units)
    }

    /// How many nodes have told of themselves.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// Changes a node and puts all sums right.
    pub(super) fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.list.get_mut(id.at()) else {
            return;
        };
        let before = node.share.free;
        self.rooms.take(node.group, node.share);
        change(node);
        node.settle();
        self.rooms.add(node.group, node.share);
        for kind in Kind::ALL {
            if node.share.free.of(kind) > before.of(kind) {
                *self.freed.of_mut(kind) += 1;
            }
        }
        if node.gone.is_empty() {
            self.leaving.remove(&id);
        } else {
            self.leaving.insert(id);
        }
    }

    /// A node's daemon reported, or its object is gone. What the report accounts for is no longer counted beside it.
    pub(super) fn report(&mut self, name: &str, report: Option<Report>) {
        let id = self.enter(name);
        self.listed.insert(id);
        let before = self.get(id).and_then(|n| n.report.as_ref()).map(|r| r.subnets.clone());
        let had = before.is_some();
        let before = before.unwrap_or_default();
        let group = report.as_ref().map(|now| self.rooms.report(&now.subnets, &before));
        let zone = report.as_ref().map(|r| self.zone(&r.zone));
        match (had, report.is_some()) {
            (false, true) => self.known += 1,
            (true, false) => self.known = self.known.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        if let (Some(node), Some(group)) = (self.list.get_mut(id.at()), group)
            && node.group != group
        {
            self.rooms.take(node.group, node.share);
            node.group = group;
            self.rooms.add(node.group, node.share);
        }
        self.change(id, |node| {
            if let (Some(zone), false) = (zone, node.labelled) {
                node.zone = zone;
            }
            node.report = report.map(Box::new);
            account(node);
        });
    }

    /// A node as the API server shows it.
    pub(super) fn shown(&mut self, facts: &NodeFacts) {
        let id = self.enter(&facts.name);
        let zone = facts.zone.as_deref().map(|z| self.zone(z));
        self.change(id, |node| {
            node.labelled = zone.is_some();
            node.zone = zone.unwrap_or(node.zone);
            node.closed = !facts.schedulable;
            node.vanished = false;
        });
    }

    /// A node that the API server has no more takes no new pods.
    pub(super) fn vanished(&mut self, name: &str) {
        if let Some(id) = self.id(name) {
            self.change(id, |node| (node.closed, node.vanished) = (true, true));
        }
    }

    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
    }

    /// What was not in the list has no report any more.
    pub(super) fn end_list(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let lost = self.names.iter().filter(|(_, id)| {
            !listed.contains(id) && self.get(**id).is_some_and(|n| n.report.is_some())
        });
        let names: Vec<Arc<str>> = lost.map(|(name, _)| Arc::clone(name)).collect();
        for name in names {
            self.report(&name, None);
        }
    }

    fn zone(&mut self, name: &str) -> u16 {
        let next = u16::try_from(self.zones.len() + 1).unwrap_or(u16::MAX);
        *self.zones.entry(name.into()).or_insert(next)
    }

    /// Units of a kind that a pod could have here, counted anew with other loads. `None`: nothing is known of the node.
    pub(super) fn free(
        &self,
        node: &Node,
        kind: Kind,
        own: u32,
        others: PerKind<u32>,
    ) -> Option<Room> {
        let report = node.report.as_deref()?;
        if !report.ready {
            return Some(Room::default());
        }
        let left = if report.grows { self.rooms.left(node.group) } else { 0 };
        let changed = own > 0 || others != PerKind::default();
        let (standing, left) = if changed {
            let mut load = node.load;
            load.held.take(Wants { kind, units: own });
            for other in Kind::ALL {
                load.held.add(Wants { kind: other, units: others.of(other) });
            }
            let standing = Standing::of(report, &load);
            let left = if report.grows {
                left.saturating_add(node.standing.growth).saturating_sub(standing.growth)
            } else {
                left
            };
            (standing, left)
        } else {
            (node.standing, left)
        };
        let warm = standing.warm.of(kind);
        Some(Room { free: standing.free.of(kind).min(warm.saturating_add(left)), warm })
    }
}

/// What a node has for one pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Units that it can have.
    pub(super) free: u32,
    /// Of those, without a cloud call.
    pub(super) warm: u32,
}

/// Forgets pods that left and that the report has in its own figures.
pub(super) fn account(node: &mut Node) {
    let Some(report) = &node.report else {
        // Without Tideway nothing is counted on the node.
        node.gone.clear();
        node.load.gone = PerKind::default();
        return;
    };
    let seen = report.pods_version;
    node.gone.retain(|gone| match gone.end {
        End::Seen(version) | End::Unseen(version) => seen.is_none_or(|seen| seen < version),
        End::Unknown => true,
    });
    recount(node);
}

/// Sums up the pods that left.
pub(super) fn recount(node: &mut Node) {
    node.load.gone = PerKind::default();
    for gone in &node.gone {
        node.load.gone.add(gone.wants);
    }
}
