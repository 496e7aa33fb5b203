//! The time that requests are signed with: the machine's, moved by what the cloud's answers say it is off.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::{DateTime, date_time::Format};
use tideway_model::UnixMillis;

/// The wall clock, as an argument.
pub type Clock = fn() -> UnixMillis;

/// The machine's wall clock.
pub fn system_clock() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A smaller difference is not worth a word: EC2 takes signatures that are five minutes off.
const TOLERANCE: u64 = 60_000;

/// The cloud's time as far as it is known. Clones share it.
#[derive(Clone)]
pub(crate) struct CloudTime {
    clock: Clock,
    /// Milliseconds that the cloud is ahead of us.
    ahead: Arc<AtomicI64>,
}

impl CloudTime {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ahead: Arc::default() }
    }

    /// After a refusal that may be about the time: reads the cloud's own from the `Date` header of the answer. The next
    /// request is signed with it.
    pub(crate) fn adjust(&self, date: Option<&str>) {
        let Some(theirs) = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok())
        else {
            return;
        };
        let (Ok(theirs), Ok(ours)) = (theirs.to_millis(), i64::try_from((self.clock)().0)) else {
            return;
        };
        let ahead = theirs.saturating_sub(ours);
        if self.ahead.load(Ordering::Relaxed).abs_diff(ahead) < TOLERANCE {
            return;
        }
        self.ahead.store(ahead, Ordering::Relaxed);
        tracing::warn!(
            ahead_seconds = ahead / 1000,
            "the clock of this machine differs from the cloud's; requests are signed with the cloud's time from now on; mend the time synchronisation of the node"
        );
    }
}

impl TimeSource for CloudTime {
    fn now(&self) -> SystemTime {
        let now = UNIX_EPOCH + Duration::from_millis((self.clock)().0);
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let moved = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        moved.unwrap_or(now)
    }
}

impl fmt::Debug for CloudTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudTime").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_moves_the_clock_and_a_small_difference_does_not() {
        let time = CloudTime::new(|| UnixMillis(1_700_000_000_000));
        let at = |time: &CloudTime| time.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        time.adjust(Some("Tue, 14 Nov 2023 22:13:50 GMT"));
        time.adjust(Some("yesterday"));
        time.adjust(None);
        assert_eq!(at(&time), 1_700_000_000);
        time.adjust(Some("Tue, 14 Nov 2023 23:13:20 GMT"));
        assert_eq!(at(&time), 1_700_003_600);
        time.adjust(Some("Tue, 14 Nov 2023 22:13:20 GMT"));
        assert_eq!(at(&time), 1_700_000_000);
    }
}
