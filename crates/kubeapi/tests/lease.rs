//! A Lease that several nodes want, at an API server that keeps versions, refuses, and forgets.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tideway_kubeapi::{ClusterLease, KubeConfig};
use tideway_testkit::api_server::{Kubeconfig, refusal, serve};

#[derive(Debug, Default)]
struct Store {
    version: u64,
    lease: Option<Value>,
    refuse: bool,
    /// Somebody else writes between the next look and the write after it.
    overtaken: bool,
}

type Shared = Arc<Mutex<Store>>;

fn put(store: &mut Store, mut lease: Value) -> Response {
    store.version += 1;
    lease["metadata"]["resourceVersion"] = json!(store.version.to_string());
    store.lease = Some(lease.clone());
    lease.to_string().into_response()
}

async fn look(State(server): State<Shared>) -> Response {
    let mut store = server.lock().unwrap();
    if store.refuse {
        return refusal(StatusCode::FORBIDDEN, "Forbidden");
    }
    let shown = store.lease.clone();
    if std::mem::take(&mut store.overtaken) {
        let lease = shown.clone().unwrap_or_else(|| json!({"metadata": {"name": "it"}}));
        put(&mut store, lease);
    }
    shown.map_or_else(
        || refusal(StatusCode::NOT_FOUND, "NotFound"),
        |lease| lease.to_string().into_response(),
    )
}

async fn create(State(server): State<Shared>, body: String) -> Response {
    let mut store = server.lock().unwrap();
    if store.lease.is_some() {
        return refusal(StatusCode::CONFLICT, "AlreadyExists");
    }
    put(&mut store, serde_json::from_str(&body).unwrap())
}

async fn replace(State(server): State<Shared>, body: String) -> Response {
    let lease: Value = serde_json::from_str(&body).unwrap();
    let mut store = server.lock().unwrap();
    let version = lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    if version != Some(store.version.to_string()) {
        return refusal(StatusCode::CONFLICT, "Conflict");
    }
    put(&mut store, lease)
}

struct World {
    store: Shared,
    kubeconfig: Kubeconfig,
}

impl World {
    async fn new() -> Self {
        let store = Shared::default();
        let all = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let routes = Router::new()
            .route(all, post(create))
            .route(&format!("{all}/it"), get(look).put(replace))
            .with_state(Arc::clone(&store));
        Self { store, kubeconfig: serve(routes).await.unwrap() }
    }

    fn node(&self, name: &str, lasts: u64) -> ClusterLease {
        let config = KubeConfig { kubeconfig: Some(self.kubeconfig.path()), node: name.into() };
        ClusterLease::new(config, "it", Duration::from_secs(lasts))
    }

    fn spec(&self) -> Value {
        self.store.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }
}

#[tokio::test]
async fn one_node_holds_it_as_long_as_it_renews_it() {
    let world = World::new().await;
    let (mut one, mut two) = (world.node("n1", 60), world.node("n2", 60));
    assert!(one.hold().await.unwrap());
    let first = world.spec();
    assert_eq!(
        (&first["holderIdentity"], &first["leaseDurationSeconds"]),
        (&json!("n1"), &json!(60))
    );
    assert!(!two.hold().await.unwrap());
    assert!(one.hold().await.unwrap());
    assert!(!two.hold().await.unwrap());
    let renewed = world.spec();
    assert_eq!(
        (&renewed["acquireTime"], &renewed["leaseTransitions"]),
        (&first["acquireTime"], &json!(0))
    );
    assert_ne!(renewed["renewTime"], first["renewTime"]);
    // A daemon that starts again finds its own.
    assert!(world.node("n1", 60).hold().await.unwrap());
}

#[tokio::test]
async fn another_node_takes_it_only_after_it_has_stood_still_for_its_time() {
    let world = World::new().await;
    assert!(world.node("n1", 1).hold().await.unwrap());
    let mut two = world.node("n2", 60);
    let begun = Instant::now();
    while !two.hold().await.unwrap() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it is never taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "taken from a holder that may be alive");
    let spec = world.spec();
    assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!("n2"), &json!(1)));
}

#[tokio::test]
async fn one_that_was_given_back_is_free_at_once_and_only_its_holder_gives_it_back() {
    let world = World::new().await;
    let (mut one, mut two) = (world.node("n1", 3600), world.node("n2", 3600));
    one.release().await.unwrap();
    assert!(one.hold().await.unwrap());
    two.release().await.unwrap();
    assert!(!two.hold().await.unwrap());
    one.release().await.unwrap();
    assert!(two.hold().await.unwrap());
}

#[tokio::test]
async fn of_two_who_write_at_once_one_gets_it() {
    let world = World::new().await;
    let mut one = world.node("n1", 60);
    world.store.lock().unwrap().overtaken = true;
    assert!(!one.hold().await.unwrap(), "the other one has made it");
    world.store.lock().unwrap().overtaken = true;
    assert!(!one.hold().await.unwrap(), "the other one has changed it");
    assert!(one.hold().await.unwrap());
}

#[tokio::test]
async fn a_refusal_is_told_with_its_remedy_and_holds_nothing() {
    let world = World::new().await;
    world.store.lock().unwrap().refuse = true;
    match world.node("n1", 60).hold().await {
        Err(text) => assert!(text.contains("manifests/rbac.yaml"), "{text}"),
        Ok(held) => panic!("{held}"),
    }
}
