//! From the start to the end: not ready before all caches are synced, a crowd of short connections, and a stop that lets an
//! open question be answered.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, node_network, pod, reply, until};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_it_is_ready_before_the_caches_are_synced() {
    let bed = Bed::start("", &[node_network("n1", 1, 0)], false).await;
    let unready = bed.get("/readyz").await;
    assert_eq!((unready.status, bed.get("/healthz").await.status), (503, 200), "{unready:?}");
    assert!(!unready.body.is_empty(), "it says why");
    let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    let early = bed.post("/filter", &args).await;
    assert_ne!(early.status, 200, "{early:?}");
    assert_eq!(bed.get("/readyz").await.status, 503);
    bed.api.lists.send_replace(true);
    until("ready", || async { bed.get("/readyz").await.status == 200 }).await;
    assert_eq!(bed.filter(&pod("a"), &["n1"]).await["NodeNames"], json!(["n1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_binds_with_a_connection_each_is_answered_and_each_pod_bound_once() {
    const PODS: usize = 300;
    let bed = Bed::with("mode: strict", &[node_network("n1", 300, 0)]).await;
    let names: Vec<String> = (0..PODS).map(|i| format!("p{i}")).collect();
    for name in &names {
        bed.api.put("pods", pod(name), false);
        assert_eq!(bed.filter(&pod(name), &["n1"]).await["NodeNames"], json!(["n1"]));
    }
    let bind = async |name: &String| {
        let uid = format!("uid-{name}");
        let args = json!({"PodName": name, "PodNamespace": "default", "PodUID": uid, "Node": "n1"});
        let answer = bed.post("/bind", &args.to_string()).await.json();
        answer["Error"].as_str().map(str::to_owned)
    };
    let answers = join_all(names.iter().map(bind)).await;
    let well = |answer: &&Option<String>| answer.as_deref() == Some("");
    assert_eq!(answers.iter().filter(well).count(), PODS, "{answers:?}");
    let calls = bed.api.calls.lock().unwrap();
    let bound: Vec<&String> =
        calls.iter().map(|(what, _)| what).filter(|w| w.starts_with("BIND")).collect();
    assert_eq!((bound.len(), bound.iter().collect::<BTreeSet<_>>().len()), (PODS, PODS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_an_open_question_be_answered() {
    let bed = Bed::new(&[node_network("n1", 1, 0)]).await;
    let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
    let head = format!(
        "POST /filter HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        args.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server says so when it begins to read the body: the question is open.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    bed.cancel.cancel();
    until("nobody is let in", || async { TcpStream::connect(bed.running.listen).await.is_err() })
        .await;
    stream.write_all(args.as_bytes()).await.unwrap();
    let answer = reply(&mut stream).await.unwrap();
    assert_eq!((answer.status, &answer.json()["NodeNames"]), (200, &json!(["n1"])));
    assert_eq!(stream.read(&mut go_on).await.unwrap(), 0, "the connection ends with it");
}
