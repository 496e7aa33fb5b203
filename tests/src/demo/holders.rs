//! Who has which address, as Kubernetes, the daemons and the cloud each say it for themselves.
//!
//! The lab's ledger knows ENIs only: two pods on one address of one ENI would break none of its rules. So the pods'
//! addresses are compared with each other, and with the ENI that holds each of them now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::{list, text};

/// How many addresses agree, or every disagreement. `pods` is what kubectl lists, `shown` what each node's daemon shows,
/// `ledger` the lab's.
pub fn agree(pods: &Value, shown: &[Value], ledger: &Value) -> Result<usize, Vec<String>> {
    let mut wrong = Vec::new();
    let mut attached = BTreeMap::new();
    for pod in shown.iter().flat_map(|shown| list(shown, "/pods")) {
        if let Some(twice) = attached.insert(text(pod, "/pod"), pod) {
            let enis = [text(twice, "/eni"), text(pod, "/eni")].join(" and ");
            wrong.push(format!("{} is attached twice, on {enis}", text(pod, "/pod")));
        }
    }
    let mut owners = BTreeMap::new();
    for pod in list(pods, "/items") {
        let [namespace, name] = ["/metadata/namespace", "/metadata/name"].map(|key| text(pod, key));
        let name = format!("{namespace}/{name}");
        let ips = list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip"));
        let said: BTreeSet<&str> = ips.collect();
        for address in &said {
            if let Some(other) = owners.insert((*address).to_owned(), name.clone()) {
                wrong.push(format!("{address} was given to two pods, {other} and {name}"));
            }
        }
        let Some(pod) = attached.get(name.as_str()) else {
            wrong.push(format!("no daemon shows {name}"));
            continue;
        };
        let ips: BTreeSet<&str> = list(pod, "/ips").iter().filter_map(Value::as_str).collect();
        if ips != said {
            wrong.push(format!("Kubernetes shows {name} with {said:?}, its daemon with {ips:?}"));
        }
        for address in ips {
            let holders = holders(ledger, address);
            if holders != [text(pod, "/eni")] {
                let eni = text(pod, "/eni");
                wrong.push(format!(
                    "{address} of {name}: {eni} by the daemon, {holders:?} by the cloud"
                ));
            }
        }
    }
    if wrong.is_empty() { Ok(owners.len()) } else { Err(wrong) }
}

/// The ENIs that hold an address now.
fn holders<'a>(ledger: &'a Value, address: &str) -> Vec<&'a str> {
    list(ledger, "/addresses")
        .iter()
        .filter(|holding| text(holding, "/address") == address)
        .filter(|holding| holding.get("released").is_none_or(Value::is_null))
        .map(|holding| text(holding, "/eni"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(addresses: [&str; 2]) -> Value {
        let pod = |name: &str, ip: &str| {
            let metadata = json!({"namespace": "default", "name": name});
            json!({"metadata": metadata, "status": {"podIPs": [{"ip": ip}]}})
        };
        let [a, b] = addresses;
        json!({"items": [pod("a", a), pod("b", b)]})
    }

    fn shown(addresses: [&str; 2]) -> [Value; 1] {
        let [a, b] = addresses;
        let pod = |name: &str, ip: &str| json!({"pod": name, "eni": "eni-1", "ips": [ip]});
        [json!({"pods": [pod("default/a", a), pod("default/b", b)]})]
    }

    /// `10.0.0.7` was with `eni-0` before.
    fn ledger(eni: &str, released: Option<u64>) -> Value {
        json!({"addresses": [
            {"address": "10.0.0.7", "eni": "eni-0", "released": 5},
            {"address": "10.0.0.7", "eni": eni, "released": released},
            {"address": "10.0.0.8", "eni": "eni-1", "released": null},
        ]})
    }

    #[test]
    fn two_pods_with_one_address_are_found() {
        let (one, two) = (["10.0.0.7", "10.0.0.7"], ["10.0.0.7", "10.0.0.8"]);
        let wrong = agree(&pods(one), &shown(one), &ledger("eni-1", None)).unwrap_err();
        assert_eq!(wrong, ["10.0.0.7 was given to two pods, default/a and default/b"]);
        assert_eq!(agree(&pods(two), &shown(two), &ledger("eni-1", None)), Ok(2));
    }

    #[test]
    fn an_address_that_the_cloud_has_elsewhere_or_took_back_is_found() {
        let two = ["10.0.0.7", "10.0.0.8"];
        for ledger in [ledger("eni-2", None), ledger("eni-1", Some(9))] {
            let wrong = agree(&pods(two), &shown(two), &ledger).unwrap_err();
            assert!(matches!(wrong.as_slice(), [one] if one.contains("10.0.0.7")), "{wrong:?}");
        }
    }

    #[test]
    fn a_daemon_that_shows_another_address_or_no_pod_is_found() {
        let two = ["10.0.0.7", "10.0.0.8"];
        let wrong = agree(&pods(["10.0.0.9", "10.0.0.8"]), &shown(two), &ledger("eni-1", None));
        assert_eq!(wrong.unwrap_err().len(), 1);
        let wrong = agree(&pods(two), &[], &ledger("eni-1", None)).unwrap_err();
        assert_eq!(wrong, ["no daemon shows default/a", "no daemon shows default/b"]);
    }
}
