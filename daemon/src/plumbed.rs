//! Which attachments are promised at this moment, and who works on which one.
//!
//! The engine's thread adds an attachment before its ADD is answered and takes it out before its withdrawal begins. An ADD
//! that lost the race against its DEL sees that under the attachment's lock and plumbs nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tideway_model::{Attachment, AttachmentKey};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct State {
    promised: BTreeMap<AttachmentKey, Arc<Attachment>>,
    locks: BTreeMap<AttachmentKey, Arc<AsyncMutex<()>>>,
    withdrawals: BTreeMap<IpAddr, CancellationToken>,
}

/// Shared between the engine's executor and the service.
#[derive(Debug, Clone, Default)]
pub struct Promised(Arc<Mutex<State>>);

impl Promised {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attachment is promised from now on.
    pub fn insert(&self, attachment: Attachment) {
        self.state().promised.insert(attachment.key.clone(), Arc::new(attachment));
    }

    /// It is no longer.
    pub fn remove(&self, key: &AttachmentKey) {
        self.state().promised.remove(key);
    }

    /// This promise cannot be kept, and the engine is about to be told; false: it has ended by itself. To be called under the
    /// attachment's lock: who gets the lock next must not plumb what is about to be withdrawn.
    pub fn fail(&self, attachment: &Attachment) -> bool {
        let promised = &mut self.state().promised;
        let stands = promised.get(&attachment.key).is_some_and(|known| **known == *attachment);
        if stands {
            promised.remove(&attachment.key);
        }
        stands
    }

    /// The promise of a key.
    pub fn get(&self, key: &AttachmentKey) -> Option<Arc<Attachment>> {
        self.state().promised.get(key).cloned()
    }

    /// All promises.
    pub fn all(&self) -> Vec<Arc<Attachment>> {
        self.state().promised.values().cloned().collect()
    }

    /// The keys of all promises.
    pub fn keys(&self) -> BTreeSet<AttachmentKey> {
        self.state().promised.keys().cloned().collect()
    }

    /// The keys of these containers (the runtime knows no interface names).
    pub fn of_containers(&self, live: &BTreeSet<&str>) -> BTreeSet<AttachmentKey> {
        let state = self.state();
        state.promised.keys().filter(|k| live.contains(k.container.as_str())).cloned().collect()
    }

    /// Only one works on an attachment at a time.
    pub async fn lock(&self, key: &AttachmentKey) -> OwnedMutexGuard<()> {
        let lock = {
            let mut state = self.state();
            state.locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(state.locks.entry(key.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// A withdrawal of these addresses begins; the token is cancelled by the caller when it is done.
    pub fn withdrawing(&self, addresses: impl Iterator<Item = IpAddr>) -> CancellationToken {
        let done = CancellationToken::new();
        let mut state = self.state();
        state.withdrawals.retain(|_, token| !token.is_cancelled());
        for ip in addresses {
            state.withdrawals.insert(ip, done.clone());
        }
        done
    }

    /// The end of the withdrawal of this address that is in work, when there is one.
    pub fn withdrawal(&self, ip: IpAddr) -> Option<CancellationToken> {
        self.state().withdrawals.get(&ip).filter(|done| !done.is_cancelled()).cloned()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tideway_model::{
        Bandwidth, ContainerId, EniId, IfName, Mac, Mode, PodAddresses, PodKey, PodRef,
    };

    use super::*;

    /// A shared pod with this address.
    pub(crate) fn pod(name: &str, ip: [u8; 4]) -> Attachment {
        Attachment {
            key: AttachmentKey {
                container: ContainerId::try_from(name).unwrap(),
                ifname: IfName::try_from("eth0").unwrap(),
            },
            pod: PodRef { key: PodKey::new("default", name).unwrap(), uid: None },
            netns: String::new(),
            mode: Mode::Veth,
            eni: EniId::try_from("eni-1").unwrap(),
            eni_mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: PodAddresses::from_ips([ip.into()]),
            mtu: 1500,
            bandwidth: Bandwidth::default(),
            exclusive: None,
        }
    }

    #[tokio::test]
    async fn who_waited_behind_a_failed_add_finds_no_promise() {
        let promised = Promised::default();
        let first = pod("a", [10, 0, 0, 1]);
        promised.insert(first.clone());
        let lock = promised.lock(&first.key).await;
        assert!(promised.fail(&first));
        drop(lock);
        let _second = promised.lock(&first.key).await;
        assert_eq!(promised.get(&first.key), None);
    }

    #[test]
    fn a_late_failure_takes_nothing_from_the_next_promise_of_its_key() {
        let promised = Promised::default();
        let next = pod("a", [10, 0, 0, 2]);
        promised.insert(next.clone());
        assert!(!promised.fail(&pod("a", [10, 0, 0, 1])));
        assert_eq!(promised.get(&next.key).as_deref(), Some(&next));
    }
}
