//! Links whose pod is gone but which the kernel still has.
//!
//! Deleting a link makes the caller wait for RCU barriers, forty times as long as an ADD. DEL therefore only withdraws routes
//! and puts the link into a group; usually the runtime's removal of the namespace takes it along. What is left after two
//! seconds is deleted by the worker: all links of a group with one message. Two groups alternate: the younger one collects, the
//! older one is deleted. An address is quiet when no link of its former pods is pending and its conntrack entries are gone.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tideway_model::IfName;
use tokio::sync::watch;

use crate::netns::NamespaceId;

/// Numbers of the two groups: unlikely to be anybody else's (`TW` in ASCII, and 0 or 1).
const GROUPS: [u32; 2] = [0x5457_0000, 0x5457_0001];
/// How long links may live on before the worker deletes them.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Host links of one detached pod.
#[derive(Debug, Clone)]
pub(crate) struct PendingLinks {
    pub(crate) links: Vec<IfName>,
    pub(crate) netns: Option<NamespaceId>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) group: u32,
}

/// Entries with their numbers, which only grow.
#[derive(Debug, Default)]
struct Entries {
    list: Vec<(u64, PendingLinks)>,
    latest: u64,
}

/// The list, and a count that its worker and waiting callers watch.
#[derive(Debug)]
pub(crate) struct Pending {
    entries: Mutex<Entries>,
    young: AtomicBool,
    count: watch::Sender<usize>,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            young: AtomicBool::new(false),
            count: watch::Sender::new(0),
        }
    }
}

impl Pending {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // The list is only pushed to and filtered: a panic elsewhere leaves it whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, entries: &Entries) {
        self.count.send_replace(entries.list.iter().map(|(_, e)| e.links.len()).sum());
    }

    /// The group that collects now.
    pub(crate) fn group(&self) -> u32 {
        let [first, second] = GROUPS;
        if self.young.load(Ordering::Acquire) { second } else { first }
    }

    /// The group that rests: its links have waited for a full turn.
    pub(crate) fn resting(&self) -> u32 {
        let [first, second] = GROUPS;
        if self.young.load(Ordering::Acquire) { first } else { second }
    }

    /// Exchanges the two groups, after the links of the resting one were deleted.
    pub(crate) fn turn(&self) {
        self.young.fetch_xor(true, Ordering::AcqRel);
    }

    pub(crate) fn push(&self, entry: PendingLinks) {
        let mut entries = self.entries();
        entries.latest += 1;
        let number = entries.latest;
        entries.list.push((number, entry));
        self.publish(&entries);
    }

    /// Number of the youngest entry and the names of all links, to be taken before a look at the kernel.
    pub(crate) fn names(&self) -> (u64, Vec<IfName>) {
        let entries = self.entries();
        let names = entries.list.iter().flat_map(|(_, e)| e.links.iter().cloned());
        (entries.latest, names.collect())
    }

    /// Takes out the entries that stand in the way of a new pod.
    pub(crate) fn take(&self, links: &[IfName], netns: NamespaceId) -> Vec<PendingLinks> {
        let mut entries = self.entries();
        if entries.list.is_empty() {
            return Vec::new();
        }
        let clash = |(_, e): &mut (u64, PendingLinks)| {
            e.netns == Some(netns) || e.links.iter().any(|l| links.contains(l))
        };
        let taken = entries.list.extract_if(.., clash).map(|(_, e)| e).collect();
        self.publish(&entries);
        taken
    }

    /// Forgets links that a look at the kernel has not found. Entries younger than `known` stay: their links may have been
    /// made after the look.
    pub(crate) fn keep_only(&self, alive: &BTreeSet<IfName>, known: u64) {
        let mut entries = self.entries();
        for (_, entry) in entries.list.iter_mut().filter(|(number, _)| *number <= known) {
            entry.links.retain(|link| alive.contains(link));
        }
        entries.list.retain(|(_, entry)| !entry.links.is_empty());
        self.publish(&entries);
    }

    /// Whether links of a group are pending.
    pub(crate) fn has_group(&self, group: u32) -> bool {
        self.entries().list.iter().any(|(_, e)| e.group == group)
    }

    /// Links that still stand for one of the addresses.
    pub(crate) fn links_of(&self, addresses: &BTreeSet<IpAddr>) -> Vec<IfName> {
        let entries = self.entries();
        let of = entries.list.iter().map(|(_, e)| e);
        let of = of.filter(|e| e.addresses.iter().any(|ip| addresses.contains(ip)));
        of.flat_map(|e| e.links.iter().cloned()).collect()
    }

    /// Whether one of these links is pending.
    pub(crate) fn has_any(&self, links: &[IfName]) -> bool {
        self.entries().list.iter().any(|(_, e)| e.links.iter().any(|l| links.contains(l)))
    }

    /// Number of pending links.
    pub(crate) fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Follows the number of pending links.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_came_and_went_during_a_look_stays_pending() {
        let pending = Pending::default();
        let push = |name: &str| {
            pending.push(PendingLinks {
                links: vec![IfName::try_from(name).unwrap()],
                netns: None,
                addresses: Vec::new(),
                group: pending.group(),
            });
        };
        push("old");
        let ((known, _), seen) = (pending.names(), BTreeSet::new());
        push("young");
        pending.keep_only(&seen, known);
        assert_eq!(pending.len(), 1, "a link that the look could not see was taken for gone");
        pending.keep_only(&seen, pending.names().0);
        assert_eq!(pending.len(), 0);
    }
}
