//! One task for each kind of object: list, follow, go on after errors.
//!
//! Lists are read in pages from the newest state, so that nothing is missed between two of them and no page is large. A watch
//! that broke goes on from the version it had: then the versions of deletions are exact. Only when errors last is the client
//! made anew as well: certificates and tokens on disk may have been replaced.
//!
//! A watch only listens, so it does not notice by itself that the way to the server is gone, and would wait long after the way
//! is back. When it hears nothing for some seconds it asks the server something small.

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
use super::{Change, ClusterClaim, ClusterEvent, ClusterNetwork, ClusterNode, ClusterPod, Watched};
use crate::KubeConfig;
use crate::watch::{client, told};

const PAGE: u32 = 500;
/// HTTP status of a version that the server has forgotten.
const GONE: u16 = 410;
/// A watch that ends sooner is followed by a pause of the rest.
const SHORTEST_WATCH: Duration = Duration::from_millis(100);
/// The longest pause between two tries: a scheduler that is blind for longer than needed costs more than a request.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After so long without a word the server is asked whether it is there.
const QUIET: Duration = Duration::from_secs(10);
/// Within this time it answers such a question, and begins to answer a watch.
const ANSWER: Duration = Duration::from_secs(10);
/// Within this time it answers with a page of a list.
const PAGE_ANSWER: Duration = Duration::from_mins(1);
/// Silence of a watch for so long (bookmarks come each minute) is a dead connection, whatever the server says on others.
const LONGEST_SILENCE: Duration = Duration::from_secs(150);
/// After errors for so long the client is made anew.
const CLIENT_TRUSTED: Duration = Duration::from_secs(30);

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
                        follow(watched, &config, &events, |c| ClusterEvent::Network(c.boxed()))
                            .await;
                    }
                    Watched::Nodes => follow(watched, &config, &events, ClusterEvent::Node).await,
                    Watched::Pods => {
                        follow(watched, &config, &events, |c| ClusterEvent::Pod(c.boxed())).await;
                    }
                    Watched::Claims => follow(watched, &config, &events, ClusterEvent::Claim).await,
                }
            };
            cancel.run_until_cancelled(work).await;
        });
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
            Self::Silent => "the API server says nothing: look at the network between".to_owned(),
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
            let list: Page<T> = within(PAGE_ANSWER, client.request(request)).await??;
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
        let events = match within(ANSWER, client.request_events::<T>(request)).await? {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == GONE => {
                self.version = None;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.works().await?;
        let mut events = pin!(events);
        let mut heard = tokio::time::Instant::now();
        loop {
            let event = match within(QUIET, events.try_next()).await {
                Ok(event) => event?,
                Err(_quiet) if heard.elapsed() < LONGEST_SILENCE => {
                    ask(client).await?;
                    continue;
                }
                Err(silent) => return Err(silent),
            };
            heard = tokio::time::Instant::now();
            let (version, change) = match event {
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

/// What is not done after so long was not answered.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Stop> {
    tokio::time::timeout(limit, work).await.map_err(|_elapsed| Stop::Silent)
}

/// Whether the server is there: any answer tells, a refusal too.
async fn ask(client: &Client) -> Result<(), Stop> {
    match within(ANSWER, client.apiserver_version()).await? {
        Err(error @ (kube::Error::Service(_) | kube::Error::HyperError(_))) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
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
