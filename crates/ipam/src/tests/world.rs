//! The world around the allocator, and the oracle: what lives is what the model kernel holds, never what the books say.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
    time::Duration,
};

use tideway_cloud::{CloudOp, EniStatus, ErrorKind, OpAnswer};
use tideway_model::{
    Attachment, AttachmentKey, Bandwidth, EniId, Families, LeaseTerms, Mode, Now, PodKey, PodRef,
    SlotId, UnixMillis,
};

use super::cloud::{FakeCloud, Fate, error};
pub(super) use super::setup::{facts, key, pod, secs, settings, subnet};
use crate::{
    AddRequest, Command, DeviceState, Effects, Entry, Event, IntentId, Ipam, Look, NodeFacts,
    Refusal, RequestId, Settings, SharedEni, Source,
    record::{attachment_key, intent_key},
};

/// Longest late effect and longest stale read of the model.
pub(super) const LATE: Duration = Duration::from_secs(30);
pub(super) const STALE: Duration = Duration::from_secs(30);

/// An answer to an ADD.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Granted { attachment: Box<Attachment>, again: bool },
    Refused(Refusal),
}

#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) attachment: Attachment,
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) settings: Settings,
    pub(super) facts: NodeFacts,
    pub(super) ipam: Ipam,
    /// Bytes, as the shell writes them.
    pub(super) journal: BTreeMap<String, Vec<u8>>,
    pub(super) cloud: FakeCloud,
    /// Calls that were sent and not answered.
    pub(super) flying: Vec<(IntentId, CloudOp)>,
    pub(super) fates: Vec<Fate>,
    /// Effects that come later.
    pub(super) late: Vec<(Duration, CloudOp)>,
    pub(super) quiesce: Vec<Vec<IpAddr>>,
    pub(super) prepare: Vec<SharedEni>,
    pub(super) retired: Vec<EniId>,
    pub(super) looks_wanted: u32,
    pub(super) device_looks_wanted: u32,
    /// The kernel: namespaces with addresses.
    pub(super) kernel: BTreeMap<AttachmentKey, Live>,
    /// The runtime's sandboxes.
    pub(super) sandboxes: BTreeSet<AttachmentKey>,
    /// The kubelet's devices.
    pub(super) kubelet: BTreeMap<SlotId, PodKey>,
    pub(super) devices: Vec<DeviceState>,
    pub(super) answers: BTreeMap<RequestId, Answer>,
    pub(super) asked: BTreeMap<RequestId, (AttachmentKey, Duration)>,
    pub(super) dels: BTreeMap<RequestId, bool>,
    /// Addresses with an owner in the past: when it ended, and the pod.
    pub(super) past: BTreeMap<IpAddr, (Duration, PodRef, bool)>,
    /// Addresses whose former owner may still show in conntrack.
    pub(super) dirty: BTreeSet<IpAddr>,
    /// Taken from us by others: no oracle for these.
    pub(super) taken: BTreeSet<String>,
    /// Pods whose annotations ask for a lease.
    pub(super) identities: BTreeMap<PodKey, LeaseTerms>,
    pub(super) uninstalled: bool,
    pub(super) hold_cloud: bool,
    /// Grants whose namespace was gone already.
    pub(super) unplumbable: Vec<AttachmentKey>,
    /// What becomes of the calls in flight at a crash: done, done late, lost, in turn from here.
    pub(super) crash_fate: usize,
    pub(super) commands: Vec<Command>,
    next: u64,
    seed: u64,
}

impl World {
    pub(super) fn with(settings: Settings, facts: NodeFacts) -> Self {
        let cloud = FakeCloud::new(facts.limits, facts.instance.clone(), facts.primary_eni.clone());
        let ipam = Ipam::new(settings.clone(), facts.clone(), 7);
        let now = Now { boot: secs(1000), wall: UnixMillis(1_000_000_000) };
        let mut world = Self {
            now,
            settings,
            facts,
            ipam,
            journal: BTreeMap::new(),
            cloud,
            flying: Vec::new(),
            fates: Vec::new(),
            late: Vec::new(),
            quiesce: Vec::new(),
            prepare: Vec::new(),
            retired: Vec::new(),
            looks_wanted: 0,
            device_looks_wanted: 0,
            kernel: BTreeMap::new(),
            sandboxes: BTreeSet::new(),
            kubelet: BTreeMap::new(),
            devices: Vec::new(),
            answers: BTreeMap::new(),
            asked: BTreeMap::new(),
            dels: BTreeMap::new(),
            past: BTreeMap::new(),
            dirty: BTreeSet::new(),
            taken: BTreeSet::new(),
            identities: BTreeMap::new(),
            uninstalled: false,
            hold_cloud: false,
            crash_fate: 0,
            unplumbable: Vec::new(),
            commands: Vec::new(),
            next: 1,
            seed: 7,
        };
        world.start();
        world
    }

