//! An API server as far as one Lease and the pods' events go: it keeps the Lease and its version and what it is told, and knows
//! nothing else, not even Nodes.

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tideway_lab::fabric::netns;
use tokio::task::JoinHandle;

use crate::{Node, node::overwrite, rpc};

/// Of the pods of the tests.
const EVENTS: &str = "/api/v1/namespaces/default/events";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

#[derive(Debug, Default)]
struct Store {
    version: u64,
    lease: Option<Value>,
    events: Vec<Value>,
}

impl Store {
    fn put(&mut self, mut lease: Value) -> Response {
        self.version += 1;
        if let Some(metadata) = lease.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".into(), json!(self.version.to_string()));
        }
        self.lease = Some(lease.clone());
        lease.to_string().into_response()
    }
}

type Shared = Arc<Mutex<Store>>;

fn open(store: &Shared) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An API server that runs; dropping it ends it.
#[derive(Debug)]
pub struct FakeApiServer {
    store: Shared,
    kubeconfig: String,
    server: JoinHandle<()>,
}

impl FakeApiServer {
    /// Serves on loopback inside a named network namespace; the Lease has this name.
    pub fn start(namespace: &str, lease: &str) -> Result<Self> {
        let listener = netns::run_in(namespace, || TcpListener::bind("127.0.0.1:0"))??;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let store = Shared::default();
        let app = Router::new()
            .route(EVENTS, post(hear))
            .route(LEASES, post(create))
            .route(&format!("{LEASES}/{lease}"), get(look).put(replace))
            .fallback(|| async { failed(StatusCode::NOT_FOUND, "NotFound") })
            .with_state(Arc::clone(&store));
        let _entered = rpc::runtime()?.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        // Ends only with the task.
        let server = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "it", "user": {}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        Ok(Self { store, kubeconfig: kubeconfig.to_string(), server })
    }

    /// The node's daemon asks it from the next start on.
    pub fn serves(&self, node: &mut Node) -> Result<()> {
        let file = node.file("kubeconfig");
        overwrite(&file, self.kubeconfig.as_bytes())?;
        let kubernetes = node.config.get_mut("kubernetes").and_then(Value::as_object_mut);
        kubernetes.context("no section")?.insert("kubeconfig".into(), json!(file));
        Ok(())
    }

    /// The events that were told, each as it was when it was new.
    pub fn events(&self) -> Vec<Value> {
        open(&self.store).events.clone()
    }

    /// Who holds the Lease.
    pub fn holder(&self) -> Result<Option<String>> {
        let store = open(&self.store);
        let lease = store.lease.as_ref().context("there is no Lease")?;
        let holder = lease.pointer("/spec/holderIdentity").and_then(Value::as_str);
        Ok(holder.map(str::to_owned))
    }
}

impl Drop for FakeApiServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn failed(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason}, says the test"), "reason": reason, "code": code.as_u16()});
    (code, body.to_string()).into_response()
}

async fn hear(State(store): State<Shared>, body: String) -> Response {
    let Ok(event) = serde_json::from_str::<Value>(&body) else {
        return failed(StatusCode::BAD_REQUEST, "BadRequest");
    };
    open(&store).events.push(event);
    (StatusCode::CREATED, body).into_response()
}

async fn look(State(store): State<Shared>) -> Response {
    let lease = open(&store).lease.clone();
    lease.map_or_else(
        || failed(StatusCode::NOT_FOUND, "NotFound"),
        |lease| lease.to_string().into_response(),
    )
}

async fn create(State(store): State<Shared>, body: String) -> Response {
    let mut store = open(&store);
    match serde_json::from_str(&body) {
        Ok(_) if store.lease.is_some() => failed(StatusCode::CONFLICT, "AlreadyExists"),
        Ok(lease) => store.put(lease),
        Err(_) => failed(StatusCode::BAD_REQUEST, "BadRequest"),
    }
}

async fn replace(State(store): State<Shared>, body: String) -> Response {
    let mut store = open(&store);
    let Ok(lease) = serde_json::from_str::<Value>(&body) else {
        return failed(StatusCode::BAD_REQUEST, "BadRequest");
    };
    let version = lease.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    if version != Some(store.version.to_string().as_str()) {
        return failed(StatusCode::CONFLICT, "Conflict");
    }
    store.put(lease)
}
