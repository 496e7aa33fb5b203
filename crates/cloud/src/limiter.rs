//! How fast calls may go, per API action: an adaptive limiter without a clock.
//!
//! A cloud counts the calls of a whole account, and every node of a cluster is a caller, so no fixed figure is right. Each
//! action has a rate of its own: it grows by a fixed step with every call that was not refused for speed, and is cut
//! down by a factor when one was (additive increase, multiplicative decrease: many callers that do this share a limit
//! fairly). For some minutes after a cut the step is small against the rate that the cut left. After a refusal the action
//! pauses, twice as long each time; the pause carries jitter, so that nodes do not come back in step.
//!
//! Calls queue per action. The most urgent goes first, and among equals the oldest: pods that wait, then warming up, then
//! giving back, then looking. Urgency orders, it never exceeds the rate.
//!
//! Invariants
//! - an action never gets more than `burst + t × ceiling` turns in any time `t`;
//! - no turn falls into a pause;
//! - when [`Limiter::wake`] names a moment, [`Limiter::turn`] gives a turn at that moment;
//! - one wave of refusals cuts the rate once: refusals of calls that went before the last cut do not count again.
//!
//! The owner is one task (the daemon's cloud shell): it asks, takes turns, sleeps until `wake`, reports outcomes. All
//! times are of one clock that never goes back, such as the time since boot.

use std::{collections::BTreeMap, time::Duration};

use crate::{CloudError, ErrorKind};

/// How urgent a call is. Greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Looks only.
    Describe,
    /// Gives something back.
    Release,
    /// Ahead of demand.
    Warm,
    /// A pod waits for it.
    Waiting,
}

/// The figures of the limiter. Rates are calls a second of one action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Rate at the start.
    pub start: f64,
    /// The rate never falls below this; above zero.
    pub floor: f64,
    /// The rate never rises above this.
    pub ceiling: f64,
    /// What one call that was not throttled adds to the rate.
    pub step: f64,
    /// While the last refusal is younger than `memory`, a call adds no more than this part of the rate that it left:
    /// many nodes that share a small limit would else overshoot it together with every step.
    pub careful: f64,
    /// See `careful`.
    pub memory: Duration,
    /// What a throttled call multiplies the rate with; between zero and one.
    pub cut: f64,
    /// Calls that may go at once after a rest, at least 1.
    pub burst: u32,
    /// Longest pause that the cloud's own hint can cause, jitter not counted.
    pub longest_pause: Duration,
}

impl Default for Pace {
    /// 4 calls a second at the start, between one in 55 s and 8 a second (the public quotas lie between 300 and 2000 a
    /// minute for an account), five at once. A thousand nodes at the floor ask 18 times a second: enough to use up an
    /// account's limit, and not much more. The figures are tried by `tideway-sim fleet`.
    fn default() -> Self {
        Self {
            start: 4.0,
            floor: 0.018,
            ceiling: 8.0,
            step: 0.25,
            careful: 0.25,
            memory: Duration::from_mins(5),
            cut: 0.5,
            burst: 5,
            longest_pause: Duration::from_mins(1),
        }
    }
}

impl Pace {
    /// Figures that hold the promises above whatever was passed.
    fn sane(self) -> Self {
        let at_least = |x: f64, least: f64| if x.is_finite() { x.max(least) } else { least };
        let floor = at_least(self.floor, 0.001).min(1000.0);
        let ceiling = at_least(self.ceiling, floor).min(1_000_000.0);
        Self {
            floor,
            ceiling,
            start: at_least(self.start, floor).min(ceiling),
            step: at_least(self.step, 0.0),
            careful: at_least(self.careful, 0.0),
            memory: self.memory,
            cut: at_least(self.cut, 0.0).min(1.0),
            burst: self.burst.max(1),
            longest_pause: self.longest_pause,
        }
    }
}

