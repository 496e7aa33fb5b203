//! The end of a run: faults stop, all sources tell the truth, time passes. Then nothing may be left over.

mod pool;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tideway_cloud::EniStatus;
use tideway_ipam::{AddressState, EniBook, Event, Use};
use tideway_model::{AttachmentKey, EniId, EniState, SlotId, names::TAG_INTENT};

use self::pool::leased;
use crate::{
    node::Progress,
    world::{Uninstall, World},
};

/// Every so often the kubelet and the runtime finish what they owe.
const ROUND: Duration = Duration::from_secs(20);
/// Shortest time between two looks at what lives.
const LOOKS: Duration = Duration::from_secs(1);
/// Longest time until the cloud is in order: late effects, two looks, rests, and the longest backing off (10 min).
const LONGEST: Duration = Duration::from_mins(40);

/// Others took it away: it goes as a whole when its pods have gone, and the books have of it only what these hold.
fn is_lost(eni: &EniBook) -> bool {
    matches!(eni.state, EniState::Failed(_))
}

impl World {
    /// Lets everything come to rest and judges the end.
    pub fn come_to_rest(&mut self) {
        self.calm = true;
        self.cut = None;
        self.ambush = None;
        self.tickets_full = false;
        self.disk.ill_until = Duration::ZERO;
        self.node.runtime.blank = false;
        // Neighbours leave, or one of several subnets stays full for good.
        let full = self.cloud.subnets.len() > 1 && self.dice.percent(20);
        for (n, subnet) in self.cloud.subnets.values_mut().enumerate() {
            if full && n == 0 {
                subnet.others_take_all(&mut self.dice);
            } else {
                subnet.others_leave();
            }
        }
        // A part of the pods ends, the others live on; all of them before an uninstall.
        let uninstalls = self.dice.percent(5);
        let all: Vec<u32> = self.node.kubelet.pods.keys().copied().collect();
        for uid in all {
            if uninstalls || self.dice.percent(50) {
                self.remove_pod(uid);
            }
        }
        self.start();
        if uninstalls {
            self.note(|| "UNINSTALL".to_owned());
            self.uninstall = Uninstall::Ordered;
            self.tell(Event::Uninstall);
        }
        let end = self.time + LONGEST;
        let mut quiet_rounds = 0;
        let mut dead = BTreeMap::new();
        while self.time < end && !self.is_broken() {
            self.finish_debts();
            self.pass(ROUND);
            self.take_turn();
            self.judge_dead(&mut dead);
            quiet_rounds = if self.left_over().is_none() { quiet_rounds + 1 } else { 0 };
            if quiet_rounds > 3 {
                break;
            }
        }
        if self.is_broken() {
            return;
        }
        if let Some((rule, text)) = self.left_over() {
            self.oracle.broken(rule, || text);
        }
    }

    /// What is dead is not kept for longer than the design says: two looks, `settle` apart, a rest, and what comes late.
    fn judge_dead(&mut self, dead: &mut BTreeMap<AttachmentKey, Duration>) {
        let Some(d) = self.daemon.as_ref() else { return dead.clear() };
        let now: Vec<AttachmentKey> =
            d.core.ipam.attachments().map(|a| a.key.clone()).filter(|k| !self.lives(k)).collect();
        dead.retain(|key, _since| now.contains(key));
        let s = &self.profile.settings;
        let most = 2 * s.settle + s.cooldown + s.settle.max(LOOKS) + s.late_effect;
        for key in now {
            let since = *dead.entry(key.clone()).or_insert(self.time);
            if self.time > since + most {
                let text = format!("{key:?} is kept since {since:?}");
                self.oracle.broken("everything dead is free in time", || text);
            }
        }
    }

    /// Whether the runtime has a sandbox of this attachment that runs or comes.
    fn lives(&self, key: &AttachmentKey) -> bool {
        let runs = |p: Progress| matches!(p, Progress::Adding | Progress::Running);
        self.node.runtime.sandboxes.values().any(|s| s.key == *key && runs(s.progress))
    }

