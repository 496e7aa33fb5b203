//! The writer of the node's object against an API server that refuses, forgets, and loses objects.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use futures::stream;
use serde_json::{Value, json};
use tideway_kubeapi::{KubeConfig, NodeNetworkStatus, Written, publish};
use tideway_testkit::api_server::{Kubeconfig, refusal, serve};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What the server has.
#[derive(Debug, Clone, Default)]
struct Store {
    version: u64,
    /// UID of the Node; none: there is no such Node.
    node: Option<String>,
    object: Option<Value>,
    /// When a status was written.
    writes: Vec<Instant>,
    /// Answers everything with this.
    refuse: Option<u16>,
    /// Version of the last deletion.
    deleted_at: u64,
}

type Shared = Arc<watch::Sender<Store>>;

fn failed(code: u16) -> Response {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "ServiceUnavailable",
    };
    refusal(StatusCode::from_u16(code).unwrap(), reason)
}

fn found(value: Option<Value>) -> Response {
    value.map_or_else(|| failed(404), |v| v.to_string().into_response())
}

async fn node(State(server): State<Shared>, Path(name): Path<String>) -> Response {
    let now = server.borrow().clone();
    if let Some(code) = now.refuse {
        return failed(code);
    }
    found(now.node.map(|uid| {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "uid": uid}})
    }))
}

async fn object(State(server): State<Shared>, Path(_name): Path<String>) -> Response {
    let now = server.borrow().clone();
    now.refuse.map_or_else(|| found(now.object), failed)
}

async fn change(State(server): State<Shared>, body: Bytes) -> Response {
    merge(&server, &body, false)
}

async fn status(State(server): State<Shared>, body: Bytes) -> Response {
    merge(&server, &body, true)
}

fn merge(server: &Shared, body: &Bytes, is_status: bool) -> Response {
    let refuse = server.borrow().refuse;
    if let Some(code) = refuse {
        return failed(code);
    }
    let change: Value = serde_json::from_slice(body).unwrap();
    let asked = change.pointer("/metadata/resourceVersion");
    let has = server
        .borrow()
        .object
        .as_ref()
        .and_then(|o| o.pointer("/metadata/resourceVersion"))
        .cloned();
    if asked.is_some_and(|v| Some(v) != has.as_ref()) {
        return failed(if has.is_some() { 409 } else { 404 });
    }
    server.send_modify(|s| {
        s.version += 1;
        let version = s.version.to_string();
        if is_status {
            s.writes.push(Instant::now());
        }
        if let Some(object) = &mut s.object {
            if let Some(status) = change.get("status") {
                object["status"] = status.clone();
            }
            if let Some(owners) = change.pointer("/metadata/ownerReferences") {
                object["metadata"]["ownerReferences"] = owners.clone();
            }
            object["metadata"]["resourceVersion"] = json!(version);
        }
    });
    found(server.borrow().object.clone())
}

async fn create(State(server): State<Shared>, body: Bytes) -> Response {
    let refuse = server.borrow().refuse;
    if let Some(code) = refuse {
        return failed(code);
    }
    let mut object: Value = serde_json::from_slice(&body).unwrap();
    server.send_modify(|s| {
        s.version += 1;
        object["metadata"]["uid"] = json!(format!("u-{}", s.version));
        object["metadata"]["resourceVersion"] = json!(s.version.to_string());
        s.object = Some(object);
    });
    found(server.borrow().object.clone())
}

async fn list(
    State(server): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let selected = query.iter().find(|(k, _)| k == "fieldSelector").map(|(_, v)| v.as_str());
    assert_eq!(selected, Some("metadata.name=node-1"), "only its own object is watched");
    let from = query.iter().find(|(k, _)| k == "resourceVersion").map(|(_, v)| v.parse::<u64>());
    let from = from.expect("a watch from a version").unwrap();
    let mut seen = server.subscribe();
    let events = stream::once(async move {
        drop(seen.wait_for(|s| s.deleted_at > from).await);
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "node-1", "resourceVersion": seen.borrow().version.to_string()}});
        Ok::<_, Infallible>(Bytes::from(format!(
            "{}\n",
            json!({"type": "DELETED", "object": object})
        )))
    });
    Body::from_stream(events).into_response()
}

