//! What all parts of the program share.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tideway_kubeapi::{ClusterClient, Watched};
use tideway_telemetry::ExtenderMetrics;
use tokio::sync::watch;

use crate::decide::Decider;

/// Shared by the server, the feed and the calls.
#[derive(Debug)]
pub(crate) struct State {
    decider: Mutex<Decider>,
    began: Instant,
    pub(crate) strict: bool,
    pub(crate) schedulers: Vec<String>,
    pub(crate) client: ClusterClient,
    pub(crate) metrics: ExtenderMetrics,
    /// Lists that are not whole yet.
    pub(crate) missing: watch::Sender<BTreeSet<Watched>>,
}

impl State {
    pub(crate) fn new(
        decider: Decider,
        strict: bool,
        schedulers: Vec<String>,
        client: ClusterClient,
        metrics: ExtenderMetrics,
    ) -> Self {
        Self {
            decider: Mutex::new(decider),
            began: Instant::now(),
            strict,
            schedulers,
            client,
            metrics,
            missing: watch::channel(Watched::ALL.into()).0,
        }
    }

    /// Time that passed since the program started.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The books. A panic of another thread left them as they were between two steps of the decider; going on with them is
    /// better than never answering again.
    pub(crate) fn decider(&self) -> MutexGuard<'_, Decider> {
        self.decider.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why questions cannot be answered yet.
    pub(crate) fn ready(&self) -> Result<(), String> {
        let missing = self.missing.borrow();
        if missing.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = missing.iter().map(|w| w.word()).collect();
        Err(format!("no whole list yet of {}", words.join(", ")))
    }
}
