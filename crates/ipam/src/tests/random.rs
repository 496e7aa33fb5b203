//! Random runs: pods come and go, calls fail, are late or lost, looks are stale, the daemon dies anywhere. The oracle is the
//! model world (see `world`), checked at every command; the books' own invariants are checked after every step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tideway_cloud::ErrorKind;
use tideway_model::{Families, PodRef, SlotId};

use super::cloud::Fate;
use super::world::{World, facts, key, pod, secs, settings};
use crate::{Event, Settings, Use};

/// A run's own memory.
struct Run {
    w: World,
    next: u32,
    /// Containers that the runtime knows, with their pods; the slot of exclusive ones.
    pods: BTreeMap<String, (PodRef, Option<u16>)>,
}

impl Run {
    fn pick(&self, arg: u16) -> Option<String> {
        let n = self.pods.len();
        if n == 0 { None } else { self.pods.keys().nth(usize::from(arg) % n).cloned() }
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("c{}", self.next)
    }

    fn new_shared(&mut self) -> (String, PodRef) {
        let name = self.name();
        let p = pod(&format!("pod-{name}"), &format!("uid-{name}"));
        self.pods.insert(name.clone(), (p.clone(), None));
        (name, p)
    }

    fn act(&mut self, kind: u8, arg: u16) {
        match kind % 23 {
            22 => self.w.cloud.fragmented = !self.w.cloud.fragmented,
            0..=2 => {
                let (name, p) = self.new_shared();
                self.w.add(&name, &p);
            }
            3 => self.exclusive(),
            4 => {
                if let Some(name) = self.pick(arg) {
                    self.end(&name, true);
                }
            }
            5 => {
                if let Some(name) = self.pick(arg) {
                    self.end(&name, false);
                }
            }
            6 | 7 => {
                let n = self.w.flying.len();
                if n > 0 {
                    self.w.fates = vec![fate(arg)];
                    self.w.answer_cloud(usize::from(arg) % n);
                }
            }
            8 => {
                let n = self.w.prepare.len();
                if n > 0 {
                    self.w.answer_prepare(usize::from(arg) % n);
                }
            }
            9 => {
                let n = self.w.quiesce.len();
                if n > 0 {
                    self.w.answer_quiesce(usize::from(arg) % n);
                }
            }
            10 => self.w.see_cloud(),
            11 => self.w.see_cloud_stale(usize::from(arg)),
            12 => self.w.see_devices(),
            13 => self.w.see_attachments(),
            14 | 15 => self.w.idle(secs(u64::from(arg % 40))),
            16 => {
                self.w.crash_fate = usize::from(arg);
                self.w.crash();
            }
            17 => {
                let (name, p) = self.new_shared();
                if self.w.ipam.needs_devices(&p) {
                    self.w.see_devices();
                }
                let id = self.w.next_id();
                let event = self.w.add_event(id, &name, &p);
                self.w.crash_fate = usize::from(arg);
                self.w.step_and_crash(
                    event,
                    !arg.is_multiple_of(3),
                    usize::from(arg % 3).saturating_sub(1),
                );
            }
            18 => {
                // The caller of an ADD goes away while it waits: the runtime sends DEL.
                let waits = |(id, (key, _deadline)): (_, &(tideway_model::AttachmentKey, _))| {
                    (!self.w.answers.contains_key(id)).then(|| key.container.to_string())
                };
                if let Some(container) = self.w.asked.iter().find_map(waits) {
                    self.w.del(&container);
                }
            }
            19 => {
                if let Some(name) = self.pick(arg) {
                    let p = self.pods[&name].0.clone();
                    self.w.add(&name, &p);
                }
            }
            20 => {
                // A sandbox is killed; the pod comes back in a new one.
                if let Some(name) = self.pick(arg) {
                    let (p, slot) = self.pods.remove(&name).unwrap();
                    self.w.del(&name);
                    let again = self.name();
                    self.pods.insert(again.clone(), (p.clone(), slot));
                    self.w.add(&again, &p);
                }
            }
            _ => self.w.step(Event::KubeletRestarted),
        }
        let most = usize::from(self.w.facts.limits.enis);
        assert!(self.w.cloud.attached() <= most, "more ENIs than the type allows");
    }

    fn exclusive(&mut self) {
        let taken: Vec<u16> = self.pods.values().filter_map(|(_p, s)| *s).collect();
        let free = self.w.devices.iter().find(|d| {
            d.healthy && !taken.contains(&d.slot.0) && !self.w.kubelet.contains_key(&d.slot)
        });
        let Some(slot) = free.map(|d| d.slot.0) else { return };
        let name = self.name();
        let p = pod(&format!("x-{name}"), &format!("uid-{name}"));
        self.w.admit(slot, &p);
        self.w.add(&name, &p);
        self.pods.insert(name, (p, Some(slot)));
    }

