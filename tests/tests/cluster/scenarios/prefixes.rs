//! Prefixes of the cloud under real pods: who lives in one is reached like everybody else, and all of it goes back.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    demo::daemons,
    wait::{self, Look},
};

use crate::{
    bed::Bed,
    calls::{Call, From},
    pods::{is_ready, pod, spec},
    say,
};

/// More than the warm pool has single addresses for.
const PODS: usize = 10;
/// Ten sandboxes on a machine with few cores.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn pods_in_a_prefix_are_reached_and_the_node_gives_all_of_it_back(
    bed: &Bed,
) -> Result<()> {
    let [node, other] = bed.nodes();
    bed.stop_daemon(&node)?;
    bed.start_daemon_with(&node, "pool: {", "pool: {prefixMode: preferred, ")?;
    bed.show(&node)?;
    let outcome = lived_in(bed, &node, &other).and_then(|()| bed.empty());
    // An IPv6 prefix goes with its ENI.
    let outcome = outcome.and_then(|()| bed.uninstall(std::slice::from_ref(&node)));
    // Whatever came of it, the next scenario has the usual configuration. The daemon runs only when something failed.
    drop(bed.stop_daemon(&node));
    bed.kubectl()?.run(["delete", "service", "target", "--ignore-not-found"])?;
    bed.start_daemon(&node, "")?;
    daemons::wait_warm(&bed.cluster, &node, &bed.binaries)?;
    outcome?;
    let left = bed.lab.prefixes()?;
    ensure!(left.is_empty(), "prefixes are left: {left:?}");
    Ok(())
}

fn lived_in(bed: &Bed, node: &Node<'_>, other: &Node<'_>) -> Result<()> {
    let mut target = pod("target", other, false);
    target["metadata"]["labels"] = json!({"app": "target"});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "target"},
        "spec": {
            "selector": {"app": "target"}, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"port": 8080}],
        },
    });
    let mut many = spec(false);
    many["nodeSelector"] = json!({"kubernetes.io/hostname": node.name()});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
        "spec": {
            "replicas": PODS, "selector": {"matchLabels": {"app": "many"}},
            "template": {"metadata": {"labels": {"app": "many"}}, "spec": many},
        },
    });
    bed.create(&[target, service, deployment])?;
    let target = bed.live("target", other)?;
    let pods = all_ready(bed)?;
    ensure!(Bed::all_differ(&pods)? == 2 * PODS, "not two addresses for each pod: {pods:?}");

    let prefixes = bed.lab.prefixes()?;
    let shown = bed.show(node)?;
    for prefix in list(&shown, "/enis").iter().flat_map(|eni| list(eni, "/prefixes")) {
        let known =
            prefix.as_str().is_some_and(|text| prefixes.iter().any(|p| p.to_string() == text));
        ensure!(known, "the cloud knows no prefix {prefix}, but {prefixes:?}");
    }
    let inside = |ip: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(ip));
    let (mut all, mut dwellers) = (Vec::new(), Vec::new());
    for pod in &pods {
        let ips = list(pod, "/status/podIPs").iter().map(|ip| text(ip, "/ip").parse());
        let ips = ips.collect::<Result<Vec<IpAddr>, _>>()?;
        all.extend(&ips);
        if ips.iter().all(inside) {
            dwellers.push((text(pod, "/metadata/name"), ips));
        }
    }
    say(&format!("  {} of {PODS} pods live in {prefixes:?}", dwellers.len()));
    bed.reaches(other, &all)?;

    let service = bed.kubectl()?.get("services/target")?;
    let service = list(&service, "/spec/clusterIPs").iter().filter_map(Value::as_str);
    let service = service.map(str::parse).collect::<Result<Vec<IpAddr>, _>>()?;
    ensure!(service.len() == 2, "not two addresses of the Service: {service:?}");
    let [(caller, own), (_, beside), ..] = dwellers.as_slice() else {
        bail!("no two pods have all of their addresses in a prefix: {dwellers:?}");
    };
    let to = |ips: &[IpAddr]| ips.iter().map(|ip| Call::tcp(*ip, 8080)).collect::<Vec<_>>();
    let calls = [to(&target.ips), to(&service), to(beside)].concat();
    let replies = bed.answers(From::Pod(caller), &calls)?;
    let masked = replies.iter().find(|reply| !own.contains(&reply.client));
    ensure!(masked.is_none(), "{caller} is seen as {masked:?}, not as {own:?}");
    let by_service = replies.get(2..4).context("a call without a reply")?;
    ensure!(by_service.iter().all(|reply| reply.host == "target"), "{by_service:?}");
    Ok(())
}

/// Waits until all run.
fn all_ready(bed: &Bed) -> Result<Vec<Value>> {
    let kubectl = bed.kubectl()?;
    wait::until("all pods run", PATIENCE, || {
        let pods = kubectl.get("pods?labelSelector=app=many")?;
        let pods = list(&pods, "/items");
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(if ready == PODS {
            Look::Seen(pods.to_vec())
        } else {
            Look::NotYet(format!("{ready} of {} pods run", pods.len()))
        })
    })
}
