//! Turns at the cloud API, and what is told to people about its calls.
//!
//! The limiter is pure; this shell gives it the clock, wakes who has a turn, and counts. Nobody waits for a turn for ever: the
//! allocator takes a call that ends too late for one of unknown outcome, and a call that went out after that would undo what
//! has been decided since.

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

use crate::{
    clock,
    denials::{Denials, Subject},
    meter::Meter,
};

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
    denials: Denials,
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

/// One call that had its turn.
#[derive(Debug)]
struct Call {
    id: CallId,
    action: &'static str,
    sent: Duration,
}

/// A place in the limiter's queue; left when it is dropped before its turn was taken.
struct Place<'a> {
    log: &'a CloudLog,
    id: CallId,
    taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.taken {
            let mut state = self.log.state();
            state.granted.remove(&self.id);
            state.limiter.withdraw(self.id);
        }
    }
}

impl CloudLog {
    /// An empty log.
    pub fn new(meter: Meter) -> Self {
        let state = State {
            limiter: Limiter::new(Pace::default()),
            granted: BTreeSet::new(),
            calls: BTreeMap::new(),
            errors: Vec::new(),
            denials: Denials::default(),
            failing: None,
        };
        Self { state: Arc::new(Mutex::new(state)), moved: Arc::default(), meter }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, makes the call and notes how it ended. Without a turn within `patience` the call is not made, and
    /// the error says so: it is one of those that did nothing. Nor is it made while a refusal of it is believed.
    pub async fn call<T>(
        &self,
        subject: Subject<'_>,
        priority: Priority,
        patience: Duration,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        if let Some(error) = self.state().denials.standing(clock::boot(), subject) {
            return Err(error.clone());
        }
        let turn = self.turn(subject.0, priority, patience).await?;
        let result = call.await;
        self.ended(&turn, subject, &result);
        result
    }

    async fn turn(
        &self,
        action: &'static str,
        priority: Priority,
        patience: Duration,
    ) -> Result<Call, CloudError> {
        let asked = clock::boot();
        let id = self.state().limiter.ask(action, priority);
        let mut place = Place { log: self, id, taken: false };
        loop {
            let moved = self.moved.notified();
            let now = clock::boot();
            let Some(left) = (asked + patience).checked_sub(now) else {
                let error = no_turn(action, patience);
                self.note(&error);
                return Err(error);
            };
            let pause = {
                let mut state = self.state();
                while let Some(turn) = state.limiter.turn(now) {
                    state.granted.insert(turn.id);
                    self.moved.notify_waiters();
                }
                if state.granted.remove(&id) {
                    place.taken = true;
                    *state.calls.entry(action).or_default() += 1;
                    self.meter.limiter_wait(action, now.saturating_sub(asked));
                    return Ok(Call { id, action, sent: now });
                }
                state.limiter.wake().map(|at| at.saturating_sub(now))
            };
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep(pause.unwrap_or(Duration::from_millis(100)).min(left)) => {}
            }
        }
    }

    fn ended<T>(&self, call: &Call, subject: Subject<'_>, result: &Result<T, CloudError>) {
        let now = clock::boot();
        let error = result.as_ref().err();
        self.meter.cloud_call(call.action, outcome_word(error), now.saturating_sub(call.sent));
        let mut state = self.state();
        state.limiter.finished(now, call.id, Outcome::of(result), clock::jitter());
        match error.filter(|e| is_silence(&e.kind)) {
            None => state.failing = None,
            Some(error) if state.failing.is_none() => state.failing = Some((now, error.remedy())),
            Some(_) => {}
        }
        let news = state.denials.ended(now, subject, error);
        drop(state);
        if let Some(error) = error {
            if news {
                let remedy = error.remedy();
                tracing::error!(%error, %remedy, "a permission is missing; it is asked for again every few minutes");
            }
            self.note(error);
        }
    }

    /// A failed call for the log; a missing permission has been told already.
    pub fn warn(error: &CloudError, what: &str) {
        if !matches!(error.kind, ErrorKind::Denied(_)) {
            tracing::warn!(%error, remedy = %error.remedy(), "{what}");
        }
    }

    /// Keeps an error for people: one of each action and code.
    pub fn note(&self, error: &CloudError) {
        let last = clock::wall().0;
        let errors = &mut self.state().errors;
        let same = errors
            .iter_mut()
            .find(|seen| seen.error.action == error.action && seen.error.code == error.code);
        if let Some(seen) = same {
            seen.count += 1;
            seen.last = last;
            seen.error = error.clone();
            return;
        }
        if errors.len() >= KEPT {
            errors.remove(0);
        }
        errors.push(SeenError { error: error.clone(), last, count: 1 });
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

fn no_turn(action: &str, patience: Duration) -> CloudError {
    CloudError {
        action: action.to_owned(),
        kind: ErrorKind::Throttled { retry_after: None },
        code: "NoTurn".to_owned(),
        message: format!("no turn within {} s, so it was not sent", patience.as_secs()),
        request_id: None,
    }
}

/// Nothing was answered, or nothing of ours is believed.
fn is_silence(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Credentials)
}

/// `ok`, or the cause by its name in the catalogue.
fn outcome_word(error: Option<&CloudError>) -> &'static str {
    error.map_or("ok", |e| e.kind.cause().word())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: &str = "UnassignPrivateIpAddresses";

    /// A log whose action pauses for a minute.
    fn throttled() -> CloudLog {
        let log = CloudLog::new(Meter::default());
        let retry_after = Some(Duration::from_mins(1));
        let mut state = log.state();
        let id = state.limiter.ask(ACTION, Priority::Release);
        assert!(state.limiter.turn(clock::boot()).is_some());
        state.limiter.finished(clock::boot(), id, Outcome::Throttled { retry_after }, 0.0);
        drop(state);
        log
    }

    fn queued(log: &CloudLog) -> usize {
        log.state().limiter.show().iter().map(|action| action.queued).sum()
    }

    #[tokio::test]
    async fn a_call_without_a_turn_is_withdrawn_and_never_sent() {
        let log = throttled();
        let (mut sent, patience) = (false, Duration::from_millis(20));
        let call = async {
            sent = true;
            Ok(())
        };
        let error = log.call((ACTION, None), Priority::Release, patience, call).await.unwrap_err();
        assert!(!sent);
        // Nothing was done, and that is sure.
        assert!(matches!(error.kind, ErrorKind::Throttled { .. }), "{error}");
        assert_eq!(queued(&log), 0, "it still waits for a turn that it would take an hour later");
        assert!(log.state().limiter.turn(clock::boot() + Duration::from_hours(1)).is_none());
        assert_eq!(log.snapshot().1.len(), 1, "people are not told");
    }

    #[tokio::test]
    async fn a_call_whose_caller_went_away_is_withdrawn() {
        let log = throttled();
        let hour = Duration::from_hours(1);
        let call = log.call((ACTION, None), Priority::Release, hour, async { Ok(()) });
        let cut = tokio::time::timeout(Duration::from_millis(20), call).await;
        cut.unwrap_err();
        assert_eq!(queued(&log), 0);
    }
}
