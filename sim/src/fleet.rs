//! A fleet: many nodes that start at once under one account's limit, each with its own real limiter and nothing in common.
//!
//! The limit is a token bucket: `rate` tokens a second, at most `burst` of them. A call takes one; without one it is refused,
//! which costs `refused_cost` of a token where there is that much. Others use the account too: their calls come at random,
//! `foreign` a second on average. A call is on its way for 50 to 250 ms. A node asks again for what was refused.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use tideway_cloud::{CallId, Limiter, Outcome, Pace, Priority};

use crate::dice::Dice;

/// One action for all: the worst case.
const ACTION: &str = "AssignPrivateIpAddresses";

/// A fleet and the limit that it shares.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// Nodes.
    pub nodes: usize,
    /// Calls that each node needs.
    pub calls: u32,
    /// Tokens a second.
    pub rate: f64,
    /// Most tokens.
    pub burst: f64,
    /// Calls of others a second.
    pub foreign: f64,
    /// What a refusal costs, in tokens.
    pub refused_cost: f64,
    /// Seed.
    pub seed: u64,
    /// The limiters' figures.
    pub pace: Pace,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    /// Seconds that the limit itself allows at best.
    pub bound: f64,
    /// Seconds until the slowest node was done.
    pub slowest: f64,
    /// Seconds until half of the nodes were done.
    pub median: f64,
    /// Calls that were refused.
    pub refused: u64,
    /// Calls that were sent.
    pub sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    /// Somebody else calls.
    Foreign,
    /// A node's limiter may have a turn.
    Wake(usize),
    /// A call reaches the cloud.
    Arrives(usize, CallId),
    /// Its answer reaches the node.
    Answered(usize, CallId, bool),
}

struct Node {
    limiter: Limiter,
    left: u32,
    /// The turn that is waited for.
    wake: Option<Duration>,
}

struct Run {
    fleet: Fleet,
    dice: Dice,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Duration, u64, Happens)>>,
    order: u64,
    tokens: f64,
    filled: Duration,
    sent: u64,
    refused: u64,
    done: Vec<Duration>,
}

impl Fleet {
    /// Seconds that the limit allows at best, when others get all they ask for.
    pub fn bound(&self) -> f64 {
        let nodes = u32::try_from(self.nodes).map_or(f64::INFINITY, f64::from);
        (nodes * f64::from(self.calls) - self.burst) / (self.rate - self.foreign)
    }

    /// Lets all nodes start at once and runs until the last one is done, or a hundred times as long as it should take.
    pub fn run(self) -> Finish {
        let nodes = (0..self.nodes).map(|_| {
            let mut limiter = Limiter::new(self.pace);
            for _ in 0..self.calls {
                limiter.ask(ACTION, Priority::Warm);
            }
            Node { limiter, left: self.calls, wake: None }
        });
        let mut run = Run {
            fleet: self,
            dice: Dice::new(self.seed),
            nodes: nodes.collect(),
            queue: BinaryHeap::new(),
            order: 0,
            tokens: self.burst,
            filled: Duration::ZERO,
            sent: 0,
            refused: 0,
            done: Vec::new(),
        };
        for node in 0..self.nodes {
            run.go_on(Duration::ZERO, node);
        }
        run.next_foreign(Duration::ZERO);
        let end = Duration::from_secs_f64(self.bound() * 100.0);
        while run.done.len() < self.nodes {
            let Some(Reverse((now, _, what))) = run.queue.pop() else { break };
            if now > end {
                break;
            }
            run.happens(now, what);
        }
        let at = |n: usize| run.done.get(n).copied().unwrap_or(end).as_secs_f64();
        Finish {
            bound: self.bound(),
            slowest: at(self.nodes.saturating_sub(1)),
            median: at(self.nodes / 2),
            refused: run.refused,
            sent: run.sent,
        }
    }
}

