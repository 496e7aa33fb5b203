//! The end of a run: faults stop, all sources tell the truth, time passes. Then nothing may be left over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tideway_cloud::EniStatus;
use tideway_ipam::{AddressState, Event, Use};
use tideway_model::{AttachmentKey, EniId, EniState, Family, Mode, SlotId, names::TAG_INTENT};

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

impl World {
    /// Lets everything come to rest and judges the end.
    pub fn come_to_rest(&mut self) {
        self.calm = true;
        self.cut = None;
        self.ambush = None;
        self.tickets_full = false;
        self.disk.ill_until = Duration::ZERO;
        self.node.runtime.blank = false;
        for subnet in self.cloud.subnets.values_mut() {
            subnet.others_leave();
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
            for ip in view.addresses.iter().filter(|_| ours) {
                let has = |b: &tideway_ipam::EniBook| b.addresses.iter().any(|(own, _)| own == ip);
                // A pod may still use an address that others moved to another ENI of ours.
                let moved = self.oracle.foul_addresses.contains(ip) && books.enis.iter().any(has);
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
            let lacks = |p: &&ipnet::IpNet| book.is_some_and(|b| !b.prefixes.contains(p));
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

    /// Whether a pod asks for a shared address and has none, again and again: whether it must have one is judged elsewhere.
    fn has_pod_in_vain(&self) -> bool {
        let runs = |n: &u32| {
            let sandbox = self.node.runtime.sandboxes.get(n);
            sandbox.is_some_and(|s| s.progress == Progress::Running)
        };
        let mut shared = self.node.kubelet.pods.values().filter(|p| p.slot.is_none());
        shared.any(|p| !p.sandbox.as_ref().is_some_and(runs))
    }

    /// Whether a pod's own ENI waits for an adapter that a shared one, beyond the reserved ones and without pods, has.
    fn is_owed_an_adapter(&self, slot: SlotId, books: &tideway_ipam::Books) -> bool {
        let used = |e: &tideway_ipam::EniBook| {
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

    /// Whether the limits of node and subnets leave no room for `more` shared pods, by the world.
    fn is_full(&self, more: usize, books: &tideway_ipam::Books) -> bool {
        let shared = |l: &&crate::node::Link| l.attachment.mode == Mode::Veth;
        let running = self.node.kernel.living().filter(shared).count();
        let families = self.profile.facts.families.list();
        families.iter().any(|f| running + more > self.most_shared(*f, books))
    }

    /// Addresses of a family that shared ENIs can have at most: those that are there, and new ones in the slots that are left.
    fn most_shared(&self, family: Family, books: &tideway_ipam::Books) -> usize {
        let limits = self.cloud.limits;
        let per_eni = usize::from(limits.per_eni(family));
        let kept = family == Family::V4 && !self.profile.settings.use_primary_address;
        let pods = per_eni.saturating_sub(usize::from(kept));
        let known = |id: &EniId| books.enis.iter().any(|e| e.id.as_ref() == Some(id));
        let foreign = |v: &&std::sync::Arc<tideway_cloud::EniView>| {
            v.instance.is_some() && !v.primary && !known(&v.id)
        };
        let foreign = self.cloud.enis.values().filter(foreign).count();
        let held = self.node.kubelet.holders.len();
        let slots = usize::from(limits.slots()).saturating_sub(held).saturating_sub(foreign);
        let most = self.profile.settings.max_shared.map_or(slots, |m| usize::from(m).min(slots));
        let (mut there, mut old, mut new) = (0, 0, 0);
        for (id, subnet) in &self.cloud.subnets {
            let here = books.enis.iter().filter(|e| e.usage == Use::Shared && e.subnet == *id);
            let here: Vec<_> =
                here.filter_map(|e| self.cloud.enis.get(e.id.as_ref()?)).collect();
            let has: usize = here.iter().map(|v| v.of_family(family).count()).sum();
            let left = subnet.left(family);
            let grow = (here.len() * per_eni).saturating_sub(has).min(left);
            let unused = usize::from(kept) * here.len();
            there += here.len();
            old += (has + grow).saturating_sub(unused);
            let ipv4 = if family == Family::V4 { usize::MAX } else { subnet.left(Family::V4) };
            new += ((left - grow) / per_eni.max(1)).min(ipv4);
        }
        old + new.min(most.saturating_sub(there)) * pods
    }

    /// Whether no subnet can give the addresses of one more ENI: a named reason for one that does not come.
    fn are_subnets_full(&self) -> bool {
        let limits = self.cloud.limits;
        let needs = |f: Family| usize::from(limits.per_eni(f)).max(1);
        let lacks = |s: &crate::cloud::Subnet| {
            [Family::V4, Family::V6].into_iter().any(|f| s.left(f) < needs(f))
        };
        self.cloud.subnets.values().all(lacks)
    }

    /// Adapter slots that neither a shared nor a foreign ENI has, nor a pod, and of which the kubelet is not told.
    fn unoffered(&self, books: &tideway_ipam::Books) -> Option<String> {
        let slots = usize::from(self.cloud.limits.slots());
        let held = self.node.kubelet.holders.len();
        let shared = books.enis.iter().filter(|e| e.usage == Use::Shared).count();
        let foreign = self.cloud.adapters().saturating_sub(1).saturating_sub(books.enis.len());
        let kept = foreign + shared.max(usize::from(self.profile.settings.min_shared));
        let free = slots.saturating_sub(kept).saturating_sub(held);
        let offered = books.devices.iter().filter(|d| d.healthy).count();
        let fewest = books.devices.len().min(held + free);
        (offered < fewest).then(|| format!("{offered} of {fewest}: {:?}", books.devices))
    }

    fn pool_left_over(&self, books: &tideway_ipam::Books) -> Option<(&'static str, String)> {
        let settings = &self.profile.settings;
        let free = books.free;
        let moved = self.node.kernel.living().any(|l| {
            l.attachment.addresses.iter().any(|ip| self.oracle.foul_addresses.contains(&ip))
        });
        let full = self.is_full(usize::from(settings.low) + leased(books, false), books);
        if free < u32::from(settings.low) && !moved && !full {
            return Some(("the pool is not below its low mark", format!("{free} free")));
        }
        if (free < u32::from(settings.low)) != books.shortfall.is_some() {
            let text = format!("{free} free: {:?}", books.shortfall);
            return Some(("a pool below its low mark names the reason", text));
        }
        // A primary address cannot be given back while its ENI is in use.
        let primaries = |e: &&tideway_ipam::EniBook| {
            let view = e.id.as_ref().and_then(|id| self.cloud.enis.get(id));
            let primary = view.and_then(|v| v.primary_ip);
            e.addresses.iter().any(|(ip, s)| Some(*ip) == primary && *s == AddressState::Free)
        };
        let bound = u32::try_from(books.enis.iter().filter(primaries).count()).unwrap_or(0);
        if free > u32::from(settings.high) + bound && self.has_removable(books, free) {
            return Some(("the pool is not above its high mark", format!("{free} free")));
        }
        if let Some(spare) = self.spare(books).filter(|_| !full) {
            return Some(("an idle ENI that the others can replace goes", spare));
        }
        // While more is wanted, one family waits for the other: for the pool, or for pods that find the node full.
        let enough = free >= u32::from(settings.low) && !full && !self.has_pod_in_vain();
        let unpaired = books.enis.iter().find(|e| enough && self.has_unpaired(e))?;
        Some(("idle addresses are in pairs", format!("{:?}", unpaired.addresses)))
    }

    /// Whether something can go of the idle addresses above the high mark: a single one, or an empty prefix without which
    /// there are enough.
    fn has_removable(&self, books: &tideway_ipam::Books, free: u32) -> bool {
        let above = free.saturating_sub(self.profile.settings.high.into());
        let idle = |s: &AddressState| *s == AddressState::Free;
        books.enis.iter().filter(|e| e.state == EniState::Ready).any(|e| {
            let view = e.id.as_ref().and_then(|id| self.cloud.enis.get(id));
            let primary = view.and_then(|v| v.primary_ip);
            let within = |ip: &std::net::IpAddr| e.prefixes.iter().any(|p| p.contains(ip));
            let single = |f: &Family| {
                let mut own = e.addresses.iter().filter(|(ip, s)| Family::of(*ip) == *f && idle(s));
                own.any(|(ip, _)| Some(*ip) != primary && !within(ip))
                    || (*f == Family::V6 && e.prefixes.iter().any(|p| p.addr().is_ipv6()))
            };
            let families = self.profile.facts.families.list();
            let empty = |p: &ipnet::IpNet| {
                let mut own = e.addresses.iter().filter(|(ip, _)| p.contains(ip));
                p.addr().is_ipv4() && own.all(|(_, s)| idle(s))
            };
            let singles = !e.prefixes.iter().any(|p| p.addr().is_ipv6()) || families.len() > 1;
            (singles && families.iter().all(single))
                || (above >= 16 && e.prefixes.iter().any(empty))
        })
    }

    /// A shared ENI beyond the reserved ones that no pod uses while the others have enough, and places for the whole pool.
    fn spare(&self, books: &tideway_ipam::Books) -> Option<String> {
        let settings = &self.profile.settings;
        let is_idle = |s: &AddressState| {
            matches!(s, AddressState::Free | AddressState::Reserved | AddressState::Lost)
        };
        let families = self.profile.facts.families.list();
        let count = |e: &tideway_ipam::EniBook, f: Family, of: &dyn Fn(&AddressState) -> bool| {
            e.addresses.iter().filter(|(ip, s)| Family::of(*ip) == f && of(s)).count()
        };
        let free = |e: &&tideway_ipam::EniBook| {
            let of = |f: &Family| count(e, *f, &|s| *s == AddressState::Free);
            families.iter().map(of).min().unwrap_or(0)
        };
        let can_have = |e: &&tideway_ipam::EniBook| {
            let of = |f: &Family| {
                let taken = count(e, *f, &|s| *s != AddressState::Free);
                usize::from(self.cloud.limits.per_eni(*f)).saturating_sub(taken)
            };
            families.iter().map(of).min().unwrap_or(0)
        };
        let serving = books.enis.iter().filter(|e| e.usage == Use::Shared);
        let serving = serving.filter(|e| e.state == EniState::Ready);
        let (low, high) = (usize::from(settings.low), usize::from(settings.high));
        let replaced = |e: &&tideway_ipam::EniBook| {
            let others = || serving.clone().filter(|other| other.id != e.id);
            others().map(|o| free(&o)).sum::<usize>() >= low
                && others().map(|o| can_have(&o)).sum::<usize>() >= low + high
        };
        // Pods may still hold on to addresses that others took away.
        let used = |e: &tideway_ipam::EniBook| {
            e.id.as_ref().is_some_and(|id| self.node.kernel.users(id).next().is_some())
        };
        let idle =
            |e: &&tideway_ipam::EniBook| e.addresses.iter().all(|(_, s)| is_idle(s)) && !used(e);
        let beyond = serving.clone().count() > usize::from(settings.min_shared);
        let spare = serving.clone().filter(idle).find(replaced).filter(|_| beyond)?;
        Some(format!("{:?} with {:?}", spare.id, spare.addresses))
    }

    /// Whether a shared ENI has idle addresses of one family that no pod can take and that could be given back.
    fn has_unpaired(&self, eni: &tideway_ipam::EniBook) -> bool {
        let view = eni.id.as_ref().and_then(|id| self.cloud.enis.get(id));
        let primary = view.and_then(|v| v.primary_ip);
        let idle = |family: Family| {
            let of = move |(ip, s): &&(_, AddressState)| {
                Family::of(*ip) == family && *s == AddressState::Free
            };
            eni.addresses.iter().filter(of)
        };
        let families = self.profile.facts.families;
        let fewest = families.list().iter().map(|f| idle(*f).count()).min().unwrap_or(0);
        let serves = eni.usage == Use::Shared && eni.state == EniState::Ready;
        let within = |ip: &std::net::IpAddr| eni.prefixes.iter().any(|p| p.contains(ip));
        let removable = |f: Family| idle(f).any(|(ip, _)| Some(*ip) != primary && !within(ip));
        serves && families.list().iter().any(|f| idle(*f).count() > fewest && removable(*f))
    }
}

/// Units that wait for their identities; `strict`: only those that nobody else can have.
fn leased(books: &tideway_ipam::Books, strict: bool) -> usize {
    let unclaimed = books.leases.iter().filter(|l| l.until.is_some());
    unclaimed.filter(|l| l.terms.strict || !strict).count()
}
