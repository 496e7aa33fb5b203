//! ADD, CHECK, GC, STATUS and VERSION with a daemon that answers, refuses, is slow, or is away.

use serde_json::{Value, json};
use tideway_model::cni_code;
use tideway_testkit::{Fault, Verb};

use crate::runtime::{CONTAINER, Runtime, invoke};

#[test]
fn add_twice_gives_the_same_answer() {
    let Some(runtime) = Runtime::start("add_twice_gives_the_same_answer") else { return };
    let conf = runtime.conf("1.1.0");
    let first = runtime.verb("ADD", &conf).success();
    assert_eq!(first, runtime.verb("ADD", &conf).success());
    assert_eq!(runtime.node.attached().len(), 1);
}

#[test]
fn add_without_daemon_is_code_11_and_names_the_remedy() {
    let Some(mut runtime) = Runtime::start("add_without_daemon_is_code_11_and_names_the_remedy")
    else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    runtime.node.crash().unwrap();
    let text = runtime.verb("ADD", &conf).failure(11);
    assert!(text.contains("whether tidewayd runs"), "{text}");
    std::fs::remove_file(runtime.node.socket()).unwrap();
    runtime.verb("ADD", &conf).failure(11);
    let result = json!({"ips": [{"address": "10.64.0.10/32"}],
        "interfaces": [{"name": "eth0", "sandbox": runtime.netns.path_text()}]});
    runtime.verb("CHECK", &with_result(&conf, result)).failure(11);
    let newest = runtime.conf("1.1.0");
    runtime.verb("STATUS", &newest).failure(50);
    runtime.verb("GC", &with_valid(&newest, json!([]))).failure(11);
}

#[test]
fn what_the_daemon_refuses_reaches_the_runtime_word_by_word() {
    let Some(runtime) = Runtime::start("what_the_daemon_refuses_reaches_the_runtime_word_by_word")
    else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    runtime.node.fail(Verb::Add, Fault::try_later("vsw-1 is full", "add a vSwitch"));
    let text = runtime.verb("ADD", &conf).failure(11);
    assert!(text.contains("vsw-1 is full") && text.contains("add a vSwitch"), "{text}");
    runtime.node.fail(Verb::Add, Fault::Bare(tonic::Code::Unimplemented));
    runtime.verb("ADD", &conf).failure(cni_code::DAEMON);
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn add_gives_up_when_the_daemon_hangs() {
    let Some(runtime) = Runtime::start("add_gives_up_when_the_daemon_hangs") else { return };
    let mut conf = runtime.conf("1.0.0");
    conf["addTimeoutSeconds"] = 0.into();
    runtime.node.delay(Verb::Add, std::time::Duration::from_mins(10));
    let text = runtime.verb("ADD", &conf).failure(11);
    assert!(text.contains("did not answer within 10 s"), "{text}");
}

#[test]
fn bandwidth_keys_are_read_in_both_spellings_and_may_be_null() {
    let Some(runtime) = Runtime::start("bandwidth_keys_are_read_in_both_spellings_and_may_be_null")
    else {
        return;
    };
    for (bandwidth, expected) in [
        (json!({"IngressRate": 1000, "EgressRate": 2000}), Some((1000, 2000))),
        (json!({"ingressRate": 1000, "egressRate": 2000}), Some((1000, 2000))),
        (json!({"IngressRate": 1000, "EgressRate": null}), Some((1000, 0))),
        (json!({}), None),
        (Value::Null, None),
    ] {
        let mut conf = runtime.conf("1.0.0");
        conf["runtimeConfig"] = json!({"bandwidth": bandwidth, "portMappings": null,
            "io.kubernetes.cri.pod-annotations": null, "dns": {"Servers": null}});
        runtime.verb("ADD", &conf).success();
        let request = runtime.node.request_of(CONTAINER, "eth0").unwrap();
        let rates = request.bandwidth.map(|it| (it.ingress_rate, it.egress_rate));
        assert_eq!(rates, expected);
        runtime.verb("DEL", &conf).success();
    }
}

fn with_result(conf: &Value, result: Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = result;
    conf
}

fn with_valid(conf: &Value, valid: Value) -> Value {
    let mut conf = conf.clone();
    conf["cni.dev/valid-attachments"] = valid;
    conf
}

#[test]
fn check_tells_what_the_daemon_finds() {
    let Some(runtime) = Runtime::start("check_tells_what_the_daemon_finds") else { return };
    let conf = runtime.conf("0.4.0");
    runtime.verb("CHECK", &conf).failure(7);
    let result = runtime.verb("ADD", &conf).success();
    let conf = with_result(&conf, result);
    runtime.verb("CHECK", &conf).success();
    runtime.node.set_finding("route 10.64.0.10/32 is missing");
    let text = runtime.verb("CHECK", &conf).failure(cni_code::CHECK_FAILED);
    assert!(text.contains("route 10.64.0.10/32 is missing"), "{text}");
}

#[test]
fn check_refuses_a_result_that_is_not_the_containers() {
    let Some(runtime) = Runtime::start("check_refuses_a_result_that_is_not_the_containers") else {
        return;
    };
    let conf = runtime.conf("1.0.0");
    let result = runtime.verb("ADD", &conf).success();
    for (pointer, value) in [
        ("/interfaces", json!([])),
        ("/interfaces/1/name", json!("eth7")),
        ("/interfaces/1/sandbox", json!("/run/netns/other")),
        ("/ips", json!([])),
        ("/ips/0/address", json!("no address")),
    ] {
        let mut wrong = result.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        runtime.verb("CHECK", &with_result(&conf, wrong)).failure(7);
    }
}

#[test]
fn verbs_that_a_version_does_not_have_are_code_1() {
    let Some(runtime) = Runtime::start("verbs_that_a_version_does_not_have_are_code_1") else {
        return;
    };
    runtime.verb("CHECK", &runtime.conf("0.3.1")).failure(1);
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        runtime.verb("GC", &with_valid(&runtime.conf(version), json!([]))).failure(1);
        runtime.verb("STATUS", &runtime.conf(version)).failure(1);
    }
}