    /// A small node: 3 ENIs of 10 addresses, IPv4.
    pub(super) fn small() -> Self {
        Self::with(settings(), facts(3, 10, Families::V4))
    }

    pub(super) fn start(&mut self) {
        let mut out = Effects::default();
        self.ipam.start(self.now, &mut out);
        self.carry_out(out, usize::MAX);
    }

    /// One step with its effects.
    pub(super) fn step(&mut self, event: Event) {
        let mut out = Effects::default();
        self.ipam.step(self.now, event, &mut out);
        self.ipam.check().unwrap();
        self.counts_agree();
        self.carry_out(out, usize::MAX);
    }

    /// One step, then a crash: `commit` tells whether the records were written, `done` how many commands were executed.
    pub(super) fn step_and_crash(&mut self, event: Event, commit: bool, done: usize) {
        let mut out = Effects::default();
        self.ipam.step(self.now, event, &mut out);
        if commit {
            self.carry_out(out, done);
        }
        self.crash();
    }

    /// Commits and executes.
    pub(super) fn carry_out(&mut self, out: Effects, done: usize) {
        for r in &out.records {
            match &r.value {
                Some(v) => self.journal.insert(r.key.clone(), serde_json::to_vec(v).unwrap()),
                None => self.journal.remove(&r.key),
            };
        }
        for command in out.commands.into_iter().take(done) {
            self.execute(command);
        }
    }

    pub(super) fn entries(&self) -> Vec<(String, Entry)> {
        self.journal.iter().map(|(k, v)| (k.clone(), serde_json::from_slice(v).unwrap())).collect()
    }

    /// The daemon dies and starts again from the journal. Calls that were out have had their effect or will have it.
    pub(super) fn crash(&mut self) {
        self.seed = self.seed.wrapping_add(1);
        let flying = std::mem::take(&mut self.flying);
        for (n, (_intent, op)) in flying.into_iter().enumerate() {
            match (n + self.crash_fate) % 3 {
                0 => drop(self.cloud.apply(&op)),
                1 => self.late.push((self.now.boot + LATE, op)),
                _ => {}
            }
        }
        self.unplumbable.clear();
        self.quiesce.clear();
        self.prepare.clear();
        self.looks_wanted = 0;
        self.device_looks_wanted = 0;
        // Callers of a daemon that died are told to come again.
        self.asked.retain(|id, _| self.answers.contains_key(id));
        let (settings, facts) = (self.settings.clone(), self.facts.clone());
        self.ipam = Ipam::restore(settings, facts, self.seed, self.entries()).unwrap();
        self.ipam.check().unwrap();
        self.start();
    }

    fn execute(&mut self, command: Command) {
        self.commands.push(command.clone());
        match command {
            Command::Grant { id, attachment, again } => self.plumb(id, *attachment, again),
            Command::Refuse { id, refusal } => {
                assert!(!self.answers.contains_key(&id), "{id:?} is answered twice");
                assert!(!refusal.why.text.is_empty());
                self.answers.insert(id, Answer::Refused(refusal));
            }
            Command::Unplumb { id, attachment } => {
                self.unplumb(&attachment);
                if let Some(id) = id {
                    self.dels.insert(id, true);
                }
            }
            Command::Unknown { id, .. } => {
                self.dels.insert(id, false);
            }
            Command::Quiesce { addresses } => self.quiesce.push(addresses),
            Command::Cloud { intent, op, .. } => {
                let durable = self.journal.contains_key(&intent_key(intent));
                assert!(durable, "{op:?} goes out without a durable intent");
                self.nobody_lives_on(&op);
                self.flying.push((intent, op));
            }
            Command::Prepare(eni) => self.prepare.push(*eni),
            Command::Retire(eni) => self.retired.push(eni),
            Command::Devices(list) => {
                for (slot, holder) in &self.kubelet {
                    let listed = list.iter().find(|d| d.slot == *slot);
                    let _ = holder;
                    assert!(listed.is_some(), "{slot} vanished from the list");
                }
                self.devices = list;
            }
            Command::LookAtCloud => self.looks_wanted += 1,
            Command::LookAtDevices => self.device_looks_wanted += 1,
            Command::Uninstalled => self.uninstalled = true,
        }
    }

