//! Kubernetes events: what the daemon says of a pod, or of its node, where people look first.
//!
//! There is one object for each pod and reason, whose text, count and time are renewed: its name follows from both, so that
//! a daemon that was started anew goes on with the same one. The API server forgets it some time (an hour by default) after
//! the last renewal. Who says what, and how often, is not decided here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tideway_model::PodRef;
use tokio::time::timeout;

use crate::KubeConfig;
use crate::watch::{ClientError, client, told};

/// Longest wait for the answers to one write.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest text, in characters. The newer API of events allows as much.
const LONGEST: usize = 1000;
/// Who says it.
const COMPONENT: &str = "tidewayd";
/// Namespace of what is said of objects that are in none.
const OF_NODES: &str = "default";
/// Room that an object's name leaves for the name of a pod.
const ROOM: usize = 253 - ".0123456789abcdef".len();

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The pod that it is about; none: the node.
    pub pod: Option<PodRef>,
    /// Something is wrong: type `Warning`, else `Normal`.
    pub warning: bool,
    /// One word, the same for everything of its kind.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// How often it happened.
    pub count: u32,
}

/// Why a notice is not in the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// The API server said no.
    #[error("the API server does not take an event (manifests/rbac.yaml has the rights): {0}")]
    Refused(String),
    /// It could not be asked.
    #[error("{0}")]
    Away(String),
}

/// Writes notices, one after the other.
pub struct NoticeWriter {
    config: KubeConfig,
    client: Option<Client>,
}

impl std::fmt::Debug for NoticeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoticeWriter").field("config", &self.config).finish_non_exhaustive()
    }
}

impl NoticeWriter {
    /// Speaks for the node that the configuration names; makes no call.
    pub fn new(config: KubeConfig) -> Self {
        Self { config, client: None }
    }

    /// Writes one, anew or over the one of the same pod and reason. A pod whose namespace is gone needs none.
    ///
    /// # Errors
    /// It is not written. The next one is written with a new client: certificates and tokens may have been replaced.
    pub async fn write(&mut self, notice: &Notice) -> Result<(), Unwritten> {
        let silent = || format!("the API server did not answer within {} s", ANSWER.as_secs());
        let written = timeout(ANSWER, self.put(notice)).await;
        let written = written.unwrap_or_else(|_elapsed| Err(Unwritten::Away(silent())));
        if written.is_err() {
            self.client = None;
        }
        written
    }

    async fn put(&mut self, notice: &Notice) -> Result<(), Unwritten> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.config).await?).clone(),
        };
        let event = event(notice, &self.config.node);
        let namespace = event.metadata.namespace.as_deref().unwrap_or(OF_NODES);
        let events: Api<Event> = Api::namespaced(client, namespace);
        let refusal = match events.create(&PostParams::default(), &event).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) => status,
            Err(error) => return Err(Unwritten::Away(told(&error))),
        };
        if refusal.is_already_exists() {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let renewed = json!({
                "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
            });
            let renewed = Patch::Merge(renewed);
            return match events.patch(name, &PatchParams::default(), &renewed).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) => Err(Unwritten::Refused(status.message)),
                Err(error) => Err(Unwritten::Away(told(&error))),
            };
        }
        let mut causes = refusal.details.iter().flat_map(|details| &details.causes);
        let goes = causes.any(|cause| cause.reason == "NamespaceTerminating");
        if goes || refusal.is_not_found() {
            return Ok(());
        }
        Err(Unwritten::Refused(refusal.message))
    }
}

impl From<ClientError> for Unwritten {
    fn from(error: ClientError) -> Self {
        Self::Away(told(&error))
    }
}

/// The object, as it is when it is new.
fn event(notice: &Notice, node: &str) -> Event {
    let now = Time(Timestamp::now());
    let about = about(notice, node);
    let mut event = Event {
        count: Some(i32::try_from(notice.count).unwrap_or(i32::MAX)),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        message: Some(notice.message.chars().take(LONGEST).collect()),
        reason: Some(notice.reason.to_owned()),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node.to_owned()),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    };
    event.metadata.name = Some(name(&about, notice.reason));
    event.metadata.namespace = Some(about.namespace.as_deref().unwrap_or(OF_NODES).to_owned());
    event.involved_object = about;
    event
}

fn about(notice: &Notice, node: &str) -> ObjectReference {
    let (kind, name) = match &notice.pod {
        Some(pod) => ("Pod", pod.key.name.as_str()),
        None => ("Node", node),
    };
    let uid = match &notice.pod {
        // Of a static pod it is not that of the object, and the one by which kubectl looks for events all the same.
        Some(pod) => pod.uid.as_ref().map(ToString::to_string),
        // The kubelet's own events name the node so, and kubectl looks for them.
        None => Some(node.to_owned()),
    };
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: notice.pod.as_ref().map(|pod| pod.key.namespace.clone()),
        uid,
        ..ObjectReference::default()
    }
}

/// One for each pod (or node) and reason. Another version of the compiler may make others; then an event stands twice for
/// an hour.
fn name(about: &ObjectReference, reason: &str) -> String {
    let mut hash = DefaultHasher::new();
    (&about.kind, &about.name, &about.uid, reason).hash(&mut hash);
    let whole = about.name.as_deref().unwrap_or_default();
    let short: String = whole.chars().take(ROOM).collect();
    format!("{}.{:016x}", short.trim_end_matches(['-', '.']), hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tideway_model::PodKey;

    fn named(pod: &str, uid: &str, reason: &'static str) -> Event {
        let key = PodKey::new("ns", pod).unwrap();
        let pod = Some(PodRef { key, uid: Some(uid.try_into().unwrap()) });
        event(&Notice { pod, warning: true, reason, message: "é".repeat(2000), count: 3 }, "node-1")
    }

    #[test]
    fn a_pod_that_comes_back_under_its_name_has_events_of_its_own() {
        let name = |uid, reason| named("db-0", uid, reason).metadata.name.unwrap();
        assert_eq!(name("u1", "SubnetFull"), name("u1", "SubnetFull"));
        assert_ne!(name("u1", "SubnetFull"), name("u2", "SubnetFull"));
        assert_ne!(name("u1", "SubnetFull"), name("u1", "Denied"));
        assert!(name("u1", "Denied").starts_with("db-0."));
    }

    #[test]
    fn the_longest_name_and_text_still_make_an_event_that_the_api_server_takes() {
        let long = format!("{}-{}", "a".repeat(ROOM - 1), "b".repeat(253 - ROOM));
        let event = named(&long, "u1", "SubnetFull");
        let name = event.metadata.name.unwrap();
        assert!(name.len() <= 253 && name.starts_with(&format!("{}.", "a".repeat(ROOM - 1))));
        assert_eq!(event.message.map(|m| m.chars().count()), Some(LONGEST));
    }

    #[test]
    fn what_is_said_of_the_node_is_found_where_the_kubelets_events_are() {
        let message = "m".to_owned();
        let of_node = Notice { pod: None, warning: true, reason: "R", message, count: 1 };
        let event = event(&of_node, "node-1");
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        let about = event.involved_object;
        assert_eq!((about.kind.as_deref(), about.namespace), (Some("Node"), None));
        assert_eq!((about.name.as_deref(), about.uid.as_deref()), (Some("node-1"), Some("node-1")));
    }
}