#[test]
fn gc_keeps_the_living_and_refuses_a_missing_list() {
    let Some(runtime) = Runtime::start("gc_keeps_the_living_and_refuses_a_missing_list") else {
        return;
    };
    let conf = runtime.conf("1.1.0");
    let mut other = runtime.env("ADD");
    other.insert("CNI_CONTAINERID".into(), "dead".into());
    invoke(&other, conf.to_string().as_bytes()).success();
    runtime.verb("ADD", &conf).success();
    runtime.verb("GC", &conf).failure(7);
    runtime
        .verb("GC", &with_valid(&conf, json!([{"containerID": "../x", "ifname": "eth0"}])))
        .failure(7);
    assert_eq!(runtime.node.attached().len(), 2, "a list that cannot be read freed something");
    let living = json!([{"containerID": CONTAINER, "ifname": "eth0"}]);
    runtime.verb("GC", &with_valid(&conf, living.clone())).success();
    assert_eq!(runtime.node.attached(), [(CONTAINER.to_owned(), "eth0".to_owned())]);
    let mut old_key = conf.clone();
    old_key["cni.dev/attachments"] = living;
    runtime.verb("GC", &old_key).success();
    assert_eq!(runtime.node.attached().len(), 1);
    // Go writes an empty list as null.
    runtime.verb("GC", &with_valid(&conf, Value::Null)).success();
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn version_answers_without_daemon_and_without_configuration() {
    let env = [("CNI_COMMAND".to_owned(), "VERSION".to_owned())].into();
    for (stdin, version) in [
        ("", "1.1.0"),
        ("{\"cniVersion\":\"0.4.0\"}", "0.4.0"),
        ("{\"cniVersion\":\"7\"}", "1.1.0"),
    ] {
        let answer = invoke(&env, stdin.as_bytes()).success();
        assert_eq!(answer["cniVersion"], version);
        assert_eq!(answer["supportedVersions"], json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    }
}