impl Run {
    fn later(&mut self, at: Duration, what: Happens) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, what)));
    }

    fn next_foreign(&mut self, now: Duration) {
        if self.fleet.foreign > 0.0 {
            let wait = -(1.0 - self.dice.unit()).ln() / self.fleet.foreign;
            self.later(now + Duration::from_secs_f64(wait), Happens::Foreign);
        }
    }

    /// Half of a call's way.
    fn way(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(25, 125))
    }

    /// Whether the account has a token.
    fn takes(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = self.fleet.rate.mul_add(since, self.tokens).min(self.fleet.burst);
        self.filled = now;
        let passes = self.tokens >= 1.0;
        let cost = if passes { 1.0 } else { self.fleet.refused_cost };
        self.tokens = (self.tokens - cost).max(0.0);
        passes
    }

    fn happens(&mut self, now: Duration, what: Happens) {
        match what {
            Happens::Foreign => {
                self.takes(now);
                self.next_foreign(now);
            }
            Happens::Arrives(node, call) => {
                self.sent += 1;
                let passes = self.takes(now);
                self.refused += u64::from(!passes);
                let way = self.way();
                self.later(now + way, Happens::Answered(node, call, passes));
            }
            Happens::Answered(node, call, passed) => {
                let random = self.dice.unit();
                let throttled = Outcome::Throttled { retry_after: None };
                let outcome = if passed { Outcome::Accepted } else { throttled };
                let Some(own) = self.nodes.get_mut(node) else { return };
                own.limiter.finished(now, call, outcome, random);
                if passed {
                    own.left -= 1;
                    if own.left == 0 {
                        self.done.push(now);
                    }
                } else {
                    own.limiter.ask(ACTION, Priority::Warm);
                }
                self.go_on(now, node);
            }
            Happens::Wake(node) => {
                let due = self.nodes.get(node).is_some_and(|own| own.wake == Some(now));
                if due {
                    self.go_on(now, node);
                }
            }
        }
    }

    /// The node sends what has its turn.
    fn go_on(&mut self, now: Duration, node: usize) {
        while let Some(turn) = self.nodes.get_mut(node).and_then(|own| own.limiter.turn(now)) {
            let way = self.way();
            self.later(now + way, Happens::Arrives(node, turn.id));
        }
        let Some(own) = self.nodes.get_mut(node) else { return };
        let wake = own.limiter.wake();
        if own.wake != wake {
            own.wake = wake;
            if let Some(at) = wake {
                self.later(at, Happens::Wake(node));
            }
        }
    }
}

/// Fleets under the limits that the public quotas suggest: by calls a node and cost of a refusal.
pub fn fleets(nodes: usize, seed: u64) -> BTreeMap<(u32, &'static str), Fleet> {
    let costs = [("refusals are free", 0.0), ("a refusal costs a tenth of a call", 0.1)];
    // As many calls a second and a node as 600 a minute are for a thousand nodes.
    let rate = u32::try_from(nodes).map_or(f64::INFINITY, f64::from) / 100.0;
    let fleet = |calls, refused_cost| Fleet {
        nodes,
        calls,
        rate,
        burst: rate * 10.0,
        foreign: rate / 5.0,
        refused_cost,
        seed,
        pace: Pace::default(),
    };
    let kinds = [5, 10, 20, 50].into_iter().flat_map(|calls| costs.map(|cost| (calls, cost)));
    kinds.map(|(calls, (name, cost))| ((calls, name), fleet(calls, cost))).collect()
}

impl Finish {
    /// What a fleet of nodes with so many calls each must keep: 1.5 times the bound below 20 calls, 1.2 times from there on,
    /// the slowest node at most twice the median.
    pub fn keeps_its_word(&self, calls: u32) -> bool {
        let most = if calls < 20 { 1.5 } else { 1.2 };
        self.slowest <= self.bound * most && self.slowest <= self.median * 2.0
    }
}
