//! How far this machine's clock is from the cloud's.
//!
//! A request whose date is more than fifteen minutes off is refused. The refusal carries the cloud's own time; from then on
//! requests are dated by it, so a machine whose clock is wrong still works and says so once. Nothing is repeated here: the
//! caller's next try has the right date.

use std::sync::atomic::{AtomicI64, Ordering};

use http::{HeaderMap, header::DATE};
use jiff::fmt::rfc2822;
use tideway_model::UnixMillis;

/// A difference that no clock of a cloud refuses: then the date is not what is wrong.
const TOLERATED: i64 = 60_000;

/// Milliseconds by which the cloud is ahead of this machine.
#[derive(Debug, Default)]
pub(crate) struct Skew(AtomicI64);

impl Skew {
    /// The cloud's time, as far as it is known.
    pub(crate) fn corrected(&self, now: UnixMillis) -> UnixMillis {
        UnixMillis(now.0.saturating_add_signed(self.0.load(Ordering::Relaxed)))
    }

    /// Learns from a refused date: `now` is this machine's time, `headers` are the refusal's. A text for people when the
    /// difference is another one than was believed.
    pub(crate) fn learn(&self, now: UnixMillis, headers: &HeaderMap) -> Option<String> {
        let told = headers.get(DATE)?.to_str().ok()?;
        let told = rfc2822::parse(told).ok()?.timestamp().as_millisecond();
        let ahead = told.checked_sub(i64::try_from(now.0).ok()?)?;
        let believed = self.0.load(Ordering::Relaxed);
        if ahead.abs_diff(believed) <= TOLERATED.unsigned_abs() {
            return None;
        }
        self.0.store(ahead, Ordering::Relaxed);
        let seconds = ahead.unsigned_abs() / 1000;
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        Some(format!(
            "this machine's clock is {seconds} s {side} the cloud's; requests are dated by the cloud's clock from now on, but set the machine's (NTP)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(date: &str) -> HeaderMap {
        HeaderMap::from_iter([(DATE, date.parse().unwrap())])
    }

    /// 2030-01-01T00:00:00Z
    const NOW: UnixMillis = UnixMillis(1_893_456_000_000);

    #[test]
    fn a_clock_that_was_set_right_again_is_believed_again() {
        let skew = Skew::default();
        let late = UnixMillis(NOW.0 - 3_600_000);
        let refusal = headers("Tue, 01 Jan 2030 00:00:00 GMT");
        let said = skew.learn(late, &refusal).unwrap();
        assert!(said.contains("3600 s behind"), "{said}");
        assert_eq!(skew.corrected(late), NOW);
        assert_eq!(skew.learn(late, &refusal), None, "said twice");
        // Somebody sets the clock: the correction is wrong now and is refused.
        let said = skew.learn(NOW, &refusal).unwrap();
        assert!(said.contains("0 s"), "{said}");
        assert_eq!(skew.corrected(NOW), NOW);
        let said = skew.learn(UnixMillis(NOW.0 + 7_200_000), &refusal).unwrap();
        assert!(said.contains("7200 s ahead"), "{said}");
    }

    #[test]
    fn a_date_that_makes_no_sense_changes_nothing() {
        let skew = Skew::default();
        for bad in ["", "yesterday", "Tue, 01 Jan", "-1"] {
            assert_eq!(skew.learn(NOW, &headers(bad)), None, "{bad}");
        }
        assert_eq!(skew.learn(NOW, &HeaderMap::new()), None);
        assert_eq!(skew.corrected(NOW), NOW);
    }
}
