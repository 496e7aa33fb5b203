//! The task that watches the pods of the node.
//!
//! A list, then a watch from its version on, again from a list when the server has forgotten that version (410). Lists ask
//! for any version: they come from the server's cache, since thousands of nodes may ask at once after an outage, and early
//! demand needs no newest truth. After an error the client is made anew as well: certificates and tokens on disk may have
//! been replaced.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher;
use kube::{Api, Client, Config};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::PodsView;
use crate::pod::SlimPod;
use crate::view::Books;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

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
enum ClientError {
    #[error("kubeconfig {path} cannot be used")]
    Kubeconfig { path: String, source: Box<kube::config::KubeconfigError> },
    #[error(
        "no kubeconfig is configured, and the daemon has no service account: the pods of the node are not watched"
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
    let selector =
        watcher::Config::default().any_semantic().fields(&format!("spec.nodeName={}", config.node));
    // Spreads the nodes of a cluster over time; starts small again after two quiet minutes.
    let mut pauses = watcher::DefaultBackoff::default();
    while !view.is_closed() {
        match client(config).await {
            Ok(client) => {
                let pods = watcher(Api::<SlimPod>::all(client), selector.clone());
                if let Err(error) = follow_stream(pods, view).await {
                    fail(view, &error);
                }
            }
            Err(error) => fail(view, &error),
        }
        tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

async fn client(config: &KubeConfig) -> Result<Client, ClientError> {
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

/// Takes in events until the first error. A new list follows then, whatever the error was: a watch that merely goes on says
/// nothing as long as nothing happens, and the error in the view would stay.
async fn follow_stream(
    events: impl Stream<Item = watcher::Result<watcher::Event<SlimPod>>>,
    view: &watch::Sender<PodsView>,
) -> watcher::Result<()> {
    let mut events = pin!(events);
    let mut books = Books::default();
    while let Some(event) = events.try_next().await? {
        take_in(event, &mut books, view);
    }
    Ok(())
}

fn take_in(event: watcher::Event<SlimPod>, books: &mut Books, view: &watch::Sender<PodsView>) {
    match event {
        watcher::Event::Init => books.begin_list(),
        watcher::Event::InitApply(pod) => books.listed(pod.try_into()),
        watcher::Event::InitDone => books.end_list(),
        watcher::Event::Apply(pod) => books.changed(pod.try_into()),
        watcher::Event::Delete(pod) => books.deleted(pod.try_into()),
    }
    let Some(now) = books.view() else { return };
    view.send_if_modified(|view| {
        let changed = *view != now;
        *view = now;
        changed
    });
}

/// Shows an error; what was known stays.
fn fail(view: &watch::Sender<PodsView>, error: &dyn std::error::Error) {
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
    view.send_if_modified(|view| {
        let changed = view.error.as_ref() != Some(&text);
        view.error = Some(text);
        changed
    });
}
