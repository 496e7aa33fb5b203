//! What the servers and the effects task share. Locks are held for moments and never over an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use super::gate::Gate;
use super::recording::Recording;
use crate::cloud::Cloud;
use crate::cloud::clock::Millis;
use crate::config::CloudKind;

/// State behind the servers.
#[derive(Debug)]
pub struct Shared {
    /// Which cloud this is.
    pub kind: CloudKind,
    /// Its region.
    pub region: String,
    cloud: Mutex<Cloud>,
    gate: Mutex<Gate>,
    requests: Mutex<Recording>,
    /// Wakes the effects task.
    pub work: Notify,
    /// Number of the last finished piece of network work.
    pub done: watch::Sender<u64>,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(cloud: Cloud, gate: Gate) -> Arc<Self> {
        let config = &cloud.vpc.config;
        Arc::new(Self {
            kind: config.cloud,
            region: config.region.clone(),
            cloud: Mutex::new(cloud),
            gate: Mutex::new(gate),
            requests: Mutex::new(Recording::default()),
            work: Notify::new(),
            done: watch::Sender::new(0),
        })
    }

    /// The cloud.
    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate.
    pub fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Recorded requests.
    pub fn requests(&self) -> MutexGuard<'_, Recording> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wall clock: signatures carry dates, so a monotonic one would not do.
    pub fn now() -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
