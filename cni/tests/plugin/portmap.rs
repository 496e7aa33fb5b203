//! hostPort: the standard plugin runs for pods that have port mappings, and for no others.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use tideway_model::cni_code;
use tideway_testkit::{Netns, Verb};

use crate::runtime::{Runtime, invoke};

/// A stand-in that notes what it was asked, and fails when a file `fail-VERB` lies beside it.
const STAND_IN: &str = r#"#!/bin/sh
dir="$(dirname "$0")"
cat > "$dir/stdin-$CNI_COMMAND"
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS" >> "$dir/calls"
if [ -e "$dir/fail-$CNI_COMMAND" ]; then
    echo '{"cniVersion":"1.0.0","code":999,"msg":"port 8080 is taken"}'
    exit 1
fi
"#;

fn stand_in(runtime: &Runtime) -> String {
    let dir = runtime.dir.path().join("bin");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("portmap");
    fs::write(&path, STAND_IN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    dir.display().to_string()
}

fn calls(dir: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(dir).join("calls")).unwrap_or_default();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

fn with_ports(runtime: &Runtime, version: &str) -> Value {
    let mut conf = runtime.conf(version);
    conf["runtimeConfig"] = json!({"portMappings":
        [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]});
    conf
}

fn run(runtime: &Runtime, path: &str, verb: &str, conf: &Value) -> crate::runtime::Answer {
    let mut env = runtime.env(verb);
    env.insert("CNI_PATH".into(), format!("/nowhere:{path}"));
    invoke(&env, conf.to_string().as_bytes())
}

#[test]
fn pods_without_ports_never_pay_for_a_process() {
    let Some(runtime) = Runtime::start("pods_without_ports_never_pay_for_a_process") else {
        return;
    };
    let bin = stand_in(&runtime);
    let mut conf = runtime.conf("1.0.0");
    for ports in [json!([]), Value::Null] {
        conf["runtimeConfig"] = json!({"portMappings": ports});
        run(&runtime, &bin, "ADD", &conf).success();
        run(&runtime, &bin, "DEL", &conf).success();
    }
    assert!(calls(&bin).is_empty());
}

#[test]
fn the_delegate_gets_our_result_in_a_version_that_it_knows() {
    let Some(runtime) = Runtime::start("the_delegate_gets_our_result_in_a_version_that_it_knows")
    else {
        return;
    };
    let bin = stand_in(&runtime);
    let mut conf = with_ports(&runtime, "1.1.0");
    let result = run(&runtime, &bin, "ADD", &conf).success();
    assert_eq!(result["cniVersion"], "1.1.0");
    conf["prevResult"] = result;
    for verb in ["ADD", "CHECK", "DEL"] {
        run(&runtime, &bin, verb, &conf).success();
        let path = Path::new(&bin).join(format!("stdin-{verb}"));
        let passed: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(passed["cniVersion"], "1.0.0");
        assert_eq!(passed["type"], "portmap");
        assert_eq!(passed["snat"], true);
        assert_eq!(passed["runtimeConfig"]["portMappings"][0]["HostPort"], 8080);
        assert_eq!(passed["prevResult"]["cniVersion"], "1.0.0");
        assert_eq!(passed["prevResult"]["ips"][0]["address"], "10.64.0.10/32");
    }
    assert_eq!(calls(&bin), ["ADD", "ADD", "CHECK", "DEL"]);
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn an_add_whose_host_port_fails_leaves_nothing() {
    let Some(runtime) = Runtime::start("an_add_whose_host_port_fails_leaves_nothing") else {
        return;
    };
    let bin = stand_in(&runtime);
    let conf = with_ports(&runtime, "1.0.0");
    fs::write(Path::new(&bin).join("fail-ADD"), "").unwrap();
    let text = run(&runtime, &bin, "ADD", &conf).failure(999);
    assert!(text.contains("port 8080 is taken"), "{text}");
    assert_eq!(calls(&bin), ["ADD", "DEL"]);
    assert!(runtime.node.attached().is_empty());
}

#[test]
fn a_node_without_the_delegate_says_so_before_it_takes_an_address() {
    let Some(runtime) =
        Runtime::start("a_node_without_the_delegate_says_so_before_it_takes_an_address")
    else {
        return;
    };
    let conf = with_ports(&runtime, "1.0.0");
    let text = run(&runtime, "/nowhere", "ADD", &conf).failure(cni_code::PORTMAP);
    assert!(text.contains("install the standard CNI plugins"), "{text}");
    assert_eq!(runtime.node.calls(Verb::Add), 0);
    run(&runtime, "/nowhere", "DEL", &conf).success();
}

#[test]
fn del_frees_the_address_although_the_delegate_fails_and_reports_it() {
    let Some(runtime) =
        Runtime::start("del_frees_the_address_although_the_delegate_fails_and_reports_it")
    else {
        return;
    };
    let bin = stand_in(&runtime);
    let conf = with_ports(&runtime, "1.0.0");
    run(&runtime, &bin, "ADD", &conf).success();
    fs::write(Path::new(&bin).join("fail-DEL"), "").unwrap();
    run(&runtime, &bin, "DEL", &conf).failure(999);
    assert!(runtime.node.attached().is_empty());
    fs::remove_file(Path::new(&bin).join("fail-DEL")).unwrap();
    run(&runtime, &bin, "DEL", &conf).success();
}

#[test]
fn the_standard_plugin_takes_our_words_in_every_version() {
    const TEST: &str = "the_standard_plugin_takes_our_words_in_every_version";
    const BIN: &str = "/usr/lib/cni";
    let Some(runtime) = Runtime::start(TEST) else { return };
    let needed = [format!("{BIN}/portmap"), "/usr/sbin/iptables".to_owned()];
    if let Some(missing) = needed.iter().find(|path| !Path::new(path).exists()) {
        return tideway_testkit::skip(TEST, &format!("{missing} is missing"));
    }
    // The delegate writes iptables rules: in a namespace of its own, never in the machine's.
    let host = Netns::anonymous().unwrap();
    host.run(move || {
        let rules = || {
            let out = std::process::Command::new("/usr/sbin/iptables-save").output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let mut conf = with_ports(&runtime, version);
            conf["prevResult"] = run(&runtime, BIN, "ADD", &conf).success();
            let set = rules();
            assert!(set.contains("10.64.0.10:80"), "{version}: {set}");
            if version != "0.3.1" {
                run(&runtime, BIN, "CHECK", &conf).success();
            }
            run(&runtime, BIN, "DEL", &conf).success();
            conf["prevResult"] = Value::Null;
            run(&runtime, BIN, "DEL", &conf).success();
            let left = rules();
            assert!(!left.contains("10.64.0.10"), "{version}: {left}");
        }
    })
    .unwrap();
}
