//! What the watches tell, taken into the books.

use std::collections::HashSet;
use std::time::Duration;

use super::facts::{NodeFacts, PodFacts, Report, Uid};
use super::flights::Why;
use super::nodes::{End, Gone, Nominated, recount};
use super::{Decider, NodeId, Record};

/// For so long after a filter call the outcome of the cycle before it may still arrive.
const ECHO: Duration = Duration::from_secs(1);

/// A step of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// It begins.
    Begins,
    /// It is whole, at this version: what was not in it is gone.
    Ends(Option<u64>),
}

impl Decider {
    /// A node's daemon reported; `None`: its object is gone.
    pub fn report(&mut self, node: &str, report: Option<Report>) {
        self.nodes.report(node, report);
    }

    /// A list of reports begins or ends.
    pub fn reports_list(&mut self, list: List) {
        match list {
            List::Begins => self.nodes.begin_list(),
            List::Ends(_) => self.nodes.end_list(),
        }
    }

    /// A node was created or changed.
    pub fn node(&mut self, node: &NodeFacts) {
        self.nodes.shown(node);
    }

    /// A node was deleted.
    pub fn node_gone(&mut self, name: &str) {
        self.nodes.vanished(name);
    }

    /// A volume claim was created or changed.
    pub fn claim(&mut self, namespace: &str, name: &str, bound: bool) {
        let key = format!("{namespace}/{name}").into_boxed_str();
        if bound {
            self.unbound.remove(&key);
            self.unbound_listed.remove(&key);
        } else {
            self.unbound_listed.insert(key.clone());
            self.unbound.insert(key);
        }
    }

    /// A list of volume claims begins or ends.
    pub fn claims_list(&mut self, list: List) {
        match list {
            List::Begins => self.unbound_listed = HashSet::new(),
            List::Ends(_) => self.unbound = std::mem::take(&mut self.unbound_listed),
        }
    }

    /// A list of pods begins or ends.
    pub fn pods_list(&mut self, now: Duration, list: List) {
        match list {
            List::Begins => {
                self.epoch = self.epoch.wrapping_add(1);
                self.listing = now;
            }
            List::Ends(version) => {
                let epoch = self.epoch;
                let unlisted = self.pods.iter().filter(|(_, record)| record.epoch != epoch);
                let gone: Vec<Uid> = unlisted.map(|(uid, _)| Uid::clone(uid)).collect();
                for uid in gone {
                    self.forget(now, &uid, version.map_or(End::Unknown, End::Unseen), None);
                }
                self.doubt_unlisted(now);
                // Refused before the list was made and not in it: it came and went unseen.
                let (pods, listing) = (&self.pods, self.listing);
                self.waiting.keep(|uid, last| last >= listing || pods.contains_key(uid));
            }
        }
    }

    /// A pod that we bound and that the watch never showed is not in the list either: it was bound after the list was made, or
    /// it came and went while the watch was away. A look at the API server decides.
    fn doubt_unlisted(&mut self, now: Duration) {
        let unlisted = self.flights.iter().filter(|(uid, f)| {
            !self.pods.contains_key(*uid) && f.places.iter().any(|p| p.why == Why::Bound)
        });
        let unlisted: Vec<Uid> = unlisted.map(|(uid, _)| Uid::clone(uid)).collect();
        for uid in unlisted {
            self.fly(&uid, None, |flight| {
                for place in flight.places.iter_mut().filter(|p| p.why == Why::Bound) {
                    place.why = Why::Unsure(now);
                }
            });
        }
    }

    /// A pod was created or changed.
    pub fn pod(&mut self, now: Duration, pod: &PodFacts) {
        self.late.lives(&pod.uid);
        let node = pod.node.as_deref().map(|name| self.nodes.enter(name));
        let nominated = if node.is_none() && !pod.ended { pod.nominated.as_deref() } else { None };
        let nominated = nominated.map(|name| self.nodes.enter(name));
        let (uid, old) = match self.pods.remove_entry(&pod.uid) {
            Some((uid, old)) => (uid, Some(old)),
            None => (Uid::clone(&pod.uid), None),
        };
        let was_counted = old.as_ref().is_some_and(|o| o.counted);
        let was_ending = old.as_ref().is_some_and(|o| o.ending);
        let counted = node.is_some() && pod.wants.is_some() && !pod.ended;
        let ending = counted && pod.deleting;
        self.nominate(&uid, old.as_ref(), nominated, pod);

        if let Some(id) = node {
            let fresh = old.as_ref().is_none_or(|o| o.node.is_none());
            self.landed(now, pod, id, (was_counted, counted), fresh);
            if let (Some(wants), true) = (pod.wants, was_ending != ending) {
                self.nodes.change(id, |n| {
                    if ending { n.ending.add(wants) } else { n.ending.take(wants) }
                });
            }
        } else if pod.ended {
            self.land(&uid);
            self.waiting.forget(&uid);
            self.late.left(now, &uid);
        } else if pod.cycle_failed {
            self.cycle_failed(now, pod);
        }
        if node.is_some() || pod.ended {
            self.maybe.remove(&uid);
        } else if !self.is_ready() && pod.ours {
            self.maybe.insert(Uid::clone(&uid));
        }
        let record = Record {
            node,
            wants: pod.wants,
            version: pod.version,
            nominated,
            epoch: self.epoch,
            counted,
            ending,
        };
        self.pods.insert(uid, record);
    }

    /// A pod was deleted; its version is that of the deletion.
    pub fn pod_gone(&mut self, now: Duration, pod: &PodFacts) {
        let end = pod.version.map_or(End::Unknown, End::Seen);
        self.forget(now, &pod.uid, end, Some(pod));
    }

