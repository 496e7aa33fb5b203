//! Turns at the cloud API, and what is told to people about its calls.
//!
//! The limiter is pure; this shell gives it the clock, wakes who has a turn, and counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tideway_cloud::{
    CloudError, ErrorKind,
    limiter::{CallId, Limiter, Outcome, Pace, Priority},
};
use tokio::sync::Notify;

use crate::{clock, meter::Meter};

/// Most errors that are kept, one for each action and code.
const KEPT: usize = 32;

/// One kind of error, how often and when last.
#[derive(Debug, Clone)]
pub struct SeenError {
    /// The last of its kind.
    pub error: CloudError,
    /// When (Unix milliseconds).
    pub last: u64,
    /// How often since the daemon's start.
    pub count: u64,
}

#[derive(Debug)]
struct State {
    limiter: Limiter,
    granted: BTreeSet<CallId>,
    calls: BTreeMap<&'static str, u64>,
    errors: Vec<SeenError>,
    /// Since when no call was answered, and what to do.
    failing: Option<(Duration, String)>,
}

/// Shared log.
#[derive(Debug, Clone)]
pub struct CloudLog {
    state: Arc<Mutex<State>>,
    moved: Arc<Notify>,
    meter: Meter,
}

/// One call that had its turn; to be ended with [`CloudLog::ended`].
#[derive(Debug)]
pub struct Call {
    id: CallId,
    action: &'static str,
    sent: Duration,
}

impl CloudLog {
    /// An empty log.
    pub fn new(meter: Meter) -> Self {
        let state = State {
            limiter: Limiter::new(Pace::default()),
            granted: BTreeSet::new(),
            calls: BTreeMap::new(),
            errors: Vec::new(),
            failing: None,
        };
        Self { state: Arc::new(Mutex::new(state)), moved: Arc::default(), meter }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this call's turn.
    pub async fn turn(&self, action: &'static str, priority: Priority) -> Call {
        let asked = clock::boot();
        let id = self.state().limiter.ask(action, priority);
        loop {
            let moved = self.moved.notified();
            let now = clock::boot();
            let pause = {
                let mut state = self.state();
                while let Some(turn) = state.limiter.turn(now) {
                    state.granted.insert(turn.id);
                    self.moved.notify_waiters();
                }
                if state.granted.remove(&id) {
                    *state.calls.entry(action).or_default() += 1;
                    self.meter.limiter_wait(action, now.saturating_sub(asked));
                    return Call { id, action, sent: now };
                }
                state.limiter.wake().map(|at| at.saturating_sub(now))
            };
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep(pause.unwrap_or(Duration::from_millis(100))) => {}
            }
        }
    }

    /// Notes how a call ended.
    pub fn ended<T>(&self, call: &Call, result: &Result<T, CloudError>) {
        let now = clock::boot();
        let jitter = f64::from(now.subsec_nanos()) / 1e9;
        let error = result.as_ref().err();
        self.meter.cloud_call(call.action, outcome_word(error), now.saturating_sub(call.sent));
        let mut state = self.state();
        state.limiter.finished(now, call.id, Outcome::of(result), jitter);
        match error.filter(|e| is_silence(&e.kind)) {
            None => state.failing = None,
            Some(error) if state.failing.is_none() => state.failing = Some((now, error.remedy())),
            Some(_) => {}
        }
        let Some(error) = error else { return };
        let last = clock::wall().0;
        let same = state
            .errors
            .iter_mut()
            .find(|seen| seen.error.action == error.action && seen.error.code == error.code);
        if let Some(seen) = same {
            seen.count += 1;
            seen.last = last;
            seen.error = error.clone();
            return;
        }
        if state.errors.len() >= KEPT {
            state.errors.remove(0);
        }
        state.errors.push(SeenError { error: error.clone(), last, count: 1 });
    }

    /// Since when (`Now::boot`) the cloud does not answer, and what to do; none while it does, even if it refuses.
    pub fn failing(&self) -> Option<(Duration, String)> {
        self.state().failing.clone()
    }

    /// Calls since the start by action, and the errors.
    pub fn snapshot(&self) -> (BTreeMap<&'static str, u64>, Vec<SeenError>) {
        let state = self.state();
        (state.calls.clone(), state.errors.clone())
    }
}

/// Nothing was answered, or nothing of ours is believed.
fn is_silence(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Credentials)
}

fn outcome_word(error: Option<&CloudError>) -> &'static str {
    match error.map(|e| &e.kind) {
        None => "ok",
        Some(ErrorKind::Throttled { .. }) => "throttled",
        Some(ErrorKind::SubnetFull) => "subnet_full",
        Some(ErrorKind::QuotaExceeded(_)) => "quota",
        Some(ErrorKind::Denied(_)) => "denied",
        Some(ErrorKind::Credentials) => "credentials",
        Some(ErrorKind::NotFound) => "not_found",
        Some(ErrorKind::Conflict) => "conflict",
        Some(ErrorKind::Unavailable) => "unavailable",
        Some(ErrorKind::Unknown) => "unknown",
        Some(ErrorKind::Invalid) => "invalid",
    }
}
