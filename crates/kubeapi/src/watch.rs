//! The task that watches the pods of the node.
//!
//! A list, then a watch from its version on, again from a list when the server has forgotten that version (410). Lists ask
//! for any version: they come from the server's cache, since thousands of nodes may ask at once after an outage, and early
//! demand needs no newest truth. After several errors in a row the client is made anew: certificates and tokens on disk may
//! have been replaced.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pod::SlimPod;
use crate::view::Books;
use crate::{NodePod, PodsView};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Errors in a row after which the configuration is read again.
const ERRORS_OF_ONE_CLIENT: u32 = 3;

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
    let mut pause = FIRST_PAUSE;
    while !view.is_closed() {
        match client(config).await {
            Ok(client) => {
                let selector = watcher::Config::default()
                    .any_semantic()
                    .fields(&format!("spec.nodeName={}", config.node));
                let pods = Api::<SlimPod>::all(client);
                if follow_stream(watcher(pods, selector).default_backoff(), view).await {
                    pause = FIRST_PAUSE;
                }
            }
            Err(error) => fail(view, &error),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

async fn client(config: &KubeConfig) -> Result<Client, ClientError> {
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
    Client::try_from(server).map_err(|e| ClientError::Client(Box::new(e)))
}

/// Takes in events until too many errors came in a row. Says whether any event came.
async fn follow_stream(
    events: impl Stream<Item = watcher::Result<watcher::Event<SlimPod>>>,
    view: &watch::Sender<PodsView>,
) -> bool {
    let mut events = pin!(events);
    let mut books = Books::default();
    let (mut worked, mut errors) = (false, 0_u32);
    while errors < ERRORS_OF_ONE_CLIENT && !view.is_closed() {
        match events.try_next().await {
            Ok(Some(event)) => {
                // The begin of a list is no answer yet.
                if !matches!(event, watcher::Event::Init) {
                    (worked, errors) = (true, 0);
                }
                take_in(event, &mut books, view);
            }
            Ok(None) => return worked,
            Err(error) => {
                errors = errors.saturating_add(1);
                fail(view, &error);
            }
        }
    }
    worked
}

fn take_in(event: watcher::Event<SlimPod>, books: &mut Books, view: &watch::Sender<PodsView>) {
    let outcome = match event {
        watcher::Event::Init => {
            books.begin_list();
            return;
        }
        watcher::Event::InitApply(pod) => {
            // Shown when the list is whole.
            if let Err(error) = NodePod::try_from(pod).map(|pod| books.listed(pod)) {
                fail(view, &error);
            }
            return;
        }
        watcher::Event::InitDone => {
            books.end_list();
            Ok(())
        }
        watcher::Event::Apply(pod) => NodePod::try_from(pod).map(|pod| books.changed(pod)),
        watcher::Event::Delete(pod) => NodePod::try_from(pod).map(|pod| books.deleted(&pod)),
    };
    let error = outcome.err().map(|error| error.to_string());
    let now = PodsView { synced: true, pods: books.pods(), error };
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
