//! Every figure that the daemon publishes, by name and meaning.
//!
//! Label values are `&'static str`: words of the program. So nothing from outside (pod names, cloud ids, texts of errors) can
//! make the number of series grow. Names follow the Prometheus conventions: prefix `tideway_`, base units, `_total` for
//! counters.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The labels of the families, one type for each set of names.
macro_rules! labels {
    ($($name:ident { $($field:ident: $type:ty),+ })+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($field: $type),+ }
    )+};
}

labels! {
    Verb { verb: &'static str }
    VerbCode { verb: &'static str, code: u32 }
    VerbCause { verb: &'static str, cause: &'static str }
    State { state: &'static str }
    Action { action: &'static str }
    ActionOutcome { action: &'static str, outcome: &'static str }
    Outcome { outcome: &'static str }
    Kind { kind: &'static str }
    Source { source: &'static str }
    CauseOf { cause: &'static str }
    Resource { resource: &'static str }
}

/// A pod start takes about a millisecond from the pool and up to a minute when it waits for the cloud.
const REQUEST_BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0];
/// A cloud call takes some hundred milliseconds; attaching an ENI some seconds.
const CLOUD_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// A commit is one fsync.
const COMMIT_BUCKETS: [f64; 10] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 1.0];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn requests() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}
fn cloud() -> Histogram {
    Histogram::new(CLOUD_BUCKETS)
}

/// The daemon's figures. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    cni_requests: Family<VerbCode, Counter>,
    cni_failures: Family<VerbCause, Counter>,
    cni_duration: Histograms<Verb>,
    addresses: Family<State, Gauge>,
    enis: Family<State, Gauge>,
    waiting: Family<CauseOf, Gauge>,
    cloud_calls: Family<ActionOutcome, Counter>,
    cloud_duration: Histograms<Action>,
    limiter_wait: Histograms<Action>,
    pending_links: Gauge,
    journal_commits: Family<Outcome, Counter>,
    journal_duration: Histogram,
    drift: Family<Kind, Counter>,
    source_errors: Family<Source, Counter>,
    source_up: Family<Source, Gauge>,
    registrations: Family<Resource, Counter>,
    node_network: Family<Outcome, Counter>,
    sweep_holder: Gauge,
    sweep_left: Family<State, Gauge>,
    sweep_deletes: Family<Outcome, Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// A new set, all at zero. `version` is that of the program (`tideway_build_info`).
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("tideway");
        registry.register("build", "Version of the daemon", Info::new([("version", version)]));
        let r = &mut registry;
        Self {
            cni_requests: counters(
                r,
                "cni_requests",
                "Requests of the CNI plugin by verb and CNI error code, 0 for success",
            ),
            cni_failures: counters(
                r,
                "cni_failures",
                "Failed requests of the CNI plugin by verb and cause (docs/errors.md)",
            ),
            cni_duration: times(
                r,
                "cni_request_duration",
                "Time to answer a request of the CNI plugin",
                requests,
            ),
            addresses: gauges(r, "pool_addresses", "Addresses of the node's shared ENIs by state"),
            enis: gauges(r, "enis", "ENIs of the node by state, the primary one left out"),
            waiting: gauges(
                r,
                "waiting_pods",
                "Pods that wait for an address or an ENI by cause (docs/errors.md)",
            ),
            cloud_calls: counters(
                r,
                "cloud_calls",
                "Calls of the cloud's API by action and outcome",
            ),
            cloud_duration: times(
                r,
                "cloud_call_duration",
                "Time until the cloud answered a call",
                cloud,
            ),
            limiter_wait: times(
                r,
                "cloud_limiter_wait",
                "Time that a call waited for our own rate limit before it was sent",
                cloud,
            ),
            pending_links: gauge(
                r,
                "pending_links",
                "Network links of gone pods that still wait to be deleted",
            ),
            journal_commits: counters(r, "journal_commits", "Commits of the journal by outcome"),
            journal_duration: {
                let histogram = Histogram::new(COMMIT_BUCKETS);
                let help = "Time of a journal commit, which ends with one fsync";
                r.register_with_unit(
                    "journal_commit_duration",
                    help,
                    Unit::Seconds,
                    histogram.clone(),
                );
                histogram
            },
            drift: counters(
                r,
                "drift_events",
                "Differences between wanted and observed state that were found, by kind",
            ),
            source_errors: counters(
                r,
                "source_errors",
                "Failed questions to a source of truth; a source that is down frees nothing",
            ),
            source_up: gauges(
                r,
                "source_up",
                "Whether the last question to a source of truth was answered",
            ),
            registrations: counters(
                r,
                "device_plugin_registrations",
                "Registrations that the kubelet accepted",
            ),
            node_network: counters(
                r,
                "node_network_writes",
                "Writes of the node's NodeNetwork that the API server took, and tries that it did not",
            ),
            sweep_holder: gauge(
                r,
                "sweep_holder",
                "Whether this daemon looks for ENIs that nodes left behind, 1 for one daemon of the cluster",
            ),
            sweep_left: gauges(
                r,
                "sweep_left_enis",
                "Detached ENIs of the cluster that the last look of the sweep left alone, by reason",
            ),
            sweep_deletes: counters(
                r,
                "sweep_deletes",
                "Deletes of ENIs whose instance is gone, by outcome",
            ),
            registry: Arc::new(registry),
        }
    }

    /// A request of the CNI plugin was answered. `verb` is `ADD`, `DEL`, `CHECK`, `GC` or `STATUS`; `code` the CNI error code,
    /// 0 for success.
    pub fn cni_request(&self, verb: &'static str, code: u32, took: Duration) {
        self.cni_requests.get_or_create(&VerbCode { verb, code }).inc();
        self.cni_duration.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
    }

    /// A request of the CNI plugin failed. `cause` is a name of the catalogue of causes.
    pub fn cni_failure(&self, verb: &'static str, cause: &'static str) {
        self.cni_failures.get_or_create(&VerbCause { verb, cause }).inc();
    }

    /// How many addresses are in each state. States that are left out keep their figure: name all of them each time.
    pub fn set_addresses(&self, states: impl IntoIterator<Item = (&'static str, u32)>) {
        set(&self.addresses, states);
    }

    /// How many ENIs are in each state. States that are left out keep their figure: name all of them each time.
    pub fn set_enis(&self, states: impl IntoIterator<Item = (&'static str, u32)>) {
        set(&self.enis, states);
    }

    /// How many pods wait for each cause, a name of the catalogue of causes. Causes that are left out keep their figure: name
    /// all of them each time.
    pub fn set_waiting_pods(&self, causes: impl IntoIterator<Item = (&'static str, u32)>) {
        for (cause, count) in causes {
            self.waiting.get_or_create(&CauseOf { cause }).set(i64::from(count));
        }
    }

    /// A call of the cloud ended. `action` is the API's name (`AssignPrivateIpAddresses`), `outcome` is `ok` or a word for
    /// the kind of the error (`throttled`, `unknown`).
    pub fn cloud_call(&self, action: &'static str, outcome: &'static str, took: Duration) {
        self.cloud_calls.get_or_create(&ActionOutcome { action, outcome }).inc();
        self.cloud_duration.get_or_create(&Action { action }).observe(took.as_secs_f64());
    }

    /// A call waited so long for our own rate limit.
    pub fn limiter_wait(&self, action: &'static str, waited: Duration) {
        self.limiter_wait.get_or_create(&Action { action }).observe(waited.as_secs_f64());
    }

    /// How many links still wait to be deleted.
    pub fn set_pending_links(&self, count: u32) {
        self.pending_links.set(i64::from(count));
    }

    /// The journal committed, or failed to.
    pub fn journal_commit(&self, ok: bool, took: Duration) {
        let outcome = if ok { "ok" } else { "error" };
        self.journal_commits.get_or_create(&Outcome { outcome }).inc();
        self.journal_duration.observe(took.as_secs_f64());
    }

    /// Something was found that is not as the books say. `kind` is a word such as `route_missing`.
    pub fn drift(&self, kind: &'static str) {
        self.drift.get_or_create(&Kind { kind }).inc();
    }

    /// A source of truth (`cloud`, `kernel`, `runtime`, `kubelet`, `apiserver`) answered, or did not.
    pub fn source_answered(&self, source: &'static str, answered: bool) {
        let labels = Source { source };
        self.source_up.get_or_create(&labels).set(i64::from(answered));
        let errors = self.source_errors.get_or_create(&labels);
        if !answered {
            errors.inc();
        }
    }

    /// The kubelet accepted our registration for `resource`.
    pub fn device_plugin_registered(&self, resource: &'static str) {
        self.registrations.get_or_create(&Resource { resource }).inc();
    }

    /// The node's `NodeNetwork` was written `more` times, or so many tries were in vain.
    pub fn node_network_writes(&self, taken: bool, more: u64) {
        let outcome = if taken { "ok" } else { "error" };
        self.node_network.get_or_create(&Outcome { outcome }).inc_by(more);
    }

    /// Whether this daemon sweeps for the cluster.
    pub fn set_sweep_holder(&self, holds: bool) {
        self.sweep_holder.set(i64::from(holds));
    }

    /// How many ENIs the sweep left alone, by reason. Reasons that are left out keep their figure: name all of them each time.
    pub fn set_sweep_left(&self, reasons: impl IntoIterator<Item = (&'static str, u32)>) {
        set(&self.sweep_left, reasons);
    }

    /// The sweep deleted an ENI, or tried in vain.
    pub fn sweep_delete(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.sweep_deletes.get_or_create(&Outcome { outcome }).inc();
    }

    /// All figures in the text format of `OpenMetrics` 1.0.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail. Were it to, no figures are better than a part of them.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

fn set(family: &Family<State, Gauge>, states: impl IntoIterator<Item = (&'static str, u32)>) {
    for (state, count) in states {
        family.get_or_create(&State { state }).set(i64::from(count));
    }
}

/// What a set of labels must be able to do.
trait Labels: EncodeLabelSet + Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {}
impl<L> Labels for L where L: EncodeLabelSet + Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static
{}

fn counters<L: Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter> {
    let family = Family::<L, Counter>::default();
    registry.register(name, help, family.clone());
    family
}

fn gauges<L: Labels>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Gauge> {
    let family = Family::<L, Gauge>::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

/// Histograms of seconds; the suffix `_seconds` comes with the unit.
fn times<L: Labels>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    new: fn() -> Histogram,
) -> Histograms<L> {
    let family = Family::new_with_constructor(new);
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}
