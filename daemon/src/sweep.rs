//! The sweep: deletes ENIs that nodes of the cluster left behind when they went for good.
//!
//! [`tideway_cloud::sweep`] decides; this shell asks and acts. One daemon of the cluster does it, by a Lease: not for safety
//! (see there) but since one is enough. Its calls queue behind all others. Each round renews the Lease, looks, judges by this
//! look and the one before, and deletes. Without an API server there is no Lease and no sweep.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tideway_cloud::{
    Cloud, CloudError, EniFilter, EniStatus, ErrorKind, Priority,
    sweep::{Look, Rules, Stay, judge, owners},
};
use tideway_kubeapi::{ClusterLease, KubeConfig};
use tideway_model::{
    Config, EniId,
    names::{SWEEP_LEASE, TAG_CLUSTER},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    hands::Tools,
    meter::Meter,
    operate::{LIST, PATIENCE},
    sources::SourceErrors,
};

/// The Lease outlasts so many rounds: one that fails gives it to nobody.
const ROUNDS: u32 = 3;
/// Longest wait at the end for the Lease to be given back; a stop takes less than 2 s.
const FAREWELL: Duration = Duration::from_secs(1);

/// Everything that a round needs.
pub struct Sweep<C> {
    tools: Arc<Tools<C>>,
    lease: ClusterLease,
    rules: Rules,
    interval: Duration,
    errors: SourceErrors,
    meter: Meter,
    /// Why ENIs stayed at the last look.
    told: BTreeMap<EniId, Stay>,
}

impl<C> std::fmt::Debug for Sweep<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweep").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl<C: Cloud> Sweep<C> {
    /// As the configuration wants it.
    pub fn new(
        tools: Arc<Tools<C>>,
        config: &Config,
        kube: KubeConfig,
        errors: SourceErrors,
        meter: Meter,
    ) -> Self {
        let interval = Duration::from_secs(config.sweep.interval_seconds.into());
        let rules = Rules {
            cluster: config.cluster.clone(),
            settle: Duration::from_secs(config.pool.settle_seconds.max(1).into()),
            age_limit: Duration::from_secs(config.sweep.age_limit_seconds.into()),
        };
        let lease = ClusterLease::new(kube, SWEEP_LEASE, interval * ROUNDS);
        Self { tools, lease, rules, interval, errors, meter, told: BTreeMap::new() }
    }

    /// Works until cancelled, then gives the Lease back.
    pub async fn run(mut self, cancel: CancellationToken) {
        let rounds = async {
            let mut before = None;
            loop {
                // Spread, so that nodes that were started together do not ask together.
                let pause = self.interval.mul_f64(0.5f64.mul_add(clock::jitter(), 0.75));
                tokio::time::sleep(pause.max(self.rules.settle)).await;
                before = self.round(before).await;
            }
        };
        cancel.run_until_cancelled(rounds).await;
        match tokio::time::timeout(FAREWELL, self.lease.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the Lease of the sweep ends by itself"),
            Err(_late) => tracing::debug!("the Lease of the sweep ends by itself"),
        }
    }

    /// One round; answers the look that the next one compares with.
    async fn round(&mut self, before: Option<Look>) -> Option<Look> {
        let held = self.lease.hold().await;
        self.errors.set("API server (Lease of the sweep)", held.as_ref().err().cloned());
        let held = held.unwrap_or(false);
        self.meter.sweep_holder(held);
        if !held {
            self.tell(BTreeMap::new());
            return None;
        }
        let look = self.look().await;
        self.errors.set("cloud (ENIs that nodes left behind)", look.as_ref().err().cloned());
        let Ok(last) = look else { return before };
        let verdict = judge(before.as_ref(), &last, &self.rules);
        self.tell(verdict.stay);
        let begun = clock::boot();
        for eni in &verdict.delete {
            // The rest is for the next round, which renews the Lease first.
            if clock::boot() >= begun + self.interval || !self.delete(eni).await {
                break;
            }
        }
        Some(last)
    }

    /// The error is a text for people.
    async fn look(&self) -> Result<Look, String> {
        let Tools { cloud, log, instance, .. } = &*self.tools;
        let filter = EniFilter {
            status: Some(EniStatus::Available),
            tags: BTreeMap::from([(TAG_CLUSTER.to_owned(), self.rules.cluster.clone())]),
            ..EniFilter::default()
        };
        let detached = async {
            // A question is as old as its sending, however long it waited for its turn.
            let begun = clock::now();
            cloud.enis(&filter).await.map(|enis| (begun, enis))
        };
        let detached = log.call(LIST, Priority::Describe, PATIENCE, detached).await;
        let (begun, enis) = detached.map_err(told)?;
        let mut asked = owners(&enis);
        asked.insert(instance.clone());
        let living = cloud.existing(&asked);
        let living =
            log.call(("DescribeInstances", None), Priority::Describe, PATIENCE, living).await;
        Look::new(begun, instance, enis, living.map_err(told)?).map_err(|e| e.to_string())
    }

    /// False: the cloud is not to be asked more in this round.
    async fn delete(&self, eni: &EniId) -> bool {
        let call = self.tools.cloud.delete(eni);
        let subject = ("DeleteNetworkInterface", Some(eni));
        let call = self.tools.log.call(subject, Priority::Describe, PATIENCE, call);
        let outcome = call.await;
        let gone = |e: &CloudError| e.kind == ErrorKind::NotFound;
        let done = outcome.is_ok() || outcome.as_ref().is_err_and(gone);
        self.meter.sweep_delete(done);
        match outcome {
            Err(error) if !done => {
                tracing::warn!(%eni, %error, remedy = %error.remedy(), "an ENI whose instance is gone could not be deleted; the next round decides anew");
                // Only this ENI's own affair.
                error.kind == ErrorKind::Conflict
            }
            _ => {
                tracing::info!(%eni, "an ENI of this cluster was deleted: twice the cloud showed it detached and its instance gone");
                true
            }
        }
    }

    /// Tells why ENIs stay, each reason once.
    fn tell(&mut self, stay: BTreeMap<EniId, Stay>) {
        self.meter.sweep_left(stay.values().copied());
        for (eni, why) in stay.iter().filter(|(eni, why)| self.told.get(eni) != Some(why)) {
            if why.needs_a_person() {
                tracing::warn!(%eni, reason = %why, "a detached ENI of this cluster stays");
            } else {
                tracing::debug!(%eni, reason = %why, "a detached ENI of this cluster stays");
            }
        }
        self.told = stay;
    }
}

fn told(error: CloudError) -> String {
    format!("{error}; {}", error.remedy())
}