    fn nobody_lives_on(&self, op: &CloudOp) {
        for (key, live) in &self.kernel {
            let a = &live.attachment;
            if self.taken.contains(a.eni.as_str()) {
                continue;
            }
            match op {
                CloudOp::Unassign { addresses, .. } => {
                    for ip in a.addresses.iter() {
                        assert!(!addresses.contains(&ip), "{ip} of living {key:?} is unassigned");
                    }
                }
                CloudOp::UnassignPrefixes { prefixes, .. } => {
                    for ip in a.addresses.iter() {
                        let taken = prefixes.iter().any(|p| p.contains(&ip));
                        assert!(!taken, "the prefix of {ip} of living {key:?} is unassigned");
                    }
                }
                CloudOp::Detach { eni, .. } | CloudOp::Delete { eni } => {
                    assert!(a.eni != *eni, "the ENI of living {key:?} is given back");
                }
                CloudOp::Create(_)
                | CloudOp::Attach { .. }
                | CloudOp::Assign { .. }
                | CloudOp::AssignPrefixes { .. }
                | CloudOp::Describe { .. } => {}
            }
        }
    }

    fn plumb(&mut self, id: RequestId, a: Attachment, again: bool) {
        assert!(!self.answers.contains_key(&id), "{id:?} is answered twice");
        let durable = self.journal.contains_key(&attachment_key(&a.key));
        assert!(durable, "{:?} is promised and not durable", a.key);
        for ip in a.addresses.iter() {
            for (other, live) in &self.kernel {
                let taken = live.attachment.addresses.iter().any(|x| x == ip);
                assert!(
                    *other == a.key || !taken,
                    "{ip} has two living owners: {other:?}, {:?}",
                    a.key
                );
            }
            let same_pod = self.past.get(&ip).is_some_and(|(_at, pod, exclusive)| {
                *pod == a.pod && *exclusive && a.mode == Mode::Exclusive
            });
            if !self.kernel.contains_key(&a.key) && !same_pod {
                assert!(!self.dirty.contains(&ip), "{ip} is handed out before it is quiet");
                let past = self.past.get(&ip);
                // What still flows to an identity's former container is meant for it.
                let past = past.filter(|(_at, pod, _x)| {
                    pod.key != a.pod.key || !self.identities.contains_key(&pod.key)
                });
                if let Some((ended, _pod, _x)) = past {
                    let rested = self.now.boot.saturating_sub(*ended);
                    assert!(rested >= self.settings.cooldown, "{ip} rested only {rested:?}");
                }
            }
            let eni = self.cloud.enis.get(&a.eni);
            let there = eni.is_some_and(|v| v.status == EniStatus::InUse && v.has(ip));
            let foul = self.taken.contains(a.eni.as_str()) || self.taken.contains(&ip.to_string());
            assert!(
                there || foul || again,
                "{ip} is handed out and the cloud does not have it on {}",
                a.eni
            );
        }
        if self.sandboxes.contains(&a.key) {
            self.kernel.insert(a.key.clone(), Live { attachment: a.clone() });
        } else {
            self.unplumbable.push(a.key.clone());
        }
        self.answers.insert(id, Answer::Granted { attachment: Box::new(a), again });
    }

    fn unplumb(&mut self, a: &Attachment) {
        self.kernel.remove(&a.key);
        for ip in a.addresses.iter() {
            let exclusive = a.mode == Mode::Exclusive;
            self.past.insert(ip, (self.now.boot, a.pod.clone(), exclusive));
            self.dirty.insert(ip);
        }
    }

