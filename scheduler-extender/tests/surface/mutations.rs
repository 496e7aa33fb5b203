//! Requests with bytes changed at random: always an answer, never a panic, and the next question is answered as well.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::bed::{Bed, node_network, pod, reply, request};

/// Where, and what: a byte, or the end.
type Change = (prop::sample::Index, Option<u8>);

fn changed(body: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = body.as_bytes().to_vec();
    for (at, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match byte {
            Some(byte) => bytes[at] = *byte,
            None => bytes.truncate(at),
        }
    }
    bytes
}

fn verbs() -> Vec<(&'static str, String)> {
    let mut full = pod("p");
    full["spec"]["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}});
    full["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
    full["spec"]["initContainers"] =
        json!([{"restartPolicy": "Always", "resources": {"limits": {"aliyun/eni": "1"}}}]);
    full["status"] = json!({"phase": "Pending", "nominatedNodeName": "n1", "conditions": [{"type": "PodScheduled", "status": "False"}]});
    let args = json!({"Pod": full, "Nodes": null, "NodeNames": ["n1", "n2"]}).to_string();
    let victims = json!({"n1": {"Pods": [{"UID": "u"}], "NumPDBViolations": 0}});
    let preempt = json!({"Pod": full, "NodeNameToVictims": null, "NodeNameToMetaVictims": victims});
    let bind = json!({"PodName": "p", "PodNamespace": "default", "PodUID": "u", "Node": "n1"});
    vec![
        ("/filter", args.clone()),
        ("/prioritize", args),
        ("/preempt", preempt.to_string()),
        ("/bind", bind.to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_changed_bytes_is_always_answered() {
    let bed = Arc::new(Bed::with("mode: strict", &[node_network("n1", 4, 1)]).await);
    let runtime = tokio::runtime::Handle::current();
    let work = Arc::clone(&bed);
    let all = tokio::task::spawn_blocking(move || {
        let stream: Mutex<Option<TcpStream>> = Mutex::new(None);
        let strategy = (0..4_usize, prop::collection::vec(any::<Change>(), 1..4));
        let mut runner = TestRunner::new(Config { cases: 2000, ..Config::default() });
        runner.run(&strategy, |(verb, changes)| {
            let (path, body) = verbs().swap_remove(verb);
            let body = changed(&body, &changes);
            let mut bytes = request("POST", path, "");
            bytes.truncate(bytes.len() - 4);
            let text = String::from_utf8(bytes).unwrap();
            let head =
                text.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
            let answer = runtime.block_on(async {
                let kept = stream.lock().unwrap().take();
                let mut open = match kept {
                    Some(stream) => stream,
                    None => TcpStream::connect(work.running.listen).await.unwrap(),
                };
                let whole = [format!("{head}\r\n\r\n").as_bytes(), &body].concat();
                open.write_all(&whole).await.unwrap();
                let answer = reply(&mut open).await;
                *stream.lock().unwrap() = Some(open);
                answer
            });
            let Some(answer) = answer else {
                return Err(TestCaseError::fail("the connection was closed"));
            };
            prop_assert!([200, 400].contains(&answer.status), "{:?}", answer);
            if answer.status == 400 {
                answer.error();
            }
            Ok(())
        })
    });
    all.await.unwrap().unwrap();
    assert_eq!(bed.filter(&pod("well"), &["n1"]).await["NodeNames"], json!(["n1"]));
}
