//! What all parts of the program share.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tideway_kubeapi::{ClusterClient, Watched};
use tideway_telemetry::ExtenderMetrics;
use tokio::sync::watch;

use crate::decide::Decider;

/// The decider behind its lock, and what must be known to put questions to it.
#[derive(Debug)]
pub struct Books {
    decider: Mutex<Decider>,
    began: Instant,
    pub(crate) schedulers: Vec<String>,
}

impl Books {
    /// Time counts from here. `schedulers`: the names whose pods are ours.
    pub fn new(decider: Decider, schedulers: Vec<String>) -> Self {
        Self { decider: Mutex::new(decider), began: Instant::now(), schedulers }
    }

    /// Time that passed since the program started.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The decider. A panic of another thread left it as it was between two of its steps; going on with it is better than
    /// never answering again.
    pub fn decider(&self) -> MutexGuard<'_, Decider> {
        self.decider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shared by the server, the feed and the calls.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) books: Books,
    pub(crate) strict: bool,
    pub(crate) client: ClusterClient,
    pub(crate) metrics: ExtenderMetrics,
    /// Lists that are not whole yet.
    pub(crate) missing: watch::Sender<BTreeSet<Watched>>,
}

impl State {
    pub(crate) fn new(
        books: Books,
        strict: bool,
        client: ClusterClient,
        metrics: ExtenderMetrics,
    ) -> Self {
        Self { books, strict, client, metrics, missing: watch::channel(Watched::ALL.into()).0 }
    }

    pub(crate) fn now(&self) -> Duration {
        self.books.now()
    }

    pub(crate) fn decider(&self) -> MutexGuard<'_, Decider> {
        self.books.decider()
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
