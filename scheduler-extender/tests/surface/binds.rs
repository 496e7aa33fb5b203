//! Bind in strict mode, in front of an API server that loses answers.

use serde_json::{Value, json};

use crate::api::Binds;
use crate::bed::{Bed, node_network, pod, until};

async fn bed() -> Bed {
    Bed::with("mode: strict", &[node_network("n1", 1, 0), node_network("n2", 1, 0)]).await
}

fn binding(name: &str, node: &str) -> String {
    let uid = format!("uid-{name}");
    json!({"PodName": name, "PodNamespace": "default", "PodUID": uid, "Node": node}).to_string()
}

async fn bind(bed: &Bed, name: &str, node: &str) -> String {
    let reply = bed.post("/bind", &binding(name, node)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["Error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_bound_once_however_often_it_is_asked() {
    let bed = bed().await;
    bed.api.put("pods", pod("a"), false);
    assert_eq!(bed.filter(&pod("a"), &["n1"]).await["NodeNames"], json!(["n1"]));
    assert_eq!(bind(&bed, "a", "n1").await, "");
    assert_eq!(bind(&bed, "a", "n1").await, "");
    assert_eq!(bed.api.pod("a").unwrap()["spec"]["nodeName"], "n1");
    assert_ne!(bind(&bed, "a", "n2").await, "", "it is on n1");
    let sent: Vec<Value> =
        bed.api.calls.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(sent[0]["metadata"]["uid"], "uid-a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_keeps_the_unit_and_a_look_decides() {
    let bed = bed().await;
    bed.api.put("pods", pod("a"), false);
    bed.filter(&pod("a"), &["n1"]).await;
    bed.api.binds.send_replace(Binds::LoseAnswer);
    assert!(bind(&bed, "a", "n1").await.contains("not known"));
    bed.api.binds.send_replace(Binds::Work);
    assert_eq!(bed.filter(&pod("b"), &["n1"]).await["NodeNames"], json!([]));
    assert_eq!(bind(&bed, "a", "n1").await, "", "asked again: it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_bind_gives_its_unit_back() {
    let bed = bed().await;
    bed.api.put("pods", pod("a"), false);
    bed.filter(&pod("a"), &["n1"]).await;
    bed.api.binds.send_replace(Binds::Refuse);
    assert!(bind(&bed, "a", "n1").await.contains("Forbidden"));
    assert_eq!(bed.filter(&pod("b"), &["n1"]).await["NodeNames"], json!(["n1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_never_seen_is_asked_for_first() {
    let bed = bed().await;
    assert!(bind(&bed, "ghost", "n1").await.contains("no such pod"));
    let mut other = pod("b");
    other["metadata"]["uid"] = json!("uid-of-another");
    bed.api.put("pods", other, false);
    assert!(bind(&bed, "b", "n1").await.contains("no such pod"), "its name belongs to another");
    bed.api.put("pods", pod("c"), false);
    assert_eq!(bind(&bed, "c", "n2").await, "");
    bed.api.put("pods", pod("d"), false);
    until("d is known", || async { bind(&bed, "d", "n2").await.contains("no free address") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_fit_into_no_path_are_refused() {
    let bed = bed().await;
    for (key, value) in
        [("PodName", "../x"), ("PodNamespace", ""), ("Node", "a/b"), ("PodUID", "\u{0}")]
    {
        let mut args: Value = serde_json::from_str(&binding("a", "n1")).unwrap();
        args[key] = json!(value);
        let reply = bed.post("/bind", &args.to_string()).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.error().contains(key), "{reply:?}");
    }
    assert_eq!(bed.post("/bind", r#"{"PodName":1}"#).await.status, 400);
    assert!(bed.api.calls.lock().unwrap().is_empty());
}
