//! One task for each kind of object: list, follow, go on after errors.
//!
//! Lists are read in pages from the newest state, so that nothing is missed between two of them and no page is large. A watch
//! that broke goes on from the version it had: then the versions of deletions are exact. Only when errors last is the client
//! made anew as well: certificates and tokens on disk may have been replaced.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::runtime::watcher::DefaultBackoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::object::version;
use super::{ClusterClaim, ClusterNetwork, ClusterNode, ClusterPod};
use crate::KubeConfig;
use crate::watch::{client, told};

const PAGE: u32 = 500;
/// HTTP status of a version that the server has forgotten.
const GONE: u16 = 410;
/// A watch that ends sooner is followed by a pause of the rest.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);
/// The longest pause between two tries: a scheduler that is blind for longer than needed costs more than a request.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Silence for so long (bookmarks come each minute) is a dead connection.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);
/// After errors for so long the client is made anew.
const CLIENT_TRUSTED: Duration = Duration::from_secs(30);

/// A step in what is known of one kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// A whole list begins. What is known stays until its end.
    ListBegins,
    /// An object of the list.
    Listed(T),
    /// The list is whole at this version: what was not in it is gone.
    ListEnds(Option<u64>),
    /// An object was created or changed.
    Applied(T),
    /// An object was deleted; its version is that of the deletion.
    Deleted(T),
}

/// Which objects are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// `NodeNetwork` objects.
    Networks,
    /// Nodes.
    Nodes,
    /// Pods of all namespaces.
    Pods,
    /// Volume claims of all namespaces.
    Claims,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Networks, Self::Nodes, Self::Pods, Self::Claims];

    /// A word for logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Networks => "nodenetworks",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Claims => "persistentvolumeclaims",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Networks => "/apis/tideway.dev/v1alpha1/nodenetworks",
            Self::Nodes => "/api/v1/nodes",
            Self::Pods => "/api/v1/pods",
            Self::Claims => "/api/v1/persistentvolumeclaims",
        }
    }
}

/// Something was learned about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterEvent {
    /// Of a `NodeNetwork`.
    Network(Change<Box<ClusterNetwork>>),
    /// Of a node.
    Node(Change<ClusterNode>),
    /// Of a pod.
    Pod(Change<Box<ClusterPod>>),
    /// Of a volume claim.
    Claim(Change<ClusterClaim>),
    /// A watch works again (`None`), or does not (why). What was known stays.
    Watch(Watched, Option<String>),
}

/// Watches the cluster until `cancel`, in tasks of their own; must be called inside a tokio runtime. A full channel makes the
/// watches wait. Every failure is told as [`ClusterEvent::Watch`] and tried again, at the latest each 5 s.
pub fn watch_cluster(
    kubeconfig: Option<String>,
    events: Sender<ClusterEvent>,
    cancel: CancellationToken,
) {
    let config = KubeConfig { kubeconfig, node: String::new() };
    for watched in Watched::ALL {
        let (config, events, cancel) = (config.clone(), events.clone(), cancel.clone());
        tokio::spawn(async move {
            let work = async {
                match watched {
                    Watched::Networks => {
                        follow(watched, &config, &events, |c| ClusterEvent::Network(boxed(c)))
                            .await;
                    }
                    Watched::Nodes => follow(watched, &config, &events, ClusterEvent::Node).await,
                    Watched::Pods => {
                        follow(watched, &config, &events, |c| ClusterEvent::Pod(boxed(c))).await;
                    }
                    Watched::Claims => follow(watched, &config, &events, ClusterEvent::Claim).await,
                }
            };
            cancel.run_until_cancelled(work).await;
        });
    }
}

fn boxed<T>(change: Change<T>) -> Change<Box<T>> {
    match change {
        Change::ListBegins => Change::ListBegins,
        Change::Listed(object) => Change::Listed(Box::new(object)),
        Change::ListEnds(version) => Change::ListEnds(version),
        Change::Applied(object) => Change::Applied(Box::new(object)),
        Change::Deleted(object) => Change::Deleted(Box::new(object)),
    }
}

/// Why a watch stopped.
enum Stop {
    /// Nobody listens any more.
    Unheard,
    Failed(kube::Error),
    Silent,
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    fn text(&self) -> String {
        match self {
            Self::Unheard => "nobody listens".to_owned(),
            Self::Failed(error) => told(error),
            Self::Silent => "the API server said nothing, not even a bookmark".to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    more: Option<String>,
}

struct Feed<'a, T, F> {
    watched: Watched,
    events: &'a Sender<ClusterEvent>,
    told: F,
    /// Where the watch goes on; none: with a list.
    version: Option<String>,
    /// The last thing told was that it does not work.
    down: bool,
    failing: Failing,
    kind: std::marker::PhantomData<fn() -> T>,
}

/// Since when nothing has worked.
#[derive(Debug, Default)]
struct Failing(Option<Instant>);

impl Failing {
    /// Whether errors have lasted for so long that the client may be the cause.
    fn fails(&mut self, now: Instant) -> bool {
        now.duration_since(*self.0.get_or_insert(now)) > CLIENT_TRUSTED
    }
    fn works(&mut self) {
        self.0 = None;
    }
}

/// Follows with one client after the other; ends when nobody listens any more.
async fn follow<T, F>(watched: Watched, config: &KubeConfig, events: &Sender<ClusterEvent>, told: F)
where
    T: Slim,
    F: Fn(Change<T>) -> ClusterEvent,
{
    let kind = std::marker::PhantomData;
    let failing = Failing::default();
    let mut feed = Feed { watched, events, told, version: None, down: true, failing, kind };
    loop {
        let text = match client(config).await {
            Ok(client) => match feed.with_client(&client).await {
                Stop::Unheard => return,
                stop @ (Stop::Failed(_) | Stop::Silent) => stop.text(),
            },
            Err(error) => crate::watch::told(&error),
        };
        if feed.fails(text).await.is_err() {
            return;
        }
        tokio::time::sleep(LONGEST_PAUSE).await;
    }
}

/// What can be watched here.
trait Slim: Clone + DeserializeOwned + Send + 'static {
    /// From which version a watch goes on after this object.
    fn version(&self) -> Option<u64>;
}