/// A call that queues or is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// How a call ended, as far as speed is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The cloud took it at this speed, whatever else it said.
    Accepted,
    /// Refused for speed.
    Throttled {
        /// How long the cloud asked to wait.
        retry_after: Option<Duration>,
    },
    /// Tells nothing about speed: no answer, or the cloud itself is ill.
    Silent,
}

impl Outcome {
    /// The outcome that a result of a call means.
    pub fn of<T>(result: &Result<T, CloudError>) -> Self {
        match result.as_ref().map_err(|e| &e.kind) {
            Err(ErrorKind::Throttled { retry_after }) => {
                Self::Throttled { retry_after: *retry_after }
            }
            Err(ErrorKind::Unavailable | ErrorKind::Unknown) => Self::Silent,
            Ok(_)
            | Err(
                ErrorKind::SubnetFull
                | ErrorKind::Fragmented
                | ErrorKind::QuotaExceeded(_)
                | ErrorKind::Denied(_)
                | ErrorKind::Credentials
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::Invalid,
            ) => Self::Accepted,
        }
    }
}

/// A turn: this call may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The call.
    pub id: CallId,
    /// Its action.
    pub action: String,
}

/// The state of one action, for people and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionPace {
    /// API action.
    pub action: String,
    /// Present rate in calls a second.
    pub rate: f64,
    /// Calls that queue.
    pub queued: usize,
    /// Calls that were throttled since the start.
    pub throttled: u64,
    /// End of the present or last pause.
    pub paused_until: Duration,
}

/// A cut of the rate.
#[derive(Debug, Clone, Copy)]
struct Cut {
    at: Duration,
    /// The rate that it left.
    left: f64,
}

/// One action's rate, by the generic cell rate algorithm: one moment is the whole state, and the next turn is exact.
#[derive(Debug, Clone)]
struct Bucket {
    rate: f64,
    /// Moment up to which the rate is used up; a turn moves it on by `1 / rate`.
    used_until: Duration,
    paused_until: Duration,
    last_cut: Option<Cut>,
    throttled: u64,
    /// Waiting calls with their urgency, oldest first.
    queue: Vec<(CallId, Priority)>,
}

impl Bucket {
    fn interval(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// Earliest moment of the next turn.
    fn earliest(&self, burst: u32) -> Duration {
        let ahead = self.interval().saturating_mul(burst.saturating_sub(1));
        self.used_until.saturating_sub(ahead).max(self.paused_until)
    }

    fn most_urgent(&self) -> Option<(usize, Priority)> {
        // Strictly greater only, so that the oldest of the most urgent ones wins.
        let mut best: Option<(usize, Priority)> = None;
        for (at, (_, priority)) in self.queue.iter().enumerate() {
            if best.is_none_or(|(_, b)| *priority > b) {
                best = Some((at, *priority));
            }
        }
        best
    }
}

/// The limiter of one account's calls from this node.
#[derive(Debug, Clone)]
pub struct Limiter {
    pace: Pace,
    next: u64,
    buckets: BTreeMap<String, Bucket>,
    /// Calls that had their turn, with action and moment.
    in_flight: BTreeMap<CallId, (String, Duration)>,
}

impl Limiter {
    /// A limiter at rest. Figures out of range are brought into range.
    pub fn new(pace: Pace) -> Self {
        Self { pace: pace.sane(), next: 0, buckets: BTreeMap::new(), in_flight: BTreeMap::new() }
    }

    /// Queues a call of an action.
    pub fn ask(&mut self, action: &str, priority: Priority) -> CallId {
        let id = CallId(self.next);
        self.next = self.next.wrapping_add(1);
        let start = self.pace.start;
        let bucket = self.buckets.entry(action.to_owned()).or_insert_with(|| Bucket {
            rate: start,
            used_until: Duration::ZERO,
            paused_until: Duration::ZERO,
            last_cut: None,
            throttled: 0,
            queue: Vec::new(),
        });
        bucket.queue.push((id, priority));
        id
    }

