//! The state and its loop: one fact in, records and commands out.
//!
//! After each fact everything that follows from it is settled in a fixed order: rests end, waiting requests are decided and
//! served, devices and pool are planned, ENIs take their next step, looks are asked for, records are written. Nothing here
//! depends on anything but the state, the fact and the time, so a run can be repeated from its seed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::IpAddr,
    time::Duration,
};

use tideway_model::{Attachment, AttachmentKey, EniId, Now, PodRef, SlotId, SubnetId};

use crate::{
    Command, Effects, Event, IntentId, NodeFacts, Record, Settings,
    devices::Devices,
    eni::{Eni, Held},
    event::BoundPod,
    hold::Hold,
    intents::Intent,
    leases::Leases,
    looks::CloudLooks,
    record::{self, Counters, DeviceRecord, EniRecord, Entry},
    requests::{Granted, Waiting},
    rng::Rng,
};

/// The allocator of one node. See the crate's documentation.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent facts, not states of one machine"
)]
pub struct Ipam {
    pub(crate) settings: Settings,
    pub(crate) facts: NodeFacts,
    pub(crate) rng: Rng,
    /// When this run began.
    pub(crate) started: Duration,
    /// An earlier run had ENIs already.
    pub(crate) inherited: bool,
    /// The cloud has told its ENIs at least once in this run.
    pub(crate) cloud_known: bool,
    pub(crate) counters: Counters,
    pub(crate) enis: BTreeMap<u32, Eni>,
    pub(crate) intents: BTreeMap<IntentId, Intent>,
    pub(crate) attachments: BTreeMap<AttachmentKey, Granted>,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) devices: Devices,
    pub(crate) bound: Vec<BoundPod>,
    pub(crate) leases: Leases,
    pub(crate) looks: CloudLooks,
    /// Creating shared or exclusive ENIs rests after a failure that no other subnet would mend.
    pub(crate) create_hold: Hold,
    /// Subnets that refused a single address: nothing is asked for there.
    pub(crate) subnet_holds: BTreeMap<SubnetId, Hold>,
    /// Subnets that refused a whole ENI: addresses for those that are there are asked for all the same.
    pub(crate) cramped: BTreeMap<SubnetId, Hold>,
    /// Subnets without a whole prefix: single addresses are asked for there.
    pub(crate) fragmented: BTreeMap<SubnetId, Hold>,
    /// Addresses that subnets can still give, by the cloud's last word.
    pub(crate) room: BTreeMap<SubnetId, u64>,
    /// Since when there are more free units than the high watermark.
    pub(crate) surplus_since: Option<Duration>,
    /// The shared pool wants one more adapter slot than it can have.
    pub(crate) wants_slot: bool,
    pub(crate) uninstalling: bool,
    pub(crate) uninstalled: bool,
    /// Addresses that were given back lately: a stale look may still show them.
    pub(crate) buried: BTreeMap<(u32, IpAddr), Duration>,
    /// ENIs that were deleted lately.
    pub(crate) buried_enis: BTreeMap<EniId, Duration>,
    touched: BTreeSet<u32>,
    stored_enis: BTreeMap<u32, EniRecord>,
    stored_devices: BTreeMap<SlotId, DeviceRecord>,
    stored_counters: Option<Counters>,
}

/// Without what does not change in a run and what the journal has.
impl fmt::Debug for Ipam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ipam")
            .field("rng", &self.rng)
            .field("started", &self.started)
            .field("inherited", &self.inherited)
            .field("cloud_known", &self.cloud_known)
            .field("counters", &self.counters)
            .field("enis", &self.enis)
            .field("intents", &self.intents)
            .field("attachments", &self.attachments)
            .field("waiting", &self.waiting)
            .field("devices", &self.devices)
            .field("bound", &self.bound)
            .field("leases", &self.leases.map)
            .field("looks", &self.looks)
            .field("create_hold", &self.create_hold)
            .field("subnet_holds", &self.subnet_holds)
            .field("cramped", &self.cramped)
            .field("fragmented", &self.fragmented)
            .field("room", &self.room)
            .field("surplus_since", &self.surplus_since)
            .field("wants_slot", &self.wants_slot)
            .field("uninstalling", &self.uninstalling)
            .field("uninstalled", &self.uninstalled)
            .field("buried", &self.buried)
            .field("buried_enis", &self.buried_enis)
            .finish_non_exhaustive()
    }
}

