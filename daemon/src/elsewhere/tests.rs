use super::*;
use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tideway_model::{LeaseTerms, PodAddresses, UnixMillis};
use tideway_testkit::api_server::{refusal, serve};

fn lease(name: &str, claimed: bool) -> LeaseBook {
    LeaseBook {
        pod: PodKey::new("ns", name).unwrap(),
        eni: None,
        addresses: PodAddresses::from_ips(["10.0.0.5".parse().unwrap()]),
        terms: LeaseTerms::default(),
        until: (!claimed).then_some(UnixMillis(1)),
    }
}

fn pod(uid: &str, node: Option<&str>) -> ClusterPod {
    ClusterPod { uid: uid.into(), node: node.map(str::to_owned), ..ClusterPod::default() }
}

#[test]
fn a_pod_off_its_leases_node_is_told_once_and_its_successor_again() {
    let mut rounds = Rounds::default();
    let asked = rounds.next(&[lease("db-0", false), lease("db-1", true)]);
    let key = &asked.first().unwrap().pod;
    assert_eq!((asked.len(), key.name.as_str()), (1, "db-0"), "a claimed one is here");
    assert!(!rounds.is_news(key, &pod("u1", None), "n1"), "not placed yet");
    assert!(!rounds.is_news(key, &pod("u1", Some("n1")), "n1"), "about to claim it");
    assert!(rounds.is_news(key, &pod("u1", Some("n2")), "n1"));
    rounds.said(key, "u1".into());
    assert!(!rounds.is_news(key, &pod("u1", Some("n2")), "n1"));
    assert!(rounds.is_news(key, &pod("u2", Some("n2")), "n1"));
    let text = notice(&lease("db-0", false), &pod("u2", Some("n2")), "n1").unwrap().message;
    assert!(text.starts_with("10.0.0.5 is leased to this pod on node n1"), "{text}");
}

#[test]
fn many_leases_that_wait_are_asked_for_a_few_at_a_time_and_all_in_turn() {
    let mut rounds = Rounds::default();
    let all: Vec<_> = (0..40).map(|n| lease(&format!("db-{n:02}"), false)).collect();
    let mut seen = BTreeSet::new();
    for _round in 0..3 {
        let asked = rounds.next(&all);
        assert!(asked.len() <= MOST);
        seen.extend(asked.into_iter().map(|l| l.pod));
    }
    assert_eq!(seen.len(), all.len());
    rounds.next(&[]);
    assert!(rounds.pods.is_empty(), "what is no lease any more is forgotten");
}

/// Pods `db-0` on n1 and `db-1` on n2, and no others.
async fn show(Path(name): Path<String>) -> Response {
    let node = match name.as_str() {
        "db-0" => "n1",
        "db-1" => "n2",
        _ => return refusal(StatusCode::NOT_FOUND, "NotFound"),
    };
    let metadata = json!({"namespace": "ns", "name": name, "uid": format!("u-{name}")});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}});
    pod.to_string().into_response()
}

/// The events that came.
type Events = Arc<Mutex<Vec<Value>>>;

async fn take(State(events): State<Events>, body: String) -> Response {
    events.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    (StatusCode::CREATED, body).into_response()
}

#[tokio::test]
async fn the_pod_whose_lease_is_here_and_which_is_not_gets_one_event() {
    let events = Events::default();
    let routes = Router::new()
        .route("/api/v1/namespaces/ns/pods/{name}", get(show))
        .route("/api/v1/namespaces/ns/events", post(take))
        .with_state(Arc::clone(&events));
    let kubeconfig = serve(routes).await.unwrap();
    let kube = KubeConfig { kubeconfig: Some(kubeconfig.path()), node: "n1".into() };
    let (mut rounds, mut writer) = (Rounds::default(), NoticeWriter::new(kube.clone()));
    let leases = ["db-0", "db-1", "db-2"].map(|name| lease(name, false));
    for _again in 0..2 {
        let asked = rounds.next(&leases);
        round(&kube, &mut rounds, &mut writer, asked).await.unwrap();
    }
    let events = events.lock().unwrap();
    let [event] = events.as_slice() else { panic!("{events:?}") };
    let about = ["/involvedObject/name", "/involvedObject/uid", "/reason", "/type"];
    let about = about.map(|part| event.pointer(part).and_then(Value::as_str));
    let expected = ["db-1", "u-db-1", "LeasedAddressOnOtherNode", "Normal"];
    assert_eq!(about, expected.map(Some));
}
