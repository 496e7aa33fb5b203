//! The extender's writes, and the look that decides an unknown outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde::de::IgnoredAny;
use serde_json::json;

use super::ClusterPod;
use crate::KubeConfig;
use crate::watch::{client, told};

/// Longer than any healthy answer, and below the 10 s that the scheduler waits for a bind.
const LIMIT: Duration = Duration::from_secs(8);

/// A pod is to run on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a pod that was made anew under the name is not bound by mistake.
    pub uid: String,
    /// The node.
    pub node: String,
    /// Merged into the pod's annotations in the same write.
    pub annotations: BTreeMap<String, String>,
}

/// How a bind ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindOutcome {
    /// The pod is on the node.
    Bound,
    /// It is not, and this bind will not put it there later.
    Refused(String),
    /// Nobody knows: the answer was lost or came from something that may have passed it on.
    Unknown(String),
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Not bound to a node.
    Waiting,
    /// Bound to this node.
    On(String),
    /// Deleted, or its name belongs to another pod now.
    Gone,
}

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallError(String);

/// Client of the API server for single calls.
#[derive(Clone)]
pub struct ClusterClient(Client);

impl std::fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterClient").finish_non_exhaustive()
    }
}

impl ClusterClient {
    /// Reads the kubeconfig, or takes the pod's service account; makes no call.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn new(kubeconfig: Option<String>) -> Result<Self, CallError> {
        let config = KubeConfig { kubeconfig, node: String::new() };
        client(&config).await.map(Self).map_err(|e| CallError(told(&e)))
    }

    /// Binds a pod. An answer that the pod is bound already is looked into: to this node is a success
    /// (kubernetes/kubernetes#96579: the scheduler may ask twice).
    pub async fn bind(&self, binding: &Binding) -> BindOutcome {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {
                "namespace": binding.namespace, "name": binding.name, "uid": binding.uid,
                "annotations": binding.annotations,
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": binding.node},
        });
        let request = pods(&binding.namespace).create_subresource(
            "binding",
            &binding.name,
            &PostParams::default(),
            body.to_string().into_bytes(),
        );
        match self.call::<IgnoredAny>(request).await {
            Ok(_) => BindOutcome::Bound,
            Err(Failure::Refused(409, text)) => {
                match self.placement(&binding.namespace, &binding.name, &binding.uid).await {
                    Ok(Placement::On(node)) if node == binding.node => BindOutcome::Bound,
                    Ok(_) => BindOutcome::Refused(text),
                    Err(error) => BindOutcome::Unknown(format!("{text}; {error}")),
                }
            }
            Err(Failure::Refused(_, text)) => BindOutcome::Refused(text),
            Err(Failure::Unknown(text)) => BindOutcome::Unknown(text),
        }
    }

    /// Where a pod is now.
    ///
    /// # Errors
    /// The API server did not say.
    pub async fn placement(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Placement, CallError> {
        let pod = self.pod(namespace, name).await?;
        Ok(match pod {
            Some(pod) if pod.uid == uid => pod.node.map_or(Placement::Waiting, Placement::On),
            Some(_) | None => Placement::Gone,
        })
    }

    /// A pod by its name; none: there is no such pod.
    ///
    /// # Errors
    /// The API server did not say.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<ClusterPod>, CallError> {
        match self.call(pods(namespace).get(name, &GetParams::default())).await {
            Ok(pod) => Ok(Some(pod)),
            Err(Failure::Refused(404, _)) => Ok(None),
            Err(Failure::Refused(_, text) | Failure::Unknown(text)) => Err(CallError(text)),
        }
    }

    /// Sets one annotation of a pod, and in the same write for which node it is nominated; `false`: the pod is gone.
    ///
    /// # Errors
    /// The API server did not take it.
    pub async fn annotate(
        &self,
        (namespace, name, uid): (&str, &str, &str),
        (key, value): (&str, &str),
        nominated: Option<&str>,
    ) -> Result<bool, CallError> {
        // The UID in a patch is a precondition: another pod of that name answers with a conflict.
        let metadata = json!({"uid": uid, "annotations": {key: value}});
        let params = PatchParams::default();
        let request = if let Some(node) = nominated {
            // With its status a pod takes annotations, too.
            let body = json!({"metadata": metadata, "status": {"nominatedNodeName": node}});
            pods(namespace).patch_subresource("status", name, &params, &Patch::Merge(body))
        } else {
            let body = json!({"metadata": metadata});
            pods(namespace).patch(name, &params, &Patch::Merge(body))
        };
        match self.call::<IgnoredAny>(request).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused(404, _)) => Ok(false),
            // Another pod has the name, or others wrote it all the time.
            Err(Failure::Refused(409, _)) => {
                Ok(self.placement(namespace, name, uid).await? != Placement::Gone)
            }
            Err(Failure::Refused(_, text) | Failure::Unknown(text)) => Err(CallError(text)),
        }
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Failure> {
        // Such an error is a name that fits into no path: nothing was sent.
        let request = request.map_err(|e| Failure::Refused(400, told(&e)))?;
        match tokio::time::timeout(LIMIT, self.0.request::<T>(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if is_final(status.code) => {
                Err(Failure::Refused(status.code, status.message.clone()))
            }
            Ok(Err(error)) => Err(Failure::Unknown(told(&error))),
            Err(_elapsed) => {
                Err(Failure::Unknown(format!("no answer within {} s", LIMIT.as_secs())))
            }
        }
    }
}

/// Why a call did not succeed.
enum Failure {
    /// The API server said no, with this status: nothing happened and nothing will.
    Refused(u16, String),
    Unknown(String),
}

/// Whether a status says that the request had no effect and will have none. A timeout (408, 504) and an internal error may
/// stand before a write that still happens.
fn is_final(code: u16) -> bool {
    (400..500).contains(&code) && code != 408
}

fn pods(namespace: &str) -> Request {
    Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_the_server_is_not_taken_for_a_refusal() {
        assert!(is_final(404) && is_final(409) && is_final(429) && is_final(403));
        assert!(!is_final(408) && !is_final(500) && !is_final(503) && !is_final(504));
    }
}
