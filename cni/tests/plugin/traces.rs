//! What containerd 1.6 and 2.1 really sent: recorded with another plugin, replayed against ours.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::runtime::{Runtime, invoke};

fn calls(text: &str) -> Vec<(BTreeMap<String, String>, Value)> {
    text.lines()
        .map(|line| {
            let call: Value = serde_json::from_str(line).unwrap();
            let env = serde_json::from_value(call["env"].clone()).unwrap();
            let stdin = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
            (env, stdin)
        })
        .collect()
}

/// Replays a trace with our socket and namespace in place of the recorded ones; port mappings have tests of their own.
fn replay(test: &str, trace: &str, version: &str) {
    let Some(runtime) = Runtime::start(test) else { return };
    let mut verbs = Vec::new();
    for (mut env, mut stdin) in calls(trace) {
        let verb = env["CNI_COMMAND"].clone();
        if !env["CNI_NETNS"].is_empty() {
            env.insert("CNI_NETNS".into(), runtime.netns.path_text());
        }
        stdin["socket"] = runtime.conf(version)["socket"].clone();
        stdin["tickets"] = json!(runtime.tickets());
        if let Some(passed) = stdin.get_mut("runtimeConfig") {
            passed["portMappings"] = Value::Null;
        }
        let answer = invoke(&env, stdin.to_string().as_bytes());
        let result = answer.success();
        if verb == "ADD" {
            assert_eq!(result["cniVersion"], version);
            assert_eq!(result["interfaces"][1]["name"], "eth0");
            assert_eq!(result["interfaces"][1]["sandbox"], runtime.netns.path_text());
            let request = runtime.node.request_of(&env["CNI_CONTAINERID"], "eth0").unwrap();
            let pod = request.pod.unwrap();
            assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("default", "p1", "u1"));
            let bandwidth = request.bandwidth.unwrap();
            assert_eq!((bandwidth.ingress_rate, bandwidth.egress_rate), (20_000_000, 10_000_000));
            assert_eq!(bandwidth.ingress_burst, 4_294_967_295);
            assert_eq!(request.annotations["k8s.aliyun.com/egress-bandwidth"], "10M");
        } else {
            assert_eq!(result, Value::Null, "{verb} must print nothing");
            assert!(runtime.node.attached().is_empty() || verb == "STATUS");
        }
        verbs.push(verb);
    }
    assert_eq!(verbs.iter().filter(|verb| *verb == "DEL").count(), 2, "{verbs:?}");
    assert!(runtime.ticket_files().is_empty());
}

#[test]
fn containerd_1_6_adds_once_and_deletes_twice() {
    replay(
        "containerd_1_6_adds_once_and_deletes_twice",
        include_str!("../traces/containerd-1.6.jsonl"),
        "1.0.0",
    );
}

#[test]
fn containerd_2_1_asks_for_status_adds_once_and_deletes_twice() {
    replay(
        "containerd_2_1_asks_for_status_adds_once_and_deletes_twice",
        include_str!("../traces/containerd-2.1.jsonl"),
        "1.1.0",
    );
}
