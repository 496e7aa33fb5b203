//! The judge of leases: who had which address as an identity, and what of that still binds the allocator.
//!
//! It judges where the world leaves no excuse: nobody else touched our ENIs, the disk was true, the bound on leases is far,
//! and the lease lasts whatever the clock did. A strict lease is then kept in any case; one that yields, when its pod comes
//! back within the rest of its address, and the daemon and the ENI did not fail meanwhile.

use std::{collections::BTreeMap, time::Duration};

use tideway_cloud::EniStatus;
use tideway_model::{Attachment, AttachmentKey, EniId, LeaseTerms, Mode, PodAddresses, PodKey};

use crate::world::World;

/// More leases than a run has identities.
pub const UNBOUNDED: u16 = 100;

/// What the wall clock does not tell apart.
const TICK: Duration = Duration::from_millis(1);

/// What an identity had last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Former {
    key: AttachmentKey,
    eni: EniId,
    addresses: PodAddresses,
    strict: bool,
    /// When its end was ordered, and in which run of the daemon; none: not yet.
    ended: Option<(Duration, u64)>,
}

/// Identities with an address, now or before.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    former: BTreeMap<PodKey, Former>,
    /// By how much the wall clock jumped in all.
    pub jumped: Duration,
}

impl Identities {
    /// A container never had what it was promised: whether its identity keeps that address or a former one is left open.
    pub(crate) fn never_had(&mut self, a: &Attachment) {
        if self.former.get(&a.pod.key).is_some_and(|former| former.key == a.key) {
            self.former.remove(&a.pod.key);
        }
    }
}

impl World {
    /// What is promised to a pod of this name.
    pub(crate) fn terms(&self, pod: &PodKey) -> Option<LeaseTerms> {
        let number: u32 = pod.name.strip_prefix("pod-")?.parse().ok()?;
        let strict = number.is_multiple_of(2);
        (number < self.profile.identities).then_some(LeaseTerms { strict, stateful_set: None })
    }

    /// An attachment was ordered to end.
    pub(crate) fn identity_ended(&mut self, a: &Attachment) {
        let end = (self.time, self.runs());
        if let Some(former) = self.identities.former.get_mut(&a.pod.key)
            && former.key == a.key
        {
            former.ended = Some(end);
        }
    }

    /// The journal has several containers of one identity: which of them came last is not told.
    pub(crate) fn identity_of_many(&mut self, a: &Attachment, promises: &[Attachment]) {
        if promises.iter().filter(|o| o.pod.key == a.pod.key).count() > 1 {
            self.identities.former.remove(&a.pod.key);
        }
    }

    /// An attachment was promised.
    pub(crate) fn judge_identity(&mut self, a: &Attachment) {
        if a.mode == Mode::Exclusive {
            return;
        }
        let hit = |f: &Former| f.addresses.iter().any(|ip| a.addresses.iter().any(|own| own == ip));
        let others = self.identities.former.iter().filter(|(pod, _)| **pod != a.pod.key);
        let robbed = others.filter(|(_, f)| hit(f)).map(|(pod, f)| (pod.clone(), f.clone()));
        for (pod, former) in robbed.collect::<Vec<_>>() {
            if former.strict && self.binds(&former) {
                let since = former.ended.map(|(at, _run)| self.time.saturating_sub(at));
                self.oracle.broken("a strict lease goes to nobody else", || {
                    format!("{:?} of {pod} goes to {} after {since:?}", former.addresses, a.pod.key)
                });
            }
            self.identities.former.remove(&pod);
        }
        let Some(terms) = self.terms(&a.pod.key) else { return };
        let others = self.daemon.iter().flat_map(|d| d.promised.values());
        let alone = others.filter(|o| o.pod.key == a.pod.key).all(|o| o.key == a.key);
        if let Some(former) = self.identities.former.get(&a.pod.key)
            && alone
            && former.addresses != a.addresses
            && self.binds(former)
            && (former.strict || self.is_quick(former))
        {
            let text = format!("{}: {:?}, had {:?}", a.pod.key, a.addresses, former.addresses);
            self.oracle.broken("an identity gets its address back", || text);
        }
        let former = Former {
            key: a.key.clone(),
            eni: a.eni.clone(),
            addresses: a.addresses,
            strict: terms.strict,
            ended: None,
        };
        self.identities.former.insert(a.pod.key.clone(), former);
    }

    /// Whether the lease still lasts for certain.
    fn binds(&self, former: &Former) -> bool {
        let (oracle, settings) = (&self.oracle, &self.profile.settings);
        let Some((ended, _run)) = former.ended else { return false };
        // The wall clock, by which leases end, is read in whole milliseconds: an end in the midst of one is its beginning.
        let age = self.time.saturating_sub(ended) + self.identities.jumped + TICK;
        let there = self.cloud.enis.get(&former.eni).is_some_and(|v| {
            v.status == EniStatus::InUse && former.addresses.iter().all(|ip| v.has(ip))
        });
        let excused = oracle.strangers
            || oracle.shifted
            || oracle.disk_lied
            || self.profile.troubles.empty_promises;
        there && !excused && settings.lease_max == Some(UNBOUNDED) && age < settings.lease_ttl
    }

    /// Whether nothing can have kept the pod's own address from it for long.
    fn is_quick(&self, former: &Former) -> bool {
        let prepared = self.daemon.as_ref().is_some_and(|d| d.prepared.contains(&former.eni));
        let rests = self.profile.settings.cooldown;
        let soon = |(ended, run)| run == self.runs() && self.time < ended + rests;
        prepared && former.ended.is_some_and(soon)
    }
}
