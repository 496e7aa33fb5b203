//! The task that watches the pods of the node.
//!
//! A list, then a watch from its version on, again from a list when the server has forgotten that version (410). Lists ask
//! for any version: they come from the server's cache, since thousands of nodes may ask at once after an outage, and early
//! demand needs no newest truth. After an error the client is made anew as well: certificates and tokens on disk may have
//! been replaced.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pod::SlimPod;
use crate::view::Books;
use crate::{NodePod, PodsView};

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A watch that ends sooner is followed by a pause of the rest.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);
/// HTTP status of a version that the server has forgotten.
pub(crate) const GONE: u16 = 410;

/// Which API server, and which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeConfig {
    /// Path of a kubeconfig; without it the service account of the pod that the daemon runs in.
    pub kubeconfig: Option<String>,
    /// Name of this node, as in `spec.nodeName`.
    pub node: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("kubeconfig {path} cannot be used; name one that can in the configuration")]
    Kubeconfig { path: String, source: Box<kube::config::KubeconfigError> },
    #[error(
        "no kubeconfig is configured, and there is no service account of a pod; name a kubeconfig in the configuration"
    )]
    InCluster(#[source] Box<kube::config::InClusterError>),
    #[error("the client of the API server cannot be made")]
    Client(#[source] Box<kube::Error>),
}

/// The name that the kubelet gives a node by default: `NODE_NAME` of the environment (downward API), else the host name in
/// lower case.
pub fn node_name() -> String {
    if let Some(name) = std::env::var("NODE_NAME").ok().filter(|name| !name.is_empty()) {
        return name;
    }
    let host = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    host.trim().to_lowercase()
}

/// Watches the pods of the node until `cancel`, in a task of its own. Must be called inside a tokio runtime.
///
/// The view changes only when something in it does. It starts empty and unsynced, and nobody needs to wait for it: every
/// failure, also a configuration that is missing, shows as [`PodsView::error`] and is tried again, at the latest each 30 s.
pub fn watch_pods(config: KubeConfig, cancel: CancellationToken) -> watch::Receiver<PodsView> {
    let (view, receiver) = watch::channel(PodsView::default());
    tokio::spawn(async move {
        cancel.run_until_cancelled(follow(&config, &view)).await;
    });
    receiver
}

/// Follows with one client after the other; ends only when nobody looks any more.
async fn follow(config: &KubeConfig, view: &watch::Sender<PodsView>) {
    let selector = format!("spec.nodeName={}", config.node);
    // Spreads the nodes of a cluster over time; starts small again after two quiet minutes.
    let mut pauses = watcher::DefaultBackoff::default();
    while !view.is_closed() {
        match client(config).await {
            Ok(client) => {
                if let Err(error) = follow_pods(&Api::all(client), &selector, view).await {
                    fail(view, &error);
                }
            }
            Err(error) => fail(view, &error),
        }
        tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

pub(crate) async fn client(config: &KubeConfig) -> Result<Client, ClientError> {
    // The client takes the provider of the process and panics when there is none or more than one to choose from. An error
    // means that the program has installed one already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut server = match &config.kubeconfig {
        Some(path) => {
            let wrong =
                |source| ClientError::Kubeconfig { path: path.clone(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(wrong)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(wrong)?
        }
        None => Config::incluster().map_err(|e| ClientError::InCluster(Box::new(e)))?,
    };
    server.connect_timeout = Some(CONNECT_LIMIT);
    server.default_retry = false; // We try again ourselves, and show why.
    Client::try_from(server).map_err(|e| ClientError::Client(Box::new(e)))
}

/// Lists and follows until the first error. A new list follows then, whatever the error was: a watch that merely goes on says
/// nothing as long as nothing happens, and the error in the view would stay.
///
/// Our own loop and not the client's: the version of the list itself is needed. A pod that went away unseen left no event, so
/// only the list says that its end is known now.
async fn follow_pods(
    api: &Api<SlimPod>,
    selector: &str,
    view: &watch::Sender<PodsView>,
) -> kube::Result<()> {
    let lists = ListParams::default().fields(selector).match_any();
    let watches = WatchParams::default().fields(selector);
    let mut books = Books::default();
    loop {
        let list = api.list(&lists).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        books.whole_list(version.parse().ok(), list.items.into_iter().map(NodePod::try_from));
        show(view, &books);
        while let Some(next) = follow_from(api, &watches, version, &mut books, view).await? {
            version = next;
        }
    }
}

/// One watch, until the server ends it. Answers from which version on the next one goes; none: it has forgotten that version.
async fn follow_from(
    api: &Api<SlimPod>,
    watches: &WatchParams,
    mut version: String,
    books: &mut Books,
    view: &watch::Sender<PodsView>,
) -> kube::Result<Option<String>> {
    let pause = tokio::time::sleep(SHORTEST_WATCH);
    let events = match api.watch(watches, &version).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == GONE => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut events = pin!(events);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                version = pod.resource_version().unwrap_or(version);
                books.changed(pod.try_into());
            }
            WatchEvent::Deleted(pod) => {
                version = pod.resource_version().unwrap_or(version);
                books.deleted(pod.try_into());
            }
            WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
            WatchEvent::Error(status) if status.code == GONE => return Ok(None),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
        books.seen(version.parse().ok());
        show(view, books);
    }
    // A server that ends every watch at once is not asked in a tight loop.
    pause.await;
    Ok(Some(version))
}

/// Shows what the books say. Nobody is woken when only the version moved.
fn show(view: &watch::Sender<PodsView>, books: &Books) {
    let now = books.view();
    view.send_if_modified(|view| {
        let changed = !view.says_the_same(&now);
        *view = now;
        changed
    });
}

/// Shows an error; what was known stays.
fn fail(view: &watch::Sender<PodsView>, error: &dyn std::error::Error) {
    let text = told(error);
    view.send_if_modified(|view| {
        let changed = view.error.as_ref() != Some(&text);
        view.error = Some(text);
        changed
    });
}

/// An error with its causes, for people.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some layers of the client repeat their cause.
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
