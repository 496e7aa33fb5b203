//! The oracle: judges by the model world alone, never by the core's books.
//!
//! An address lives while a link of a pod in the model kernel has it. It has rested when so much time has passed since the
//! daemon was told or the link ended, whichever came first.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tideway_cloud::CloudOp;
use tideway_model::{Attachment, AttachmentKey, EniId, Mode, PodRef, SlotId};

use crate::{cloud::ModelCloud, node::Node, violation::Violation};

/// The last owner of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ended {
    at: Duration,
    key: AttachmentKey,
    pod: PodRef,
    /// It had the whole ENI, which waits for it: the same pod gets it back at once.
    exclusive: bool,
}

/// The judge.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    ended: BTreeMap<IpAddr, Ended>,
    /// Attachments whose withdrawal was ordered.
    told: BTreeMap<AttachmentKey, Duration>,
    /// Somebody else spoilt these: the cloud's truth is no yardstick for them.
    pub foul_addresses: BTreeSet<IpAddr>,
    /// See above.
    pub foul_enis: BTreeSet<EniId>,
    /// ENIs of ours whose tags somebody took away: those that the daemon knows it keeps, no other is known for one of ours.
    pub nameless_enis: BTreeSet<EniId>,
    /// The disk lied in this run: what the daemon cannot know is not asked of it.
    pub disk_lied: bool,
    /// The cloud said yes and did nothing, the type changed, or the journal was rebuilt: limits cannot be foreseen.
    pub shifted: bool,
    /// Somebody else changed our ENIs or slots in this run.
    pub strangers: bool,
    /// Which pod was given which device, ever.
    pub devices: BTreeSet<(SlotId, PodRef)>,
    /// ENIs with a call whose answer was lost, and no look has shown them since.
    unseen: BTreeMap<EniId, Duration>,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

impl Oracle {
    /// The machine was set back to a snapshot of its disk: a journal cannot know what came after it.
    pub fn snapshot_restored(&mut self) {
        self.disk_lied = true;
        self.ended.clear();
    }

