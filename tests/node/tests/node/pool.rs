//! Watermarks, and giving everything back.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tideway_lab::{FaultKind, FaultSpec};
use tideway_node_tests::{Pod, Setup, leaks, netns, node, wait::s};
use tideway_proto::node::ShowReply;

use crate::run::{run, run_on_both};

/// Addresses of shared ENIs.
fn shared(shown: &ShowReply) -> BTreeSet<String> {
    let shared = shown.enis.iter().filter(|eni| eni.r#use == "shared");
    shared.flat_map(|eni| &eni.addresses).map(|address| address.ip.clone()).collect()
}

#[test]
fn a_warm_pool_holds_the_high_watermark_and_then_leaves_the_cloud_alone() {
    run(Setup::default().pool("low", 2).pool("high", 4), |bed| {
        let here = bed.node(0)?;
        let shown = here.warm()?;
        ensure!(node::free(&shown) == 4, "{}", node::brief(&shown));
        ensure!(shown.enis.len() == 1, "{}", node::brief(&shown));
        // Steady churn within the watermarks asks the cloud nothing.
        let before = bed.lab.calls()?;
        for n in 0..6 {
            let pod = Pod::new(&format!("p{n}"))?;
            here.add(&pod)?;
            here.del(&pod)?;
            here.until_shown("rested", s(10), |shown| node::free(shown) == 4)?;
        }
        let calls = bed.lab.calls()? - before;
        ensure!(calls == 0, "{calls} cloud calls for steady churn: {}", node::brief(&here.show()?));
        Ok(())
    });
}

#[test]
fn a_surplus_goes_back_and_the_pool_returns_to_its_watermark() {
    run(Setup::default().pool("low", 1).pool("high", 2), |bed| {
        let here = bed.node(0)?;
        let pods: Vec<Pod> = (0..12).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        ensure!(here.show()?.enis.len() == 2, "12 pods need two ENIs of 10 addresses");
        for pod in &pods {
            here.del(pod)?;
        }
        here.until_shown("the pool is small again", s(30), |shown| {
            node::free(shown) == 2 && shown.enis.len() == 1
        })?;
        Ok(())
    });
}

/// Addresses that conntrack remembers as a source.
fn tracked(host: &Path) -> Result<BTreeSet<String>> {
    let list = netns::run(host, "conntrack", ["-L", "-p", "udp"])?;
    let sources = list.lines().filter_map(|line| line.split("src=").nth(1)?.split(' ').next());
    Ok(sources.map(str::to_owned).collect())
}

#[test]
fn what_conntrack_remembers_of_an_address_is_flushed_before_it_joins_the_pool() {
    run(Setup::default().cold(), |bed| {
        let primary = bed.lab.addresses("n1")?;
        let here = bed.node_mut(0)?;
        // Flows of former owners, whichever addresses the cloud will give.
        let [a, b, c, _] = match primary.first() {
            Some(std::net::IpAddr::V4(ip)) => ip.octets(),
            other => bail!("no IPv4 address: {other:?}"),
        };
        for d in 1..255 {
            let source = format!("{a}.{b}.{c}.{d}");
            let flow = ["-p", "udp", "--sport", "7", "--dport", "7", "-d", "192.0.2.1"];
            let flow = ["-I", "-s", &source].into_iter().chain(flow).chain(["--timeout", "3600"]);
            netns::run(&here.host, "conntrack", flow)?;
        }
        here.start()?;
        let shown = here.warm()?;
        let clean = |shown: &ShowReply| -> Result<usize> {
            let (before, ips) = (tracked(&here.host)?, shared(shown));
            let dirty: Vec<_> = ips.intersection(&before).collect();
            ensure!(dirty.is_empty() && before.len() > 100, "{dirty:?} of {}", before.len());
            Ok(ips.len())
        };
        let first = clean(&shown)?;
        // More, by Assign.
        let pods: Vec<Pod> = (0..5).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        let more = |shown: &ShowReply| shared(shown).len() > first;
        clean(&here.until_shown("more addresses", s(20), more)?)?;
        for pod in &pods {
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn uninstall_with_living_pods_names_them_and_touches_nothing() {
    run(Setup::default(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        let pod = Pod::new("alive")?;
        here.add(&pod)?;
        here.stop()?;
        let output = here.run_to_end(&["uninstall"])?;
        let said = netns::said(&output);
        ensure!(!output.status.success() && said.contains("default/alive"), "{said}");
        ensure!(here.conflist().exists(), "the CNI configuration was withdrawn");
        pod.reaches(target)?;
        here.start()?;
        here.del(&pod)
    });
}

#[test]
fn uninstall_while_the_daemon_serves_is_refused() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let output = here.run_to_end(&["uninstall"])?;
        let said = netns::said(&output);
        ensure!(!output.status.success() && said.contains("stop it"), "{said}");
        ensure!(leaks::mapped(here)?.len() >= 6);
        Ok(())
    });
}

#[test]
fn a_graceful_stop_does_not_wait_for_adds_that_wait() {
    run(Setup::default().cold(), |bed| {
        let stuck = bed.lab.fault_of_all(FaultKind::StuckAttach)?;
        let here = bed.node_mut(0)?;
        here.start()?;
        let pod = Pod::new("p")?;
        let add = here.cni_spawn("ADD", &pod)?;
        here.until_shown("the ADD waits", s(5), |shown| !shown.waiting.is_empty())?;
        let ended = here.stop()?;
        ensure!(ended.status.success() && ended.took < leaks::STOP, "{ended:?}");
        // Less than what hangs is waited for: the ADD was answered, it was not given up.
        ensure!(ended.took < Duration::from_millis(1500), "{ended:?}");
        let text = tideway_node_tests::cni::ended(add)?.fails_with(11)?;
        ensure!(text.contains("the daemon is stopping"), "{text}");
        bed.lab.clear(stuck)?;
        let here = bed.node_mut(0)?;
        here.start()?;
        here.add(&pod).context("after the stop")?;
        here.del(&pod)
    });
}

#[test]
fn an_uninstall_whose_answers_are_lost_still_gives_everything_back() {
    run_on_both(&Setup::default(), |bed| {
        for action in ["DetachNetworkInterface", "DeleteNetworkInterface"] {
            bed.lab.fault(FaultSpec::new(FaultKind::LostAnswer).on(action).times(1))?;
        }
        let here = bed.node_mut(0)?;
        here.stop()?;
        leaks::uninstall(here)?;
        bed.lab.settle()?;
        let left = bed.lab.secondary_enis()?;
        ensure!(left.is_empty(), "{left:?} are left");
        // What was uninstalled can be installed again.
        let here = bed.node_mut(0)?;
        here.start()?;
        here.warm()?;
        Ok(())
    });
}
