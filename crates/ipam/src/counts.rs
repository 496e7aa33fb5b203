//! The node in numbers, for whoever places pods: what it has, what it could have, and what stands in the way.
//!
//! A unit is what one pod needs: an address of each family on one shared ENI, or a whole ENI. Of several families the
//! scarcest counts. The numbers agree with each other: a place for an ENI is counted once, and so is a unit. What is on its way
//! (an ENI that is being attached, an address that the host does not know yet) is capacity, and nothing else.

use std::{net::IpAddr, time::Duration};

use tideway_model::{EniState, Family, Mode, PodKey, PodUid, SlotId, SubnetId};

use crate::{
    Ipam,
    devices::Device,
    eni::{Address, Eni, Held},
    view::Use,
};

/// Places for secondary ENIs. `limit = shared + exclusive + foreign + free`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdapterCounts {
    /// What the instance type allows.
    pub limit: u32,
    /// In use by shared ENIs, or kept for them.
    pub shared: u32,
    /// Whose device a pod holds, and those whose former holder's ENI is not gone yet.
    pub exclusive: u32,
    /// Taken by ENIs that are not ours.
    pub foreign: u32,
    /// Can still become either.
    pub free: u32,
    /// Of `free`, how many may become shared.
    pub free_for_shared: u32,
    /// Units that one more shared ENI gives.
    pub units_per_adapter: u32,
}

/// Addresses of shared ENIs, in units. `held = ready + assigned + cooling + unusable`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedCounts {
    /// What the shared ENIs can carry when they are filled, those included for which a place is kept. Of an ENI that leaves
    /// or failed, only what pods still hold on it.
    pub capacity: u32,
    /// Units that the node has now.
    pub held: u32,
    /// Can be handed out at once; leases that yield are among them.
    pub ready: u32,
    /// With a pod's sandbox.
    pub assigned: u32,
    /// Of `assigned`: the pod is gone, its sandbox is not.
    pub leaving: u32,
    /// Rest after their last pod.
    pub cooling: u32,
    /// Neither: nobody can have them now.
    pub unusable: u32,
}

/// Whole ENIs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExclusiveCounts {
    /// Devices in the kubelet's list that no pod holds.
    pub offered: u32,
    /// Devices with a holder.
    pub assigned: u32,
    /// Of `assigned`: the pod is gone.
    pub leaving: u32,
    /// Attached and idle.
    pub ready: u32,
}

/// Leases that no container claims, in units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Addresses that wait for their identity. Those that would yield at once are `ready` in [`SharedCounts`].
    pub unclaimed: u32,
    /// Of those, how many go to nobody else: `unusable` once they have rested.
    pub strict: u32,
    /// The identities, sorted.
    pub identities: Vec<PodKey>,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Places for ENIs.
    pub adapters: AdapterCounts,
    /// Shared addresses.
    pub shared: SharedCounts,
    /// Whole ENIs.
    pub exclusive: ExclusiveCounts,
    /// Leases.
    pub leases: LeaseCounts,
    /// Subnets that refused an address or an ENI because they are full, and are not asked again yet.
    pub full: Vec<SubnetId>,
    /// The cloud has told which ENIs the node has; before, nothing can be asked from it.
    pub cloud_known: bool,
    /// Nothing is given any more.
    pub uninstalling: bool,
}

impl SharedCounts {
    fn add(&mut self, more: Self) {
        self.capacity += more.capacity;
        self.held += more.held;
        self.ready += more.ready;
        self.assigned += more.assigned;
        self.cooling += more.cooling;
        self.unusable += more.unusable;
    }
}

impl Ipam {
    /// The numbers at `t` (`Now::boot`). `gone` tells whether a pod (of this UID, when it is known) is no longer there or has ended, so that what
    /// it still holds is about to come back.
    pub fn counts(&self, t: Duration, gone: impl Fn(&PodKey, Option<&PodUid>) -> bool) -> Counts {
        let adapters = self.adapter_counts();
        let mut shared = SharedCounts::default();
        let mut places = 0;
        for eni in self.enis.values().filter(|e| e.is_shared()) {
            shared.add(self.eni_counts(eni));
            places += u32::from(eni.takes_slot());
        }
        let kept = adapters.shared.saturating_sub(places);
        shared.capacity += kept.saturating_mul(adapters.units_per_adapter);
        let on_shared = self.attachments.values().filter(|g| g.attachment.mode == Mode::Veth);
        shared.leaving = count(on_shared.filter(|g| {
            let pod = &g.attachment.pod;
            gone(&pod.key, pod.uid.as_ref())
        }));
        // A promise on an ENI that is no more counts nowhere else.
        shared.leaving = shared.leaving.min(shared.assigned);
        Counts {
            adapters,
            shared,
            exclusive: self.exclusive_counts(gone),
            leases: self.lease_counts(),
            full: self.refusing(t).map(|(id, _hold)| id.clone()).collect(),
            cloud_known: self.cloud_known,
            uninstalling: self.uninstalling,
        }
    }

