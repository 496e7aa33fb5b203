//! A Lease of the cluster: who does what one daemon is enough for.
//!
//! Whoever holds it renews it each time that it does its work; another takes it when it has not changed for as long as it
//! says that it lasts, by the clock of the one who watches: clocks of nodes may differ. It saves work and is no lock: a
//! daemon that was cut off may believe for a while that it still holds it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tideway_model::names::NAMESPACE;
use tokio::time::{Instant, timeout};

use crate::KubeConfig;
use crate::watch::{ClientError, client, told};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(
        "the API server does not give Lease {NAMESPACE}/{0}; apply manifests/rbac.yaml; a kubelet's account may hold no such Lease, give tidewayd its own or set sweep.enabled to false"
    )]
    Refused(&'static str, #[source] kube::Error),
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    Silent,
}

/// This node's part in a Lease.
#[derive(Debug)]
pub struct ClusterLease {
    config: KubeConfig,
    name: &'static str,
    lasts: Duration,
    /// The last version that was seen, and since when.
    seen: Option<(String, Instant)>,
}

impl ClusterLease {
    /// The Lease of this name in [`NAMESPACE`]. `lasts`: how long it is ours after each [`Self::hold`], in whole seconds.
    pub fn new(config: KubeConfig, name: &'static str, lasts: Duration) -> Self {
        Self { config, name, lasts, seen: None }
    }

    /// Takes it, or renews it. False: another node has it.
    ///
    /// # Errors
    /// A text for people, when the API server cannot be asked or refuses: then it is not ours.
    pub async fn hold(&mut self) -> Result<bool, String> {
        let held = timeout(ANSWER, self.take()).await;
        held.unwrap_or(Err(LeaseError::Silent)).map_err(|e| told(&e))
    }

    /// Gives it back if it is ours, so that another node need not wait for its end.
    ///
    /// # Errors
    /// A text for people; the Lease ends by itself then.
    pub async fn release(&mut self) -> Result<(), String> {
        let released = timeout(ANSWER, self.give_back()).await;
        released.unwrap_or(Err(LeaseError::Silent)).map_err(|e| told(&e))
    }

    async fn leases(&self) -> Result<Api<Lease>, LeaseError> {
        Ok(Api::namespaced(client(&self.config).await?, NAMESPACE))
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_ref() == Some(&self.config.node)
    }

    async fn take(&mut self) -> Result<bool, LeaseError> {
        let leases = self.leases().await?;
        let found =
            leases.get_opt(self.name).await.map_err(|e| LeaseError::Refused(self.name, e))?;
        let Some(mut lease) = found else {
            let mut lease = Lease { spec: Some(self.renewed(None)), ..Lease::default() };
            lease.metadata.name = Some(self.name.to_owned());
            return self.written(leases.create(&PostParams::default(), &lease).await);
        };
        let free = !lease.spec.as_ref().is_some_and(|spec| self.is_anothers(spec));
        if !free && !self.has_ended(&lease) {
            return Ok(false);
        }
        lease.spec = Some(self.renewed(lease.spec.take()));
        self.written(leases.replace(self.name, &PostParams::default(), &lease).await)
    }

    async fn give_back(&mut self) -> Result<(), LeaseError> {
        let leases = self.leases().await?;
        let found =
            leases.get_opt(self.name).await.map_err(|e| LeaseError::Refused(self.name, e))?;
        let Some(mut lease) = found else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| self.is_ours(spec)) else {
            return Ok(());
        };
        spec.holder_identity = None;
        self.written(leases.replace(self.name, &PostParams::default(), &lease).await).map(drop)
    }

    fn is_anothers(&self, spec: &LeaseSpec) -> bool {
        let holder = spec.holder_identity.as_ref().filter(|holder| !holder.is_empty());
        holder.is_some() && !self.is_ours(spec)
    }

    /// Whether it has been the same for as long as it lasts.
    fn has_ended(&mut self, lease: &Lease) -> bool {
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => Instant::now(),
        };
        self.seen = Some((version, since));
        let lasts = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let lasts =
            lasts.and_then(|s| u64::try_from(s).ok()).map_or(self.lasts, Duration::from_secs);
        since.elapsed() >= lasts
    }

    /// What it is when it has just become ours, or been renewed.
    fn renewed(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let before = before.unwrap_or_default();
        let (acquired, transitions) = if self.is_ours(&before) {
            (before.acquire_time, before.lease_transitions)
        } else {
            let transitions = before.lease_transitions.map_or(0, |n| n.saturating_add(1));
            (None, Some(transitions))
        };
        LeaseSpec {
            acquire_time: acquired.or_else(|| Some(now.clone())),
            holder_identity: Some(self.config.node.clone()),
            lease_duration_seconds: Some(i32::try_from(self.lasts.as_secs()).unwrap_or(i32::MAX)),
            lease_transitions: transitions,
            renew_time: Some(now),
            ..before
        }
    }

    /// The object's version decides between two who write at once.
    fn written(&self, outcome: kube::Result<Lease>) -> Result<bool, LeaseError> {
        match outcome {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(false)
            }
            Err(error) => Err(LeaseError::Refused(self.name, error)),
        }
    }
}
