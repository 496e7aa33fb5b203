//! What the pool and the devices owe at the end of a run, and which reasons they may have.

use std::{net::IpAddr, sync::Arc};

use tideway_cloud::EniView;
use tideway_ipam::{AddressState, Books, EniBook, Use};
use tideway_model::{EniId, EniState, Family, Mode};

use crate::{
    cloud::Subnet,
    node::{Link, Progress},
    world::World,
};

impl World {
    /// Whether a pod asks for a shared address and has none, again and again: whether it must have one is judged elsewhere.
    fn has_pod_in_vain(&self) -> bool {
        let runs = |n: &u32| {
            let sandbox = self.node.runtime.sandboxes.get(n);
            sandbox.is_some_and(|s| s.progress == Progress::Running)
        };
        let mut shared = self.node.kubelet.pods.values().filter(|p| p.slot.is_none());
        shared.any(|p| !p.sandbox.as_ref().is_some_and(runs))
    }

    /// Whether the limits of node and subnets leave no room for `more` shared pods, by the world.
    pub(super) fn is_full(&self, more: usize, books: &Books) -> bool {
        let shared = |l: &&Link| l.attachment.mode == Mode::Veth;
        let running = self.node.kernel.living().filter(shared).count();
        let families = self.profile.facts.families.list();
        families.iter().any(|f| running + more > self.most_shared(*f, books))
    }

    /// Addresses of a family that shared ENIs can have at most: those that are there, and new ones in the slots that are left.
    fn most_shared(&self, family: Family, books: &Books) -> usize {
        let limits = self.cloud.limits;
        let per_eni = usize::from(limits.per_eni(family));
        let kept = family == Family::V4 && !self.profile.settings.use_primary_address;
        let pods = per_eni.saturating_sub(usize::from(kept));
        let held = self.node.kubelet.holders.len();
        let slots = usize::from(limits.slots()).saturating_sub(held + self.foreign(books));
        let most = self.profile.settings.max_shared.map_or(slots, |m| usize::from(m).min(slots));
        let (mut there, mut old, mut new) = (0, 0, 0);
        for (id, subnet) in &self.cloud.subnets {
            let here = books.enis.iter().filter(|e| e.usage == Use::Shared && e.subnet == *id);
            let here = here.filter_map(|e| self.cloud.enis.get(e.id.as_ref()?));
            let here: Vec<_> = here.filter(|v| v.instance.is_some()).collect();
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

    /// ENIs on the instance, beside the primary one, that the books do not know.
    fn foreign(&self, books: &Books) -> usize {
        let known = |id: &EniId| books.enis.iter().any(|e| e.id.as_ref() == Some(id));
        let foreign = |v: &&Arc<EniView>| v.instance.is_some() && !v.primary && !known(&v.id);
        self.cloud.enis.values().filter(foreign).count()
    }

    /// Whether no subnet can give the addresses of one more ENI: a named reason for one that does not come.
    pub(super) fn are_subnets_full(&self) -> bool {
        let limits = self.cloud.limits;
        let needs = |f: Family| usize::from(limits.per_eni(f)).max(1);
        let lacks = |s: &Subnet| [Family::V4, Family::V6].into_iter().any(|f| s.left(f) < needs(f));
        self.cloud.subnets.values().all(lacks)
    }

    /// Adapter slots that neither a shared nor a foreign ENI has, nor a pod, and of which the kubelet is not told.
    pub(super) fn unoffered(&self, books: &Books) -> Option<String> {
        let slots = usize::from(self.cloud.limits.slots());
        let held = self.node.kubelet.holders.len();
        let shared = books.enis.iter().filter(|e| e.usage == Use::Shared).count();
        let kept = self.foreign(books) + shared.max(usize::from(self.profile.settings.min_shared));
        let free = slots.saturating_sub(kept).saturating_sub(held);
        let offered = books.devices.iter().filter(|d| d.healthy).count();
        let fewest = books.devices.len().min(held + free);
        (offered < fewest).then(|| format!("{offered} of {fewest}: {:?}", books.devices))
    }

    pub(super) fn pool_left_over(&self, books: &Books) -> Option<(&'static str, String)> {
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
        let primaries = |e: &&EniBook| {
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
    fn has_removable(&self, books: &Books, free: u32) -> bool {
        let above = free.saturating_sub(self.profile.settings.high.into());
        let idle = |s: &AddressState| *s == AddressState::Free;
        books.enis.iter().filter(|e| e.state == EniState::Ready).any(|e| {
            let view = e.id.as_ref().and_then(|id| self.cloud.enis.get(id));
            let primary = view.and_then(|v| v.primary_ip);
            let within = |ip: &IpAddr| e.prefixes.iter().any(|p| p.contains(ip));
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
    fn spare(&self, books: &Books) -> Option<String> {
        let settings = &self.profile.settings;
        let is_idle = |s: &AddressState| {
            matches!(s, AddressState::Free | AddressState::Reserved | AddressState::Lost)
        };
        let families = self.profile.facts.families.list();
        let count = |e: &EniBook, f: Family, of: &dyn Fn(&AddressState) -> bool| {
            e.addresses.iter().filter(|(ip, s)| Family::of(*ip) == f && of(s)).count()
        };
        let free = |e: &&EniBook| {
            let of = |f: &Family| count(e, *f, &|s| *s == AddressState::Free);
            families.iter().map(of).min().unwrap_or(0)
        };
        let can_have = |e: &&EniBook| {
            let of = |f: &Family| {
                let taken = count(e, *f, &|s| *s != AddressState::Free);
                usize::from(self.cloud.limits.per_eni(*f)).saturating_sub(taken)
            };
            families.iter().map(of).min().unwrap_or(0)
        };
        let serving = books.enis.iter().filter(|e| e.usage == Use::Shared);
        let serving = serving.filter(|e| e.state == EniState::Ready);
        let (low, high) = (usize::from(settings.low), usize::from(settings.high));
        let replaced = |e: &&EniBook| {
            let others = || serving.clone().filter(|other| other.id != e.id);
            others().map(|o| free(&o)).sum::<usize>() >= low
                && others().map(|o| can_have(&o)).sum::<usize>() >= low + high
        };
        // Pods may still hold on to addresses that others took away.
        let used = |e: &EniBook| {
            e.id.as_ref().is_some_and(|id| self.node.kernel.users(id).next().is_some())
        };
        let idle = |e: &&EniBook| e.addresses.iter().all(|(_, s)| is_idle(s)) && !used(e);
        let beyond = serving.clone().count() > usize::from(settings.min_shared);
        let spare = serving.clone().filter(idle).find(replaced).filter(|_| beyond)?;
        Some(format!("{:?} with {:?}", spare.id, spare.addresses))
    }

    /// Whether a shared ENI has idle addresses of one family that no pod can take and that could be given back.
    fn has_unpaired(&self, eni: &EniBook) -> bool {
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
        let within = |ip: &IpAddr| eni.prefixes.iter().any(|p| p.contains(ip));
        let removable = |f: Family| idle(f).any(|(ip, _)| Some(*ip) != primary && !within(ip));
        serves && families.list().iter().any(|f| idle(*f).count() > fewest && removable(*f))
    }
}

/// Units that wait for their identities; `strict`: only those that nobody else can have.
pub(super) fn leased(books: &Books, strict: bool) -> usize {
    let unclaimed = books.leases.iter().filter(|l| l.until.is_some());
    unclaimed.filter(|l| l.terms.strict || !strict).count()
}
