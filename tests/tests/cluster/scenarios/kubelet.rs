//! The kubelet restarts: it admits every running pod anew, against the devices that it knows at that moment.

use std::{
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tideway_e2e::{
    cluster::Node,
    demo::workloads,
    wait::{self, Look},
};

use crate::{
    bed::{Bed, SOON},
    pods::{container, pod, restarts},
    runtime, say,
};

/// How soon after the new socket the devices must be listed (device plugin contract; admission follows after about 0.9 s).
const LISTED_WITHIN: Duration = Duration::from_millis(200);
/// Restarts that may be late because the machine was.
const TRIES: usize = 3;
/// What the daemon logs when it sends the first list that the kubelet asked for: a registration alone admits no pod.
const KNOWN: &str = "the kubelet knows our devices";

pub(crate) fn a_kubelet_restart_kills_no_pod_that_holds_a_device(bed: &Bed) -> Result<()> {
    let [first, second] = bed.nodes();
    let mut initialised = pod("initialised", &first, true);
    let mut init = container(true);
    init["name"] = json!("init");
    init["command"] = json!(["/bin/sh", "-c", ":"]);
    initialised["spec"]["initContainers"] = json!([init]);
    bed.create(&[initialised, pod("restarted", &second, true)])?;
    bed.live("restarted", &second)?;
    runtime::kill(&second, "restarted", "container")?;
    let once = |p: &serde_json::Value| restarts(p) == 1;
    bed.pod_until("restarted", "was restarted once", SOON, once)?;
    let before = [bed.live("initialised", &first)?, bed.live("restarted", &second)?];
    ensure!(before.iter().all(|p| p.mode == "exclusive"), "{before:?}");

    // One after the other: the contract is measured, and the machine may have few cores.
    for node in [&first, &second] {
        listed_in_time(bed, node)?;
    }
    bed.cluster.wait_ready()?;
    workloads::wait_devices(&bed.cluster, "1")?;
    // The API still shows what the former kubelets said. Pods that came later run: all older ones were admitted or refused.
    bed.create_live(&[("later-first", &first, false), ("later-second", &second, false)])?;
    for node in [&first, &second] {
        let log = std::fs::read_to_string(bed.cluster.roster().log(&node.process("kubelet")))?;
        let refused = log.lines().find(|l| l.contains("UnexpectedAdmissionError"));
        ensure!(refused.is_none(), "{}: {}", node.name(), refused.unwrap_or_default());
    }
    let after = [bed.live("initialised", &first)?, bed.live("restarted", &second)?];
    ensure!(before == after, "before {before:?}\nafter {after:?}");
    for (name, count) in [("initialised", 0), ("restarted", 1)] {
        // `pod_until` also fails for a pod that a late plugin has killed.
        bed.pod_until(name, "was left alone", SOON, |p| restarts(p) == count)?;
    }
    bed.reaches(&second, &after[0].ips)?;
    bed.reaches(&first, &after[1].ips)
}

/// Does something and waits until the daemon has listed its devices to the kubelet after it.
pub(crate) fn listed_after(
    bed: &Bed,
    node: &Node<'_>,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let log = bed.cluster.roster().log(&node.process("tidewayd"));
    let known = || -> Result<usize> { Ok(std::fs::read_to_string(&log)?.matches(KNOWN).count()) };
    let before = known()?;
    act()?;
    wait::until("the daemon lists its devices again", SOON, || {
        bed.cluster.roster().must_run(&node.process("kubelet"))?;
        Ok(if known()? > before { Look::Seen(()) } else { Look::NotYet("no line of it".into()) })
    })
}

/// Restarts the kubelet until its devices are listed in time: a plugin that is late by its nature is late every time, and a
/// machine that is busy with something else is not.
fn listed_in_time(bed: &Bed, node: &Node<'_>) -> Result<()> {
    let mut tries = Vec::new();
    while tries.len() < TRIES {
        let took = restart(bed, node)?;
        say(&format!("  {}: devices listed {took:?} after the kubelet's socket", node.name()));
        if took <= LISTED_WITHIN {
            return Ok(());
        }
        tries.push(took);
    }
    bail!(
        "{}: devices listed {tries:?} after the socket, never within {LISTED_WITHIN:?}",
        node.name()
    )
}

/// Kills and starts the kubelet; answers how long after its socket the devices were listed.
fn restart(bed: &Bed, node: &Node<'_>) -> Result<Duration> {
    let log = bed.cluster.roster().log(&node.process("tidewayd"));
    let socket = node.directory("kubelet").join("device-plugins/kubelet.sock");
    listed_after(bed, node, || {
        bed.kill(node, "kubelet")?;
        node.start_kubelet()
    })?;
    let made = socket.metadata().with_context(|| socket.display().to_string())?;
    let made = Duration::new(u64::try_from(made.ctime())?, u32::try_from(made.ctime_nsec())?);
    let text = std::fs::read_to_string(&log)?;
    let line = text.lines().rev().find(|l| l.contains(KNOWN)).context("no line of it")?;
    let listed = instant(line)?;
    // The kernel's clock of files runs behind by up to a tick.
    Ok(listed.saturating_sub(made))
}

/// Time of a log line that begins with RFC 3339 in UTC, since 1970. Taken as "the last such time of day before now".
fn instant(line: &str) -> Result<Duration> {
    const DAY: Duration = Duration::from_hours(24);
    let time = line.split_once('T').and_then(|(_, t)| t.split_once('Z')).context("no time")?.0;
    let mut parts = time.split([':', '.']);
    let mut next = || -> Result<&str> { parts.next().with_context(|| format!("time {time:?}")) };
    let seconds =
        next()?.parse::<u64>()? * 3600 + next()?.parse::<u64>()? * 60 + next()?.parse::<u64>()?;
    let of_day = Duration::from_secs(seconds) + Duration::from_micros(next()?.parse()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let midnight = Duration::from_secs(now.as_secs() - now.as_secs() % DAY.as_secs());
    let today = midnight + of_day;
    Ok(if today > now { today.saturating_sub(DAY) } else { today })
}
