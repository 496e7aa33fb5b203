//! An API server with what the extender asks for: lists, watches, one pod, bindings, patches. Plain HTTP on loopback.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How the server treats a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binds {
    /// It binds.
    Work,
    /// It binds and answers with an internal error.
    LoseAnswer,
    /// It does not bind, and says so.
    Refuse,
}

#[derive(Debug)]
pub(crate) struct Api {
    version: Mutex<u64>,
    objects: Mutex<BTreeMap<&'static str, BTreeMap<String, Value>>>,
    /// Version, kind, event.
    log: watch::Sender<Vec<(u64, &'static str, Value)>>,
    pub(crate) binds: watch::Sender<Binds>,
    /// Lists are answered.
    pub(crate) lists: watch::Sender<bool>,
    /// The status of pods may be patched.
    pub(crate) nominations: watch::Sender<bool>,
    pub(crate) calls: Mutex<Vec<(String, Value)>>,
}

const PATHS: [(&str, &str); 4] = [
    ("nodenetworks", "/apis/tideway.dev/v1alpha1/nodenetworks"),
    ("nodes", "/api/v1/nodes"),
    ("pods", "/api/v1/pods"),
    ("persistentvolumeclaims", "/api/v1/persistentvolumeclaims"),
];

impl Api {
    pub(crate) async fn start() -> (Arc<Self>, std::net::SocketAddr) {
        let api = Arc::new(Self {
            version: Mutex::new(10),
            objects: Mutex::default(),
            log: watch::channel(Vec::new()).0,
            binds: watch::channel(Binds::Work).0,
            lists: watch::channel(true).0,
            nominations: watch::channel(true).0,
            calls: Mutex::default(),
        });
        let mut app = Router::new();
        for (_, path) in PATHS {
            app = app.route(path, get(list));
        }
        let app = app
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(one).patch(change))
            .route("/api/v1/namespaces/{namespace}/pods/{name}/status", patch(nominate))
            .route("/api/v1/namespaces/{namespace}/pods/{name}/binding", post(bind))
            .with_state(Arc::clone(&api));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (api, address)
    }

    /// Creates or changes an object; `gone` deletes it.
    pub(crate) fn put(&self, kind: &'static str, mut object: Value, gone: bool) {
        let mut version = self.version.lock().unwrap();
        *version += 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut objects = self.objects.lock().unwrap();
        let all = objects.entry(kind).or_default();
        let before = if gone { all.remove(&name) } else { all.insert(name, object.clone()) };
        let what = match (before, gone) {
            (_, true) => "DELETED",
            (Some(_), false) => "MODIFIED",
            (None, false) => "ADDED",
        };
        let event = json!({"type": what, "object": object});
        self.log.send_modify(|log| log.push((*version, kind, event)));
    }

    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        self.objects.lock().unwrap().get("pods").and_then(|all| all.get(name)).cloned()
    }
}

async fn list(
    State(api): State<Arc<Api>>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let (kind, _) = PATHS.iter().find(|(_, path)| *path == uri.path()).unwrap();
    if query.contains_key("watch") {
        let from = query["resourceVersion"].parse().unwrap();
        return Body::from_stream(events(api.log.subscribe(), kind, from)).into_response();
    }
    api.lists.subscribe().wait_for(|open| *open).await.unwrap();
    let version = api.version.lock().unwrap();
    let objects = api.objects.lock().unwrap();
    let items: Vec<&Value> = objects.get(kind).into_iter().flat_map(BTreeMap::values).collect();
    let version = version.to_string();
    json!({"kind": "List", "metadata": {"resourceVersion": version}, "items": items})
        .to_string()
        .into_response()
}

/// Every event of a kind after a version.
fn events(
    log: watch::Receiver<Vec<(u64, &'static str, Value)>>,
    kind: &'static str,
    from: u64,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::unfold((log, from), move |(mut log, seen)| async move {
        loop {
            let next =
                log.borrow_and_update().iter().find(|(v, k, _)| *v > seen && *k == kind).cloned();
            if let Some((version, _, event)) = next {
                return Some((Ok(Bytes::from(format!("{event}\n"))), (log, version)));
            }
            log.changed().await.ok()?;
        }
    })
}

fn status(code: u16, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{reason}, says the test"), "reason": reason, "code": code,
    });
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}

async fn one(State(api): State<Arc<Api>>, Path((_, name)): Path<(String, String)>) -> Response {
    api.pod(&name).map_or_else(|| status(404, "NotFound"), |pod| pod.to_string().into_response())
}

async fn change(
    State(api): State<Arc<Api>>,
    method: Method,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    api.calls.lock().unwrap().push((format!("{method} {name}"), patch.clone()));
    let Some(mut pod) = api.pod(&name) else { return status(404, "NotFound") };
    pod["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
    api.put("pods", pod.clone(), false);
    pod.to_string().into_response()
}

async fn nominate(
    State(api): State<Arc<Api>>,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    api.calls.lock().unwrap().push((format!("NOMINATE {name}"), patch.clone()));
    if !*api.nominations.borrow() {
        return status(403, "Forbidden");
    }
    let Some(mut pod) = api.pod(&name) else { return status(404, "NotFound") };
    pod["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
    pod["status"]["nominatedNodeName"] = patch["status"]["nominatedNodeName"].clone();
    api.put("pods", pod.clone(), false);
    pod.to_string().into_response()
}

async fn bind(
    State(api): State<Arc<Api>>,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let binding: Value = serde_json::from_slice(&body).unwrap();
    api.calls.lock().unwrap().push((format!("BIND {name}"), binding.clone()));
    let binds = *api.binds.borrow();
    if binds == Binds::Refuse {
        return status(403, "Forbidden");
    }
    let Some(mut pod) = api.pod(&name) else { return status(404, "NotFound") };
    if pod["metadata"]["uid"] != binding["metadata"]["uid"] || !pod["spec"]["nodeName"].is_null() {
        return status(409, "Conflict");
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    api.put("pods", pod, false);
    if binds == Binds::LoseAnswer {
        return status(500, "InternalError");
    }
    (StatusCode::CREATED, json!({"kind": "Status", "status": "Success", "code": 201}).to_string())
        .into_response()
}