    /// Kubelet and runtime do what they owe.
    fn finish_debts(&mut self) {
        while self.release_device() {}
        let ended: Vec<u32> = self
            .node
            .runtime
            .sandboxes
            .iter()
            .filter(|(_, s)| s.progress == Progress::Ended)
            .map(|(n, _)| *n)
            .collect();
        for _ in 0..2 * ended.len() {
            self.remove_sandbox();
        }
        let ending: Vec<_> = self
            .node
            .runtime
            .sandboxes
            .iter()
            .filter(|(_, s)| s.progress == Progress::Ending)
            .map(|(n, s)| (*n, s.key.clone()))
            .collect();
        for (n, key) in ending {
            for pod in self.node.kubelet.pods.values_mut().filter(|p| p.sandbox == Some(n)) {
                pod.sandbox = None;
            }
            self.send_del(key);
        }
        while self.run_sandbox() {}
        self.drain_tickets();
        self.tell_bound();
    }

    /// What is not in order, by the world; the books only say what is accounted for.
    fn left_over(&self) -> Option<(&'static str, String)> {
        let Some(d) = self.daemon.as_ref() else {
            return Some(("the daemon runs", "it does not".to_owned()));
        };
        let books = d.core.ipam.books(self.now());
        if let Some(a) = books.attachments.iter().find(|a| !self.lives(&a.key)) {
            return Some(("everything dead is free", format!("{:?} is kept", a.key)));
        }
        // They were sent before time passed.
        if let Some(del) = self.dels.first() {
            return Some(("every DEL is answered", format!("{del:?}")));
        }
        if let Some(key) = self.tickets.first() {
            return Some(("every ticket is worked off", format!("{key:?}")));
        }
        let known: BTreeSet<&EniId> = books.enis.iter().filter_map(|e| e.id.as_ref()).collect();
        if let Some(eni) = d.prepared.iter().find(|eni| !known.contains(eni)) {
            return Some(("nothing of a former ENI is on the host", eni.to_string()));
        }
        let lost = self.oracle.disk_lied || self.oracle.shifted;
        for view in self.cloud.enis.values() {
            // Without its tags an attached ENI is known from the journal.
            let kept = self.oracle.nameless_enis.contains(&view.id)
                && view.status == EniStatus::InUse
                && !lost;
            let ours = !view.primary && (kept || view.tags.contains_key(TAG_INTENT));
            if ours && !known.contains(&view.id) {
                return Some(("no orphan ENI", format!("{} {:?}", view.id, view.status)));
            }
            let book = books.enis.iter().find(|e| e.id.as_ref() == Some(&view.id));
            for ip in view.addresses.iter().filter(|_| ours && !book.is_some_and(is_lost)) {
                let has = |b: &EniBook| b.addresses.iter().any(|(own, _)| own == ip);
                // A pod may still use an address that others moved to another ENI of ours, or that a journal which was set
                // back gave to it.
                let foul = lost || self.oracle.foul_addresses.contains(ip);
                let moved = foul && books.enis.iter().any(has);
                if !book.is_some_and(has) && !moved {
                    return Some((
                        "every address is accounted for",
                        format!("{ip} on {}", view.id),
                    ));
                }
            }
        }
        for view in self.cloud.enis.values() {
            let book = books.enis.iter().find(|e| e.id.as_ref() == Some(&view.id));
            let lacks =
                |p: &&ipnet::IpNet| book.is_some_and(|b| !b.prefixes.contains(p) && !is_lost(b));
            if let Some(prefix) = view.prefixes.iter().find(lacks) {
                let text = format!("{prefix} on {}", view.id);
                return Some(("every prefix is accounted for", text));
            }
        }
        for eni in &books.enis {
            let view = eni.id.as_ref().and_then(|id| self.cloud.enis.get(id));
            for (ip, state) in &eni.addresses {
                let there = view.is_some_and(|v| v.has(*ip));
                let settled =
                    !matches!(state, AddressState::Cooling { .. } | AddressState::Releasing);
                let lost = *state == AddressState::Lost;
                if !settled || (!there && !lost) {
                    let text = format!("{ip} is {state:?}, in the cloud: {there}");
                    return Some(("every address is settled", text));
                }
            }
            if eni.state == EniState::Creating && self.are_subnets_full() {
                continue;
            }
            let full = self.cloud.adapters() >= usize::from(self.cloud.limits.enis);
            if eni.state == EniState::Attaching && full {
                continue;
            }
            if matches!(
                eni.state,
                EniState::Creating | EniState::Attaching | EniState::Detaching | EniState::Deleting
            ) {
                return Some(("every ENI is settled", format!("{:?} {:?}", eni.id, eni.state)));
            }
            if let Use::Exclusive(slot) = eni.usage
                && !self.node.kubelet.holders.contains_key(&slot)
            {
                return Some(("idle devices have no ENI", format!("{:?} of {slot}", eni.id)));
            }
        }
        if self.uninstall == Uninstall::Ordered {
            return Some(("an uninstall leaves nothing", format!("{:?}", books.enis)));
        }
        // An ENI that a full subnet does not give keeps the slot that was cleared for it.
        if self.uninstall == Uninstall::No
            && !self.are_subnets_full()
            && let Some(missing) = self.unoffered(&books)
        {
            return Some(("free adapter slots are offered", missing));
        }
        let keys = self.disk.keys().find(|k| k.starts_with("intent/") || k.starts_with("cooling/"));
        if let Some(key) = keys {
            return Some(("the journal is at rest", key.to_owned()));
        }
        if self.uninstall == Uninstall::Done {
            let left = self.cloud.enis.values().find(|v| v.tags.contains_key(TAG_INTENT));
            return left
                .map(|v| ("an uninstall leaves nothing", format!("{} {:?}", v.id, v.status)));
        }
        self.pods_left_over(&books).or_else(|| self.pool_left_over(&books))
    }