    /// A broken promise. Only the first counts.
    pub fn broken(&mut self, rule: &'static str, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { rule, text: text() });
        }
    }

    /// The daemon orders a withdrawal.
    pub fn told_to_withdraw(&mut self, now: Duration, a: &Attachment, node: &Node) {
        if node.kernel.links.get(&a.key).is_some_and(|link| link.gone_by.is_none()) {
            self.told.entry(a.key.clone()).or_insert(now);
        }
    }

    /// These lived until now.
    pub fn lived(&mut self, now: Duration, ended: impl IntoIterator<Item = Attachment>) {
        for a in ended {
            let at = self.told.remove(&a.key).unwrap_or(now);
            let exclusive = a.mode == Mode::Exclusive;
            for ip in a.addresses.iter() {
                self.ended
                    .insert(ip, Ended { at, key: a.key.clone(), pod: a.pod.clone(), exclusive });
            }
        }
    }

    /// Whether a link of this attachment had its addresses once, and some have had no other owner since.
    pub fn has_lived(&self, key: &AttachmentKey) -> bool {
        self.ended.values().any(|e| e.key == *key)
    }

    /// Addresses whose owner ended within the cooldown and that nobody has now. What others took away rests nowhere: whoever
    /// did it may have given it back at once.
    pub fn resting(&self, now: Duration, cooldown: Duration, node: &Node) -> Vec<IpAddr> {
        let rests = |(ip, e): &(&IpAddr, &Ended)| {
            let foul = self.foul_addresses.contains(*ip);
            now < e.at + cooldown && !foul && node.kernel.owners(**ip).next().is_none()
        };
        self.ended.iter().filter(rests).map(|(ip, _)| *ip).collect()
    }

    fn is_own(&self, ip: IpAddr, (a, identity): (&Attachment, bool)) -> bool {
        let former = self.ended.get(&ip);
        former.is_some_and(|e| {
            e.key == a.key
                || (identity && e.pod.key == a.pod.key)
                || (e.exclusive && a.mode == Mode::Exclusive && e.pod == a.pod)
        })
    }

    /// An address is promised for the first time. `identity`: flows of a former pod of its name are its own.
    pub fn handed_out(
        &mut self,
        now: Duration,
        cooldown: Duration,
        (a, identity): (&Attachment, bool),
        node: &Node,
        cloud: &ModelCloud,
    ) {
        let own = self.devices.iter().find(|(_, pod)| *pod == a.pod).map(|(slot, _)| *slot);
        let holds = own.is_some_and(|slot| {
            node.kubelet.holders.get(&slot).is_some_and(|(_, key)| *key == a.pod.key)
        });
        let got = a.exclusive.as_ref().map(|x| x.slot);
        if got != own && (got.is_some() || holds) {
            self.wrong_device(a, own);
        }
        for ip in a.addresses.iter() {
            // An exclusive ENI stays with its pod: its next container waits until the former one has given it back.
            let own_eni = a.mode == Mode::Exclusive
                && node.kernel.users(&a.eni).any(|l| l.attachment.pod == a.pod);
            if !own_eni {
                self.two_owners(ip, a, node);
            }
            if !self.is_own(ip, (a, identity)) && !own_eni {
                let moved = a.mode == Mode::Exclusive && self.foul_addresses.contains(&ip);
                if node.kernel.conntrack.contains(&ip) && !moved {
                    self.broken("conntrack is flushed before reuse", || {
                        format!("{ip} is handed out to {:?} with entries of its former pod", a.key)
                    });
                }
                // Whoever took it away may have given it back at once: no node can know.
                let foul = self.foul_addresses.contains(&ip);
                let ended = self.ended.get(&ip).filter(|_| !foul);
                let rested = ended.map(|e| now.saturating_sub(e.at));
                if let Some(rested) = rested.filter(|rested| *rested < cooldown) {
                    self.broken("an address rests before reuse", || {
                        format!("{ip} is handed out to {:?} after {rested:?}", a.key)
                    });
                }
            }
            let foul = self.foul_addresses.contains(&ip) || self.foul_enis.contains(&a.eni);
            let there = cloud.enis.get(&a.eni).is_some_and(|v| v.has(ip));
            if !there && !foul && !self.disk_lied {
                self.broken("what is handed out is ours in the cloud", || {
                    format!("{ip} is handed out to {:?} and is not on {}", a.key, a.eni)
                });
            }
        }
    }

    fn wrong_device(&mut self, a: &Attachment, slot: Option<SlotId>) {
        let got = a.exclusive.as_ref().map(|x| x.slot);
        self.broken("an ENI goes to the pod that holds its device", || {
            format!("{} was given {slot:?} and gets {got:?}", a.pod.key)
        });
    }

    fn two_owners(&mut self, ip: IpAddr, a: &Attachment, node: &Node) {
        let others = node.kernel.owners(ip).find(|other| **other != a.key);
        if let Some(other) = others {
            let text = format!("{ip} lives with {other:?} and goes to {:?}", a.key);
            self.broken("an address has one living owner", || text);
        }
    }

    /// A pod's link is about to have its addresses.
    pub fn plumbed(&mut self, a: &Attachment, node: &Node) {
        for ip in a.addresses.iter() {
            self.two_owners(ip, a, node);
        }
        if a.mode == Mode::Exclusive {
            let other = node.kernel.users(&a.eni).find(|l| l.attachment.key != a.key);
            if let Some(other) = other.map(|l| l.attachment.key.clone()) {
                self.broken("an exclusive ENI has one living owner", || {
                    format!("{} lives with {other:?} and goes to {:?}", a.eni, a.key)
                });
            }
        }
    }

    /// The daemon sends a call. `flying`: another one on the same ENI is on its way; `ghosts`: calls that may still take
    /// effect without a client.
    pub fn sent(&mut self, op: &CloudOp, durable: bool, flying: bool, ghosts: &[CloudOp]) {
        if !durable {
            self.broken("no effect without a durable intent", || format!("{op:?}"));
        }
        let Some(eni) = op.eni() else { return };
        if self.disk_lied {
            return;
        }
        let adds =
            |op: &CloudOp| matches!(op, CloudOp::Assign { .. } | CloudOp::AssignPrefixes { .. });
        let takes = |op: &CloudOp| {
            matches!(op, CloudOp::Unassign { .. } | CloudOp::UnassignPrefixes { .. })
        };
        let both = |a: &CloudOp, b: &CloudOp| match (a, b) {
            (CloudOp::Detach { .. }, CloudOp::Attach { .. }) => true,
            (a, b) if takes(a) => adds(b) || takes(b),
            // A stranger's addresses may pass for those of a late Assign.
            (a, b) if adds(a) => !self.strangers && (adds(b) || takes(b)),
            _ => false,
        };
        if flying || ghosts.iter().any(|ghost| ghost.eni() == Some(eni) && both(ghost, op)) {
            self.broken("one change of an ENI at a time", || {
                format!("{op:?} is sent while another call on it may take effect")
            });
        }
        if self.unseen.contains_key(eni) {
            self.broken("a call is not sent again before its outcome was read back", || {
                format!("{op:?} is sent after a lost answer and without a look")
            });
        }
    }

    /// Nobody waits for this call's answer any more.
    pub fn given_up(&mut self, now: Duration, op: &CloudOp) {
        if let Some(eni) = op.eni() {
            self.unseen.insert(eni.clone(), now);
        }
    }

    /// The daemon gets the answer to a question put at `asked`.
    pub fn looked(&mut self, asked: Duration) {
        self.unseen.retain(|_eni, lost| *lost > asked);
    }

    /// Whether a call on this ENI had no answer and no look has shown it since.
    pub fn is_unseen(&self, eni: &EniId) -> bool {
        self.unseen.contains_key(eni)
    }

    /// What a call of ours would take from a living pod or from others, if it took effect now.
    pub fn harm(&self, op: &CloudOp, node: &Node, cloud: &ModelCloud) -> Option<Violation> {
        let takes = |ip: &IpAddr| match op {
            CloudOp::Unassign { addresses, .. } => addresses.contains(ip),
            CloudOp::UnassignPrefixes { prefixes, .. } => prefixes.iter().any(|p| p.contains(ip)),
            _ => true,
        };
        let eni = match op {
            CloudOp::Unassign { eni, .. }
            | CloudOp::UnassignPrefixes { eni, .. }
            | CloudOp::Detach { eni, .. }
            | CloudOp::Delete { eni } => eni,
            CloudOp::Create(_)
            | CloudOp::Attach { .. }
            | CloudOp::Assign { .. }
            | CloudOp::AssignPrefixes { .. }
            | CloudOp::Describe { .. } => return None,
        };
        let view = cloud.enis.get(eni)?;
        if view.primary || view.tags.contains_key("owner") {
            let text = format!("{op:?}");
            return Some(Violation { rule: "others' ENIs are not touched", text });
        }
        if self.foul_enis.contains(eni) {
            return None;
        }
        let mut users = node.kernel.users(eni);
        let hit = users.find(|link| link.attachment.addresses.iter().any(|ip| takes(&ip)))?;
        let text = format!("{op:?} hits {:?}", hit.attachment.key);
        Some(Violation { rule: "nothing is taken from a living pod", text })
    }
}