    /// The next call that may go at `now`, the most urgent first. Call it until it gives none.
    pub fn turn(&mut self, now: Duration) -> Option<Turn> {
        let burst = self.pace.burst;
        let (action, bucket, at) = self
            .buckets
            .iter_mut()
            .filter(|(_, bucket)| bucket.earliest(burst) <= now)
            .filter_map(|(action, bucket)| {
                let (at, priority) = bucket.most_urgent()?;
                let (id, _) = *bucket.queue.get(at)?;
                Some((priority, std::cmp::Reverse(id), action, bucket, at))
            })
            .max_by_key(|(priority, age, ..)| (*priority, *age))
            .map(|(_, _, action, bucket, at)| (action.clone(), bucket, at))?;
        let (id, _) = bucket.queue.remove(at);
        bucket.used_until = bucket.used_until.max(now).saturating_add(bucket.interval());
        self.in_flight.insert(id, (action.clone(), now));
        Some(Turn { id, action })
    }

    /// The moment at which [`Limiter::turn`] gives the next turn; in the past when one is due. None: nothing queues.
    pub fn wake(&self) -> Option<Duration> {
        self.buckets
            .values()
            .filter(|bucket| !bucket.queue.is_empty())
            .map(|bucket| bucket.earliest(self.pace.burst))
            .min()
    }

    /// Takes a call out of the queue, or forgets that it is in flight. Unknown ids are fine.
    pub fn withdraw(&mut self, id: CallId) {
        self.in_flight.remove(&id);
        for bucket in self.buckets.values_mut() {
            bucket.queue.retain(|(queued, _)| *queued != id);
        }
    }

    /// Reports how a call that had its turn ended. `random` lies in `0.0..1.0` and sets the jitter. Unknown ids are fine.
    pub fn finished(&mut self, now: Duration, id: CallId, outcome: Outcome, random: f64) {
        let Some((action, sent)) = self.in_flight.remove(&id) else { return };
        let Some(bucket) = self.buckets.get_mut(&action) else { return };
        match outcome {
            Outcome::Silent => {}
            Outcome::Accepted => {
                // An answer to a call from before the cut says nothing about the new rate.
                if bucket.last_cut.is_none_or(|cut| sent >= cut.at) {
                    let fresh = bucket.last_cut.filter(|cut| now < cut.at + self.pace.memory);
                    let most = fresh.map_or(f64::INFINITY, |cut| cut.left * self.pace.careful);
                    let step = self.pace.step.min(most);
                    bucket.rate = (bucket.rate + step).min(self.pace.ceiling);
                }
            }
            Outcome::Throttled { retry_after } => {
                bucket.throttled = bucket.throttled.saturating_add(1);
                if bucket.last_cut.is_none_or(|cut| sent >= cut.at) {
                    bucket.rate = (bucket.rate * self.pace.cut).max(self.pace.floor);
                    bucket.last_cut = Some(Cut { at: now, left: bucket.rate });
                }
                let hint = retry_after.unwrap_or_default().min(self.pace.longest_pause);
                let pause = bucket.interval().max(hint);
                let jitter = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 };
                let until = now.saturating_add(pause.mul_f64(1.0 + jitter));
                bucket.paused_until = bucket.paused_until.max(until);
                // No burst after the pause: one call feels its way, the next follow at the rate.
                let ahead = bucket.interval().saturating_mul(self.pace.burst.saturating_sub(1));
                bucket.used_until = bucket.paused_until.saturating_add(ahead);
            }
        }
    }

    /// The state of every action that was ever asked for.
    pub fn show(&self) -> Vec<ActionPace> {
        self.buckets
            .iter()
            .map(|(action, bucket)| ActionPace {
                action: action.clone(),
                rate: bucket.rate,
                queued: bucket.queue.len(),
                throttled: bucket.throttled,
                paused_until: bucket.paused_until,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
