//! The cluster of the property tests.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::super::*;
use super::super::{exclusive, pod, policy};

const NODES: usize = 3;
/// What one node has: a shared ENI with two addresses, and one place for an ENI that can become either.
const SHARED: u32 = 2;
const PER_ADAPTER: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sandbox {
    None,
    Running,
}

#[derive(Debug, Clone)]
struct Pod {
    facts: PodFacts,
    node: Option<usize>,
    sandbox: Sandbox,
    gone: bool,
    /// When its unit is free after its sandbox; it rests until then.
    rests_until: Option<Duration>,
    /// A bind that is on its way: node, when it was sent, and whether the scheduler still waits for it.
    call: Option<(usize, Duration)>,
    /// One before it, of which nobody has heard and which may still be executed.
    older: Option<(usize, Duration)>,
    /// The call is from before the extender was started anew.
    orphaned: bool,
    /// The scheduler's cycle is under way.
    busy: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Applied(PodFacts),
    Deleted(PodFacts),
}

pub(super) struct World {
    strict: bool,
    now: Duration,
    version: u64,
    pods: BTreeMap<String, Pod>,
    next: u32,
    events: VecDeque<(Duration, Event)>,
    reports: VecDeque<(usize, Report)>,
    /// What each daemon wrote last, delivered or not.
    written: [Report; NODES],
    /// When the extender was last started anew.
    restarted: Duration,
    /// Up to which version each daemon has seen the pods.
    seen: [u64; NODES],
    deletions: BTreeMap<String, u64>,
    books: Decider,
    log: Vec<String>,
}

fn name(node: usize) -> String {
    format!("n{node}")
}

/// Nodes without anything, so many that a question about them and some others may be about a part of all.
fn barren() -> impl Iterator<Item = String> {
    (0..100).map(|node| format!("barren{node}"))
}

impl World {
    pub(super) fn new(strict: bool) -> Self {
        let books =
            Decider::new(Policy { caution: Duration::ZERO, short_list: 2, ..policy(strict) });
        let mut world = Self {
            strict,
            now: Duration::from_secs(1),
            version: 10,
            pods: BTreeMap::new(),
            next: 0,
            events: VecDeque::new(),
            reports: VecDeque::new(),
            written: Default::default(),
            restarted: Duration::ZERO,
            seen: [10; NODES],
            deletions: BTreeMap::new(),
            books,
            log: Vec::new(),
        };
        for node in 0..NODES {
            world.publish(node);
        }
        while world.deliver_report() {}
        world.start();
        world
    }

