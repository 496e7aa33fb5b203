//! The watches of the whole cluster against an API server that sends pages, forgets, hangs up, falls silent, and refuses.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod apiserver;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apiserver::ApiServer;
use serde_json::{Value, json};
use tideway_kubeapi::{Change, ClusterEvent, ClusterPod, Watched, watch_cluster};
use tideway_testkit::api_server::Kubeconfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, Receiver};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than the server's bookmarks are apart: a watch that said nothing for so long is dead.
const SILENCE: Duration = Duration::from_secs(151);

/// Who listens: what is known of the pods, as the changes build it up.
struct Listener {
    events: Receiver<ClusterEvent>,
    known: BTreeSet<String>,
    /// Pods of the list that is being read.
    listing: Option<BTreeSet<String>>,
    lists: usize,
    listed_at: Option<u64>,
    deleted_at: Option<u64>,
    /// Why the watch does not work.
    down: Option<String>,
    breaks: usize,
    _cancel: DropGuard,
    _kubeconfig: Kubeconfig,
}

impl Listener {
    async fn new() -> (Arc<ApiServer>, Self) {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = Kubeconfig::to(tcp.local_addr().unwrap()).unwrap();
        let server = ApiServer::serve(tcp);
        let cancel = CancellationToken::new();
        let (sender, events) = mpsc::channel(64);
        watch_cluster(Some(kubeconfig.path()), sender, cancel.clone());
        let listener = Self {
            events,
            known: BTreeSet::new(),
            listing: None,
            lists: 0,
            listed_at: None,
            deleted_at: None,
            down: None,
            breaks: 0,
            _cancel: cancel.drop_guard(),
            _kubeconfig: kubeconfig,
        };
        (server, listener)
    }

    fn take(&mut self, event: ClusterEvent) {
        match event {
            ClusterEvent::Pod(change) => self.change(change),
            ClusterEvent::Watch(Watched::Pods, why) => {
                self.breaks += usize::from(why.is_some());
                self.down = why;
            }
            // This server has nothing but pods.
            ClusterEvent::Network(_)
            | ClusterEvent::Node(_)
            | ClusterEvent::Claim(_)
            | ClusterEvent::Watch(..) => {}
        }
    }

    fn change(&mut self, change: Change<Box<ClusterPod>>) {
        match change {
            Change::ListBegins => self.listing = Some(BTreeSet::new()),
            Change::Listed(pod) => {
                let list = self.listing.as_mut().unwrap_or_else(|| panic!("no list has begun"));
                assert!(list.insert(pod.name), "listed twice");
            }
            Change::ListEnds(version) => {
                self.known = self.listing.take().unwrap_or_else(|| panic!("no list has begun"));
                self.lists += 1;
                self.listed_at = version;
            }
            Change::Applied(pod) => drop(self.known.insert(pod.name)),
            Change::Deleted(pod) => {
                self.known.remove(&pod.name);
                self.deleted_at = pod.version;
            }
        }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                let event = self.events.recv().await.unwrap_or_else(|| panic!("the watch ended"));
                self.take(event);
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(
            seen.is_ok(),
            "{what}: not within 30 s; {} pods, {:?}",
            self.known.len(),
            self.down
        );
    }

    fn knows(&self, names: &[&str]) -> bool {
        self.known.iter().eq(names.iter())
    }
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("u-{name}")},
        "spec": {}, "status": {},
    })
}

/// So much time passes at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn put(server: &ApiServer, name: &str) {
    server.put(name, pod(name));
}

#[tokio::test]
async fn a_list_of_many_pages_is_one_list_and_the_watch_goes_on_from_its_end() {
    let (server, mut listener) = Listener::new().await;
    server.refuse(true);
    for n in 0..1100 {
        put(&server, &format!("p{n:04}"));
    }
    server.refuse(false);
    listener.until("all pods", |l| l.known.len() == 1100 && l.down.is_none()).await;
    assert_eq!((listener.lists, listener.listed_at), (1, Some(server.version())));
    assert_eq!(server.calls().0, 3, "pages of 500");
    server.delete("p0700");
    listener.until("one pod less", |l| l.known.len() == 1099).await;
    assert_eq!(listener.deleted_at, Some(server.version()), "the version of the deletion itself");
}