    pub(super) fn next_id(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    /// An ADD as the shell puts it: the kubelet is asked first when that is needed.
    pub(super) fn add(&mut self, container: &str, pod: &PodRef) -> RequestId {
        if self.ipam.needs_devices(pod) {
            self.see_devices();
        }
        let id = self.next_id();
        let event = self.add_event(id, container, pod);
        self.step(event);
        id
    }

    /// Pods with these numbers come, in the containers `c0` ….
    pub(super) fn come(&mut self, numbers: Range<u32>) {
        for name in numbers.map(|n| format!("c{n}")) {
            self.add(&name, &pod(&name, &name));
        }
    }

    /// The pods of these containers go.
    pub(super) fn go(&mut self, numbers: Range<u32>) {
        for n in numbers {
            self.del(&format!("c{n}"));
        }
    }

    pub(super) fn add_event(&mut self, id: RequestId, container: &str, pod: &PodRef) -> Event {
        let deadline = self.now.boot + secs(60);
        self.asked.insert(id, (key(container), deadline));
        self.sandboxes.insert(key(container));
        Event::Add(AddRequest {
            id,
            key: key(container),
            pod: pod.clone(),
            netns: format!("/run/netns/{container}"),
            bandwidth: Bandwidth::default(),
            lease: self.identities.get(&pod.key).cloned(),
            deadline,
        })
    }

    pub(super) fn del(&mut self, container: &str) -> RequestId {
        let id = self.next_id();
        self.sandboxes.remove(&key(container));
        self.step(Event::Del { id, key: key(container) });
        id
    }

    pub(super) fn see_devices(&mut self) {
        self.device_looks_wanted = 0;
        let holders = self.kubelet.clone();
        self.step(Event::DevicesSeen { begun: self.now.boot, holders });
    }

    pub(super) fn see_cloud(&mut self) {
        self.looks_wanted = 0;
        let enis = self.cloud.views();
        self.step(Event::CloudSeen { begun: self.now.boot, enis });
    }

    pub(super) fn see_attachments(&mut self) {
        for source in [Source::Runtime, Source::Kernel] {
            let live = match source {
                Source::Runtime => self.sandboxes.clone(),
                Source::Kernel => self.kernel.keys().cloned().collect(),
            };
            self.look(source, self.now.boot, live);
        }
    }

    /// One source answers about all attachments.
    pub(super) fn look(&mut self, source: Source, begun: Duration, live: BTreeSet<AttachmentKey>) {
        let asked = self.ipam.attachments().map(|a| a.key.clone()).collect();
        self.step(Event::Seen(Look { source, begun, asked, live }));
    }

    /// Answers one outstanding call.
    pub(super) fn answer_cloud(&mut self, at: usize) {
        let (intent, op) = self.flying.remove(at);
        let fate = if self.fates.is_empty() { Fate::Good } else { self.fates.remove(0) };
        let unknown = Err(error(&op, ErrorKind::Unknown));
        let result = match fate {
            Fate::Good => self.cloud.apply(&op),
            Fate::Refused(kind) => Err(error(&op, kind)),
            Fate::LostAnswer => {
                drop(self.cloud.apply(&op));
                unknown
            }
            Fate::LostCall => unknown,
            Fate::Late => {
                self.late.push((self.now.boot + LATE, op));
                unknown
            }
        };
        if let Ok(OpAnswer::Assigned(ips)) = &result {
            for ip in ips {
                self.taken.remove(&ip.to_string());
            }
        }
        self.step(Event::CloudDone { intent, result });
    }

    pub(super) fn answer_quiesce(&mut self, at: usize) {
        let addresses = self.quiesce.remove(at);
        for ip in &addresses {
            let in_use =
                self.kernel.values().any(|l| l.attachment.addresses.iter().any(|x| x == *ip));
            assert!(!in_use, "{ip} is to become quiet and lives");
            self.dirty.remove(ip);
        }
        self.step(Event::Quiet { begun: self.now.boot, addresses });
    }

    pub(super) fn answer_prepare(&mut self, at: usize) {
        let eni = self.prepare.remove(at);
        let there = self.cloud.enis.get(&eni.id).is_some_and(|v| v.status == EniStatus::InUse);
        let result = if there { Ok(()) } else { Err("no link with this MAC".to_owned()) };
        self.step(Event::EniPrepared { eni: eni.id, result });
    }

    /// Does everything that is asked for, until nothing is.
    pub(super) fn settle(&mut self) {
        for _round in 0..1000 {
            if let Some(key) = self.unplumbable.pop() {
                self.step(Event::PlumbFailed { key });
            } else if !self.flying.is_empty() && !self.hold_cloud {
                self.answer_cloud(0);
            } else if !self.prepare.is_empty() {
                self.answer_prepare(0);
            } else if !self.quiesce.is_empty() {
                self.answer_quiesce(0);
            } else if self.looks_wanted > 0 {
                self.see_cloud();
            } else if self.device_looks_wanted > 0 {
                self.see_devices();
            } else {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass; every tick that is asked for is given, and the world answers at once.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.boot + span;
        loop {
            self.settle();
            let due = self.ipam.next_deadline().unwrap_or(end);
            let late = self.late.iter().map(|(at, _op)| *at).min().unwrap_or(end);
            let next = due.min(late).min(end).max(self.now.boot);
            self.advance(next.saturating_sub(self.now.boot));
            self.tick();
            if self.now.boot >= end {
                self.settle();
                return;
            }
        }
    }

    /// Lets time pass; the world answers nothing by itself.
    pub(super) fn idle(&mut self, span: Duration) {
        let end = self.now.boot + span;
        while self.now.boot < end {
            let due = self.ipam.next_deadline().unwrap_or(end).min(end).max(self.now.boot);
            self.advance(due.saturating_sub(self.now.boot).max(Duration::from_millis(1)));
            self.tick();
        }
    }

    /// A look that may be as old as the longest stale read.
    pub(super) fn see_cloud_stale(&mut self, pick: usize) {
        let oldest = self.now.boot.saturating_sub(STALE);
        self.cloud.history.retain(|(at, _views)| *at >= oldest);
        let n = self.cloud.history.len();
        if n == 0 {
            return self.see_cloud();
        }
        let enis = self.cloud.history[pick % n].1.clone();
        self.looks_wanted = 0;
        self.step(Event::CloudSeen { begun: self.now.boot, enis });
    }

    /// The namespace dies without a DEL.
    pub(super) fn lose_namespace(&mut self, key: &AttachmentKey) {
        self.sandboxes.remove(key);
        if let Some(live) = self.kernel.get(key).cloned() {
            self.unplumb(&live.attachment);
        }
    }

    pub(super) fn advance(&mut self, span: Duration) {
        // What is shown now may be shown again for a while.
        let shown = self.cloud.views();
        if self.cloud.history.last().is_none_or(|(_at, last)| *last != shown) {
            self.cloud.history.push((self.now.boot + span, shown));
        } else if let Some(last) = self.cloud.history.last_mut() {
            last.0 = self.now.boot + span;
        }
        self.now.boot += span;
        self.now.wall = self.now.wall.plus(span);
        let (due, later) =
            std::mem::take(&mut self.late).into_iter().partition(|(at, _op)| *at <= self.now.boot);
        self.late = later;
        let due: Vec<(Duration, CloudOp)> = due;
        for (_at, op) in due {
            drop(self.cloud.apply(&op));
        }
    }

    pub(super) fn tick(&mut self) {
        self.step(Event::Tick);
        let next = self.ipam.next_deadline();
        assert!(
            next.is_none_or(|n| n > self.now.boot),
            "a deadline at {next:?} stays in the past of {:?}",
            self.now.boot
        );
        for (id, (key, deadline)) in &self.asked {
            let late = *deadline <= self.now.boot && !self.answers.contains_key(id);
            assert!(!late, "{id:?} of {key:?} got no answer by its deadline");
        }
    }

    pub(super) fn granted(&self, id: RequestId) -> &Attachment {
        match self.answers.get(&id) {
            Some(Answer::Granted { attachment, .. }) => attachment,
            other => panic!("{id:?} is not granted: {other:?}"),
        }
    }

    pub(super) fn refused(&self, id: RequestId) -> &Refusal {
        match self.answers.get(&id) {
            Some(Answer::Refused(refusal)) => refusal,
            other => panic!("{id:?} is not refused: {other:?}"),
        }
    }

    pub(super) fn waits(&self, id: RequestId) -> bool {
        !self.answers.contains_key(&id)
    }

    /// The kubelet admits a pod with a device.
    pub(super) fn admit(&mut self, slot: u16, pod: &PodRef) {
        let state = self.devices.iter().find(|d| d.slot == SlotId(slot));
        assert!(state.is_some_and(|d| d.healthy), "slot-{slot} is not on offer: {state:?}");
        self.kubelet.insert(SlotId(slot), pod.key.clone());
        self.step(Event::Allocated { slot: SlotId(slot) });
    }

    pub(super) fn calls(&self, what: &str) -> usize {
        self.cloud.calls.iter().filter(|op| format!("{op:?}").starts_with(what)).count()
    }
}
