//! The books of the nodes. Every change goes through [`Nodes::change`], which keeps the node's standing and the sums of its
//! subnets right, so that reading is O(1) for each node and kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Map;
use super::facts::{NodeFacts, Report, Uid};
use super::kind::{Kind, PerKind, Wants};
use super::rooms::{GroupId, Part, Rooms, Share, needs};
use super::sight::{Look, Room, Sight};
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

/// Whom a node lets in, as far as the API server shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Door {
    /// Every pod.
    #[default]
    Open,
    /// Those that it is tainted for.
    Tainted,
    /// None: it is cordoned or in trouble.
    Shut,
    /// The API server has it no more.
    Vanished,
}

/// One node.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) zone: u16,
    labelled: bool,
    door: Door,
    /// The last list of nodes that had it.
    shown_in: u32,
    /// The last list of reports that had it.
    told_in: u32,
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
    sight: Sight,
}

impl Node {
    /// It takes new pods, as far as the API server shows, if only some.
    pub(super) fn serves(&self) -> bool {
        matches!(self.door, Door::Open | Door::Tainted)
    }

    fn settle(&mut self) {
        let report = self.report.as_deref();
        self.standing = report.map(|r| Standing::of(r, &self.load)).unwrap_or_default();
        let (ready, grows) = report.map_or((false, false), |r| (r.ready, r.grows));
        let Standing { free, warm, growth, .. } = self.standing;
        let held = growth - self.unheld_growth(growth, &self.load);
        let (free, warm) = match (ready, grows) {
            (false, _) => (PerKind::default(), PerKind::default()),
            (true, true) => (free, warm),
            (true, false) => (warm, warm),
        };
        let open = |figure| if self.door == Door::Open { figure } else { PerKind::default() };
        self.share = Share { claims: growth - held, held, free: open(free), warm: open(warm) };
        let special =
            !self.nominated.is_empty() || report.is_some_and(|r| !r.strict_leases.is_empty());
        let look = match report {
            None => Look::Unknown,
            Some(_) if special => Look::Special,
            Some(_) => Look::Plain,
        };
        self.sight = Sight { look, zone: self.zone, group: self.group, free, warm };
    }

