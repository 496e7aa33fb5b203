//! What is true on the fake nodes: pods, sandboxes, addresses that rest, adapters that were attached. Kubelet and daemon of
//! every node in one, without IO.
//!
//! Here it is judged whether a node was given more than it has: at every binding, against what is in use at that moment, also
//! by pods that are gone and whose address is not free yet. The scheduler and the extender always know a little less.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::node::{Kind, Node, Shape};

/// How fast the nodes are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From the binding to the sandbox.
    pub(crate) start: Duration,
    /// From the deletion to the end of the sandbox.
    pub(crate) teardown: Duration,
    /// How long an address rests.
    pub(crate) cooldown: Duration,
    /// Between two writes of one node's numbers.
    pub(crate) coalesce: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start: Duration::from_millis(100),
            teardown: Duration::from_millis(300),
            cooldown: Duration::from_secs(1),
            coalesce: Duration::from_millis(500),
        }
    }
}

/// A pod as the API server shows it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) node: Option<String>,
    /// What it needs of Tideway.
    pub(crate) wants: Option<Kind>,
    /// By the scheduler under test.
    pub(crate) ours: bool,
    pub(crate) running: bool,
    pub(crate) ended: bool,
    pub(crate) deleting: bool,
    /// Text of `PodScheduled=False`.
    pub(crate) refused: Option<String>,
    pub(crate) nominated: Option<String>,
}

/// What has to be told to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// The pod runs.
    Running { namespace: String, name: String },
    /// The deletion of the pod is complete.
    Finish { namespace: String, name: String, uid: String },
}

#[derive(Debug)]
enum Due {
    Start(String),
    Teardown { node: String, uid: String },
    Cooled(String),
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) pace: Pace,
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<String, Pod>,
    due: Vec<(Instant, Due)>,
    duties: VecDeque<Duty>,
    /// Bindings that gave a node more than it has.
    pub(crate) overshoots: Vec<String>,
    /// Pods of ours that were bound since the last [`World::forget_nodes`].
    pub(crate) bindings: usize,
    /// Deletions of pods that somebody else than the test asked for are found by this: names, in the order of deletion.
    pub(crate) deletions: Vec<String>,
}

impl World {
    pub(crate) fn add_node(&mut self, name: &str, shape: Shape) {
        self.nodes.insert(name.to_owned(), Node::new(shape));
    }

    pub(crate) fn forget_nodes(&mut self) {
        self.nodes.clear();
        self.due.clear();
        self.overshoots.clear();
        self.deletions.clear();
        self.bindings = 0;
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = (&String, &mut Node)> {
        self.nodes.iter_mut()
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.nodes.get_mut(name)
    }

    pub(crate) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// Pods of one namespace.
    pub(crate) fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods.values().filter(move |p| p.namespace == namespace)
    }

    /// Nodes that could take one more pod of a kind.
    pub(crate) fn with_room(&self, kind: Kind) -> usize {
        self.nodes.values().filter(|n| n.fits(kind)).count()
    }

    /// Nothing starts, ends or cools, and all numbers are published.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.due.is_empty() && self.duties.is_empty() && self.nodes.values().all(Node::is_told)
    }

    /// A pod was created or changed.
    pub(crate) fn shown(&mut self, pod: Pod, now: Instant) {
        let before = self.pods.insert(pod.uid.clone(), pod.clone());
        let Some(name) = pod.node.clone() else { return };
        let fresh = before.as_ref().is_none_or(|b| b.node.is_none());
        let ended = pod.ended && before.as_ref().is_none_or(|b| !b.ended);
        let deleting = pod.deleting && before.as_ref().is_none_or(|b| !b.deleting);
        let running = pod.running && before.as_ref().is_none_or(|b| !b.running);
        if fresh {
            self.bindings += usize::from(pod.ours);
            self.due.push((now + self.pace.start, Due::Start(pod.uid.clone())));
        }
        let Some(node) = self.nodes.get_mut(&name) else { return };
        node.version.clone_from(&pod.version);
        if fresh && let (Some(kind), false) = (pod.wants, pod.ended) {
            if pod.ours && !node.fits(kind) {
                let text = format!("{}/{} on {name}: {node}", pod.namespace, pod.name);
                self.overshoots.push(text);
            }
            node.bind(&pod.uid, kind);
        }
        if running && pod.wants.is_some() {
            node.shows(now);
        }
        if ended {
            node.leaves(&pod.uid);
        }
        if ended || deleting {
            let due = Due::Teardown { node: name, uid: pod.uid };
            self.due.push((now + self.pace.teardown, due));
        }
    }

    /// A pod is gone from the API, at this version.
    pub(crate) fn gone(&mut self, uid: &str, version: &str, now: Instant) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.deletions.push(pod.name);
        let Some(name) = pod.node else { return };
        let Some(node) = self.nodes.get_mut(&name) else { return };
        version.clone_into(&mut node.version);
        if node.leaves(uid) {
            let due = Due::Teardown { node: name, uid: uid.to_owned() };
            self.due.push((now + self.pace.teardown, due));
        }
    }

    /// UIDs of all pods; what a new list does not have is gone.
    pub(crate) fn uids(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    /// Does what time has brought.
    pub(crate) fn pass(&mut self, now: Instant) -> Vec<Duty> {
        let all = std::mem::take(&mut self.due);
        let (now_due, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        for (_, due) in now_due {
            match due {
                Due::Start(uid) => self.start(&uid),
                Due::Teardown { node, uid } => self.tear_down(&node, &uid, now),
                Due::Cooled(name) => {
                    if let Some(node) = self.nodes.get_mut(&name) {
                        node.cooled();
                    }
                    self.retry(&name);
                }
            }
        }
        self.duties.drain(..).collect()
    }

    fn start(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid).filter(|p| !p.ended) else { return };
        let Some(node) = pod.node.as_ref().and_then(|n| self.nodes.get_mut(n)) else { return };
        // Beyond what it has the node waits, it does not fail.
        if pod.wants.is_some() && !node.plumb(uid) {
            return;
        }
        if !pod.running {
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            self.duties.push_back(Duty::Running { namespace, name });
        }
    }

    fn retry(&mut self, name: &str) {
        let waiting = self.nodes.get(name).map(Node::waiting).unwrap_or_default();
        for uid in waiting {
            self.start(&uid);
        }
    }

    fn tear_down(&mut self, name: &str, uid: &str, now: Instant) {
        if let Some(node) = self.nodes.get_mut(name)
            && node.tear_down(uid) == Some(Kind::Shared)
        {
            self.due.push((now + self.pace.cooldown, Due::Cooled(name.to_owned())));
        }
        self.retry(name);
        if let Some(pod) = self.pods.get(uid).filter(|p| p.deleting) {
            let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
            self.duties.push_back(Duty::Finish { namespace, name, uid: uid.to_owned() });
        }
    }
}
