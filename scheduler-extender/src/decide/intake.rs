//! What the watches tell, taken into the books.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::facts::{NodeFacts, PodFacts, Report, Uid};
use super::flights::{Place, Why};
use super::kind::{Kind, PerKind, Wants};
use super::nodes::{End, Gone, Nominated, recount};
use super::{Decider, NodeId, Record};

/// For so long after a filter call the outcome of the cycle before it may still arrive: what is offered stays so long at least.
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
            List::Begins => self.nodes.begin_reports(),
            List::Ends(_) => self.nodes.end_reports(),
        }
    }

    /// A list of nodes begins or ends.
    pub fn nodes_list(&mut self, list: List) {
        match list {
            List::Begins => self.nodes.begin_nodes(),
            List::Ends(_) => self.nodes.end_nodes(),
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

    /// A volume claim was created or changed; one that is gone has no volume.
    pub fn claim(&mut self, namespace: &str, name: &str, bound: bool) {
        let key = format!("{namespace}/{name}").into_boxed_str();
        for claims in self.claims_listed.iter_mut().chain([&mut self.claims]) {
            if bound {
                claims.insert(key.clone());
            } else {
                claims.remove(&key);
            }
        }
    }

    /// A list of volume claims begins or ends.
    pub fn claims_list(&mut self, list: List) {
        match list {
            List::Begins => self.claims_listed = Some(HashSet::new()),
            List::Ends(_) => self.claims = self.claims_listed.take().unwrap_or_default(),
        }
    }

    /// A list of pods begins or ends.
    pub fn pods_list(&mut self, now: Duration, list: List) {
        match list {
            List::Begins => {
                self.epoch = self.epoch.wrapping_add(1);
                self.listing = Some(now);
            }
            List::Ends(version) => {
                let listing = self.listing.take().unwrap_or_default();
                let end = version.map_or(End::Unknown, End::Unseen);
                self.listed = Some(end);
                let epoch = self.epoch;
                let unlisted = self.pods.iter().filter(|(_, record)| record.epoch != epoch);
                let gone: Vec<Uid> = unlisted.map(|(uid, _)| Uid::clone(uid)).collect();
                for uid in gone {
                    self.forget(now, &uid, end, None);
                }
                self.doubt_unlisted(now);
                // Refused before the list was made and not in it: it came and went unseen.
                let pods = &self.pods;
                self.waiting.keep(|uid, last| last >= listing || pods.contains_key(uid));
                let (waiting, flights) = (&self.waiting, &self.flights);
                self.nominations.retain(|uid, _| {
                    pods.contains_key(uid) || waiting.has(uid) || flights.get(uid).is_some()
                });
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
        } else {
            self.cycle_failed(now, pod);
        }
        if node.is_some() || pod.ended {
            self.nominations.remove(&uid);
        }
        if node.is_some() {
            self.caution.is_bound(&uid);
        } else if pod.ended {
            self.caution.forget(&uid);
        } else {
            let asked = self.flights.get(&uid).is_some() || self.waiting.has(&uid);
            self.caution.waits(now, &uid, pod, asked);
        }
        let record = Record {
            node,
            wants: pod.wants,
            version: pod.version,
            nominated,
            failure: pod.failure,
            epoch: self.epoch,
            addressed: pod.addressed,
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
                    let room =
                        node.and_then(|n| self.nodes.free(n, wants.kind, 0, PerKind::default()));
                    if room.is_some_and(|r| r.free < wants.units) {
                        self.tally.overshoots += 1;
                    }
                }
                self.nodes.change(id, |n| n.load.pods.add(wants));
            }
            (true, false) => {
                self.nodes.change(id, |n| n.load.pods.take(wants));
                self.leaves(now, id, wants, self.end_of(pod));
            }
            // It ended before we saw it, and its sandbox may still be there.
            (false, false) if fresh => {
                self.leaves(now, id, wants, self.end_of(pod));
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Up to which version the end of a pod that is shown must be accounted for. An object of a list may have changed since,
    /// and of such a change its node's daemon tells nothing.
    fn end_of(&self, pod: &PodFacts) -> End {
        let listed = self.listing.is_some() || !self.is_ready();
        pod.version.map_or(End::Unknown, if listed { End::Unseen } else { End::Seen })
    }

    /// While we were away pods may have been deleted whose units the report still has, and nobody tells us of them. Units that
    /// no listed pod explains leave, unless the report has seen all that the list has.
    pub(super) fn find_unexplained(&mut self, now: Duration) {
        let Some(end) = self.listed else { return };
        let mut explained: HashMap<NodeId, PerKind<u32>> = HashMap::new();
        for record in self.pods.values().filter(|r| r.counted && r.addressed) {
            if let (Some(id), Some(wants)) = (record.node, record.wants) {
                explained.entry(id).or_default().add(wants);
            }
        }
        for id in self.nodes.ids().collect::<Vec<_>>() {
            let report = self.nodes.get(id).and_then(|node| node.report.as_deref());
            let Some(units) = report.map(Report::living) else { continue };
            for kind in Kind::ALL {
                let known = explained.get(&id).map_or(0, |known| known.of(kind));
                let units = units.of(kind).saturating_sub(known);
                if units > 0 {
                    self.leaves(now, id, Wants { kind, units }, end);
                }
            }
        }
    }

    /// A unit of a pod that left is counted until a report accounts for it.
    pub(super) fn leaves(&mut self, now: Duration, id: NodeId, wants: Wants, end: End) {
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

    /// If the pod's condition is another than in the filter call, the scheduler gave up a cycle, and what it was offered there
    /// is free again.
    ///
    /// The pod in the filter call may be older than what the scheduler wrote about the cycle before, so for a moment such a
    /// write may be about either. By then a cycle that goes well has ended.
    pub(super) fn cycle_failed(&mut self, now: Duration, pod: &PodFacts) {
        let Some(failure) = pod.failure.filter(|f| !f.ours) else { return };
        let Some(flight) = self.flights.get(&pod.uid) else { return };
        let since = |p: &Place| match p.why {
            Why::Offered { since, .. } => Some(since),
            Why::Addressed(_) | Why::Calling { .. } | Why::Unsure(_) | Why::Bound => None,
        };
        // What was offered in a cycle before the last ends with its time: a bind of then may still be executed.
        let Some(latest) = flight.places.iter().filter_map(since).max() else { return };
        let end = latest + ECHO;
        self.fly(&pod.uid, None, |flight| {
            flight.places.retain_mut(|p| {
                let Why::Offered { since, until, asked, known, failed, older } = &mut p.why else {
                    return true;
                };
                let news = known.is_none_or(|known| known != failure)
                    && asked.is_some_and(|asked| pod.version > Some(asked));
                if !*older && *since == latest && news {
                    (*failed, *until) = (true, end.min(*until));
                }
                !*failed || now < *until
            });
        });
        self.flights.ends_at(end, &pod.uid);
    }

    fn nominate(&mut self, uid: &Uid, old: Option<&Record>, now: Option<NodeId>, pod: &PodFacts) {
        let before = old.and_then(|o| o.nominated);
        if before.is_none() && now.is_none() {
            return;
        }
        if let Some(id) = before {
            self.nodes.change(id, |n| n.nominated.retain(|other| other.uid != *uid));
        }
        // What we nominated a pod for it holds itself, as long as it may.
        let kept = now.filter(|id| !self.is_ours(uid, *id));
        if let (Some(id), Some(wants)) = (kept, pod.wants) {
            let entry = Nominated { uid: Uid::clone(uid), wants, priority: pod.priority };
            self.nodes.change(id, |n| n.nominated.push(entry));
        }
    }

    /// A pod is gone from the API.
    fn forget(&mut self, now: Duration, uid: &str, end: End, last: Option<&PodFacts>) {
        self.waiting.forget(uid);
        self.caution.forget(uid);
        self.nominations.remove(uid);
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
            // Only in strict mode a bind cannot go past us.
            let strict = self.policy.strict;
            for place in flight.iter().flat_map(|f| &f.places) {
                if !strict || !place.why.is_offer() {
                    self.leaves(now, place.node, wants, end);
                }
            }
        }
    }
}
