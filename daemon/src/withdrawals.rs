//! Exclusive ENIs on their way out of a pod's namespace.
//!
//! The commit that ends such an attachment also notes in which namespace its ENI is, until it is out of it. Nobody else knows
//! then: a daemon that was killed in between would leave the ENI inside until the runtime removes the namespace. The next run
//! takes it out, and a DEL that the runtime repeats is answered when that is done, not before.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tideway_cloud::Cloud;
use tideway_journal::Change;
use tideway_model::{Attachment, AttachmentKey, EniId, Mac, Mode};

use crate::{
    clock,
    engine::{DelAnswer, Message},
    hands::Tools,
    pauses::Pauses,
};

/// What the journal's keys of withdrawals begin with; all other keys are the allocator's.
const PREFIX: &str = "withdrawal/";

/// Version of the values written here.
const VERSION: u8 = 1;

/// Where an exclusive ENI was when its attachment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    v: u8,
    /// The attachment that ended.
    pub key: AttachmentKey,
    eni: EniId,
    mac: Mac,
    netns: String,
}

impl Withdrawal {
    /// That of an attachment; none where nothing has to leave the namespace.
    pub fn of(a: &Attachment) -> Option<Self> {
        (a.mode == Mode::Exclusive).then(|| Self {
            v: VERSION,
            key: a.key.clone(),
            eni: a.eni.clone(),
            mac: a.eni_mac,
            netns: a.netns.clone(),
        })
    }

    /// As a change of the journal.
    pub fn noted(&self) -> Result<Change, serde_json::Error> {
        Ok((record_key(&self.key), Some(serde_json::to_vec(self)?)))
    }
}

fn record_key(key: &AttachmentKey) -> String {
    format!("{PREFIX}{}/{}", key.container, key.ifname)
}

/// What the journal has, withdrawals apart from the allocator's entries.
pub type Entries = (Vec<Withdrawal>, Vec<(String, Vec<u8>)>);

/// Sorts what the journal has.
pub fn sort(kept: Vec<(String, Vec<u8>)>) -> Result<Entries, (String, serde_json::Error)> {
    let (ours, others): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|(key, _value)| key.starts_with(PREFIX));
    let read = |(key, value): (String, Vec<u8>)| {
        let found: Withdrawal = serde_json::from_slice(&value).map_err(|e| (key.clone(), e))?;
        if found.v == VERSION {
            return Ok(found);
        }
        let text = format!("the entry has version {}, this program knows {VERSION}", found.v);
        Err((key, <serde_json::Error as serde::de::Error>::custom(text)))
    };
    Ok((ours.into_iter().map(read).collect::<Result<_, _>>()?, others))
}

/// Withdrawals that have not ended, in the engine's books.
#[derive(Debug, Default)]
pub struct Underway(BTreeMap<AttachmentKey, Turns>);

/// One container may come and go again while its first withdrawal is in work.
#[derive(Debug, Default)]
struct Turns {
    open: u32,
    waiting: Vec<DelAnswer>,
}

impl Underway {
    /// One begins.
    pub fn begin(&mut self, key: &AttachmentKey) {
        self.0.entry(key.clone()).or_default().open += 1;
    }

    /// A DEL of something that is known no more: kept until the withdrawal has ended, given back when there is none.
    pub fn wait(&mut self, key: &AttachmentKey, answer: DelAnswer) -> Option<DelAnswer> {
        match self.0.get_mut(key) {
            Some(turns) => {
                turns.waiting.push(answer);
                None
            }
            None => Some(answer),
        }
    }

    /// One has ended. When it was the key's last: the change of the journal, and who waited.
    pub fn end(&mut self, key: &AttachmentKey) -> Option<(Change, Vec<DelAnswer>)> {
        let turns = self.0.get_mut(key)?;
        turns.open = turns.open.saturating_sub(1);
        if turns.open > 0 {
            return None;
        }
        let waiting = self.0.remove(key)?.waiting;
        Some(((record_key(key), None), waiting))
    }
}

impl<C: Cloud> Tools<C> {
    /// Ends what an earlier run had begun; gives back what the kernel refuses now. To be called before the repair, which may
    /// need the ENI for the same pod's next sandbox.
    pub async fn resume(&self, withdrawals: Vec<Withdrawal>) -> Vec<Withdrawal> {
        let mut left = Vec::new();
        for one in withdrawals {
            if !self.ends(&one).await {
                left.push(one);
            }
        }
        left
    }

    /// Tries again until it works.
    pub async fn resume_later(&self, one: Withdrawal) {
        let mut pauses = Pauses::default();
        loop {
            tokio::time::sleep(pauses.next(clock::jitter())).await;
            if self.ends(&one).await {
                return;
            }
        }
    }

    async fn ends(&self, one: &Withdrawal) -> bool {
        // The path may be another sandbox's by now, and the ENI there by right.
        let by_right = |a: &Arc<Attachment>| a.eni == one.eni && a.netns == one.netns;
        if !self.promised.all().iter().any(by_right) {
            match self.datapath.take_back(&one.netns, one.mac).await {
                Ok(true) => tracing::info!(eni = %one.eni, "taken out of a pod that had ended"),
                Ok(false) => {}
                Err(e) => {
                    tracing::error!(eni = %one.eni, error = %e, "an ENI is still in a pod that has ended; trying again");
                    return false;
                }
            }
        }
        self.engine.send(Message::Withdrawn(one.key.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::plumbed::tests::pod;

    fn exclusive() -> Attachment {
        Attachment {
            mode: Mode::Exclusive,
            netns: "/run/netns/a".into(),
            ..pod("a", [10, 0, 0, 1])
        }
    }

    #[test]
    fn a_withdrawal_survives_the_journal_and_the_allocators_entries_stay_the_allocators() {
        let one = Withdrawal::of(&exclusive()).unwrap();
        let (key, value) = one.noted().unwrap();
        let eni = ("eni/1".to_owned(), b"{}".to_vec());
        let (ours, others) = sort(vec![eni.clone(), (key, value.unwrap())]).unwrap();
        assert_eq!((ours, others), (vec![one], vec![eni]));
        assert_eq!(Withdrawal::of(&pod("a", [10, 0, 0, 1])), None);
    }

    #[test]
    fn a_withdrawal_of_a_newer_program_is_named_and_not_guessed() {
        let one = Withdrawal { v: VERSION + 1, ..Withdrawal::of(&exclusive()).unwrap() };
        let (key, value) = one.noted().unwrap();
        let (named, e) = sort(vec![(key.clone(), value.unwrap())]).unwrap_err();
        assert!(named == key && e.to_string().contains("version 2"), "{named}: {e}");
    }

    #[test]
    fn a_del_repeated_while_the_eni_moves_is_not_answered_before_it_is_out() {
        let (key, mut underway) = (exclusive().key, Underway::default());
        let (tx, mut rx) = oneshot::channel();
        underway.begin(&key);
        underway.begin(&key);
        assert!(underway.wait(&key, DelAnswer::from(tx)).is_none());
        assert!(underway.end(&key).is_none(), "the second one is still in work");
        assert_eq!(rx.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let (change, waiting) = underway.end(&key).unwrap();
        assert_eq!(change, (record_key(&key), None));
        waiting.into_iter().for_each(DelAnswer::give);
        assert_eq!(rx.try_recv(), Ok(Ok(())));
        let (tx, _rx) = oneshot::channel();
        assert!(underway.wait(&key, DelAnswer::from(tx)).is_some());
    }
}
