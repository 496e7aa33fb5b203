//! Which pods of a `StatefulSet` are to exist, so that an address is not kept for one that never comes back.
//!
//! Asked only for pods that are away, a few times an hour, and without a cache: an answer that is old would end a promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::KubeConfig;
use crate::watch::{ClientError, client, told};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(15);

/// The pods that a `StatefulSet` is to have, by the number at the end of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordinals {
    first: i64,
    replicas: i64,
}

impl Ordinals {
    /// Whether the pod with this name is one of the set with that name.
    pub fn have(self, set: &str, pod: &str) -> bool {
        let number = pod.strip_prefix(set).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|n| n.parse::<u32>().ok()).map(i64::from);
        number.is_some_and(|n| (self.first..self.first + self.replicas).contains(&n))
    }
}

impl From<StatefulSet> for Ordinals {
    fn from(set: StatefulSet) -> Self {
        let spec = set.spec.unwrap_or_default();
        let first = spec.ordinals.and_then(|o| o.start).unwrap_or(0).into();
        // The API server fills in 1 where nothing is said.
        Self { first, replicas: spec.replicas.unwrap_or(1).into() }
    }
}

#[derive(Debug, thiserror::Error)]
enum OwnersError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the API server does not show StatefulSet {0}; apply manifests/rbac.yaml")]
    Refused(String, #[source] kube::Error),
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    Silent,
}

/// Asks for these `StatefulSet`s (namespace, name); none: there is no such set.
///
/// # Errors
/// A text for people, when one of them cannot be asked for: then nothing is known of any.
pub async fn stateful_sets(
    config: &KubeConfig,
    names: &BTreeSet<(String, String)>,
) -> Result<BTreeMap<(String, String), Option<Ordinals>>, String> {
    ask(config, names).await.map_err(|e| told(&e))
}

async fn ask(
    config: &KubeConfig,
    names: &BTreeSet<(String, String)>,
) -> Result<BTreeMap<(String, String), Option<Ordinals>>, OwnersError> {
    let client: Client = client(config).await?;
    let mut found = BTreeMap::new();
    for (namespace, name) in names {
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
        let answer =
            timeout(ANSWER, sets.get_opt(name)).await.map_err(|_late| OwnersError::Silent)?;
        let set = answer.map_err(|e| OwnersError::Refused(format!("{namespace}/{name}"), e))?;
        found.insert((namespace.clone(), name.clone()), set.map(Ordinals::from));
    }
    Ok(found)
}