/// A writer and its server.
struct Bed {
    server: Shared,
    wanted: watch::Sender<Option<NodeNetworkStatus>>,
    written: watch::Receiver<Written>,
    _cancel: DropGuard,
    _kubeconfig: Kubeconfig,
}

impl Bed {
    async fn new(store: Store) -> Self {
        let server: Shared = Arc::new(watch::channel(store).0);
        let objects = "/apis/tideway.dev/v1alpha1/nodenetworks";
        let routes = Router::new()
            .route("/api/v1/nodes/{name}", get(node))
            .route(objects, get(list).post(create))
            .route(&format!("{objects}/{{name}}"), get(object).patch(change))
            .route(&format!("{objects}/{{name}}/status"), patch(status))
            .with_state(Arc::clone(&server));
        let kubeconfig = serve(routes).await.unwrap();
        let config = KubeConfig { kubeconfig: Some(kubeconfig.path()), node: "node-1".to_owned() };
        let (wanted, receiver) = watch::channel(None);
        let cancel = CancellationToken::new();
        let written = publish(config, receiver, cancel.clone());
        Self { server, wanted, written, _cancel: cancel.drop_guard(), _kubeconfig: kubeconfig }
    }

    fn want(&self, ready: u32) {
        self.wanted.send_replace(Some(numbers(ready)));
    }

    async fn until(&self, what: &str, holds: impl Fn(&Store) -> bool) -> Store {
        let mut seen = self.server.subscribe();
        let found = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(holds)).await;
        if let Ok(found) = found {
            return found.unwrap().clone();
        }
        panic!(
            "within 20 s not seen: {what}; {:?} {:?}",
            self.server.borrow(),
            self.written.borrow()
        );
    }

    async fn told(&self, what: &str, holds: impl Fn(&Written) -> bool) -> Written {
        let mut written = self.written.clone();
        let found = tokio::time::timeout(Duration::from_secs(20), written.wait_for(holds)).await;
        if let Ok(found) = found {
            return found.expect("the writer lives").clone();
        }
        panic!("within 20 s not told: {what}; {:?}", self.written.borrow());
    }
}

fn numbers(ready: u32) -> NodeNetworkStatus {
    let mut status = NodeNetworkStatus::default();
    status.shared.ready = ready;
    status
}

fn with_node() -> Store {
    Store { version: 100, node: Some("node-uid".into()), ..Store::default() }
}

fn ready(store: &Store) -> Option<u64> {
    store.object.as_ref()?.pointer("/status/shared/ready")?.as_u64()
}

