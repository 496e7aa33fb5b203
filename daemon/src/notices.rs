//! What is said of pods that wait or fail, and when. Pure.
//!
//! There is one event for each pod and cause, renewed while it lasts. Two bounds keep a node with hundreds of waiting pods
//! from flooding the API server: one event is not renewed sooner than after `REPEAT`, and all events of the node take tokens
//! (`BURST`, `REFILL`). Pods for which there is no token are told of together, by one event on the Node. Nothing is queued:
//! what could not be said is looked at anew, and what is over meanwhile is not said.

use std::{collections::BTreeMap, time::Duration};

use tideway_ipam::Books;
use tideway_kubeapi::Notice;
use tideway_model::{Cause, PodRef, Why};

/// A wait that is shorter is no news: an ENI that is attached takes some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two writes of one event.
const REPEAT: Duration = Duration::from_mins(5);
/// So many events are written at once.
const BURST: u32 = 10;
/// In this time there is one more.
const REFILL: Duration = Duration::from_secs(30);
/// What was not seen for so long is over: a runtime tries again sooner.
const CURRENT: Duration = Duration::from_mins(2);
/// After so long without a sign of it a pod is forgotten. Longer than [`REPEAT`], or events would be repeated sooner.
const MEMORY: Duration = Duration::from_mins(15);
/// Most pods that are known; a node has some hundred.
const MOST: usize = 1024;
/// Reason of the event on the Node.
const OF_NODE: &str = "PodsWaitForNetwork";

/// When an event was written, and what of.
#[derive(Debug, Default)]
struct Told {
    /// Failures for this cause.
    count: u32,
    at: Option<Duration>,
}

impl Told {
    fn is_due(&self, now: Duration) -> bool {
        self.at.is_none_or(|at| now >= at + REPEAT)
    }
}

/// One pod.
#[derive(Debug, Default)]
struct Standing {
    /// What it waits or fails for; none since it has its network.
    why: Option<Why>,
    /// When that was last seen.
    seen: Duration,
    told: BTreeMap<Cause, Told>,
}

/// What is known, and what was said of it.
#[derive(Debug, Default)]
pub struct Notices {
    pods: BTreeMap<PodRef, Standing>,
    node: Told,
    /// Tokens that were taken, less those that came back since.
    taken: u32,
    /// When the last one came back.
    refilled: Duration,
}

impl Notices {
    /// A pod's ADD failed.
    pub fn failed(&mut self, now: Duration, pod: &PodRef, why: Why) {
        let cause = why.cause;
        self.note(now, pod, why);
        let told = self.pods.get_mut(pod).and_then(|standing| standing.told.get_mut(&cause));
        if let Some(told) = told {
            told.count = told.count.saturating_add(1);
        }
    }

    /// Who waits, and who no longer does.
    pub fn look(&mut self, now: Duration, books: &Books) {
        self.pods.retain(|_pod, standing| now.saturating_sub(standing.seen) < MEMORY);
        for attachment in &books.attachments {
            if let Some(standing) = self.pods.get_mut(&attachment.pod) {
                standing.why = None;
            }
        }
        for waiting in &books.waiting {
            if now.saturating_sub(waiting.since) >= PATIENCE {
                self.note(now, &waiting.pod, waiting.why.clone());
            }
        }
    }

    /// What is to be said now, the never said first. Say [`Self::said`] before the next question.
    pub fn next(&mut self, now: Duration) -> Option<Notice> {
        self.refill(now);
        let due = self.current(now).filter(|(_pod, _why, told)| told.is_due(now));
        let (pod, why, told) = due.min_by_key(|(_pod, _why, told)| told.at)?;
        if self.taken < BURST {
            return Some(Notice {
                pod: Some(pod.clone()),
                warning: true,
                reason: why.cause.reason(),
                message: message(why),
                count: told.count.max(1),
            });
        }
        let is_news = told.at.is_none() && self.node.is_due(now);
        is_news.then(|| self.of_node(now))
    }

    /// It was said, or cannot be.
    pub fn said(&mut self, now: Duration, notice: &Notice) {
        let Some(pod) = &notice.pod else {
            self.node.at = Some(now);
            self.node.count = self.node.count.saturating_add(1);
            return;
        };
        self.taken = self.taken.saturating_add(1);
        let told = self.pods.get_mut(pod).into_iter().flat_map(|standing| &mut standing.told);
        for (_cause, told) in told.filter(|(cause, _told)| cause.reason() == notice.reason) {
            told.at = Some(now);
        }
    }

    /// No pod waits or fails.
    pub fn is_quiet(&self, now: Duration) -> bool {
        self.current(now).next().is_none()
    }

    fn note(&mut self, now: Duration, pod: &PodRef, why: Why) {
        let is_known = self.pods.contains_key(pod);
        if ends_by_itself(why.cause) || (!is_known && self.pods.len() >= MOST) {
            return;
        }
        let standing = self.pods.entry(pod.clone()).or_default();
        standing.told.entry(why.cause).or_default();
        standing.why = Some(why);
        standing.seen = now;
    }

    /// Who has no network now.
    fn current(&self, now: Duration) -> impl Iterator<Item = (&PodRef, &Why, &Told)> {
        let recent = move |s: &Standing| now.saturating_sub(s.seen) < CURRENT;
        self.pods.iter().filter(move |(_pod, s)| recent(s)).filter_map(|(pod, s)| {
            let why = s.why.as_ref()?;
            Some((pod, why, s.told.get(&why.cause)?))
        })
    }

    fn refill(&mut self, now: Duration) {
        if self.taken == 0 {
            self.refilled = now;
        }
        while self.taken > 0 && now >= self.refilled + REFILL {
            self.taken -= 1;
            self.refilled += REFILL;
        }
    }

    fn of_node(&self, now: Duration) -> Notice {
        let mut counts: BTreeMap<Cause, (usize, &Why)> = BTreeMap::new();
        for (_pod, why, _told) in self.current(now) {
            counts.entry(why.cause).or_insert((0, why)).0 += 1;
        }
        let all: usize = counts.values().map(|(count, _why)| count).sum();
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_by_key(|(count, _why)| std::cmp::Reverse(*count));
        let list = counts.iter().map(|(count, why)| format!("{count} {}", why.cause.word()));
        let list = list.collect::<Vec<_>>().join(", ");
        let first = counts.first().map(|(_count, why)| message(why)).unwrap_or_default();
        Notice {
            pod: None,
            warning: true,
            reason: OF_NODE,
            message: format!("{all} pods of this node wait or fail: {list}. One of them: {first}"),
            count: self.node.count.saturating_add(1),
        }
    }
}

/// The pod is going, or comes again at once: nothing to tell people.
fn ends_by_itself(cause: Cause) -> bool {
    matches!(cause, Cause::SandboxDeleted | Cause::Overtaken | Cause::Stopping)
}

/// What is known of the case, and the catalogue's words on its cause.
fn message(why: &Why) -> String {
    let (daemon, person) = (why.cause.daemon(), why.cause.person());
    if why.text.contains(person) {
        return format!("{why}. What Tideway does: {daemon}.");
    }
    format!("{why}. What Tideway does: {daemon}. What you can do: {person}.")
}

#[cfg(test)]
mod tests;