    fn adapter_counts(&self) -> AdapterCounts {
        let limit = u32::from(self.facts.limits.slots());
        let used = count(self.enis.values().filter(|e| e.is_shared() && e.takes_slot()));
        let shared = used.max(u32::from(self.settings.min_shared)).min(limit);
        let held = self.devices.map.iter().filter(|(slot, d)| d.held() || self.occupied(**slot));
        let exclusive = count(held).min(limit - shared);
        let foreign = u32::from(self.looks.foreign).min(limit - shared - exclusive);
        let free = if self.uninstalling { 0 } else { limit - shared - exclusive - foreign };
        let most = self.settings.max_shared.map_or(limit, u32::from);
        AdapterCounts {
            limit,
            shared,
            exclusive,
            foreign,
            free,
            free_for_shared: free.min(most.saturating_sub(shared)),
            units_per_adapter: u32::from(self.units_per_eni()),
        }
    }

    /// An exclusive ENI takes this slot, whoever it is for.
    fn occupied(&self, slot: SlotId) -> bool {
        self.enis.values().any(|e| e.usage == Use::Exclusive(slot) && e.takes_slot())
    }

    /// One shared ENI.
    fn eni_counts(&self, eni: &Eni) -> SharedCounts {
        let families = self.facts.families.list();
        let stays = !eni.leaving && eni.takes_slot() && !eni.is_failing();
        let most = |of: &dyn Fn(&Address) -> bool| {
            families.iter().map(|f| self.addresses(eni, *f, of)).max().unwrap_or(0)
        };
        let least = |of: &dyn Fn(&Address) -> bool| {
            families.iter().map(|f| self.addresses(eni, *f, of)).min().unwrap_or(0)
        };
        let assigned = most(&|a| matches!(a.held, Held::Assigned(_)));
        if !stays {
            return SharedCounts {
                capacity: assigned,
                held: assigned,
                assigned,
                ..SharedCounts::default()
            };
        }
        // Free, and only the host does not know it yet: not there, but nothing is wrong with it either.
        let coming = |a: &Address| {
            matches!(a.held, Held::Free { .. })
                && a.absent.is_none()
                && !a.lost
                && !(a.mapped && eni.serves())
        };
        let held = least(&|a| !coming(a)).max(assigned);
        let own = self.leases.unclaimed().filter(|l| l.eni == eni.number);
        let yields = count(own.filter(|l| self.can_yield(l)));
        let free = u32::from(eni.free_units(self.facts.families));
        let ready = free.saturating_add(yields).min(held - assigned);
        let cooling = most(&|a| matches!(a.held, Held::Cooling { .. }));
        let cooling = cooling.min(held - assigned - ready);
        SharedCounts {
            capacity: self.capacity(eni).max(assigned),
            held,
            ready,
            assigned,
            leaving: 0,
            cooling,
            unusable: held - assigned - ready - cooling,
        }
    }

    /// Units that the ENI can have. Where only single addresses are to be had, prefixes that it has count all the same.
    fn capacity(&self, eni: &Eni) -> u32 {
        if !self.settings.prefixes && eni.addresses.values().all(|a| !a.within) {
            return u32::from(self.units_per_eni());
        }
        let families = self.facts.families.list();
        let of = |f: &Family| self.addresses(eni, *f, &|_a| true) + u32::from(self.places(eni, *f));
        families.iter().map(of).min().unwrap_or(0)
    }

    /// Addresses of a family that pods may have and for which `of` holds.
    fn addresses(&self, eni: &Eni, family: Family, of: &dyn Fn(&Address) -> bool) -> u32 {
        let kept = |ip: &IpAddr| !self.settings.use_primary_address && eni.primary == Some(*ip);
        let own = eni.addresses.iter().filter(|(ip, _a)| Family::of(**ip) == family && !kept(ip));
        count(own.filter(|(_ip, a)| of(a)))
    }

    fn lease_counts(&self) -> LeaseCounts {
        let unclaimed = || self.leases.unclaimed();
        LeaseCounts {
            unclaimed: count(unclaimed()),
            strict: count(unclaimed().filter(|l| l.terms.strict)),
            identities: unclaimed().map(|l| l.pod.clone()).collect(),
        }
    }

    fn exclusive_counts(&self, gone: impl Fn(&PodKey, Option<&PodUid>) -> bool) -> ExclusiveCounts {
        let held = || self.devices.map.values().filter(|d| d.held());
        let left = |d: &Device| match (&d.owner, &d.holder) {
            (Some(owner), _) => gone(&owner.pod.key, owner.pod.uid.as_ref()),
            (None, Some(holder)) => gone(holder, None),
            (None, None) => false,
        };
        let open = |slot: SlotId| self.devices.get(slot).is_some_and(|d| !d.held());
        let idle = |e: &&Eni| match e.usage {
            Use::Exclusive(slot) => e.state == EniState::Ready && !e.leaving && open(slot),
            Use::Shared => false,
        };
        let list = self.devices.published.iter().flatten();
        ExclusiveCounts {
            offered: count(list.filter(|d| d.healthy && open(d.slot))),
            assigned: count(held()),
            leaving: count(held().filter(|d| left(d))),
            ready: count(self.enis.values().filter(idle)),
        }
    }
}

impl Eni {
    /// It cannot serve, and only a change from outside mends that.
    fn is_failing(&self) -> bool {
        let stuck = self.state == EniState::Attaching && self.attached && self.hold.has_end();
        stuck || matches!(self.state, EniState::Failed(_))
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
