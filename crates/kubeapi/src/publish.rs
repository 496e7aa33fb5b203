//! The task that writes the node's `NodeNetwork`, and the only writer of it.
//!
//! It writes the newest status that it was given, at most one a second, and nothing while the status stays. An API server
//! that is away costs nothing but the object's age: what was given meanwhile is overwritten here, never queued. An object
//! that somebody deleted is made again; the garbage collector deletes it for good with its owner, the Node, since without a
//! Node nothing is made.

use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::watch::{ClientError, GONE, client, told};
use crate::{KubeConfig, NodeNetwork, NodeNetworkStatus};

/// Between the begins of two writes.
const PACE: Duration = Duration::from_secs(1);
/// Longest wait for an answer of the API server.
const ANSWER: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How writing goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Writes that the API server took since the start.
    pub writes: u64,
    /// Tries that it did not take, or did not answer.
    pub failures: u64,
    /// Why the last try failed; none after a write that was taken.
    pub error: Option<String>,
}

/// Why the object is not written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the API server does not take the NodeNetwork")]
    Refused(#[source] kube::Error),
    #[error(
        "the API server does not know NodeNetworks; apply manifests/crds/nodenetworks.yaml and manifests/rbac.yaml"
    )]
    UnknownKind,
    #[error("there is no Node {0} yet that could own the NodeNetwork; the kubelet makes it")]
    NoNode(String),
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    Silent,
}

/// Writes what `wanted` shows until `cancel`, in a task of its own; nothing is written while it shows none. Must be called
/// inside a tokio runtime.
pub fn publish(
    config: KubeConfig,
    wanted: watch::Receiver<Option<NodeNetworkStatus>>,
    cancel: CancellationToken,
) -> watch::Receiver<Written> {
    let (written, receiver) = watch::channel(Written::default());
    tokio::spawn(async move {
        let writer = Writer { config, wanted, written, earliest: Instant::now() };
        cancel.run_until_cancelled(writer.run()).await;
    });
    receiver
}

/// Deletes the object, when there is one: the node no longer gives addresses.
///
/// # Errors
/// A text for people, when the API server cannot be asked or refuses.
pub async fn withdraw(config: &KubeConfig) -> Result<(), String> {
    let delete = async {
        let objects: Api<NodeNetwork> = Api::all(client(config).await?);
        match objects.delete(&config.node, &kube::api::DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(PublishError::Refused(error)),
        }
    };
    timeout(ANSWER, delete).await.unwrap_or(Err(PublishError::Silent)).map_err(|e| told(&e))
}

struct Writer {
    config: KubeConfig,
    wanted: watch::Receiver<Option<NodeNetworkStatus>>,
    written: watch::Sender<Written>,
    /// When the next write may begin.
    earliest: Instant,
}

