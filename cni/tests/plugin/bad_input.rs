//! Whatever a runtime, a person or a broken disk may send: a clear error with the right code, nothing taken.

use std::{fs::File, io};

use serde_json::{Value, json};

use crate::runtime::{Runtime, invoke, invoke_from};

#[test]
fn stdin_that_is_no_json_object_is_code_6() {
    let Some(runtime) = Runtime::start("stdin_that_is_no_json_object_is_code_6") else { return };
    let whole = runtime.conf("1.0.0").to_string();
    let truncated = &whole.as_bytes()[..whole.len() / 2];
    let deep = "[".repeat(100_000);
    for stdin in
        [b"".as_slice(), b"garbage", b"\xff\xfe\0", b"[]", b"null", truncated, deep.as_bytes()]
    {
        for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            invoke(&runtime.env(verb), stdin).failure(6);
        }
    }
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn huge_stdin_is_refused_without_being_kept_in_memory() {
    let Some(runtime) = Runtime::start("huge_stdin_is_refused_without_being_kept_in_memory") else {
        return;
    };
    let text = invoke_from(&runtime.env("ADD"), &mut io::repeat(b' ')).failure(6);
    assert!(text.contains("larger than 1048576 bytes"), "{text}");
    let mut padded = runtime.conf("1.0.0");
    padded["padding"] = "x".repeat(1024 * 1024).into();
    runtime.verb("ADD", &padded).failure(6);
}

#[test]
fn stdin_that_breaks_is_code_5() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the pipe broke"))
        }
    }
    let Some(runtime) = Runtime::start("stdin_that_breaks_is_code_5") else { return };
    let text = invoke_from(&runtime.env("ADD"), &mut Broken).failure(5);
    assert!(text.contains("the pipe broke"), "{text}");
}

#[test]
fn unknown_and_missing_versions_are_code_1() {
    let Some(runtime) = Runtime::start("unknown_and_missing_versions_are_code_1") else { return };
    for version in [json!("0.2.0"), json!("9.9.9"), json!(""), json!(1), Value::Null] {
        let mut conf = runtime.conf("1.0.0");
        conf["cniVersion"] = version;
        for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let text = runtime.verb(verb, &conf).failure(1);
            assert!(text.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "the remedy is missing: {text}");
        }
    }
}

#[test]
fn wrong_types_in_the_configuration_are_code_7() {
    let Some(runtime) = Runtime::start("wrong_types_in_the_configuration_are_code_7") else {
        return;
    };
    for (key, value) in [
        ("socket", json!(7)),
        ("socket", json!("relative.sock")),
        ("socket", json!("/x".repeat(80))),
        ("name", json!("")),
        ("addTimeoutSeconds", json!(-1)),
        ("runtimeConfig", json!("everything")),
        ("runtimeConfig", json!({"bandwidth": {"IngressRate": "fast"}})),
        (
            "runtimeConfig",
            json!({"io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "fast"}}),
        ),
    ] {
        let mut conf = runtime.conf("1.0.0");
        conf[key] = value;
        runtime.verb("ADD", &conf).failure(7);
    }
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn missing_and_wrong_variables_are_code_4() {
    let Some(runtime) = Runtime::start("missing_and_wrong_variables_are_code_4") else { return };
    let conf = runtime.conf("1.1.0").to_string();
    for (name, value) in [
        ("CNI_COMMAND", ""),
        ("CNI_COMMAND", "REMOVE"),
        ("CNI_CONTAINERID", ""),
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "longer-than-fifteen"),
        ("CNI_ARGS", ""),
        ("CNI_ARGS", "K8S_POD_NAME=p1"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE;K8S_POD_NAME=p1"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a/b"),
        ("CNI_NETNS", ""),
    ] {
        let mut env = runtime.env("ADD");
        env.insert(name.into(), value.into());
        invoke(&env, conf.as_bytes()).failure(4);
        env.remove(name);
        let text = invoke(&env, conf.as_bytes()).failure(4);
        assert!(text.contains(name), "{name} is not named: {text}");
    }
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn a_namespace_that_is_gone_or_the_hosts_own_gets_no_address() {
    let Some(mut runtime) =
        Runtime::start("a_namespace_that_is_gone_or_the_hosts_own_gets_no_address")
    else {
        return;
    };
    let conf = runtime.conf("1.0.0").to_string();
    let plain = runtime.dir.path().join("left-behind");
    File::create(&plain).unwrap();
    let plain = plain.display().to_string();
    runtime.netns.destroy();
    let gone = runtime.netns.path_text();
    for (path, word) in [
        (gone.as_str(), "gone"),
        (&plain, "no network namespace any more"),
        ("/proc/self/ns/net", "host's own"),
        ("/proc/thread-self/ns/net", "host's own"),
    ] {
        let mut env = runtime.env("ADD");
        env.insert("CNI_NETNS".into(), path.into());
        let text = invoke(&env, conf.as_bytes()).failure(4);
        assert!(text.contains(word), "{path}: {text}");
    }
    assert!(runtime.node.attached().is_empty());
}