impl Ipam {
    /// An allocator with empty books, for a node whose journal is new.
    pub fn new(settings: Settings, facts: NodeFacts, seed: u64) -> Self {
        let devices = Devices::new(&facts, &settings);
        Self {
            settings,
            facts,
            rng: Rng::new(seed),
            started: Duration::ZERO,
            inherited: false,
            cloud_known: false,
            counters: Counters { intent: 1, eni: 1 },
            enis: BTreeMap::new(),
            intents: BTreeMap::new(),
            attachments: BTreeMap::new(),
            waiting: VecDeque::new(),
            devices,
            bound: Vec::new(),
            leases: Leases::default(),
            looks: CloudLooks::default(),
            create_hold: Hold::default(),
            subnet_holds: BTreeMap::new(),
            cramped: BTreeMap::new(),
            fragmented: BTreeMap::new(),
            room: BTreeMap::new(),
            surplus_since: None,
            wants_slot: false,
            uninstalling: false,
            uninstalled: false,
            buried: BTreeMap::new(),
            buried_enis: BTreeMap::new(),
            touched: BTreeSet::new(),
            stored_enis: BTreeMap::new(),
            stored_devices: BTreeMap::new(),
            stored_counters: None,
        }
    }

    /// The first step of a run, exactly once, before any event.
    pub fn start(&mut self, now: Now, out: &mut Effects) {
        let t = now.boot;
        self.started = t;
        self.looks.due = Some(t);
        self.devices.look_wanted = Some(t);
        self.looks.clock = t;
        self.begin_unknown(now, out);
        self.begin_leases(now, out);
        self.settle(now, out);
    }