#[tokio::test]
async fn a_list_that_expires_between_two_pages_begins_anew_and_ends_whole() {
    let (server, mut listener) = Listener::new().await;
    server.refuse(true);
    server.expire_next_page();
    for n in 0..600 {
        put(&server, &format!("p{n:03}"));
    }
    server.refuse(false);
    listener.until("all pods", |l| l.known.len() == 600 && l.down.is_none()).await;
    assert_eq!(listener.lists, 1, "what was read of the first one counts for nothing");
    assert_eq!(server.calls().0, 4, "a page and the one that had expired, then both pages");
}

#[tokio::test]
async fn a_pod_that_went_while_the_server_forgot_is_not_in_the_next_list() {
    let (server, mut listener) = Listener::new().await;
    put(&server, "goes");
    put(&server, "stays");
    listener.until("two pods", |l| l.known.len() == 2).await;
    server.delete_unseen("goes");
    server.forget();
    listener.until("one pod", |l| l.knows(&["stays"])).await;
    assert_eq!(listener.listed_at, Some(server.version()));
    put(&server, "new");
    listener.until("the watch goes on", |l| l.knows(&["new", "stays"])).await;
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was_and_misses_no_deletion() {
    let (server, mut listener) = Listener::new().await;
    put(&server, "goes");
    put(&server, "stays");
    listener.until("two pods", |l| l.known.len() == 2).await;
    let lists = listener.lists;
    server.cut();
    server.delete("goes");
    let deleted = server.version();
    put(&server, "new");
    listener.until("what came in the cut", |l| l.knows(&["new", "stays"])).await;
    assert_eq!((listener.lists, listener.deleted_at), (lists, Some(deleted)), "without a new list");
}

#[tokio::test]
async fn an_outage_is_told_with_its_cause_and_what_was_known_stays() {
    let (server, mut listener) = Listener::new().await;
    put(&server, "stays");
    listener.until("one pod", |l| l.knows(&["stays"]) && l.down.is_none()).await;
    server.refuse(true);
    listener.until("the outage", |l| l.down.is_some()).await;
    assert!(listener.down.as_ref().unwrap().contains("ServiceUnavailable"), "{:?}", listener.down);
    put(&server, "new");
    server.refuse(false);
    listener.until("the end of it", |l| l.down.is_none() && l.knows(&["new", "stays"])).await;
}

#[tokio::test]
async fn a_watch_that_says_nothing_not_even_a_bookmark_is_taken_for_dead() {
    let (server, mut listener) = Listener::new().await;
    put(&server, "stays");
    listener.until("one pod", |l| l.knows(&["stays"])).await;
    // A word through the watch itself: it is open, and waits for the next one.
    put(&server, "heard");
    listener.until("a second one", |l| l.knows(&["heard", "stays"])).await;
    let (lists, breaks) = (listener.lists, listener.breaks);
    server.fall_silent();
    put(&server, "unheard");
    pass(SILENCE).await;
    listener.until("what was said to nobody", |l| l.knows(&["heard", "stays", "unheard"])).await;
    assert_eq!((listener.lists, listener.breaks), (lists, breaks + 1), "without a new list");
}

#[tokio::test]
async fn a_way_that_is_gone_is_told_within_seconds_and_taken_again_as_soon_as_it_is_there() {
    let (server, mut listener) = Listener::new().await;
    put(&server, "stays");
    listener.until("one pod", |l| l.knows(&["stays"])).await;
    put(&server, "heard");
    listener.until("a second one", |l| l.knows(&["heard", "stays"])).await;
    let lists = listener.lists;
    pass(Duration::from_secs(11)).await;
    put(&server, "quiet");
    listener.until("a watch that was only quiet", |l| l.knows(&["heard", "quiet", "stays"])).await;
    assert_eq!(listener.down, None);
    server.unreachable(true);
    put(&server, "unheard");
    pass(Duration::from_secs(11)).await;
    listener.until("the way is gone", |l| l.down.is_some()).await;
    server.unreachable(false);
    let all = ["heard", "quiet", "stays", "unheard"];
    listener.until("what was said to nobody", |l| l.knows(&all)).await;
    assert_eq!((listener.lists, &listener.down), (lists, &None), "without a new list");
}
