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

    /// The promise of a key.
    pub fn get(&self, key: &AttachmentKey) -> Option<Arc<Attachment>> {
        self.state().promised.get(key).cloned()
    }

    /// All promises.
    pub fn all(&self) -> Vec<Arc<Attachment>> {
        self.state().promised.values().cloned().collect()
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

    /// Waits until no withdrawal of these addresses is in work.
    pub async fn withdrawn(&self, addresses: &[IpAddr]) {
        let tokens: Vec<_> = {
            let state = self.state();
            addresses.iter().filter_map(|ip| state.withdrawals.get(ip).cloned()).collect()
        };
        for token in tokens {
            token.cancelled().await;
        }
    }
}