    /// A pod ends; its DEL comes, or is lost with the node's namespace.
    fn end(&mut self, name: &str, del: bool) {
        let (_pod, slot) = self.pods.remove(name).unwrap();
        if del {
            self.w.del(name);
        } else {
            self.w.lose_namespace(&key(name));
        }
        if let Some(slot) = slot {
            self.w.kubelet.remove(&SlotId(slot));
        }
    }

    /// The sources answer truthfully and everybody goes home: nothing may be left over.
    fn converge(mut self) {
        self.w.fates.clear();
        let names: Vec<String> = self.pods.keys().cloned().collect();
        for name in names {
            self.end(&name, true);
        }
        let left: Vec<_> = self.w.sandboxes.iter().cloned().collect();
        for key in left {
            self.w.lose_namespace(&key);
        }
        for _ in 0..30 {
            self.w.pass(secs(40));
            self.w.see_attachments();
            self.w.see_devices();
        }
        let books = self.w.ipam.books(self.w.now);
        assert!(books.attachments.is_empty(), "{:?}", books.attachments);
        assert!(self.w.kernel.is_empty());
        let known: Vec<_> = books.enis.iter().filter_map(|e| e.id.clone()).collect();
        for (id, v) in self.w.cloud.enis.iter().filter(|(_id, v)| !v.primary) {
            assert!(known.contains(id), "{id} is orphaned: {v:?}\n{:?}", self.w.cloud.calls);
            let book = books.enis.iter().find(|e| e.id.as_ref() == Some(id)).unwrap();
            for ip in &v.addresses {
                let has = book.addresses.iter().any(|(own, _s)| own == ip);
                assert!(has, "{ip} on {id} is unknown");
            }
            let prefixes: BTreeSet<_> = v.prefixes.iter().copied().collect();
            assert_eq!(book.prefixes.iter().copied().collect::<BTreeSet<_>>(), prefixes, "{id}");
        }
        for e in &books.enis {
            assert_eq!(e.usage, Use::Shared, "no pod holds a device any more: {e:?}");
        }
        let (low, mut high) = (u32::from(self.w.settings.low), u32::from(self.w.settings.high));
        if books.enis.iter().any(|e| !e.prefixes.is_empty()) {
            high += u32::from(tideway_model::IPV4_OF_PREFIX) - 1;
        }
        assert!((low..=high).contains(&books.free), "{} free; {:?}", books.free, books.enis);
        let left: Vec<_> =
            self.w.journal.keys().filter(|k| !k.starts_with("eni/") && *k != "counters").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn fate(arg: u16) -> Fate {
    match arg % 16 {
        0 => Fate::Refused(ErrorKind::Throttled { retry_after: None }),
        1 => Fate::Refused(ErrorKind::Unavailable),
        2 => Fate::Refused(ErrorKind::Conflict),
        3 => Fate::Refused(ErrorKind::SubnetFull),
        4 | 5 => Fate::LostAnswer,
        6 => Fate::LostCall,
        7 | 8 => Fate::Late,
        _ => Fate::Good,
    }
}

fn run(families: Families, enis: u16, per_eni: u16, acts: &[(u8, u16)]) {
    run_with(settings(), families, (enis, per_eni), acts);
}

fn run_with(
    settings: Settings,
    families: Families,
    (enis, per_eni): (u16, u16),
    acts: &[(u8, u16)],
) {
    let mut run = Run {
        w: World::with(settings, facts(enis, per_eni, families)),
        next: 0,
        pods: BTreeMap::new(),
    };
    for (kind, arg) in acts {
        run.act(*kind, *arg);
    }
    run.converge();
}

/// Few in the ordinary test run; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(32)
}

fn acts() -> impl Strategy<Value = Vec<(u8, u16)>> {
    proptest::collection::vec((any::<u8>(), any::<u16>()), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice_or_lost_on_a_small_node(acts in acts()) {
        run(Families::V4, 3, 3, &acts);
    }

    #[test]
    fn nothing_is_given_twice_or_lost_on_a_dual_stack_node(acts in acts()) {
        run(Families::Dual, 5, 6, &acts);
    }

    #[test]
    fn no_prefix_is_given_back_in_use_or_lost(acts in acts(), dual in any::<bool>()) {
        let families = if dual { Families::Dual } else { Families::V4 };
        let settings = Settings { prefixes: true, ..settings() };
        run_with(settings, families, (4, 4), &acts);
    }
}