    pub(super) fn step(&mut self, (what, who, how): (u8, u8, u8)) -> Result<(), String> {
        let key = self.pods.keys().nth(usize::from(who) % self.pods.len().max(1)).cloned();
        match (what % 18, key) {
            (0 | 1, _) => self.create(how),
            (2..=4, Some(key)) => self.cycle(&key, how)?,
            (5 | 6, Some(key)) => self.execute(&key, how)?,
            (7, Some(key)) => self.delete(&key),
            (8, Some(key)) => self.sandbox(&key),
            (9, _) => self.publish(usize::from(who) % NODES),
            (10 | 11, _) => {
                self.deliver_event();
            }
            (12, _) => {
                self.deliver_report();
            }
            (13, _) => self.seen[usize::from(who) % NODES] = self.version,
            (14, _) => self.pass(Duration::from_millis(u64::from(how) * 20)),
            (15, _) if how < 16 => self.relist(),
            (15, Some(key)) => self.look(&key),
            (16, Some(key)) => self.label(&key),
            (17, _) if how < 64 => self.restart(),
            (17, _) => self.wake(how),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self) {
        for name in barren() {
            self.books.report(&name, Some(Report { ready: true, ..Report::default() }));
        }
        self.books.ready(self.now);
    }

    /// Everything is delivered and time passes: nothing may be held for ever.
    pub(super) fn drain(&mut self) -> Result<(), String> {
        for round in 0..200 {
            self.pass(Duration::from_secs(1));
            let keys: Vec<String> = self.pods.keys().cloned().collect();
            for key in &keys {
                if self.pods[key].call.is_some() {
                    self.execute(key, 0)?;
                }
                self.look(key);
                if self.pods[key].gone {
                    self.sandbox(key);
                }
            }
            while self.deliver_event() {}
            for node in 0..NODES {
                self.seen[node] = self.version;
                self.publish(node);
            }
            while self.deliver_report() {}
            if round == 150 {
                self.pass(Duration::from_secs(700));
                let alive = |p: &&Pod| !p.gone && p.node.is_none();
                let alive = self.pods.values().filter(alive).count();
                let refused = self.books.figures().refused;
                if refused > alive {
                    return Err(format!(
                        "{refused} pods wait, {alive} are there\n{}",
                        self.log.join("\n")
                    ));
                }
                let flights = self.books.figures().in_flight;
                if flights > 0 {
                    return Err(format!(
                        "{flights} pods still hold units\n{}",
                        self.log.join("\n")
                    ));
                }
            }
        }
        for node in 0..NODES {
            let used = self.used(node);
            let books =
                self.books.nodes.id(&name(node)).and_then(|id| self.books.nodes.get(id)).unwrap();
            if (books.load.pods, books.load.gone, books.load.held)
                != (used, PerKind::default(), PerKind::default())
            {
                return Err(format!(
                    "books of {node} are not at rest: {:?}, used {used:?}\n{}",
                    books.load,
                    self.log.join("\n")
                ));
            }
        }
        Ok(())
    }

    fn bump(&mut self, key: &str) -> u64 {
        self.version += 1;
        if let Some(pod) = self.pods.get_mut(key) {
            pod.facts.version = Some(self.version);
        }
        self.version
    }

    fn tell(&mut self, key: &str) {
        let facts = self.pods[key].facts.clone();
        self.events.push_back((self.now, Event::Applied(facts)));
    }

    fn create(&mut self, how: u8) {
        if self.pods.values().filter(|p| !p.gone).count() >= 16 {
            return;
        }
        self.next += 1;
        let key = format!("p{}", self.next);
        let facts = if how.is_multiple_of(4) { exclusive(pod(&key)) } else { pod(&key) };
        let new = Pod {
            facts,
            node: None,
            sandbox: Sandbox::None,
            gone: false,
            rests_until: None,
            call: None,
            older: None,
            orphaned: false,
            busy: false,
        };
        self.pods.insert(key.clone(), new);
        self.bump(&key);
        self.tell(&key);
    }

    /// The scheduler tries a pod: filter, then its choice, then bind begins.
    fn cycle(&mut self, key: &str, how: u8) -> Result<(), String> {
        let pod = &self.pods[key];
        if pod.orphaned && pod.call.is_some() {
            // Whoever sent it is gone, and so is his call before the pod is tried again.
            return Ok(());
        }
        if pod.gone || pod.node.is_some() || pod.busy {
            if pod.gone && pod.node.is_none() && !pod.busy {
                // Its deletion overtook the question.
                let facts = pod.facts.clone();
                self.books.filter(self.now, &facts, &[name(0), name(1)]);
            }
            return Ok(());
        }
        let facts = pod.facts.clone();
        // The node that it is nominated for comes first, unless other filters refuse it.
        let mut names: Vec<String> =
            facts.nominated.iter().filter(|_| !how.is_multiple_of(5)).cloned().collect();
        let mut choice = None;
        if !names.is_empty() {
            choice = Some(self.books.filter(self.now, &facts, &names));
        }
        if !matches!(choice, Some(Choice::Nodes(_))) {
            let shown = (0..NODES).filter(|n| how & (1 << n) != 0 || how.trailing_zeros() >= 3);
            names = shown.map(name).chain(barren()).collect();
            choice = Some(self.books.filter(self.now, &facts, &names));
        }
        let chosen = match choice {
            Some(Choice::Nodes(indexes)) => indexes,
            Some(Choice::Any) | None => {
                return Err("a pod that needs a unit went through unseen".into());
            }
            Some(Choice::Nobody(_)) => {
                if self.pods.get_mut(key).unwrap().facts.nominated.take().is_some() {
                    self.label(key);
                }
                self.gives_up(key, OUR_WORDS);
                return Ok(());
            }
        };
        let index = chosen[usize::from(how >> 3) % chosen.len()];
        let node = (0..NODES).find(|n| name(*n) == names[index]).unwrap();
        self.log
            .push(format!("{:?} {key} offered {chosen:?} of {names:?}, takes {node}", self.now));
        if how >= 240 {
            self.gives_up(key, ["Permit says no", "so does Reserve"][usize::from(how % 2)]);
            return Ok(());
        }
        let pod = self.pods.get_mut(key).unwrap();
        if self.strict {
            let uid: Uid = key.into();
            let start = self.books.bind(self.now, &uid, ("default", key), &name(node), None);
            if start != BindStart::Go {
                return Ok(());
            }
        }
        pod.older = pod.call.filter(|_| self.strict);
        pod.call = Some((node, self.now));
        (pod.orphaned, pod.busy) = (false, true);
        Ok(())
    }

    /// The extender wakes pods, and some hear of it.
    fn wake(&mut self, how: u8) {
        for wake in self.books.wakes(self.now) {
            let waits = self.pods.get_mut(&*wake.uid).filter(|pod| !pod.gone && pod.node.is_none());
            if let (Some(pod), Some(_)) = (waits, &wake.node)
                && !how.is_multiple_of(8)
            {
                self.log.push(format!("{:?} {} is sent to {:?}", self.now, wake.name, wake.node));
                pod.facts.nominated = wake.node;
                self.label(&wake.uid);
            }
        }
    }

    /// The scheduler writes why it gave up, unless the pod says so already.
    fn gives_up(&mut self, key: &str, why: &str) {
        let failure = Some(Failure::of(why));
        let facts = &mut self.pods.get_mut(key).unwrap().facts;
        if facts.failure != failure {
            facts.failure = failure;
            self.label(key);
        }
    }

    /// Something about the pod changes that has nothing to do with it.
    fn label(&mut self, key: &str) {
        if !self.pods[key].gone {
            self.bump(key);
            self.tell(key);
        }
    }

    /// The API server executes a bind, or it fails, or its answer is lost.
    fn execute(&mut self, key: &str, how: u8) -> Result<(), String> {
        let Some((node, _)) = self.pods[key].call else { return Ok(()) };
        let uid: Uid = key.into();
        let end = |world: &mut Self, end: &BindEnd| {
            if world.strict {
                world.books.bind_ended(world.now, &uid, &name(node), end);
            }
        };
        match how % 8 {
            // The caller gives up; the call may be executed later.
            6 if self.pods[key].busy => {
                self.log.push(format!("{:?} {key} outcome unknown", self.now));
                self.pods.get_mut(key).unwrap().busy = false;
                end(self, &BindEnd::Unknown);
                return Ok(());
            }
            7 => {
                let busy = self.pods[key].busy;
                let pod = self.pods.get_mut(key).unwrap();
                (pod.call, pod.busy) = (pod.older.take(), false);
                if busy {
                    self.log.push(format!("{:?} {key} bind refused", self.now));
                    end(self, &BindEnd::Refused);
                    if !self.strict {
                        self.gives_up(key, "PreBind says no");
                    }
                }
                return Ok(());
            }
            _ => {}
        }
        let pod = self.pods.get_mut(key).unwrap();
        let busy = pod.busy;
        (pod.call, pod.busy) = (None, false);
        if pod.gone || pod.node.is_some() {
            if busy {
                end(self, &BindEnd::Refused);
            }
            return Ok(());
        }
        pod.node = Some(node);
        pod.facts.node = Some(name(node));
        self.log.push(format!("{:?} {key} bound to {node}", self.now));
        self.bump(key);
        self.tell(key);
        if busy {
            end(self, &BindEnd::On(name(node)));
        }
        self.check(node)
    }

    fn delete(&mut self, key: &str) {
        let pod = self.pods.get_mut(key).unwrap();
        if pod.gone {
            return;
        }
        pod.gone = true;
        self.log.push(format!("{:?} {key} deleted", self.now));
        let version = self.bump(key);
        self.deletions.insert(key.to_owned(), version);
        let facts = self.pods[key].facts.clone();
        self.events.push_back((self.now, Event::Deleted(facts)));
    }

    /// The kubelet makes a sandbox, or takes down that of a pod that is gone; its unit rests then.
    fn sandbox(&mut self, key: &str) {
        let now = self.now;
        let pod = self.pods.get_mut(key).unwrap();
        match (pod.node, pod.sandbox, pod.gone) {
            (Some(_), Sandbox::None, false) => pod.sandbox = Sandbox::Running,
            (Some(_), Sandbox::Running, true) => {
                pod.sandbox = Sandbox::None;
                pod.rests_until = Some(now + Duration::from_secs(10));
            }
            _ => {}
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for pod in self.pods.values_mut() {
            if pod.rests_until.is_some_and(|until| until <= self.now) {
                pod.rests_until = None;
            }
            // A call that was not executed for so long never is.
            if let Some((_, sent)) = pod.call
                && self.now >= sent + Duration::from_mins(1)
                && !pod.busy
            {
                pod.call = None;
            }
        }
        // What was on its way when the extender started anew is seen before its caution ends.
        if self.now >= self.restarted + Duration::from_secs(5) {
            for pod in self.pods.values_mut() {
                if pod.orphaned {
                    (pod.call, pod.busy) = (None, false);
                }
            }
            let latest = self.restarted + Duration::from_secs(5);
            while self.events.front().is_some_and(|(at, _)| *at <= latest) {
                self.deliver_event();
            }
        }
        if !self.strict {
            // In default mode the promise ends with the hold: calls and events are no slower than that.
            for pod in self.pods.values_mut() {
                if pod.call.is_some_and(|(_, sent)| self.now >= sent + Duration::from_secs(20)) {
                    (pod.call, pod.busy) = (None, false);
                }
            }
            while self
                .events
                .front()
                .is_some_and(|(at, _)| self.now >= *at + Duration::from_secs(4))
            {
                self.deliver_event();
            }
        }
        self.books.tick(self.now);
    }

    fn counts(&self, node: usize) -> Vec<(&String, &Pod)> {
        self.pods.iter().filter(|(_, p)| p.node == Some(node)).collect()
    }

    /// The daemon writes what it has, as far as it has seen the pods.
    fn publish(&mut self, node: usize) {
        let seen = self.seen[node];
        let (
            mut shared,
            mut exclusive,
            mut leaving,
            mut exclusive_leaving,
            mut cooling,
            mut exclusive_cooling,
        ) = (0, 0, 0, 0, 0, 0);
        for (key, pod) in self.counts(node) {
            let is_exclusive = pod.facts.wants.unwrap().kind == Kind::Exclusive;
            let left = pod.gone && self.deletions.get(key).is_some_and(|v| *v <= seen);
            match (pod.sandbox, is_exclusive) {
                (Sandbox::Running, false) => {
                    shared += 1;
                    leaving += u32::from(left);
                }
                (Sandbox::Running, true) => {
                    exclusive += 1;
                    exclusive_leaving += u32::from(left);
                }
                (Sandbox::None, false) => cooling += u32::from(pod.rests_until.is_some()),
                (Sandbox::None, true) => exclusive_cooling += u32::from(pod.rests_until.is_some()),
            }
        }
        // One place that is either shared, exclusive, or free.
        let in_shared = shared + cooling;
        let grown = u32::from(in_shared > SHARED);
        let taken = exclusive + exclusive_cooling;
        let free = 1_u32.saturating_sub(grown + taken);
        let report = Report {
            ready: true,
            grows: true,
            pods_version: Some(seen),
            cooldown: Duration::from_secs(10),
            adapters_free: free,
            free_for_shared: free,
            per_adapter: PER_ADAPTER,
            shared_capacity: SHARED + grown * PER_ADAPTER,
            shared_held: SHARED + grown * PER_ADAPTER,
            shared_assigned: shared,
            shared_leaving: leaving,
            shared_cooling: cooling,
            exclusive_offered: free,
            adapters_exclusive: taken,
            exclusive_assigned: exclusive,
            exclusive_leaving,
            ..Report::default()
        };
        self.written[node] = report.clone();
        self.reports.push_back((node, report));
        // The kubelet shows addresses later than that.
        let keys: Vec<String> = self.counts(node).into_iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let pod = self.pods.get_mut(&key).unwrap();
            if pod.sandbox == Sandbox::Running && !pod.facts.addressed {
                pod.facts.addressed = true;
                self.label(&key);
            }
        }
    }

    fn deliver_report(&mut self) -> bool {
        let Some((node, report)) = self.reports.pop_front() else { return false };
        self.books.report(&name(node), Some(report));
        true
    }

    fn deliver_event(&mut self) -> bool {
        match self.events.pop_front() {
            None => return false,
            Some((_, Event::Applied(facts))) => self.books.pod(self.now, &facts),
            Some((_, Event::Deleted(facts))) => self.books.pod_gone(self.now, &facts),
        }
        true
    }

    /// The watch was away for too long: a list instead of what was missed.
    fn relist(&mut self) {
        self.events.clear();
        self.books.pods_list(self.now, List::Begins);
        for pod in self.pods.values().filter(|p| !p.gone) {
            self.books.pod(self.now, &pod.facts);
        }
        self.books.pods_list(self.now, List::Ends(Some(self.version)));
    }

    /// A new extender takes over: it has lists, and no memory.
    fn restart(&mut self) {
        self.log.push(format!("{:?} extender restarted", self.now));
        for pod in self.pods.values_mut() {
            (pod.busy, pod.orphaned, pod.older) = (false, pod.call.is_some(), None);
        }
        self.restarted = self.now;
        // A daemon writes within a second. What a sandbox took in that second is known to nobody else when its pod is gone.
        for node in 0..NODES {
            self.publish(node);
        }
        self.reports.clear();
        self.books = Decider::new(Policy { short_list: 2, ..policy(self.strict) });
        for (node, report) in self.written.iter().enumerate() {
            self.books.report(&name(node), Some(report.clone()));
        }
        self.relist();
        self.start();
    }

    fn look(&mut self, key: &str) {
        let pod = &self.pods[key];
        let end = match (pod.gone, pod.node) {
            (true, _) => BindEnd::Gone,
            (false, Some(node)) => BindEnd::On(name(node)),
            (false, None) => BindEnd::Waiting,
        };
        if self.books.unsure(self.now).iter().any(|(uid, ..)| &**uid == key) {
            self.books.looked(self.now, &key.into(), &end);
        }
    }

    /// What pods of the API use.
    fn used(&self, node: usize) -> PerKind<u32> {
        let mut used = PerKind::default();
        for (_, pod) in self.counts(node).into_iter().filter(|(_, p)| !p.gone) {
            used.add(pod.facts.wants.unwrap());
        }
        used
    }

    /// Pods, sandboxes of pods that are gone, and units that rest fit on the node together.
    fn check(&self, node: usize) -> Result<(), String> {
        let mut used = self.used(node);
        for (_, pod) in self.counts(node) {
            if pod.gone && (pod.sandbox == Sandbox::Running || pod.rests_until.is_some()) {
                used.add(pod.facts.wants.unwrap());
            }
        }
        let grown = used.shared.saturating_sub(SHARED).div_ceil(PER_ADAPTER);
        if grown + used.exclusive > 1 {
            return Err(format!("node {node} carries {used:?}\n{}", self.log.join("\n")));
        }
        Ok(())
    }
}
