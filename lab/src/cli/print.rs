//! All output of the program.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program prints")]

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;
use tideway_lab::LabDescription;
use tideway_lab::cloud::catalog::Catalog;
use tideway_lab::config::CloudKind;

pub(crate) fn line(text: &str) {
    println!("{text}");
}

pub(crate) fn error(text: &str) {
    eprintln!("{text}");
}

pub(crate) fn json(value: &Value) {
    println!("{value:#}");
}

/// JSON for machines or a text for people.
pub(crate) fn either(machine: bool, value: &Value, people: fn(&Value)) {
    if machine {
        json(value);
    } else {
        people(value);
    }
}

/// What one needs after `up`.
pub(crate) fn summary(lab: &LabDescription) {
    println!("lab {} is up (pid {})", lab.id, lab.pid);
    println!("  APIs      {}  {}", lab.endpoints.api, lab.endpoints.api_tls);
    if let Some(inside) = &lab.endpoints.inside {
        println!("  inside    {}  {}  {}", inside.api, inside.api_tls, inside.metadata);
    }
    println!(
        "  key       {} / {}",
        lab.credentials.access_key_id, lab.credentials.access_key_secret
    );
    for instance in &lab.instances {
        let enter = if lab.vpc_namespace.is_empty() {
            String::new()
        } else {
            format!("  ip netns exec {} bash", instance.namespace)
        };
        println!(
            "  instance  {:<6} {:<24} {:<16} {:<12}{enter}",
            instance.name, instance.id, instance.instance_type, instance.ipv4
        );
    }
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn status(status: &Value) {
    let lab: Option<LabDescription> =
        status.get("lab").and_then(|lab| serde_json::from_value(lab.clone()).ok());
    let mut names = BTreeMap::new();
    if let Some(lab) = &lab {
        summary(lab);
        names.extend(lab.instances.iter().map(|i| (i.id.as_str(), i.name.as_str())));
    }
    let list = |value: &Value, key: &str| {
        let items = value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    };
    println!("\n{:<25} {:<11} {:<8} ADDRESSES", "ENI", "STATE", "ON");
    for eni in status.get("enis").and_then(Value::as_array).into_iter().flatten() {
        let on = names.get(word(eni, "instance")).copied().unwrap_or("-");
        println!(
            "{:<25} {:<11} {:<8} {} {}",
            word(eni, "id"),
            word(eni, "state"),
            on,
            list(eni, "v4"),
            list(eni, "v6")
        );
    }
    let faults = status.get("faults").and_then(Value::as_array).map_or(0, Vec::len);
    println!("\ncalls {}  faults {faults}", status.get("calls").unwrap_or(&Value::Null));
}

pub(crate) fn ledger(ledger: &Value) {
    println!("{:<36} {:<10} {:<32} CALLS", "ACTION", "CALLER", "OUTCOME");
    for count in ledger.get("counts").and_then(Value::as_array).into_iter().flatten() {
        println!(
            "{:<36} {:<10} {:<32} {}",
            word(count, "action"),
            word(count, "caller"),
            word(count, "outcome"),
            count.get("calls").unwrap_or(&Value::Null)
        );
    }
    let addresses = ledger.get("addresses").and_then(Value::as_array).cloned().unwrap_or_default();
    let open = addresses.iter().filter(|a| a.get("released").is_none_or(Value::is_null)).count();
    println!(
        "\ncalls {}  addresses given {}  held now {open}",
        ledger.get("total").unwrap_or(&Value::Null),
        addresses.len()
    );
    let violations =
        ledger.get("violations").and_then(Value::as_array).cloned().unwrap_or_default();
    if violations.is_empty() {
        println!("no address was given twice, none is lost");
    }
    for violation in violations {
        println!("VIOLATION {violation}");
    }
}

pub(crate) fn types(cloud: CloudKind) -> Result<()> {
    println!(
        "{:<22} {:>5} {:>8} {:>5} {:>5} {:>5}",
        "TYPE", "CPUS", "MEMORY", "ENIS", "IPV4", "IPV6"
    );
    for known in Catalog::load(cloud, &BTreeMap::new())?.iter() {
        println!(
            "{:<22} {:>5} {:>8} {:>5} {:>5} {:>5}",
            known.instance_type_id,
            known.cpu_core_count,
            known.memory_size,
            known.eni_quantity,
            known.eni_private_ip_address_quantity,
            known.eni_ipv6_address_quantity
        );
    }
    Ok(())
}
