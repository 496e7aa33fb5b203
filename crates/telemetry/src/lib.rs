//! What the daemon shows of itself: logs, metrics, and the small HTTP server that serves them.
//!
//! Nothing here is on the way of a pod: a scrape reads atomics, a log line goes to standard error. Counting never fails and
//! never waits for IO.

mod extender;
mod http;
mod log;
mod metrics;

pub use extender::ExtenderMetrics;
pub use http::{Figures, serve, serve_on};
pub use log::{ENV_FILTER, ENV_FORMAT, init, init_with};
pub use metrics::Metrics;
