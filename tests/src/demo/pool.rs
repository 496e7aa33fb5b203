//! What the daemons say of their pools, as rows for people and as words for the comparison of snapshots.

use serde_json::Value;

use super::snapshot::PoolWords;
use crate::cluster::{list, text};

/// Links, MACs and addresses of the ENIs that the pool holds.
pub fn words(shown: &Value) -> PoolWords {
    let mut words = PoolWords::default();
    for eni in list(shown, "/enis") {
        let names = ["/link", "/mac"].map(|key| text(eni, key).to_owned());
        words.links.extend(names.into_iter().filter(|name| !name.is_empty()));
        let addresses = list(eni, "/addresses").iter().map(|a| text(a, "/ip").to_owned());
        words.addresses.extend(addresses);
    }
    words
}

/// One row for each pod: node, pod, mode, ENI, addresses.
pub fn pod_rows(node: &str, shown: &Value) -> Vec<Vec<String>> {
    let pods = list(shown, "/pods");
    let row = |pod: &Value| {
        let ips: Vec<&str> = list(pod, "/ips").iter().filter_map(Value::as_str).collect();
        vec![
            node.to_owned(),
            text(pod, "/pod").to_owned(),
            text(pod, "/mode").to_owned(),
            text(pod, "/eni").to_owned(),
            ips.join(" "),
        ]
    };
    pods.iter().map(row).collect()
}
