//! Every figure that the scheduler's extender publishes, by name and meaning. As in the daemon, label values are words of the
//! program.

use std::fmt;
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

use crate::http::Figures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbOutcome {
    verb: &'static str,
    outcome: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verb {
    verb: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    of: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watch {
    resource: &'static str,
}

/// An answer takes some ten microseconds; a bind waits for the API server.
const BUCKETS: [f64; 13] =
    [0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

type Durations = Family<Verb, Histogram, fn() -> Histogram>;

/// The extender's figures. Clones share them.
#[derive(Clone)]
pub struct ExtenderMetrics {
    registry: Arc<Registry>,
    requests: Family<VerbOutcome, Counter>,
    durations: Durations,
    books: Family<Of, Gauge>,
    free: Family<Kind, Gauge>,
    wakes: Family<VerbOutcome, Counter>,
    events: Family<Of, Counter>,
    up: Family<Watch, Gauge>,
}

impl fmt::Debug for ExtenderMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtenderMetrics").finish_non_exhaustive()
    }
}

impl ExtenderMetrics {
    /// A new set, all at zero.
    pub fn new(version: &'static str) -> Self {
        let mut r = Registry::with_prefix("tideway_extender");
        r.register("build", "Version of the extender", Info::new([("version", version)]));
        let requests = Family::default();
        r.register(
            "requests",
            "Answers to the scheduler by verb and outcome",
            Family::clone(&requests),
        );
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        r.register_with_unit(
            "request_duration",
            "Time from a whole request to its answer",
            Unit::Seconds,
            Family::clone(&durations),
        );
        let books = Family::default();
        r.register("books", "Sizes of the books, such as pods in flight", Family::clone(&books));
        let free = Family::default();
        r.register("free_units", "Units that can be had on open nodes", Family::clone(&free));
        let wakes = Family::default();
        r.register("wakes", "Refused pods that were woken, by outcome", Family::clone(&wakes));
        let events = Family::default();
        r.register(
            "unwelcome_events",
            "What must not grow: overshoots, units of gone pods that were given up, holds that ran out",
            Family::clone(&events),
        );
        let up = Family::default();
        r.register("watch_up", "Whether the watch of a resource works", Family::clone(&up));
        Self { registry: Arc::new(r), requests, durations, books, free, wakes, events, up }
    }

    /// An answer was given. `outcome` is `ok`, `refused`, or a word for what was wrong.
    pub fn answered(&self, verb: &'static str, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&VerbOutcome { verb, outcome }).inc();
        self.durations.get_or_create(&Verb { verb }).observe(took.as_secs_f64());
    }

    /// Sizes of the books.
    pub fn set_books(&self, sizes: impl IntoIterator<Item = (&'static str, usize)>) {
        for (of, size) in sizes {
            self.books.get_or_create(&Of { of }).set(i64::try_from(size).unwrap_or(i64::MAX));
        }
    }

    /// Free units by kind.
    pub fn set_free(&self, units: impl IntoIterator<Item = (&'static str, u64)>) {
        for (kind, units) in units {
            self.free.get_or_create(&Kind { kind }).set(i64::try_from(units).unwrap_or(i64::MAX));
        }
    }

    /// A pod was woken, or that failed.
    pub fn woken(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.wakes.get_or_create(&VerbOutcome { verb: "wake", outcome }).inc();
    }

    /// What must not grow: how often each has happened since the start.
    pub fn set_unwelcome(&self, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        for (of, count) in counts {
            let counter = self.events.get_or_create(&Of { of });
            let more = count.saturating_sub(counter.get());
            counter.inc_by(more);
        }
    }

    /// A watch works, or does not.
    pub fn watch_up(&self, resource: &'static str, up: bool) {
        self.up.get_or_create(&Watch { resource }).set(i64::from(up));
    }
}

impl Figures for ExtenderMetrics {
    fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail. Were it to, no figures are better than a part of them.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
