//! Questions for `StatefulSet`s to an API server that has them, has them no more, or refuses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tideway_kubeapi::{KubeConfig, stateful_sets};
use tideway_testkit::api_server::{Kubeconfig, refusal, serve};

async fn set(Path((namespace, name)): Path<(String, String)>) -> Response {
    let spec = match name.as_str() {
        "db" => json!({"replicas": 2}),
        "moved" => json!({"replicas": 2, "ordinals": {"start": 5}}),
        "asleep" => json!({"replicas": 0}),
        "secret" => return refusal(StatusCode::FORBIDDEN, "Forbidden"),
        _ => return refusal(StatusCode::NOT_FOUND, "NotFound"),
    };
    let spec = merged(spec);
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
    .to_string()
    .into_response()
}

fn merged(mut spec: serde_json::Value) -> serde_json::Value {
    let needed = json!({"selector": {}, "template": {}, "serviceName": "x"});
    if let (Some(spec), Some(needed)) = (spec.as_object_mut(), needed.as_object()) {
        spec.extend(needed.clone());
    }
    spec
}

async fn server() -> Kubeconfig {
    let path = "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}";
    serve(Router::new().route(path, get(set))).await.unwrap()
}

fn config(kubeconfig: &Kubeconfig) -> KubeConfig {
    KubeConfig { kubeconfig: Some(kubeconfig.path()), node: "node-1".into() }
}

fn names(all: &[&str]) -> BTreeSet<(String, String)> {
    all.iter().map(|name| ("ns".to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn which_pods_are_to_exist_follows_from_replicas_and_first_ordinal() {
    let kubeconfig = server().await;
    let config = config(&kubeconfig);
    let found = stateful_sets(&config, &names(&["db", "moved", "asleep", "gone"])).await.unwrap();
    let has = |set: &str, pod: &str| {
        found[&("ns".into(), set.into())].map(|ordinals| ordinals.have(set, pod))
    };
    assert_eq!((has("db", "db-1"), has("db", "db-2")), (Some(true), Some(false)));
    assert_eq!((has("moved", "moved-5"), has("moved", "moved-0")), (Some(true), Some(false)));
    assert_eq!(has("asleep", "asleep-0"), Some(false));
    assert_eq!(has("gone", "gone-0"), None);
    assert_eq!(has("db", "db"), Some(false));
}

#[tokio::test]
async fn a_refusal_is_not_taken_for_a_workload_that_is_gone() {
    let kubeconfig = server().await;
    let config = config(&kubeconfig);
    match stateful_sets(&config, &names(&["secret"])).await {
        Err(text) => assert!(text.contains("manifests/rbac.yaml"), "{text}"),
        Ok(found) => panic!("{found:?}"),
    }
    let nobody = KubeConfig { kubeconfig: Some("/nowhere".into()), ..config };
    stateful_sets(&nobody, &names(&["gone"])).await.unwrap_err();
}
