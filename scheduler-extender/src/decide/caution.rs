//! Pods that may be on their way without our knowledge: sent off before we started, by the scheduler of another extender
//! before it handed over to ours, or while we stood still. For a while each of them counts on every node.
//!
//! Nobody tells of a failover. It shows by pods of ours that were bound without a question to us, or by silence before the
//! first question. In between nothing is counted, so that a scheduler that asks all the time is not slowed down.

use std::collections::HashMap;
use std::time::Duration;

use super::facts::{PodFacts, Uid};
use super::kind::{PerKind, Wants};

/// After so long without a question another extender may have been asked meanwhile.
const SILENCE: Duration = Duration::from_mins(1);
/// A pod that is younger was not there when the scheduler before ours stopped.
const YOUNG: Duration = Duration::from_secs(1);
/// We are called many times a second: after so long we stood still, and an ignorable extender is passed over then.
const STILL: Duration = Duration::from_secs(2);

/// A pod of ours without a node.
#[derive(Debug)]
struct Unbound {
    wants: Wants,
    shown: Duration,
    /// We were asked about it.
    asked: bool,
    /// Its last cycle ended, as its condition says.
    failed: bool,
}

/// The pods that count, and for how long.
#[derive(Debug, Default)]
pub(super) struct Caution {
    /// None: not ready yet.
    until: Option<Duration>,
    unbound: HashMap<Uid, Unbound>,
    maybe: HashMap<Uid, Wants>,
    units: PerKind<u32>,
    asked: Duration,
    /// Somebody else sends pods of ours off.
    others: bool,
    called: Duration,
}

impl Caution {
    /// The first lists are whole.
    pub(super) fn begin(&mut self, now: Duration, lasts: Duration) {
        self.count(|_| true);
        (self.until, self.asked, self.called) = (Some(now + lasts), now, now);
    }

    /// Whether it began.
    pub(super) fn has_begun(&self) -> bool {
        self.until.is_some()
    }

    /// A pod is shown without a node; the question about it may have been faster than the watch.
    pub(super) fn waits(&mut self, now: Duration, uid: &Uid, pod: &PodFacts, asked: bool) {
        let (Some(wants), true) = (pod.wants, pod.ours) else { return };
        let new = Unbound { wants, shown: now, asked, failed: false };
        let unbound = self.unbound.entry(Uid::clone(uid)).or_insert(new);
        unbound.failed = pod.failure.is_some();
    }

    /// A pod is shown on a node.
    pub(super) fn is_bound(&mut self, uid: &str) {
        let unasked = self.unbound.get(uid).is_some_and(|pod| !pod.asked);
        self.others |= unasked && self.has_begun();
        self.forget(uid);
    }

    /// A pod is sent off by nobody any more.
    pub(super) fn forget(&mut self, uid: &str) {
        self.unbound.remove(uid);
        self.settle(uid);
    }

    /// Filter is asked about this pod, so it is not on its way.
    pub(super) fn asked(&mut self, now: Duration, uid: &str, lasts: Duration) {
        let silent = now.saturating_sub(self.asked) >= SILENCE;
        if (silent || self.others) && self.until.is_some_and(|until| until <= now) {
            let others = std::mem::take(&mut self.others);
            self.count(|pod| {
                let old = now.saturating_sub(pod.shown) >= YOUNG;
                others || (old && !pod.asked && !pod.failed)
            });
            self.until = Some(now + lasts);
        }
        self.asked = now;
        if let Some(pod) = self.unbound.get_mut(uid) {
            pod.asked = true;
        }
        self.settle(uid);
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Duration) {
        if self.has_begun() && now.saturating_sub(self.called) >= STILL {
            self.others = true;
        }
        self.called = now;
        if !self.maybe.is_empty() && self.until.is_some_and(|until| until <= now) {
            (self.maybe, self.units) = (HashMap::new(), PerKind::default());
        }
    }

    /// Units to leave alone on every node.
    pub(super) fn units(&self, now: Duration) -> PerKind<u32> {
        if self.until.is_some_and(|until| now < until) { self.units } else { PerKind::default() }
    }

    fn count(&mut self, may: impl Fn(&Unbound) -> bool) {
        let maybe = self.unbound.iter().filter(|(_, pod)| may(pod));
        self.maybe = maybe.map(|(uid, pod)| (Uid::clone(uid), pod.wants)).collect();
        self.units = PerKind::default();
        for wants in self.maybe.values() {
            self.units.add(*wants);
        }
    }

    fn settle(&mut self, uid: &str) {
        if let Some(wants) = self.maybe.remove(uid) {
            self.units.take(wants);
        }
    }
}
