//! What the scheduler gets for good questions.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::bed::{Bed, node_network, pod, reply, request, until};

#[tokio::test(flavor = "multi_thread")]
async fn filter_prioritize_and_preempt_speak_the_protocol() {
    let bed = Bed::new(&[node_network("n1", 4, 0), node_network("n2", 0, 1)]).await;
    let answer = bed.filter(&pod("a"), &["n1", "n2"]).await;
    let wanted = json!({
        "Nodes": null, "NodeNames": ["n1"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": "",
    });
    assert_eq!(answer, wanted);
    let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1", "n2", "stranger"]});
    let scores = bed.post("/prioritize", &args.to_string()).await.json();
    let wanted = json!([
        {"Host": "n1", "Score": 10}, {"Host": "n2", "Score": 0}, {"Host": "stranger", "Score": 5},
    ]);
    assert_eq!(scores, wanted);

    let mut needy = pod("b");
    needy["spec"]["containers"][0]["resources"] = json!({"limits": {"aliyun/eni": "2"}});
    let refused = bed.filter(&needy, &["n1", "n2"]).await;
    let texts = refused["FailedAndUnresolvableNodes"].as_object().unwrap();
    assert_eq!((texts.len(), &refused["NodeNames"]), (2, &json!([])));
    assert_eq!(texts["n1"], texts["n2"], "one text for all nodes");

    let map = json!({"n1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 1}});
    let args = json!({"Pod": needy, "NodeNameToVictims": null, "NodeNameToMetaVictims": map});
    let kept = bed.post("/preempt", &args.to_string()).await.json();
    assert_eq!(kept, json!({"NodeNameToMetaVictims": {}}), "the victim frees no ENI");
    let args = json!({"Pod": pod("c"), "NodeNameToMetaVictims": map});
    let kept = bed.post("/preempt", &args.to_string()).await.json();
    assert_eq!(kept, json!({"NodeNameToMetaVictims": map}));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_questions() {
    let bed = Bed::new(&[node_network("n1", 4, 0)]).await;
    let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
    for _ in 0..200 {
        let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
        for verb in ["/filter", "/prioritize"] {
            stream.write_all(&request("POST", verb, &args)).await.unwrap();
            assert_eq!(reply(&mut stream).await.unwrap().status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pod_is_woken_when_an_address_comes_free() {
    let bed = Bed::new(&[node_network("n1", 1, 0)]).await;
    let mut first = pod("first");
    first["spec"]["nodeName"] = json!("n1");
    bed.api.put("pods", first.clone(), false);
    bed.api.put("pods", pod("waits"), false);
    until("the node is full", || async {
        bed.filter(&pod("waits"), &["n1"]).await["NodeNames"] == json!([])
    })
    .await;
    assert!(bed.api.calls.lock().unwrap().is_empty(), "nobody is woken in vain");
    bed.api.put("pods", first, true);
    until("the pod is woken", || async { !bed.api.calls.lock().unwrap().is_empty() }).await;
    let calls = bed.api.calls.lock().unwrap().clone();
    assert_eq!(calls[0].0, "PATCH waits");
    assert_eq!(calls[0].1["metadata"]["uid"], "uid-waits");
    assert!(calls[0].1["metadata"]["annotations"]["tideway.dev/wake"].is_string());
}

/// A pod that was refused on a hundred full nodes, and woken for an address on another one; and the calls for it.
async fn where_room_is_elsewhere(nominations: bool) -> (Bed, Vec<(String, Value)>) {
    let full: Vec<String> = (0..100).map(|i| format!("full{i}")).collect();
    let nodes = full.iter().map(|name| node_network(name, 0, 0));
    let nodes: Vec<Value> = nodes.chain([node_network("room", 1, 0)]).collect();
    let bed = Bed::new(&nodes).await;
    bed.api.nominations.send_replace(nominations);
    let waits = pod("waits");
    bed.api.put("pods", waits.clone(), false);
    let sample: Vec<&str> = full.iter().map(String::as_str).collect();
    assert_eq!(bed.filter(&waits, &sample).await["NodeNames"], json!([]));
    let woken = || bed.api.pod("waits").unwrap()["metadata"]["annotations"].is_object();
    until("it is woken", || async { woken() }).await;
    let calls = bed.api.calls.lock().unwrap().clone();
    (bed, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_room_is_elsewhere_is_woken_and_nominated_in_one_write() {
    let (bed, calls) = where_room_is_elsewhere(true).await;
    assert_eq!(calls[0].0, "NOMINATE waits");
    assert_eq!(calls[0].1["metadata"]["uid"], "uid-waits");
    assert_eq!(calls[0].1["status"], json!({"nominatedNodeName": "room"}));
    let waits = bed.api.pod("waits").unwrap();
    assert_eq!(bed.filter(&pod("other"), &["room"]).await["NodeNames"], json!([]), "it is held");
    assert_eq!(bed.filter(&waits, &["room"]).await["NodeNames"], json!(["room"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_nominate_a_pod_is_woken_all_the_same() {
    let (bed, calls) = where_room_is_elsewhere(false).await;
    let calls: Vec<&str> = calls.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(calls, ["NOMINATE waits", "PATCH waits"]);
    let answer = bed.filter(&pod("other"), &["room"]).await;
    assert_eq!(answer["NodeNames"], json!(["room"]), "nothing is held for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pod_that_is_gone_is_woken_once_and_then_forgotten() {
    let bed = Bed::new(&[node_network("n1", 1, 0)]).await;
    let mut first = pod("first");
    first["spec"]["nodeName"] = json!("n1");
    bed.api.put("pods", first.clone(), false);
    until("the node is full", || async {
        bed.filter(&pod("never-seen"), &["n1"]).await["NodeNames"] == json!([])
    })
    .await;
    let refused = |count: u32| format!(r#"tideway_extender_books{{of="refused"}} {count}"#);
    until("it waits", || async { exchange_text(&bed).await.contains(&refused(1)) }).await;
    bed.api.put("pods", first, true);
    until("it is forgotten", || async { exchange_text(&bed).await.contains(&refused(0)) }).await;
    let calls: Vec<String> =
        bed.api.calls.lock().unwrap().iter().map(|(what, _)| what.clone()).collect();
    assert_eq!(calls, ["PATCH never-seen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_and_health_are_shown_and_the_program_stops() {
    let bed = Bed::new(&[node_network("n1", 1, 0)]).await;
    bed.filter(&pod("a"), &["n1"]).await;
    assert_eq!(bed.get("/healthz").await.status, 200);
    let figures = exchange_text(&bed).await;
    assert!(
        figures.contains(r#"tideway_extender_requests_total{verb="filter",outcome="ok"} 1"#),
        "{figures}"
    );
    bed.cancel.cancel();
    until("it stops listening", || async { TcpStream::connect(bed.running.listen).await.is_err() })
        .await;
}

async fn exchange_text(bed: &Bed) -> String {
    bed.get("/metrics").await.body
}
