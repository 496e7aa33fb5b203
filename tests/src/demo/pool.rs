//! What the daemons say of their pools, as rows for people and as words for the comparison of snapshots.

use serde_json::Value;

use super::snapshot::PoolWords;
use crate::cluster::{list, text};

/// Links and MACs of the ENIs that the pool holds, and what the shared ones that serve lead to their tables.
pub fn words(shown: &Value) -> PoolWords {
    let mut words = PoolWords::default();
    for eni in list(shown, "/enis") {
        let names = ["/link", "/mac"].map(|key| text(eni, key).to_owned());
        words.links.extend(names.into_iter().filter(|name| !name.is_empty()));
        let table = eni.get("table").and_then(Value::as_u64).and_then(|t| u16::try_from(t).ok());
        let serves = text(eni, "/state").eq_ignore_ascii_case("ready");
        let Some(table) = table.filter(|t| *t != 0 && serves) else { continue };
        let (going, kept): (Vec<&Value>, Vec<&Value>) = list(eni, "/addresses")
            .iter()
            .filter(|a| text(a, "/state") != "lost")
            // A primary address that is no pod's is in the map as the others, one that others gave to the ENI may not be.
            .partition(|a| ["releasing", "reserved"].contains(&text(a, "/state")));
        let ips = |all: Vec<&Value>| all.into_iter().map(|a| text(a, "/ip").to_owned()).collect();
        words.tables.insert(table, ips(kept));
        words.going.insert(table, ips(going));
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