impl Slim for ClusterPod {
    fn version(&self) -> Option<u64> {
        self.version
    }
}
impl Slim for ClusterNode {
    fn version(&self) -> Option<u64> {
        self.version
    }
}
impl Slim for ClusterClaim {
    fn version(&self) -> Option<u64> {
        self.version
    }
}
impl Slim for ClusterNetwork {
    fn version(&self) -> Option<u64> {
        self.version
    }
}

impl<T: Slim, F: Fn(Change<T>) -> ClusterEvent> Feed<'_, T, F> {
    /// Lists and follows until errors have lasted for [`CLIENT_TRUSTED`].
    async fn with_client(&mut self, client: &Client) -> Stop {
        let mut pauses = DefaultBackoff::default();
        self.failing.works();
        loop {
            let began = Instant::now();
            let stop = match self.version.clone() {
                None => self.list(client).await,
                Some(from) => self.watch(client, from).await,
            };
            let Err(stop) = stop else {
                if self.version.is_some() {
                    tokio::time::sleep(SHORTEST_WATCH.saturating_sub(began.elapsed())).await;
                }
                continue;
            };
            if matches!(stop, Stop::Unheard) {
                return stop;
            }
            if self.failing.fails(Instant::now()) {
                return stop;
            }
            if self.fails(stop.text()).await.is_err() {
                return Stop::Unheard;
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
            tokio::time::sleep(pause).await;
        }
    }

    async fn list(&mut self, client: &Client) -> Result<(), Stop> {
        let mut page = ListParams { limit: Some(PAGE), ..ListParams::default() };
        let mut begun = false;
        loop {
            let request =
                Request::new(self.watched.path()).list(&page).map_err(kube::Error::BuildRequest)?;
            let list: Page<T> = client.request(request).await?;
            if !std::mem::replace(&mut begun, true) {
                self.tell(Change::ListBegins).await?;
            }
            for object in list.items {
                self.tell(Change::Listed(object)).await?;
            }
            page.continue_token = list.metadata.more.filter(|more| !more.is_empty());
            if page.continue_token.is_none() {
                let text = list.metadata.resource_version.unwrap_or_default();
                self.tell(Change::ListEnds(version(Some(&text)))).await?;
                self.version = Some(text);
                return self.works().await;
            }
        }
    }

    /// One watch, until the server ends it.
    async fn watch(&mut self, client: &Client, from: String) -> Result<(), Stop> {
        let params = WatchParams::default();
        let request = Request::new(self.watched.path())
            .watch(&params, &from)
            .map_err(kube::Error::BuildRequest)?;
        let events = match client.request_events::<T>(request).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == GONE => {
                self.version = None;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.works().await?;
        let mut events = pin!(events);
        loop {
            let next = tokio::time::timeout(LONGEST_SILENCE, events.try_next()).await;
            let Ok(event) = next else { return Err(Stop::Silent) };
            let (version, change) = match event? {
                None => return Ok(()),
                Some(WatchEvent::Added(o) | WatchEvent::Modified(o)) => {
                    (o.version(), Change::Applied(o))
                }
                Some(WatchEvent::Deleted(o)) => (o.version(), Change::Deleted(o)),
                Some(WatchEvent::Bookmark(mark)) => {
                    self.version = Some(mark.metadata.resource_version);
                    continue;
                }
                Some(WatchEvent::Error(status)) if status.code == GONE => {
                    self.version = None;
                    return Ok(());
                }
                Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
            };
            self.tell(change).await?;
            // Without a version that can be gone on from, a list comes next.
            self.version = version.map(|v| v.to_string());
        }
    }

    async fn tell(&self, change: Change<T>) -> Result<(), Stop> {
        self.events.send((self.told)(change)).await.map_err(|_closed| Stop::Unheard)
    }

    /// The server has answered. A watch that breaks later has not been failing all that time.
    async fn works(&mut self) -> Result<(), Stop> {
        self.failing.works();
        if !std::mem::replace(&mut self.down, false) {
            return Ok(());
        }
        let event = ClusterEvent::Watch(self.watched, None);
        self.events.send(event).await.map_err(|_closed| Stop::Unheard)
    }

    async fn fails(&mut self, why: String) -> Result<(), Stop> {
        self.down = true;
        let event = ClusterEvent::Watch(self.watched, Some(why));
        self.events.send(event).await.map_err(|_closed| Stop::Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_breaks_with_a_working_watch_between_them_do_not_make_the_client_suspect() {
        let (mut failing, start) = (Failing::default(), Instant::now());
        assert!(!failing.fails(start));
        failing.works();
        assert!(!failing.fails(start + CLIENT_TRUSTED * 10));
        assert!(!failing.fails(start + CLIENT_TRUSTED * 11));
        assert!(failing.fails(start + CLIENT_TRUSTED * 12));
    }
}