    /// Of `growth`, that of a load, what is not for held units.
    fn unheld_growth(&self, growth: u32, load: &Load) -> u32 {
        match &self.report {
            Some(report) if growth > 0 && load.held != PerKind::default() => {
                let load = Load { held: PerKind::default(), ..*load };
                Standing::of(report, &load).growth.min(growth)
            }
            Some(_) | None => growth,
        }
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    /// [`Node::sight`] of each.
    sights: Vec<Sight>,
    names: Map<Arc<str>, NodeId>,
    zones: HashMap<Box<str>, u16>,
    pub(super) rooms: Rooms,
    /// Grows whenever a node gets room of a kind.
    pub(super) freed: PerKind<u64>,
    /// Numbers of the last lists of nodes and of reports.
    lists: (u32, u32),
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
            if let Some(sight) = self.sights.get_mut(id.at()) {
                *sight = Sight::default();
            }
            id
        } else {
            self.list.push(node);
            self.sights.push(Sight::default());
            NodeId(u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX))
        };
        self.names.insert(name, id);
        id
    }

    /// Forgets nodes that the API server has no more and that nobody in `used` names: clusters that grow and shrink bring
    /// ever new names.
    pub(super) fn forget(&mut self, used: &HashSet<NodeId>) {
        let gone = self.names.iter().filter(|(_, id)| {
            let node = self.get(**id).filter(|n| n.door == Door::Vanished && n.report.is_none());
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

    pub(super) fn sight(&self, id: NodeId) -> Sight {
        self.sights.get(id.at()).copied().unwrap_or_default()
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.list.get(id.at())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.names.values().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.list.iter()
    }

    /// The groups of these nodes' subnets.
    pub(super) fn groups(&self, ids: &[NodeId]) -> Vec<GroupId> {
        let mut groups: Vec<GroupId> = Vec::new();
        for group in ids.iter().filter_map(|id| self.get(*id)).map(|node| node.group) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Whether an open node has so many units.
    pub(super) fn has(&self, id: NodeId, wants: Wants) -> bool {
        let node = self.get(id).filter(|n| n.door == Door::Open);
        let room = node.and_then(|n| self.free(n, wants.kind, 0, PerKind::default()));
        room.is_some_and(|r| r.free >= wants.units)
    }

    /// How many nodes have told of themselves.
    pub(super) fn known(&self) -> usize {
        self.known
    }

    /// Changes a node and puts all sums right.
    pub(super) fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        let Some(node) = self.list.get_mut(id.at()) else { return };
        let (before, none_left) = (node.share, node.gone.is_empty());
        change(node);
        node.settle();
        if node.share != before {
            self.rooms.take(node.group, before);
            self.rooms.add(node.group, node.share);
            for kind in Kind::ALL {
                if node.share.free.of(kind) > before.free.of(kind) {
                    *self.freed.of_mut(kind) += 1;
                }
            }
        }
        match (none_left, node.gone.is_empty()) {
            (true, false) => {
                self.leaving.insert(id);
            }
            (false, true) => {
                self.leaving.remove(&id);
            }
            (true, true) | (false, false) => {}
        }
        if let Some(sight) = self.sights.get_mut(id.at()) {
            *sight = node.sight;
        }
    }

    /// A node's daemon reported, or its object is gone. What the report accounts for is no longer counted beside it.
    pub(super) fn report(&mut self, name: &str, report: Option<Report>) {
        let id = self.enter(name);
        let before = self.get(id).and_then(|n| n.report.as_ref());
        let grown = before.zip(report.as_ref()).map_or(0, |(b, r)| r.addresses() - b.addresses());
        let before = before.map(|r| r.subnets.clone());
        let had = before.is_some();
        let before = before.unwrap_or_default();
        let group = report.as_ref().map(|now| self.rooms.report(&now.subnets, &before, grown));
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
        let list = self.lists.1;
        self.change(id, |node| {
            node.told_in = list;
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
        let list = self.lists.0;
        self.change(id, |node| {
            node.shown_in = list;
            node.labelled = zone.is_some();
            node.zone = zone.unwrap_or(node.zone);
            node.door = match (facts.schedulable, facts.serves) {
                (true, _) => Door::Open,
                (false, true) => Door::Tainted,
                (false, false) => Door::Shut,
            };
        });
    }

    /// A node that the API server has no more takes no new pods.
    pub(super) fn vanished(&mut self, name: &str) {
        if let Some(id) = self.id(name) {
            self.change(id, |node| node.door = Door::Vanished);
        }
    }

    pub(super) fn begin_reports(&mut self) {
        self.lists.1 = self.lists.1.wrapping_add(1);
    }

    /// What was not in the list has no report any more.
    pub(super) fn end_reports(&mut self) {
        let lost = |n: &&Node| n.report.is_some() && n.told_in != self.lists.1;
        let lost: Vec<Arc<str>> =
            self.list.iter().filter(lost).map(|n| Arc::clone(&n.name)).collect();
        for name in lost {
            self.report(&name, None);
        }
    }

    pub(super) fn begin_nodes(&mut self) {
        self.lists.0 = self.lists.0.wrapping_add(1);
    }

    /// What was not in the list is gone.
    pub(super) fn end_nodes(&mut self) {
        let lost = |n: &&Node| n.door != Door::Vanished && n.shown_in != self.lists.0;
        let lost: Vec<Arc<str>> =
            self.list.iter().filter(lost).map(|n| Arc::clone(&n.name)).collect();
        for name in lost {
            self.vanished(&name);
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
        let changed = own > 0 || others != PerKind::default();
        let (standing, left) = if changed {
            let mut load = node.load;
            load.held.take(Wants { kind, units: own });
            let alone = Standing::of(report, &load);
            let held = alone.growth - node.unheld_growth(alone.growth, &load);
            for other in Kind::ALL {
                load.held.add(Wants { kind: other, units: others.of(other) });
            }
            let standing = Standing::of(report, &load);
            let part = Part {
                held,
                needs: if own > 0 { needs(Wants { kind, units: own }) } else { 0 },
                others: standing.growth.saturating_sub(alone.growth),
            };
            (standing, self.rooms.left_for(node.group, node.share, part))
        } else {
            (node.standing, self.rooms.left(node.group))
        };
        let left = if report.grows { left } else { 0 };
        let warm = standing.warm.of(kind);
        Some(Room { free: standing.free.of(kind).min(warm.saturating_add(left)), warm })
    }
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
