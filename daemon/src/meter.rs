//! The daemon's figures: a thin front of `telemetry`, and the task that samples the books.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tideway_cloud::{Cloud, sweep::Stay};
use tideway_ipam::{AddressState, Books};
use tideway_model::{Cause, EniState, cni_code::TRY_AGAIN};
use tideway_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::hands::Tools;

/// Between two samples of the books.
const SAMPLE: Duration = Duration::from_secs(5);

const ADDRESS_STATES: [&str; 6] = ["free", "assigned", "cooling", "releasing", "lost", "reserved"];
const ENI_STATES: [&str; 7] =
    ["creating", "attaching", "ready", "draining", "detaching", "deleting", "failed"];

/// Counters and gauges.
#[derive(Debug, Clone)]
pub struct Meter(Metrics);

impl Default for Meter {
    fn default() -> Self {
        Self(Metrics::new(env!("CARGO_PKG_VERSION")))
    }
}

impl Meter {
    /// For the HTTP server.
    pub fn metrics(&self) -> Metrics {
        self.0.clone()
    }

    /// A CNI request ended.
    pub fn cni(&self, verb: &'static str, code: u32, took: Duration) {
        self.0.cni_request(verb, code, took);
    }

    /// A CNI request failed for this cause.
    pub fn cni_failure(&self, verb: &'static str, cause: &'static str) {
        self.0.cni_failure(verb, cause);
    }

    /// The host or the kernel differed from what it should be.
    pub fn drift(&self, kind: &'static str) {
        self.0.drift(kind);
    }

    /// A commit of the journal.
    pub fn commit(&self, ok: bool, took: Duration) {
        self.0.journal_commit(ok, took);
    }

    /// A cloud call waited for its turn.
    pub fn limiter_wait(&self, action: &'static str, waited: Duration) {
        self.0.limiter_wait(action, waited);
    }

    /// A cloud call ended.
    pub fn cloud_call(&self, action: &'static str, outcome: &'static str, took: Duration) {
        self.0.cloud_call(action, outcome, took);
    }

    /// A source answered or did not.
    pub fn source(&self, source: &'static str, answered: bool) {
        self.0.source_answered(source, answered);
    }

    /// `NodeNetwork` was written so many more times, or tried in vain.
    pub fn node_network(&self, taken: bool, more: u64) {
        self.0.node_network_writes(taken, more);
    }

    /// Whether this daemon sweeps for the cluster.
    pub fn sweep_holder(&self, holds: bool) {
        self.0.set_sweep_holder(holds);
    }

    /// What the sweep left alone at its last look.
    pub fn sweep_left(&self, reasons: impl IntoIterator<Item = Stay>) {
        let mut counts = BTreeMap::from(Stay::ALL.map(|why| (why.word(), 0)));
        for why in reasons {
            *counts.entry(why.word()).or_default() += 1;
        }
        self.0.set_sweep_left(counts);
    }

    /// The sweep deleted an ENI, or tried in vain.
    pub fn sweep_delete(&self, ok: bool) {
        self.0.sweep_delete(ok);
    }

    /// The kubelet knows our devices.
    pub fn registered(&self, resource: &'static str) {
        self.0.device_plugin_registered(resource);
    }

    fn books(&self, books: &Books, pending_links: usize) {
        let mut addresses = BTreeMap::from(ADDRESS_STATES.map(|s| (s, 0)));
        let mut enis = BTreeMap::from(ENI_STATES.map(|s| (s, 0)));
        for eni in &books.enis {
            *enis.entry(eni_word(&eni.state)).or_default() += 1;
            for (_, state) in &eni.addresses {
                *addresses.entry(address_word(state)).or_default() += 1;
            }
        }
        self.0.set_addresses(addresses);
        self.0.set_enis(enis);
        self.0.set_waiting_pods(waiting_pods(books));
        self.0.set_pending_links(u32::try_from(pending_links).unwrap_or(u32::MAX));
    }
}

/// Samples the books until cancelled.
pub async fn sample<C: Cloud>(meter: Meter, tools: Arc<Tools<C>>, cancel: CancellationToken) {
    loop {
        if let Some(books) = tools.engine.books().await {
            meter.books(&books, tools.datapath.count_pending_links().await);
        }
        for drift in tools.datapath.drift() {
            tracing::warn!(%drift, "somebody changed what pods need; set right");
            meter.drift("eni");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(SAMPLE) => {}
        }
    }
}

/// Pods that wait for each cause, those for which nobody waits included: a wait ends with "try again" at the latest.
fn waiting_pods(books: &Books) -> BTreeMap<&'static str, u32> {
    let causes = Cause::ALL.iter().filter(|cause| cause.code() == TRY_AGAIN);
    let mut counts: BTreeMap<_, _> = causes.map(|cause| (cause.word(), 0)).collect();
    for waiting in &books.waiting {
        *counts.entry(waiting.why.cause.word()).or_default() += 1;
    }
    counts
}

fn address_word(state: &AddressState) -> &'static str {
    match state {
        AddressState::Free => "free",
        AddressState::Assigned(_) => "assigned",
        AddressState::Cooling { .. } => "cooling",
        AddressState::Leased => "leased",
        AddressState::Releasing => "releasing",
        AddressState::Lost => "lost",
        AddressState::Reserved => "reserved",
    }
}

fn eni_word(state: &EniState) -> &'static str {
    match state {
        EniState::Creating => "creating",
        EniState::Attaching => "attaching",
        EniState::Ready => "ready",
        EniState::Draining => "draining",
        EniState::Detaching => "detaching",
        EniState::Deleting => "deleting",
        EniState::Failed(_) => "failed",
    }
}