    /// Pods that are to run have their network, unless there is no room or it was taken by others.
    fn pods_left_over(&self, books: &tideway_ipam::Books) -> Option<(&'static str, String)> {
        for (uid, pod) in &self.node.kubelet.pods {
            let sandbox = pod.sandbox.and_then(|n| self.node.runtime.sandboxes.get(&n));
            let Some(s) = sandbox.filter(|s| s.progress == Progress::Running) else {
                // An exclusive pod waits while shared ENIs have all slots: a named cause in its events.
                let slots = self.cloud.adapters() >= usize::from(self.cloud.limits.enis);
                let owed = pod.slot.is_some_and(|slot| self.is_owed_an_adapter(slot, books));
                let none = match pod.slot {
                    Some(_) => self.are_subnets_full() || (slots && !owed),
                    None => self.is_full(1 + leased(books, true), books),
                };
                if none {
                    continue;
                }
                let waits: Vec<&str> = books.waiting.iter().map(|w| w.why.text.as_str()).collect();
                let text = format!("uid-{uid} does not: {sandbox:?}; waiting: {waits:?}");
                return Some(("pods that fit run", text));
            };
            let link = self.node.kernel.links.get(&s.key).filter(|l| l.gone_by.is_none());
            let foul = link.is_some_and(|l| {
                let a = &l.attachment;
                self.oracle.foul_enis.contains(&a.eni)
                    || a.addresses.iter().any(|ip| self.oracle.foul_addresses.contains(&ip))
            });
            if foul || self.oracle.disk_lied || (link.is_none() && self.oracle.strangers) {
                continue;
            }
            let Some(link) = link else {
                return Some(("living pods keep their network", format!("uid-{uid} has no link")));
            };
            let view = self.cloud.enis.get(&link.attachment.eni);
            let has = |v: &tideway_cloud::EniView| {
                v.status == EniStatus::InUse && link.attachment.addresses.iter().all(|ip| v.has(ip))
            };
            if !view.is_some_and(|v| has(v)) {
                return Some((
                    "living pods keep their network",
                    format!("uid-{uid}: the cloud does not have its address"),
                ));
            }
        }
        None
    }

    /// Whether a pod's own ENI waits for an adapter that a shared one, beyond the reserved ones and without pods, has.
    fn is_owed_an_adapter(&self, slot: SlotId, books: &tideway_ipam::Books) -> bool {
        let used = |e: &EniBook| {
            let taken =
                |s: &AddressState| matches!(s, AddressState::Assigned(_) | AddressState::Leased);
            e.addresses.iter().any(|(_, s)| taken(s))
        };
        let of = |usage: Use, state: EniState| {
            books.enis.iter().filter(move |e| e.usage == usage && e.state == state)
        };
        let waits = of(Use::Exclusive(slot), EniState::Attaching).next().is_some();
        let serving = of(Use::Shared, EniState::Ready);
        let spare = serving.clone().count() > usize::from(self.profile.settings.min_shared);
        waits && spare && serving.clone().any(|e| !used(e))
    }
}
