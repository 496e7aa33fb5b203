//! Logs: one line an event on standard error, for the journal of the host or the container's log.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Environment variable with the filter, such as `info` or `tidewayd=debug,warn`.
pub const ENV_FILTER: &str = "TIDEWAY_LOG";
/// Environment variable that asks for one JSON object a line when it says `json`.
pub const ENV_FORMAT: &str = "TIDEWAY_LOG_FORMAT";

/// Starts the logs as the environment asks; without it `info`, as text, and without the chatter of the API client.
pub fn init() {
    let json = std::env::var(ENV_FORMAT).is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    // The client of the API server logs each failed call as an error; the daemon says it once, as a source that is down.
    init_with("info,kube_client=off", json);
}

/// Starts the logs with a filter that [`ENV_FILTER`] overrides. A filter that cannot be read gives way to `info`, and the
/// log says so: a wrong word in an environment variable must not keep a node without network. Only the first call counts.
pub fn init_with(filter: &str, json: bool) {
    let asked = std::env::var(ENV_FILTER).unwrap_or_else(|_| filter.to_owned());
    let parsed = EnvFilter::try_new(&asked);
    let wrong = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr);
    // An error means that logs have been started before, as in tests: then those stay.
    drop(if json {
        logs.json().flatten_event(true).try_init()
    } else {
        use std::io::IsTerminal;
        logs.with_ansi(std::io::stderr().is_terminal()).try_init()
    });
    if let Some(error) = wrong {
        tracing::warn!(filter = %asked, %error, "{ENV_FILTER} cannot be read, using info");
    }
}
