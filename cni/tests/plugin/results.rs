//! Results in every version, against goldens written from the specification's own examples and schemas
//! (<https://github.com/containernetworking/cni/blob/main/SPEC.md>, "ADD Success", and the same section of the tagged
//! versions 0.3.1, 0.4.0 and 1.0.0).

use serde_json::json;

use crate::runtime::Runtime;

#[test]
fn each_version_gets_its_own_shape() {
    let Some(runtime) = Runtime::start("each_version_gets_its_own_shape") else { return };
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let result = runtime.verb("ADD", &runtime.conf(version)).success();
        let mut golden = json!({
            "cniVersion": version,
            "interfaces": [
                {"name": "twa86f71eaab8", "mac": "02:00:00:01:00:0a"},
                {"name": "eth0", "mac": "02:00:00:00:00:0a", "sandbox": runtime.netns.path_text()},
            ],
            "ips": [{"interface": 1, "address": "10.64.0.10/32", "gateway": "169.254.1.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
            "dns": {},
        });
        match version {
            "0.3.1" | "0.4.0" => golden["ips"][0]["version"] = "4".into(),
            "1.1.0" => {
                golden["interfaces"][0]["mtu"] = 1500.into();
                golden["interfaces"][1]["mtu"] = 1500.into();
            }
            _ => {}
        }
        assert_eq!(result, golden, "{version}");
    }
}

#[test]
fn dns_of_the_configuration_is_passed_on() {
    let Some(runtime) = Runtime::start("dns_of_the_configuration_is_passed_on") else { return };
    let mut conf = runtime.conf("1.0.0");
    conf["dns"] = json!({"nameservers": ["10.96.0.10"]});
    let result = runtime.verb("ADD", &conf).success();
    assert_eq!(result["dns"], conf["dns"]);
}

#[test]
fn errors_speak_the_version_that_was_asked_in() {
    let Some(runtime) = Runtime::start("errors_speak_the_version_that_was_asked_in") else {
        return;
    };
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut conf = runtime.conf(version);
        conf["socket"] = json!(7);
        let answer = runtime.verb("ADD", &conf);
        assert_eq!(answer.json()["cniVersion"], version);
        answer.failure(7);
    }
}
