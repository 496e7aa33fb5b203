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

/// AWS' SDK writes requests with their signatures, and answers with the keys in them, when it is asked for more than this.
const DISCREET: &str = "aws_=info";

/// The filter, and what was wrong with the text.
fn filter_of(asked: &str) -> (EnvFilter, Option<String>) {
    let parsed = EnvFilter::try_new(asked);
    let wrong = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
    match DISCREET.parse() {
        Ok(discreet) => (filter.add_directive(discreet), wrong),
        Err(_) => (filter, wrong),
    }
}

/// Starts the logs with a filter that [`ENV_FILTER`] overrides. A filter that cannot be read gives way to `info`, and the
/// log says so: a wrong word in an environment variable must not keep a node without network. Only the first call counts.
pub fn init_with(filter: &str, json: bool) {
    let asked = std::env::var(ENV_FILTER).unwrap_or_else(|_| filter.to_owned());
    let (filter, wrong) = filter_of(&asked);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_that_would_tell_its_keys_is_kept_short_at_every_level() {
        for asked in ["trace", "debug,tidewayd=trace", "no filter=at=all"] {
            let (filter, _) = filter_of(asked);
            let logs = tracing_subscriber::fmt().with_env_filter(filter).finish();
            tracing::subscriber::with_default(logs, || {
                assert!(
                    !tracing::enabled!(target: "aws_sigv4::http_request", tracing::Level::TRACE)
                );
                assert!(!tracing::enabled!(target: "aws_smithy_runtime", tracing::Level::DEBUG));
                assert!(tracing::enabled!(target: "aws_config", tracing::Level::INFO));
                let traced = tracing::enabled!(target: "tidewayd", tracing::Level::TRACE);
                assert_eq!(traced, asked != "no filter=at=all", "{asked}");
            });
        }
    }
}
