//! Preemption: which nodes are worth an eviction.
//!
//! The scheduler chose victims for what its own filters lack. Here a node is kept if the victims, with what leaves it anyway,
//! give the pod what it needs of us. Victims are never added. While the node that was cleared for the pod lacks a unit and only
//! has to cool, no node is answered: one round of evictions for each preemptor. If it has one, or is closed, the pod lacks
//! something else, of which we know nothing.

use std::time::Duration;

use super::Decider;
use super::facts::PodFacts;
use super::kind::Kind;

/// The victims on one node.
#[derive(Debug, Clone, Copy)]
pub struct Victims<'a> {
    /// The node.
    pub node: &'a str,
    /// UIDs of pods.
    pub pods: &'a [&'a str],
}

impl Decider {
    /// Which of these nodes to keep, in their order.
    pub fn preempt(&mut self, now: Duration, pod: &PodFacts, nodes: &[Victims<'_>]) -> Vec<bool> {
        self.expire(now);
        let Some(wants) = pod.wants else { return vec![true; nodes.len()] };
        let record = self.pods.get(&pod.uid).and_then(|r| r.nominated);
        let told = pod.nominated.as_deref().and_then(|name| self.nodes.id(name));
        if record.into_iter().chain(told).any(|id| self.clears(now, id, pod, wants)) {
            return vec![false; nodes.len()];
        }
        let keeps = |victims: &Victims<'_>| {
            let known = self.nodes.id(victims.node);
            let node =
                known.and_then(|id| Some((id, self.nodes.get(id).filter(|n| n.report.is_some())?)));
            let Some((id, node)) = node else { return wants.kind == Kind::Shared };
            let mut freed: u32 = 0;
            for uid in victims.pods {
                // A victim that is not there frees nothing; one that ends already is in `soon`.
                let victim =
                    self.pods.get(*uid).filter(|r| r.node == Some(id) && r.counted && !r.ending);
                let units = victim.and_then(|r| r.wants).filter(|w| w.kind == wants.kind);
                freed = freed.saturating_add(units.map_or(0, |w| w.units));
            }
            self.soon(node, pod, wants).saturating_add(freed) >= wants.units
        };
        let keep: Vec<bool> = nodes.iter().map(keeps).collect();
        if keep.contains(&true) {
            // What the pod is nominated for from here on is cleared for it.
            self.nominations.remove(&pod.uid);
        }
        keep
    }
}
