//! What must be answered with a clear error, bounded memory and no panic.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Bed, exchange, node_network, pod, reply, request};

async fn bed() -> Bed {
    Bed::new(&[node_network("n1", 4, 0)]).await
}

/// It still answers good questions.
async fn is_well(bed: &Bed) {
    let answer = bed.filter(&pod("well"), &["n1"]).await;
    assert_eq!(answer["NodeNames"], json!(["n1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_are_refused_with_a_text_that_names_the_place() {
    let bed = bed().await;
    let good = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    let deep = format!(
        r#"{{"Pod":{{"x":{}{},"metadata":{{"name":"a","namespace":"b","uid":"c"}}}},"NodeNames":["n1"]}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let deep_names = format!(r#"{{"Pod":{{}},"NodeNames":{}}}"#, "[".repeat(200_000));
    let deep_limits = format!(
        r#"{{"Pod":{{"spec":{{"containers":[{{"resources":{{"limits":{{"aliyun/eni":{}{}}}}}}}]}}}},"NodeNames":[]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000),
    );
    let cases = [
        ("empty", ""),
        ("cut", good.strip_suffix('}').expect("an object")),
        ("no object", "[]"),
        ("a word", "null"),
        ("keys in lower case", r#"{"pod":{},"nodeNames":["n1"]}"#),
        ("pod is null", r#"{"Pod":null,"NodeNames":["n1"]}"#),
        ("names are numbers", r#"{"Pod":{},"NodeNames":[1,2]}"#),
        ("names are a text", r#"{"Pod":{},"NodeNames":"n1"}"#),
        ("priority is a text", r#"{"Pod":{"spec":{"priority":"high"}},"NodeNames":["n1"]}"#),
        ("twice", r#"{"Pod":{},"Pod":{},"NodeNames":["n1"]}"#),
        ("more behind", r#"{"Pod":{},"NodeNames":["n1"]} x"#),
        ("no UTF-8 text", "{\"Pod\":{},\"NodeNames\":[\"\\ud800\"]}"),
        ("names nested deeply", &deep_names),
        ("limits nested deeply", &deep_limits),
    ];
    for (what, body) in cases {
        for verb in ["/filter", "/prioritize"] {
            let reply = bed.post(verb, body).await;
            // Prioritize reads no more of the pod than which one it is.
            if verb == "/filter" || !["priority is a text", "limits nested deeply"].contains(&what)
            {
                assert_eq!(reply.status, 400, "{what}: {reply:?}");
                let error = reply.error();
                assert!(error.contains("cannot be read"), "{what}: {error}");
            }
        }
    }
    let pod = pod("a");
    for victims in [
        r"[]",
        r#"{"n":{"Pods":[{}],"NumPDBViolations":0}}"#,
        r#"{"n":{"Pods":null}}"#,
        r#"{"n":{"pods":[{"UID":"u"}],"NumPDBViolations":0}}"#,
    ] {
        let body = format!(r#"{{"Pod":{pod},"NodeNameToMetaVictims":{victims}}}"#);
        let reply = bed.post("/preempt", &body).await;
        assert_eq!(reply.status, 400, "{body}: {reply:?}");
    }
    for body in ["{}".to_owned(), format!(r#"{{"Pod":{pod},"nodeNameToMetaVictims":{{}}}}"#)] {
        assert_eq!(bed.post("/preempt", &body).await.status, 400, "{body}");
    }
    // What nobody reads may be as deep as it likes.
    assert_eq!(bed.post("/filter", &deep).await.status, 200);
    is_well(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_the_wrong_case_are_not_taken_for_nothing() {
    let bed = bed().await;
    for verb in ["/filter", "/prioritize"] {
        let body = json!({"Pod": pod("a"), "Nodes": null, "nodeNames": ["n1"]}).to_string();
        let reply = bed.post(verb, &body).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.error().contains("NodeNames"), "{reply:?}");
    }
    is_well(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_told_from_others_is_refused() {
    let bed = bed().await;
    for (key, value) in [("uid", ""), ("name", ""), ("name", "a/../b"), ("namespace", "a?b")] {
        let mut pod = pod("a");
        pod["metadata"][key] = json!(value);
        let mut verbs = vec!["/filter", "/preempt"];
        verbs.extend((key == "uid").then_some("/prioritize"));
        for verb in verbs {
            let args = json!({"Pod": pod, "NodeNames": ["n1"], "NodeNameToMetaVictims": {}});
            let reply = bed.post(verb, &args.to_string()).await;
            assert_eq!(reply.status, 400, "{verb}: {reply:?}");
            assert!(reply.error().contains(&format!("metadata.{key}")), "{verb}: {reply:?}");
        }
    }
    is_well(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_nodes_are_refused_with_the_remedy() {
    let bed = bed().await;
    let args = json!({"Pod": pod("a"), "Nodes": {"items": []}, "NodeNames": null});
    for verb in ["/filter", "/prioritize"] {
        let reply = bed.post(verb, &args.to_string()).await;
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains("nodeCacheCapable: true"));
    }
    let whole = json!({"n1": {"Pods": [pod("v")]}});
    let args = json!({"Pod": pod("a"), "NodeNameToVictims": whole, "NodeNameToMetaVictims": null});
    assert!(
        bed.post("/preempt", &args.to_string()).await.error().contains("nodeCacheCapable: true")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn null_lists_strange_and_repeated_names_are_answered() {
    let bed = bed().await;
    let none = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": null}).to_string();
    assert_eq!(bed.post("/filter", &none).await.json()["NodeNames"], json!([]));
    assert_eq!(bed.post("/prioritize", &none).await.json(), json!([]));
    let args = json!({"Pod": pod("a"), "NodeNameToMetaVictims": null}).to_string();
    assert_eq!(bed.post("/preempt", &args).await.json(), json!({"NodeNameToMetaVictims": {}}));
    let long = "x".repeat(10_000);
    let answer = bed.filter(&pod("b"), &["n1", "n1", "never-seen", "", &long]).await;
    assert_eq!(answer["NodeNames"], json!(["n1", "never-seen", "", long]));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_verbs_and_methods_are_named() {
    let bed = bed().await;
    assert_eq!(bed.post("/filters", "{}").await.status, 404);
    assert_eq!(bed.post("/", "{}").await.status, 404);
    assert!(bed.post("/bind", "{}").await.error().contains("strict mode only"));
    for method in ["GET", "PUT", "DELETE"] {
        let reply = exchange(bed.running.listen, &request(method, "/filter", "")).await;
        assert_eq!(reply.status, 405, "{reply:?}");
        assert!(reply.head.to_lowercase().contains("allow: post"), "{reply:?}");
        reply.error();
    }
    is_well(&bed).await;
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_body_is_refused_before_it_is_read() {
    let bed = bed().await;
    let before = resident();
    let head =
        format!("POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{{", 50 << 20);
    let reply = exchange(bed.running.listen, head.as_bytes()).await;
    assert_eq!(reply.status, 413);
    assert!(reply.error().contains("nodeCacheCapable"));
    // The same without saying how much comes.
    let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
    stream
        .write_all(b"POST /filter HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..800 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    if let Some(reply) = crate::bed::reply(&mut stream).await {
        assert_eq!(reply.status, 413);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} KiB more");
    is_well(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_in_the_middle_are_ended_and_hold_up_nobody() {
    let bed = bed().await;
    let began = Instant::now();
    let mut slow = Vec::new();
    for bytes in [
        "POST /fil",
        "POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"Pod\":",
        "\r\n",
    ] {
        let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    is_well(&bed).await;
    for mut stream in slow {
        let mut rest = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a slow client is still served after {:?}", began.elapsed());
    }
    // One that trickles.
    let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
    let trickle = async {
        while stream.write_all(b"P").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), trickle)
        .await
        .expect("a client that trickles is ended");
    is_well(&bed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_early_takes_nothing_with_it() {
    let bed = bed().await;
    let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    for cut in [1, 20, 60, args.len()] {
        let bytes = request("POST", "/filter", &args);
        let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
        stream.write_all(&bytes[..cut.min(bytes.len())]).await.unwrap();
        drop(stream);
    }
    // It sends everything and closes its half: the answer still comes.
    let mut stream = TcpStream::connect(bed.running.listen).await.unwrap();
    stream.write_all(&request("POST", "/filter", &args)).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = reply(&mut stream).await.expect("an answer").json();
    assert_eq!(answer["NodeNames"], json!(["n1"]));
    is_well(&bed).await;
}