#[tokio::test]
async fn the_object_is_made_owned_by_its_node_and_nothing_before_there_is_a_status() {
    let bed = Bed::new(with_node()).await;
    assert!(bed.server.borrow().object.is_none());
    bed.want(3);
    let store = bed.until("the status", |s| ready(s) == Some(3)).await;
    let object = store.object.unwrap();
    assert_eq!(object["metadata"]["name"], "node-1");
    let owner = &object["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("Node"), &json!("node-uid")));
}

#[tokio::test]
async fn constant_change_costs_one_write_a_second_and_the_last_word_is_written() {
    let bed = Bed::new(with_node()).await;
    let began = Instant::now();
    for n in 0..350 {
        bed.want(n);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let store = bed.until("the last word", |s| ready(s) == Some(349)).await;
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    assert!((3..=most).contains(&store.writes.len()), "{} writes", store.writes.len());
    let gaps = store.writes.windows(2).map(|w| w[1] - w[0]);
    // A busy machine may see one of them late, and the next one in time.
    assert!(gaps.min().unwrap() > Duration::from_millis(500), "{:?}", store.writes);
}

#[tokio::test]
async fn what_was_written_is_not_written_again_not_even_by_the_next_run() {
    let bed = Bed::new(with_node()).await;
    bed.want(3);
    let store = bed.until("the status", |s| ready(s) == Some(3)).await;
    bed.want(3);
    bed.want(3);
    let again = Bed::new(Store { writes: Vec::new(), ..store }).await;
    again.want(3);
    again.want(4);
    let store = again.until("the next status", |s| ready(s) == Some(4)).await;
    assert_eq!(store.writes.len(), 1, "only the change");
    assert_eq!(bed.server.borrow().writes.len(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_is_told_once_more_and_gets_the_newest_when_it_is_back() {
    let bed = Bed::new(Store { refuse: Some(503), ..with_node() }).await;
    bed.want(1);
    let told = bed.told("the error", |w| w.error.is_some()).await;
    assert_eq!(told.writes, 0);
    bed.want(2);
    bed.server.send_modify(|s| s.refuse = None);
    let store = bed.until("the newest", |s| ready(s).is_some()).await;
    assert_eq!(ready(&store), Some(2));
    let told = bed.told("no error", |w| w.error.is_none()).await;
    assert!(told.writes == 1 && told.failures >= 1, "{told:?}");
}

#[tokio::test]
async fn the_error_of_an_outage_in_which_nothing_changed_ends_with_it() {
    let bed = Bed::new(with_node()).await;
    bed.want(1);
    bed.until("the status", |s| ready(s) == Some(1)).await;
    // The watch of the object ends, and the server is away for what follows.
    bed.server.send_modify(|s| {
        s.refuse = Some(503);
        s.version += 1;
        s.deleted_at = s.version;
    });
    bed.told("the error", |w| w.error.is_some()).await;
    bed.server.send_modify(|s| s.refuse = None);
    let told = bed.told("no error", |w| w.error.is_none()).await;
    assert_eq!(told.writes, 1, "nothing was to be written");
}

#[tokio::test]
async fn an_object_that_somebody_deleted_is_made_again_although_nothing_changed() {
    let bed = Bed::new(with_node()).await;
    bed.want(3);
    let first = bed.until("the status", |s| ready(s) == Some(3)).await.object.unwrap();
    bed.told("the write", |w| w.writes == 1).await;
    bed.server.send_modify(|s| {
        s.version += 1;
        s.object = None;
        s.deleted_at = s.version;
    });
    let again = bed.until("the same again", |s| ready(s) == Some(3)).await.object.unwrap();
    assert_ne!(first["metadata"]["uid"], again["metadata"]["uid"]);
}

#[tokio::test]
async fn somebody_elses_change_of_the_object_stops_no_write() {
    let bed = Bed::new(with_node()).await;
    bed.want(1);
    bed.until("the status", |s| ready(s) == Some(1)).await;
    bed.told("the write", |w| w.writes == 1).await;
    bed.server.send_modify(|s| {
        s.version += 1;
        let object = s.object.as_mut().expect("it is there");
        object["metadata"]["labels"] = json!({"zone": "h"});
        object["metadata"]["resourceVersion"] = json!(s.version.to_string());
    });
    bed.want(2);
    let store = bed.until("the next status", |s| ready(s) == Some(2)).await;
    assert_eq!(store.object.unwrap()["metadata"]["labels"]["zone"], "h");
    assert_eq!(bed.written.borrow().failures, 0);
}

#[tokio::test]
async fn an_object_of_a_former_node_of_that_name_gets_its_new_owner() {
    let bed = Bed::new(with_node()).await;
    bed.want(3);
    let store = bed.until("the status", |s| ready(s) == Some(3)).await;
    let next = Bed::new(Store { node: Some("new-uid".into()), ..store }).await;
    next.want(3);
    let owner = |s: &Store| s.object.as_ref()?.pointer("/metadata/ownerReferences/0/uid").cloned();
    next.until("the new owner", |s| owner(s) == Some(json!("new-uid"))).await;
}

#[tokio::test]
async fn a_cluster_without_the_type_and_a_node_that_is_not_there_yet_are_named() {
    let bed = Bed::new(Store::default()).await;
    bed.want(1);
    let told = bed.told("the missing Node", |w| w.error.is_some()).await.error.unwrap();
    assert!(told.contains("no Node node-1"), "{told}");
    bed.server.send_modify(|s| s.node = Some("uid".into()));
    bed.until("the status", |s| ready(s) == Some(1)).await;
}
