//! `tideway status`.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tideway_proto::node as pb;

use crate::{
    CommandError,
    args::{Output, StatusOptions},
    node, table,
    view::{Attachment, Eni, Node},
};

/// Asks and prints.
pub(crate) fn run(options: &StatusOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let (show, status) = node::ask(&options.connection, async |mut client| {
        let status = client.status(pb::StatusRequest {}).await?.into_inner();
        let show = client.show(pb::ShowRequest {}).await?.into_inner();
        Ok((show, status))
    })?;
    let node = Node::new(show, status);
    match options.output {
        Output::Json => writeln!(out, "{:#}", serde_json::json!(node))?,
        Output::Table => write(&node, false, out)?,
        Output::Wide => write(&node, true, out)?,
    }
    Ok(())
}

fn write(node: &Node, wide: bool, out: &mut dyn Write) -> io::Result<()> {
    let state = if node.ready {
        "ready".to_owned()
    } else {
        format!("NOT READY: {}", node.not_ready_because)
    };
    writeln!(
        out,
        "Node {} ({}, {}), tidewayd {}: {state}",
        node.node, node.instance_id, node.instance_type, node.daemon_version
    )?;
    let pool = &node.pool;
    writeln!(
        out,
        "Pool: {} free of {} addresses (low {}, high {}); {} assigned, {} cooling, {} leased, {} releasing, {} lost",
        pool.free,
        pool.total,
        pool.low,
        pool.high,
        pool.assigned,
        pool.cooling,
        pool.leased,
        pool.releasing,
        pool.lost
    )?;
    if !node.shortfall.is_empty() {
        writeln!(out, "Pool is below its low mark: {}", node.shortfall)?;
    }
    if node.pending_links > 0 {
        writeln!(out, "Links still to be deleted: {}", node.pending_links)?;
    }
    for error in &node.source_errors {
        writeln!(out, "Source down, so nothing happens on its word: {error}")?;
    }
    enis(&node.enis, out)?;
    let devices = node.devices.iter().map(|it| {
        let health = if it.healthy { "healthy" } else { "unhealthy" };
        [it.id.clone(), health.to_owned(), it.pod.clone(), it.eni.clone()]
    });
    table::write(out, "DEVICES (aliyun/eni)", ["ID", "HEALTH", "POD", "ENI"], devices.collect())?;
    let waiting =
        node.waiting.iter().map(|it| [it.pod.clone(), table::span(it.seconds), it.cause.clone()]);
    table::write(out, "WAITING", ["POD", "SINCE", "CAUSE"], waiting.collect())?;
    leases(node, out)?;
    cloud(node, out)?;
    if wide {
        addresses(&node.enis, out)?;
        pods(&node.pods, out)?;
    }
    Ok(())
}

fn enis(enis: &[Eni], out: &mut dyn Write) -> io::Result<()> {
    let rows = enis.iter().map(|eni| {
        let count = |state: &str| {
            eni.addresses.iter().filter(|address| address.state == state).count().to_string()
        };
        [
            eni.id.clone(),
            eni.r#use.clone(),
            eni.state.clone(),
            eni.link.clone(),
            eni.subnet.clone(),
            count("free"),
            count("assigned"),
            count("cooling"),
            count("leased"),
            count("releasing"),
            count("lost"),
            eni.prefixes.len().to_string(),
            eni.mac.clone(),
        ]
    });
    let head = [
        "ID",
        "USE",
        "STATE",
        "LINK",
        "SUBNET",
        "FREE",
        "ASSIGNED",
        "COOLING",
        "LEASED",
        "RELEASING",
        "LOST",
        "PREFIXES",
        "MAC",
    ];
    table::write(out, "ENIS", head, rows.collect())
}

/// Time since the epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn leases(node: &Node, out: &mut dyn Write) -> io::Result<()> {
    let rows = node.leases.iter().map(|it| {
        let ends = match it.until_unix_millis {
            0 => "claimed".to_owned(),
            end => table::span(Duration::from_millis(end).saturating_sub(now()).as_secs_f64()),
        };
        let kind = if it.strict { "strict" } else { "yields" };
        [it.pod.clone(), it.ips.join(","), it.eni.clone(), kind.to_owned(), ends]
    });
    table::write(out, "LEASES", ["POD", "IPS", "ENI", "KIND", "ENDS IN"], rows.collect())
}

fn cloud(node: &Node, out: &mut dyn Write) -> io::Result<()> {
    let now = now();
    let errors = node.cloud_errors.iter().map(|it| {
        let age = now.saturating_sub(Duration::from_millis(it.unix_millis));
        [
            it.action.clone(),
            it.code.clone(),
            it.count.to_string(),
            format!("{} ago", table::span(age.as_secs_f64())),
            it.message.clone(),
            it.remedy.clone(),
        ]
    });
    let head = ["ACTION", "CODE", "COUNT", "LAST", "MESSAGE", "WHAT TO DO"];
    table::write(out, "CLOUD ERRORS", head, errors.collect())?;
    let calls = node.cloud_calls.iter().map(|(action, count)| [action.clone(), count.to_string()]);
    table::write(out, "CLOUD CALLS", ["ACTION", "COUNT"], calls.collect())
}

fn addresses(enis: &[Eni], out: &mut dyn Write) -> io::Result<()> {
    let rows = enis.iter().flat_map(|eni| {
        eni.addresses.iter().map(|it| {
            let rest = match it.cooling_seconds {
                0 => String::new(),
                seconds => format!("{seconds}s"),
            };
            [it.ip.clone(), it.state.clone(), rest, it.pod.clone(), eni.id.clone()]
        })
    });
    table::write(out, "ADDRESSES", ["IP", "STATE", "COOLING", "POD", "ENI"], rows.collect())
}

/// Interfaces of pods.
pub(crate) fn pods(pods: &[Attachment], out: &mut dyn Write) -> io::Result<()> {
    let rows = pods.iter().map(|it| {
        let short: String = it.container_id.chars().take(12).collect();
        [
            it.pod.clone(),
            it.ifname.clone(),
            it.mode.clone(),
            it.ips.join(","),
            it.eni.clone(),
            it.host_link.clone(),
            short,
            it.netns.clone(),
        ]
    });
    let head = ["POD", "INTERFACE", "MODE", "IPS", "ENI", "HOST LINK", "CONTAINER", "NETNS"];
    table::write(out, "PODS", head, rows.collect())
}
