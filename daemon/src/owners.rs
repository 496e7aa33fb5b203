//! Ends leases early whose pods do not come back: their `StatefulSet` is gone, or is to have fewer pods.
//!
//! The API server must say so twice, some time apart; one that does not answer says nothing. The lease of a pod that comes
//! back meanwhile is claimed and stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tideway_ipam::{Books, Event};
use tideway_kubeapi::{KubeConfig, stateful_sets};
use tideway_model::PodKey;
use tokio_util::sync::CancellationToken;

use crate::{clock, engine::EngineHandle, sources::SourceErrors};

/// Between two questions.
const PAUSE: Duration = Duration::from_mins(2);

/// Asks until cancelled. `settle`: between the two answers that prove an absence.
pub async fn watch(
    engine: EngineHandle,
    kube: KubeConfig,
    errors: SourceErrors,
    settle: Duration,
    cancel: CancellationToken,
) {
    let (mut absences, mut failed) = (Absences::default(), false);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(PAUSE.max(settle)) => {}
        }
        let Some(books) = engine.books().await else { return };
        let waiting = waiting(&books);
        let sets: BTreeSet<_> = waiting.values().cloned().collect();
        if sets.is_empty() && !failed {
            continue;
        }
        let begun = clock::boot();
        let answer = stateful_sets(&kube, &sets).await;
        errors.set("API server (StatefulSets)", answer.as_ref().err().cloned());
        failed = answer.is_err();
        let Ok(found) = answer else { continue };
        let gone = waiting.into_iter().filter(|(pod, set)| {
            let (_namespace, name) = set;
            found.get(set).is_some_and(|o| !o.is_some_and(|o| o.have(name, &pod.name)))
        });
        let gone = absences.note(begun, settle, gone.map(|(pod, _set)| pod).collect());
        if !gone.is_empty() {
            tracing::info!(?gone, "pods that do not come back; their leases end");
            engine.tell(Event::OwnersGone(gone));
        }
    }
}

/// Pods that are away and whose address waits, with their `StatefulSet`.
fn waiting(books: &Books) -> BTreeMap<PodKey, (String, String)> {
    let unclaimed = books.leases.iter().filter(|l| l.until.is_some());
    unclaimed
        .filter_map(|l| {
            let set = l.terms.stateful_set.clone()?;
            Some((l.pod.clone(), (l.pod.namespace.clone(), set)))
        })
        .collect()
}

/// Pods that are not to exist: the first answer that said so, with no other one since.
#[derive(Debug, Default)]
struct Absences(BTreeMap<PodKey, Duration>);

impl Absences {
    /// Answers for whom it is proved.
    fn note(&mut self, begun: Duration, settle: Duration, absent: BTreeSet<PodKey>) -> Vec<PodKey> {
        self.0.retain(|pod, _first| absent.contains(pod));
        let proved = |pod: &PodKey| begun >= *self.0.entry(pod.clone()).or_insert(begun) + settle;
        absent.into_iter().filter(proved).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(names: &[&str]) -> BTreeSet<PodKey> {
        names.iter().map(|name| PodKey::new("ns", name).unwrap()).collect()
    }

    #[test]
    fn one_answer_ends_no_lease_and_an_answer_between_begins_anew() {
        let at = Duration::from_secs;
        let mut absences = Absences::default();
        assert!(absences.note(at(0), at(30), pods(&["db-0", "db-1"])).is_empty());
        assert!(absences.note(at(20), at(30), pods(&["db-0", "db-1"])).is_empty());
        assert_eq!(absences.note(at(40), at(30), pods(&["db-0"])).len(), 1);
        assert!(absences.note(at(60), at(30), pods(&["db-1"])).is_empty());
        assert_eq!(absences.note(at(90), at(30), pods(&["db-1"])).len(), 1);
    }
}
