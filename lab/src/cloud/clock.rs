//! Time as the emulated cloud sees it: always an argument, never read here, so that every rule can be tested to the tick.

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// `now` as ECS prints times: `2026-11-22T09:37:45Z`.
pub fn iso8601(now: Millis) -> String {
    i64::try_from(now)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|stamp| stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// Reads a UTC time of a request; `None` when it is none.
pub fn parse_iso8601(text: &str) -> Option<Millis> {
    let stamp: jiff::Timestamp = text.trim().parse().ok()?;
    u64::try_from(stamp.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_the_wire_and_back() {
        let now = parse_iso8601("2026-11-22T00:51:57Z").unwrap();
        assert_eq!(iso8601(now), "2026-11-22T00:51:57Z");
        assert_eq!(parse_iso8601("yesterday"), None);
    }
}