    /// Takes one fact.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Effects) {
        let t = now.boot;
        self.follow_clock(now, out);
        match event {
            Event::Tick => {}
            Event::Add(request) => self.add(t, request, out),
            Event::PlumbFailed { key } => self.plumb_failed(t, &key, out),
            Event::Del { id, key } => self.del(t, id, key, out),
            Event::Quiet { begun, addresses } => self.quiet(t, begun, &addresses, out),
            Event::CloudDone { intent, result } => self.cloud_done(now, intent, result, out),
            Event::EniPrepared { eni, result } => self.eni_prepared(t, &eni, result),
            Event::CloudSeen { begun, enis } => self.cloud_seen(now, begun, &enis, out),
            Event::Room(room) => self.room = room,
            Event::Seen(look) => self.seen(t, &look, out),
            Event::Allocated { slot } => self.allocated(t, slot),
            Event::DevicesSeen { begun, holders } => self.devices_seen(t, begun, holders, out),
            Event::KubeletRestarted => self.devices.forget_list(t),
            Event::PodsBound(pods) => self.pods_bound(pods, out),
            Event::OwnersGone(pods) => self.owners_gone(t, &pods, out),
            Event::Uninstall => self.uninstall(out),
        }
        self.settle(now, out);
        debug_assert!(self.check().is_ok(), "{:?}", self.check());
    }

    fn settle(&mut self, now: Now, out: &mut Effects) {
        let t = now.boot;
        self.end_rests(t, out);
        self.keep_leases(t, out);
        self.decide_waiting(t, out);
        self.serve(t, out);
        self.refuse_expired(t, out);
        self.plan_devices(t, out);
        self.plan_pool(now, out);
        self.plan_enis(now, out);
        self.yield_leases(t, out);
        // An exclusive ENI may just have become ready for the pod that waits for it, and a lease may just have yielded.
        self.serve(t, out);
        self.publish_devices(out);
        self.plan_device_looks(t, out);
        self.plan_cloud_looks(t, out);
        self.write_records(out);
        if self.uninstalling && self.enis.is_empty() && !self.uninstalled {
            self.uninstalled = true;
            out.commands.push(Command::Uninstalled);
        }
    }

    fn uninstall(&mut self, out: &mut Effects) {
        self.uninstalling = true;
        while let Some(w) = self.waiting.pop_front() {
            Self::refuse(&w, &crate::cause::leaving(), out);
        }
    }

    /// Boot time at which [`Event::Tick`] is due; none: only events matter.
    pub fn next_deadline(&self) -> Option<Duration> {
        let rests = self.rest_deadlines();
        let requests = self.waiting.iter().flat_map(|w| w.ids.values().copied());
        let intents = self.intents.values().filter_map(Intent::deadline);
        let enis = self.eni_deadlines();
        let pool = self.pool_deadlines();
        rests
            .chain(requests)
            .chain(intents)
            .chain(enis)
            .chain(pool)
            .chain(self.lease_deadlines())
            .chain(self.device_deadlines())
            .chain(self.cloud_look_deadline())
            .min()
    }

    /// All attachments that are promised now.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.values().map(|g| &g.attachment)
    }

    /// Whether pod-resources must be asked before this pod's ADD is put to [`Ipam::step`]: an `Allocate` is not matched yet,
    /// the pod holds a known device, or there was no complete list since the start or the kubelet's restart.
    pub fn needs_devices(&self, pod: &PodRef) -> bool {
        self.devices.must_ask(pod)
    }

    /// An ENI to change: its record is compared at the end of the step.
    pub(crate) fn eni_mut(&mut self, number: u32) -> Option<&mut Eni> {
        self.touched.insert(number);
        self.enis.get_mut(&number)
    }

    /// The ENI with this identity.
    pub(crate) fn number_of(&self, id: &EniId) -> Option<u32> {
        self.enis.values().find(|e| e.id.as_ref() == Some(id)).map(|e| e.number)
    }

    pub(crate) fn insert_eni(&mut self, eni: Eni) {
        self.touched.insert(eni.number);
        self.enis.insert(eni.number, eni);
    }

    /// The ENI is no more: books, and the memory that a stale look needs.
    pub(crate) fn bury_eni(&mut self, t: Duration, number: u32, out: &mut Effects) {
        self.touched.insert(number);
        let Some(eni) = self.enis.remove(&number) else { return };
        for (ip, a) in &eni.addresses {
            if matches!(a.held, Held::Cooling { .. }) {
                Self::forget_rest(*ip, out);
            }
        }
        let shared = eni.is_shared();
        if let Some(id) = eni.id {
            if shared {
                out.commands.push(Command::Retire(id.clone()));
            }
            self.buried_enis.insert(id, t + self.settings.late_effect);
        }
    }

    /// What the journal has, word for word: what the books have beyond it is written with the next commit.
    pub(crate) fn remember_stored(
        &mut self,
        enis: BTreeMap<u32, EniRecord>,
        devices: BTreeMap<SlotId, DeviceRecord>,
        counters: Option<Counters>,
    ) {
        self.stored_enis = enis;
        self.stored_devices = devices;
        self.stored_counters = counters;
    }

    fn write_records(&mut self, out: &mut Effects) {
        for number in std::mem::take(&mut self.touched) {
            let now = self.enis.get(&number).map(Eni::record);
            if now.as_ref() == self.stored_enis.get(&number) {
                continue;
            }
            let key = record::eni_key(number);
            let value = now.clone().map(|r| Entry::Eni(Box::new(r)));
            out.records.push(Record { key, value });
            match now {
                Some(r) => self.stored_enis.insert(number, r),
                None => self.stored_enis.remove(&number),
            };
        }
        let devices: BTreeMap<_, _> = self.devices.records().map(|d| (d.slot, d)).collect();
        if devices != self.stored_devices {
            for slot in self.stored_devices.keys().filter(|s| !devices.contains_key(s)) {
                out.records.push(Record { key: record::device_key(*slot), value: None });
            }
            for (slot, d) in &devices {
                if self.stored_devices.get(slot) != Some(d) {
                    let value = Some(Entry::Device(d.clone()));
                    out.records.push(Record { key: record::device_key(*slot), value });
                }
            }
            self.stored_devices = devices;
        }
        if self.stored_counters != Some(self.counters)
            && (self.stored_counters.is_some() || self.counters.eni > 1 || self.counters.intent > 1)
        {
            self.stored_counters = Some(self.counters);
            let value = Some(Entry::Counters(self.counters));
            out.records.push(Record { key: record::COUNTERS_KEY.into(), value });
        }
    }
}
