//! Backing off after an error. A hold never forgets to end: its end is part of [`crate::Ipam::next_deadline`].

use std::time::Duration;

use tideway_cloud::{CloudError, ErrorKind};
use tideway_model::Why;

use crate::rng::Rng;

/// Waits before the next try of one thing, and the error that made it wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hold {
    attempts: u32,
    until: Option<Duration>,
    /// What went wrong last, in words with the remedy.
    pub(crate) cause: Option<Why>,
    /// Whether the thing itself is exhausted (subnet full, limit), so that another place may be tried.
    pub(crate) elsewhere: bool,
}

impl Hold {
    /// Whether it still holds at `t`.
    pub(crate) fn holds(&self, t: Duration) -> bool {
        self.until.is_some_and(|u| t < u)
    }

    /// Whether it was set by an error, with an end.
    pub(crate) fn has_end(&self) -> bool {
        self.until.is_some()
    }

    /// When it ends, while it has not.
    pub(crate) fn until(&self, t: Duration) -> Option<Duration> {
        self.until.filter(|u| t < *u)
    }

    /// Whether it failed often enough that the next try is no matter of a few seconds.
    pub(crate) fn is_lasting(&self) -> bool {
        self.attempts > 2
    }

    /// It worked.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// It failed with a cloud error.
    pub(crate) fn fail(&mut self, t: Duration, error: &CloudError, rng: &mut Rng) {
        let (base, cap) = match &error.kind {
            ErrorKind::SubnetFull => (10, 300),
            // Other nodes come and go: single addresses serve as well for some minutes.
            ErrorKind::Fragmented => (180, 900),
            // What we know to exist and the cloud does not show yet: soon it will, or the looks tell otherwise.
            ErrorKind::NotFound => (1, 60),
            // The shell sends it every few minutes; somebody who grants the permission watches.
            ErrorKind::Denied(_) => (60, 60),
            _ if !error.is_retryable() => (30, 600),
            ErrorKind::Throttled { .. }
            | ErrorKind::QuotaExceeded(_)
            | ErrorKind::Credentials
            | ErrorKind::Conflict
            | ErrorKind::Unavailable
            | ErrorKind::Unknown
            | ErrorKind::Invalid => (1, 60),
        };
        let mut wait = self.wait(base, cap, rng);
        if let ErrorKind::Throttled { retry_after: Some(after) } = error.kind {
            wait = wait.max(after);
        }
        self.until = Some(t + wait);
        self.cause = Some(error.into());
        self.elsewhere = matches!(error.kind, ErrorKind::SubnetFull | ErrorKind::QuotaExceeded(_));
    }

    /// It failed for another reason.
    pub(crate) fn fail_text(&mut self, t: Duration, cause: Why, rng: &mut Rng) {
        self.until = Some(t + self.wait(1, 30, rng));
        self.cause = Some(cause);
        self.elsewhere = false;
    }

    fn wait(&mut self, base: u64, cap: u64, rng: &mut Rng) -> Duration {
        let factor = 1u64 << self.attempts.min(10);
        self.attempts = self.attempts.saturating_add(1);
        rng.jitter(Duration::from_secs(base.saturating_mul(factor).min(cap)))
    }
}