impl Writer {
    /// One client after the other; ends when nobody gives a status any more.
    async fn run(mut self) {
        let mut pauses = watcher::DefaultBackoff::default();
        while self.wanted.wait_for(Option::is_some).await.is_ok() {
            let Err(error) = self.serve().await else { return };
            let text = told(&error);
            self.written.send_modify(|w| {
                w.failures += 1;
                w.error = Some(text);
            });
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// Writes with one client until something fails; Ok when nobody gives a status any more.
    async fn serve(&mut self) -> Result<(), PublishError> {
        // Its certificates and tokens may have been replaced since the last one was made.
        let client = client(&self.config).await?;
        let objects: Api<NodeNetwork> = Api::all(client.clone());
        loop {
            sleep_until(self.earliest).await;
            let object = answered(self.ensure(&objects, &client)).await?;
            if !self.write_while_it_is_there(&objects, object).await? {
                return Ok(());
            }
        }
    }

    /// The object, made when it is not there, and owned by the Node of today.
    async fn ensure(
        &self,
        objects: &Api<NodeNetwork>,
        client: &Client,
    ) -> Result<NodeNetwork, PublishError> {
        let name = &self.config.node;
        let owner = owner(client, name).await?;
        let Some(object) = objects.get_opt(name).await.map_err(unknown_kind)? else {
            let mut object = NodeNetwork::default();
            object.metadata.name = Some(name.clone());
            object.metadata.owner_references = Some(vec![owner]);
            let made = objects.create(&PostParams::default(), &object).await;
            return made.map_err(unknown_kind);
        };
        if object.owner_references().iter().any(|o| o.uid == owner.uid) {
            return Ok(object);
        }
        // A Node of the same name was made anew: with the former one's UID the object would be collected as garbage.
        let patch = json!({"metadata": {"ownerReferences": [owner]}});
        let changed = objects.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        changed.map_err(PublishError::Refused)
    }

    /// Writes the status whenever it changed. True: the object is gone or was changed by somebody else and must be looked at
    /// again; false: the end.
    async fn write_while_it_is_there(
        &mut self,
        objects: &Api<NodeNetwork>,
        object: NodeNetwork,
    ) -> Result<bool, PublishError> {
        let name = self.config.node.clone();
        let mut version = object.resource_version().unwrap_or_default();
        let mut gone = pin!(deletion(objects, &name, version.clone()));
        let mut last = object.status;
        loop {
            let pace = sleep_until(self.earliest);
            tokio::select! {
                ended = &mut gone => return ended.map(|()| true).map_err(PublishError::Refused),
                () = pace => {}
            }
            let wanted = self.wanted.borrow_and_update().clone();
            if wanted.is_some() && wanted != last {
                self.earliest = Instant::now() + PACE;
                let Some(next) = self.write(objects, &version, wanted.as_ref()).await? else {
                    return Ok(true);
                };
                (last, version) = (wanted, next);
                continue;
            }
            // Perhaps an outage is over that nothing had to be written after.
            self.written.send_if_modified(|w| w.error.take().is_some());
            tokio::select! {
                ended = &mut gone => return ended.map(|()| true).map_err(PublishError::Refused),
                changed = self.wanted.changed() => if changed.is_err() { return Ok(false) },
            }
        }
    }

    /// Answers the new version; none: there is no object of this version. So a write that was given up as lost cannot take
    /// effect after a newer one.
    async fn write(
        &self,
        objects: &Api<NodeNetwork>,
        version: &str,
        status: Option<&NodeNetworkStatus>,
    ) -> Result<Option<String>, PublishError> {
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let name = &self.config.node;
        let patched = timeout(ANSWER, objects.patch_status(name, &params, &patch)).await;
        match patched {
            Ok(Ok(object)) => {
                self.written.send_modify(|w| {
                    w.writes += 1;
                    w.error = None;
                });
                Ok(object.resource_version())
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {
                Ok(None)
            }
            Ok(Err(error)) => Err(PublishError::Refused(error)),
            Err(_elapsed) => Err(PublishError::Silent),
        }
    }
}

async fn answered<T>(
    question: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, PublishError> {
    timeout(ANSWER, question).await.unwrap_or(Err(PublishError::Silent))
}

/// A kind that is not installed and an object that does not exist are told apart by who is asked: these calls name none.
fn unknown_kind(error: kube::Error) -> PublishError {
    if let kube::Error::Api(status) = &error
        && status.is_not_found()
    {
        return PublishError::UnknownKind;
    }
    PublishError::Refused(error)
}

async fn owner(client: &Client, name: &str) -> Result<OwnerReference, PublishError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes.get_metadata_opt(name).await.map_err(PublishError::Refused)?;
    let uid = node.and_then(|n| n.metadata.uid);
    let uid = uid.ok_or_else(|| PublishError::NoNode(name.to_owned()))?;
    Ok(OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid,
        // No controller manages it, and its owner need not wait for it.
        ..OwnerReference::default()
    })
}

/// Ends when the object is deleted, or when that cannot be excluded any more.
async fn deletion(objects: &Api<NodeNetwork>, name: &str, mut version: String) -> kube::Result<()> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    loop {
        let pause = sleep(PACE);
        let events = match objects.watch_metadata(&params, &version).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == GONE => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut events = pin!(events);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(o) | WatchEvent::Modified(o) => {
                    version = o.resource_version().unwrap_or(version);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Deleted(_) => return Ok(()),
                WatchEvent::Error(status) if status.code == GONE => return Ok(()),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        pause.await;
    }
}
