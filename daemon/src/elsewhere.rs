//! Says on a pod that it is on another node than its lease: there it has another address.
//!
//! The node that keeps the lease looks, since only it knows all of its leases. It asks the API server for the pods of leases
//! that nobody claims here, a few at a time, and says it once for each pod. No pod waits for it. A pod whose former node is
//! down is told of when that node is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tideway_ipam::LeaseBook;
use tideway_kubeapi::{ClusterClient, ClusterPod, KubeConfig, Notice, NoticeWriter};
use tideway_model::{PodKey, PodRef};
use tokio_util::sync::CancellationToken;

use crate::{engine::EngineHandle, sources::SourceErrors};

/// Between two rounds.
const PAUSE: Duration = Duration::from_mins(1);
/// The same after a question that was not answered.
const AWAY: Duration = Duration::from_secs(30);
/// Most pods that one round asks for.
const MOST: usize = 16;
/// Its name among the sources.
const SOURCE: &str = "API server (pods of leases)";
/// Reason of the event.
const REASON: &str = "LeasedAddressOnOtherNode";

/// Looks until cancelled.
pub async fn watch(
    engine: EngineHandle,
    kube: KubeConfig,
    errors: SourceErrors,
    cancel: CancellationToken,
) {
    let (mut rounds, mut writer) = (Rounds::default(), NoticeWriter::new(kube.clone()));
    let mut failed = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(if failed { AWAY } else { PAUSE }) => {}
        }
        let Some(books) = engine.books().await else { return };
        let asked = rounds.next(&books.leases);
        if asked.is_empty() && !failed {
            continue;
        }
        let round = round(&kube, &mut rounds, &mut writer, asked);
        let Some(outcome) = cancel.run_until_cancelled(round).await else { return };
        failed = outcome.is_err();
        errors.set(SOURCE, outcome.err());
    }
}

/// One round, up to the first question that is not answered.
async fn round(
    kube: &KubeConfig,
    rounds: &mut Rounds,
    writer: &mut NoticeWriter,
    leases: Vec<LeaseBook>,
) -> Result<(), String> {
    // Made anew each time: certificates and tokens may have been replaced.
    let client = ClusterClient::new(kube.kubeconfig.clone()).await.map_err(|e| e.to_string())?;
    for lease in leases {
        let PodKey { namespace, name } = &lease.pod;
        let pod = client.pod(namespace, name).await.map_err(|e| e.to_string())?;
        if let Some(pod) = pod.filter(|pod| rounds.is_news(&lease.pod, pod, &kube.node)) {
            let notice = notice(&lease, &pod, &kube.node).map_err(|e| e.to_string())?;
            tracing::info!(pod = %lease.pod, "{}", notice.message);
            writer.write(&notice).await.map_err(|e| e.to_string())?;
            rounds.said(&lease.pod, pod.uid);
        }
    }
    Ok(())
}

fn notice(
    lease: &LeaseBook,
    pod: &ClusterPod,
    here: &str,
) -> Result<Notice, tideway_model::InvalidId> {
    let ips = lease.addresses.iter().map(|ip| ip.to_string()).collect::<Vec<_>>().join(" and ");
    Ok(Notice {
        pod: Some(PodRef { key: lease.pod.clone(), uid: Some(pod.uid.as_str().try_into()?) }),
        // It has an address and runs: it is not the one that it had.
        warning: false,
        reason: REASON,
        message: format!(
            "{ips} is leased to this pod on node {here}, and a lease belongs to its node: here the pod has another address. If it must have that one, let the scheduler put it there (tideway-extender prefers the lease's node, or use node affinity)"
        ),
        count: 1,
    })
}

/// Whom to ask for next, and of whom it was said.
#[derive(Debug, Default)]
struct Rounds {
    turn: u64,
    pods: BTreeMap<PodKey, Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// In which round last.
    turn: u64,
    /// UID of the pod of which it was said.
    said: Option<String>,
}

impl Rounds {
    /// Leases that nobody claims here, those that were not asked for the longest time first.
    fn next(&mut self, leases: &[LeaseBook]) -> Vec<LeaseBook> {
        let mut unclaimed: Vec<_> = leases.iter().filter(|l| l.until.is_some()).collect();
        let names: BTreeSet<&PodKey> = unclaimed.iter().map(|l| &l.pod).collect();
        self.pods.retain(|pod, _asked| names.contains(pod));
        unclaimed.sort_by_key(|l| self.pods.get(&l.pod).map_or(0, |asked| asked.turn));
        unclaimed.truncate(MOST);
        self.turn += 1;
        for lease in &unclaimed {
            self.pods.entry(lease.pod.clone()).or_default().turn = self.turn;
        }
        unclaimed.into_iter().cloned().collect()
    }

    /// Whether the pod is on another node than `here`, and that was not said of it yet.
    fn is_news(&self, key: &PodKey, pod: &ClusterPod, here: &str) -> bool {
        let is_elsewhere = pod.node.as_ref().is_some_and(|node| node != here) && !pod.ended;
        let said = self.pods.get(key).and_then(|asked| asked.said.as_ref());
        is_elsewhere && said != Some(&pod.uid)
    }

    fn said(&mut self, key: &PodKey, uid: String) {
        if let Some(asked) = self.pods.get_mut(key) {
            asked.said = Some(uid);
        }
    }
}

#[cfg(test)]
mod tests;