    /// A pod is on a node.
    fn landed(
        &mut self,
        now: Duration,
        pod: &PodFacts,
        id: NodeId,
        counted: (bool, bool),
        fresh: bool,
    ) {
        self.waiting.forget(&pod.uid);
        let flight = self.land(&pod.uid);
        let Some(wants) = pod.wants else { return };
        match counted {
            (false, true) => {
                let held = flight.is_some_and(|f| f.place(id).is_some());
                if self.is_ready() && !held && pod.ours {
                    let node = self.nodes.get(id);
                    let room = node
                        .and_then(|n| self.nodes.free(n, wants.kind, 0, super::PerKind::default()));
                    if room.is_some_and(|r| r.free < wants.units) {
                        self.tally.overshoots += 1;
                    }
                }
                self.nodes.change(id, |n| n.load.pods.add(wants));
            }
            (true, false) => {
                self.nodes.change(id, |n| n.load.pods.take(wants));
                self.leaves(now, id, wants, pod.version.map_or(End::Unknown, End::Seen));
            }
            // It ended before we saw it, and its sandbox may still be there.
            (false, false) if fresh => {
                self.leaves(now, id, wants, pod.version.map_or(End::Unknown, End::Seen));
            }
            (true, true) | (false, false) => {}
        }
    }

    /// A unit of a pod that left is counted until a report accounts for it.
    pub(super) fn leaves(&mut self, now: Duration, id: NodeId, wants: super::Wants, end: End) {
        let Some(node) = self.nodes.get(id) else { return };
        let accounted = match (&node.report, end) {
            // While the first lists come in, the report may just not be here yet.
            (None, _) => self.is_ready(),
            (Some(report), End::Seen(version) | End::Unseen(version)) => {
                report.pods_version.is_some_and(|seen| seen >= version)
            }
            (Some(_), End::Unknown) => false,
        };
        if accounted {
            return;
        }
        self.nodes.change(id, |node| {
            node.gone.push(Gone { wants, end, since: now });
            recount(node);
        });
    }

    /// The scheduler gave up a cycle after the filter call: what it was offered there is free again.
    ///
    /// The version in the filter call may be older than what the scheduler wrote about the cycle before, so for a moment such
    /// a write proves nothing.
    fn cycle_failed(&mut self, now: Duration, pod: &PodFacts) {
        let Some(version) = pod.version else { return };
        self.fly(&pod.uid, None, |flight| {
            let sinces = flight.places.iter().map(|p| match p.why {
                Why::Offered { since, .. } => since,
                Why::Calling(_) | Why::Unsure(_) | Why::Bound => Duration::ZERO,
            });
            // What was offered in a cycle before that one ends with its time: a bind of then may still be executed.
            let latest = sinces.max().unwrap_or_default();
            flight.places.retain(|p| match p.why {
                Why::Offered { since, asked, older, .. } => {
                    older
                        || since < latest
                        || now.saturating_sub(since) < ECHO
                        || asked.is_none_or(|asked| version <= asked)
                }
                Why::Calling(_) | Why::Unsure(_) | Why::Bound => true,
            });
        });
    }

    fn nominate(&mut self, uid: &Uid, old: Option<&Record>, now: Option<NodeId>, pod: &PodFacts) {
        let before = old.and_then(|o| o.nominated);
        if before.is_none() && now.is_none() {
            return;
        }
        if let Some(id) = before {
            self.nodes.change(id, |n| n.nominated.retain(|other| other.uid != *uid));
        }
        if let (Some(id), Some(wants)) = (now, pod.wants) {
            let entry = Nominated { uid: Uid::clone(uid), wants, priority: pod.priority };
            self.nodes.change(id, |n| n.nominated.push(entry));
        }
    }

    /// A pod is gone from the API.
    fn forget(&mut self, now: Duration, uid: &str, end: End, last: Option<&PodFacts>) {
        self.waiting.forget(uid);
        self.maybe.remove(uid);
        let flight = self.land(uid);
        let record = self.pods.remove(uid);
        if let Some(record) = &record {
            if let Some(id) = record.nominated {
                self.nodes.change(id, |n| n.nominated.retain(|other| &*other.uid != uid));
            }
            if let (Some(id), Some(wants), true) = (record.node, record.wants, record.counted) {
                let ending = record.ending;
                self.nodes.change(id, |n| {
                    n.load.pods.take(wants);
                    if ending {
                        n.ending.take(wants);
                    }
                });
                self.leaves(now, id, wants, end);
            }
        }
        if record.as_ref().is_some_and(|r| r.node.is_some()) {
            return;
        }
        if last.is_none_or(|pod| pod.node.is_none()) {
            self.late.left(now, uid);
        }
        // Its binding and its end came as one to us, or its binding was never shown: a sandbox may be there.
        let shown = last.filter(|pod| !pod.ended);
        let node = shown.and_then(|pod| pod.node.as_deref()).map(|name| self.nodes.enter(name));
        let wants = last.and_then(|pod| pod.wants).or_else(|| flight.as_ref().map(|f| f.wants));
        let Some(wants) = wants else { return };
        if let Some(id) = node {
            self.leaves(now, id, wants, end);
        } else if last.is_none() {
            for place in flight.iter().flat_map(|f| &f.places) {
                if matches!(place.why, Why::Bound | Why::Unsure(_) | Why::Calling(_)) {
                    self.leaves(now, place.node, wants, end);
                }
            }
        }
    }
}
