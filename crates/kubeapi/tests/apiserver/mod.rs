//! An API server with pods in it: list (in pages, when asked) and watch by versions, over plain HTTP on loopback. Can forget
//! old versions (410), cut its watches or let them fall silent, and refuse.
#![allow(clippy::allow_attributes, dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use serde_json::{Value, json};
use tideway_testkit::api_server::{refusal, status};
use tokio::sync::watch;

/// What happened, and what is.
#[derive(Debug, Clone, Default)]
struct Store {
    version: u64,
    pods: BTreeMap<String, Value>,
    /// (version, event)
    log: Vec<(u64, Value)>,
    /// Watches from a version before this one get a 410.
    oldest: u64,
    /// Each cut ends the watches that began before it.
    cuts: u64,
    /// Each silence keeps the watches that began before it open, without another word.
    silences: u64,
    /// Requests are not answered.
    unreachable: bool,
    /// The next page that goes on from another one has expired (410).
    page_expires: bool,
    refuse: bool,
}

#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) lists: usize,
    pub(crate) watches: usize,
}

#[derive(Debug)]
pub(crate) struct ApiServer {
    store: watch::Sender<Store>,
    calls: Mutex<Calls>,
    selectors: Mutex<Vec<String>>,
}

impl ApiServer {
    /// Serves on `listener`; the task ends with the test's runtime.
    pub(crate) fn serve<L>(listener: L) -> Arc<Self>
    where
        L: axum::serve::Listener<Addr: std::fmt::Debug>,
    {
        let server = Arc::new(Self {
            store: watch::channel(Store { version: 100, ..Store::default() }).0,
            calls: Mutex::new(Calls { lists: 0, watches: 0 }),
            selectors: Mutex::default(),
        });
        let app = Router::new()
            .route("/api/v1/pods", get(pods))
            .route("/version", get(version))
            .with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    pub(crate) fn put(&self, name: &str, mut pod: Value) {
        self.store.send_modify(|s| {
            s.version += 1;
            pod["metadata"]["resourceVersion"] = json!(s.version.to_string());
            let kind = if s.pods.contains_key(name) { "MODIFIED" } else { "ADDED" };
            s.pods.insert(name.to_owned(), pod.clone());
            s.log.push((s.version, json!({"type": kind, "object": pod})));
        });
    }

    pub(crate) fn delete(&self, name: &str) {
        self.store.send_modify(|s| {
            s.version += 1;
            let mut pod = s.pods.remove(name).expect("there is such a pod");
            pod["metadata"]["resourceVersion"] = json!(s.version.to_string());
            s.log.push((s.version, json!({"type": "DELETED", "object": pod})));
        });
    }

    /// Deletes without an event, as for a client that was away.
    pub(crate) fn delete_unseen(&self, name: &str) {
        self.store.send_modify(|s| {
            s.version += 1;
            s.pods.remove(name).expect("there is such a pod");
        });
    }

    /// Somebody else's objects changed: the watches hear how far they are.
    pub(crate) fn bookmark(&self) {
        self.store.send_modify(|s| {
            s.version += 1;
            let metadata = json!({"resourceVersion": s.version.to_string()});
            let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata});
            s.log.push((s.version, json!({"type": "BOOKMARK", "object": object})));
        });
    }

    /// Version of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.store.borrow().version
    }

    /// Ends all watches and forgets all versions before now.
    pub(crate) fn forget(&self) {
        self.store.send_modify(|s| {
            s.version += 1;
            s.oldest = s.version;
            s.log.clear();
            s.cuts += 1;
        });
    }

    /// Ends all watches.
    pub(crate) fn cut(&self) {
        self.store.send_modify(|s| s.cuts += 1);
    }

    /// From now on the open watches say nothing, as over a connection that is dead.
    pub(crate) fn fall_silent(&self) {
        self.store.send_modify(|s| s.silences += 1);
    }

    /// The way to the server is gone, or there again: no request is answered, and open watches are dead for good.
    pub(crate) fn unreachable(&self, unreachable: bool) {
        self.store.send_modify(|s| {
            s.silences += 1;
            s.unreachable = unreachable;
        });
    }

    /// The next list that is read in pages takes too long for its version.
    pub(crate) fn expire_next_page(&self) {
        self.store.send_modify(|s| s.page_expires = true);
    }

    /// Refuses everything from now on, or serves again.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.store.send_modify(|s| {
            s.refuse = refuse;
            s.cuts += 1;
        });
    }

    pub(crate) fn calls(&self) -> (usize, usize) {
        let calls = self.calls.lock().unwrap();
        (calls.lists, calls.watches)
    }

    /// The field selectors that came.
    pub(crate) fn selectors(&self) -> Vec<String> {
        self.selectors.lock().unwrap().clone()
    }
}

async fn version(State(server): State<Arc<ApiServer>>) -> Response {
    drop(server.store.subscribe().wait_for(|s| !s.unreachable).await.unwrap());
    json!({"major": "1", "minor": "34"}).to_string().into_response()
}

/// A list, or the page of it that is asked for. The token of the next page is the name of the last pod.
fn list(server: &ApiServer, now: &Store, query: &HashMap<String, String>) -> Response {
    let after = query.get("continue").cloned().unwrap_or_default();
    if !after.is_empty() && now.page_expires {
        server.store.send_modify(|s| s.page_expires = false);
        return refusal(StatusCode::GONE, "Expired");
    }
    let limit = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
    let mut rest = now.pods.iter().filter(|(name, _)| name.as_str() > after.as_str()).peekable();
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let more = rest
        .peek()
        .and_then(|_next| page.last())
        .map(|(name, _)| (*name).clone())
        .unwrap_or_default();
    let items: Vec<&Value> = page.iter().map(|(_, pod)| *pod).collect();
    let list = json!({
        "kind": "PodList", "apiVersion": "v1",
        "metadata": {"resourceVersion": now.version.to_string(), "continue": more},
        "items": items,
    });
    list.to_string().into_response()
}

async fn pods(
    State(server): State<Arc<ApiServer>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let selector = query.get("fieldSelector").cloned().unwrap_or_default();
    server.selectors.lock().unwrap().push(selector);
    let mut store = server.store.subscribe();
    let now = store.wait_for(|s| !s.unreachable).await.unwrap().clone();
    if now.refuse {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    if !query.contains_key("watch") {
        server.calls.lock().unwrap().lists += 1;
        return list(&server, &now, &query);
    }
    server.calls.lock().unwrap().watches += 1;
    let from: u64 = query["resourceVersion"].parse().unwrap();
    if from < now.oldest {
        let event = json!({"type": "ERROR", "object": status(StatusCode::GONE, "Expired")});
        return format!("{event}\n").into_response();
    }
    let began = (now.cuts, now.silences);
    let events = stream::unfold((store, from), move |(mut store, seen)| async move {
        loop {
            let now = store.borrow_and_update().clone();
            if now.cuts == began.0 && now.silences != began.1 {
                store.changed().await.ok()?;
                continue;
            }
            let fresh = now.log.iter().filter(|(version, _)| *version > seen);
            let lines: String =
                fresh.flat_map(|(_, event)| [event.to_string(), "\n".to_owned()]).collect();
            let last = now.log.iter().map(|(version, _)| *version).max().unwrap_or(seen);
            if !lines.is_empty() && now.cuts == began.0 {
                return Some((Ok::<_, Infallible>(Bytes::from(lines)), (store, last.max(seen))));
            }
            if now.cuts != began.0 || store.changed().await.is_err() {
                return None;
            }
        }
    });
    Body::from_stream(events).into_response()
}
