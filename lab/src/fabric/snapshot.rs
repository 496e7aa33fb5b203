//! The network state of a namespace as text that is equal if nothing changed.
//!
//! Taken from the kernel's tools in JSON, without what changes by itself (counters, timers, carrier) and what the kernel
//! numbers anew each time (interface indexes, handles): each object is one line, lines are sorted.

use std::collections::BTreeMap;

use serde_json::{Deserializer, Map, Value};

use super::{FabricError, tool};

/// Members that say nothing about the configuration.
const NOISE: [&str; 26] = [
    "ifindex",
    "link_index",
    "link_netnsid",
    "operstate",
    "valid_life_time",
    "preferred_life_time",
    "expires",
    "used",
    "confirmed",
    "updated",
    "refcnt",
    "probes",
    "stats",
    "stats64",
    "handle",
    "gc_timer",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "ageing_time",
    "bytes",
    "packets",
    "promiscuity",
    "allmulti",
    "tentative",
    "dadfailed",
];
/// Flags that follow the other end or a timer.
const PASSING_FLAGS: [&str; 5] = ["LOWER_UP", "NO-CARRIER", "linkdown", "dead", "tentative"];

/// Canonical text of links, addresses, rules, routes of all tables, permanent neighbours, nftables and qdiscs.
pub(super) fn take(namespace: &str) -> Result<String, FabricError> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let both = "rule list\nroute list table all\nneighbour list nud permanent\n";
    for (family, input) in [
        ("-4", format!("link list\naddress list\n{both}")),
        ("-6", format!("address list\n{both}")),
    ] {
        let text = tool::look("ip", namespace, &[family, "-d", "-j", "-batch", "-"], &input)?;
        for (list, what) in json_lists(&text).into_iter().zip(input.lines()) {
            let objects = list.into_iter().filter(|object| !is_kernel_noise(object));
            let lines = objects.map(|object| canonical(&object, what));
            sections.entry(format!("{what} {family}")).or_default().extend(lines);
        }
    }
    let qdiscs = tool::look("tc", namespace, &["-j", "qdisc", "show"], "")?;
    let lines = json_lists(&qdiscs).into_iter().flatten().map(|qdisc| canonical(&qdisc, "qdisc"));
    sections.insert("qdisc".to_owned(), lines.collect());

    let mut text = String::new();
    for (title, mut lines) in sections {
        lines.sort();
        text.extend(["# ", &title, "\n"]);
        for line in &lines {
            text.extend([line.as_str(), "\n"]);
        }
    }
    let ruleset = tool::look("nft", namespace, &["-s", "list", "ruleset"], "")?;
    text.push_str("# nft\n");
    text.push_str(&without_timers(&ruleset));
    Ok(text)
}

/// The names of a namespace's links by MAC address.
pub(super) fn links_by_mac(namespace: &str) -> Result<BTreeMap<String, String>, FabricError> {
    let text = tool::look("ip", namespace, &["-j", "link", "list"], "")?;
    let pair = |link: Value| {
        let field = |name| link.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((field("address")?, field("ifname")?))
    };
    Ok(json_lists(&text).into_iter().flatten().filter_map(pair).collect())
}

/// The tools print one array per command of a batch, and nothing or an empty object where there is nothing.
fn json_lists(text: &str) -> Vec<Vec<Value>> {
    Deserializer::from_str(text)
        .into_iter::<Value>()
        .map_while(Result::ok)
        .map(|value| match value {
            Value::Array(list) => list,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => Vec::new(),
        })
        .collect()
}

/// Routes that the kernel makes by itself for each address.
fn is_kernel_noise(object: &Value) -> bool {
    let field = |name| object.get(name).and_then(Value::as_str);
    field("protocol") == Some("kernel")
        && matches!(field("type"), Some("local" | "broadcast" | "multicast" | "anycast"))
}

fn canonical(object: &Value, what: &str) -> String {
    let mut line = String::new();
    for (name, member) in object.as_object().map(sorted).unwrap_or_default() {
        // A list of addresses repeats all about the link.
        let repeats = what == "address list" && name != "ifname" && name != "addr_info";
        if !repeats && !NOISE.contains(&name.as_str()) {
            line.extend([name.as_str(), "="]);
            write_sorted(&mut line, member);
            line.push(' ');
        }
    }
    line
}

/// JSON with sorted members and without noise; independent of how `serde_json` was built.
fn write_sorted(line: &mut String, value: &Value) {
    match value {
        Value::Object(members) => {
            line.push('{');
            for (name, member) in sorted(members) {
                if !NOISE.contains(&name.as_str()) {
                    line.extend([name.as_str(), ":"]);
                    write_sorted(line, member);
                    line.push(' ');
                }
            }
            line.push('}');
        }
        Value::Array(elements) => {
            line.push('[');
            let mut texts = Vec::new();
            for element in elements {
                if element.as_str().is_none_or(|flag| !PASSING_FLAGS.contains(&flag)) {
                    let mut text = String::new();
                    write_sorted(&mut text, element);
                    if text != "{}" {
                        texts.push(text);
                    }
                }
            }
            line.push_str(&texts.join(" "));
            line.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            line.push_str(&value.to_string());
        }
    }
}

fn sorted(members: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    members.iter().collect()
}

/// Elements of nftables sets with a timeout show how long they still live; that is no configuration.
fn without_timers(ruleset: &str) -> String {
    let mut text = String::new();
    for line in ruleset.lines() {
        let mut words = line.split(' ');
        while let Some(word) = words.next() {
            if word == "expires" {
                // the time itself, perhaps with the comma that ends the element
                if words.next().is_some_and(|time| time.ends_with(',')) {
                    text.push(',');
                }
            } else {
                text.extend([word, " "]);
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
