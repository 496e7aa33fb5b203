//! Notices to an API server that takes them, has them already, or refuses.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use serde_json::{Value, json};
use tideway_kubeapi::{KubeConfig, Notice, NoticeWriter, Unwritten};
use tideway_model::{PodKey, PodRef};
use tideway_testkit::api_server::{Kubeconfig, refusal, serve, status};
use tokio::net::TcpListener;

/// Events by name.
type Events = Arc<Mutex<BTreeMap<String, Value>>>;

async fn create(
    State(events): State<Events>,
    Path(namespace): Path<String>,
    body: String,
) -> Response {
    match namespace.as_str() {
        "going" => {
            let mut status = status(StatusCode::FORBIDDEN, "Forbidden");
            status["details"] = json!({"causes": [{"reason": "NamespaceTerminating"}]});
            return (StatusCode::FORBIDDEN, status.to_string()).into_response();
        }
        "gone" => return refusal(StatusCode::NOT_FOUND, "NotFound"),
        "secret" => return refusal(StatusCode::FORBIDDEN, "Forbidden"),
        _ => {}
    }
    let event: Value = serde_json::from_str(&body).unwrap();
    let name = event["metadata"]["name"].as_str().unwrap().to_owned();
    let mut events = events.lock().unwrap();
    if events.contains_key(&name) {
        return refusal(StatusCode::CONFLICT, "AlreadyExists");
    }
    events.insert(name, event.clone());
    (StatusCode::CREATED, event.to_string()).into_response()
}

async fn renew(
    State(events): State<Events>,
    Path((_namespace, name)): Path<(String, String)>,
    body: String,
) -> Response {
    let change: Value = serde_json::from_str(&body).unwrap();
    let mut events = events.lock().unwrap();
    let event = events.get_mut(&name).unwrap();
    event.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    event.to_string().into_response()
}

async fn server(events: Events) -> Kubeconfig {
    let all = "/api/v1/namespaces/{namespace}/events";
    let routes = Router::new()
        .route(all, post(create))
        .route(&format!("{all}/{{name}}"), patch(renew))
        .with_state(events);
    serve(routes).await.unwrap()
}

fn writer(kubeconfig: &Kubeconfig) -> NoticeWriter {
    NoticeWriter::new(KubeConfig { kubeconfig: Some(kubeconfig.path()), node: "node-1".into() })
}

fn notice(namespace: &str, count: u32) -> Notice {
    let key = PodKey::new(namespace, "p").unwrap();
    Notice {
        pod: Some(PodRef { key, uid: Some("u1".try_into().unwrap()) }),
        warning: true,
        reason: "SubnetFull",
        message: format!("try {count}"),
        count,
    }
}

#[tokio::test]
async fn a_notice_that_is_repeated_also_by_a_new_daemon_makes_no_second_event() {
    let events = Events::default();
    let kubeconfig = server(Arc::clone(&events)).await;
    let mut first = writer(&kubeconfig);
    first.write(&notice("ns", 1)).await.unwrap();
    first.write(&notice("ns", 2)).await.unwrap();
    writer(&kubeconfig).write(&notice("ns", 7)).await.unwrap();
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events.values().next().unwrap();
    assert_eq!((event["count"].as_i64(), event["message"].as_str()), (Some(7), Some("try 7")));
    assert_eq!(event["reason"], "SubnetFull");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["source"], json!({"component": "tidewayd", "host": "node-1"}));
    let about =
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u1"});
    assert_eq!(event["involvedObject"], about);
}

#[tokio::test]
async fn a_namespace_that_goes_does_not_hold_up_what_is_said_of_other_pods() {
    let kubeconfig = server(Events::default()).await;
    let mut writer = writer(&kubeconfig);
    writer.write(&notice("going", 1)).await.unwrap();
    writer.write(&notice("gone", 1)).await.unwrap();
    match writer.write(&notice("secret", 1)).await {
        Err(Unwritten::Refused(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_not_taken_for_one_that_refuses() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubeconfig = Kubeconfig::to(nobody.local_addr().unwrap()).unwrap();
    let mut writer = writer(&kubeconfig);
    drop(nobody);
    match writer.write(&notice("ns", 1)).await {
        Err(Unwritten::Away(_)) => {}
        other => panic!("{other:?}"),
    }
}
