//! A cloud that throttles, fails, forgets its answers, lies about the present, and takes things away.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tideway_lab::{
    CloudKind, FaultKind, FaultSpec,
    cloud::operations::{eni, wanted::Wanted},
};
use tideway_node_tests::{
    Bed, FakeApiServer, Node, Pod, Setup,
    cni::{self, Call},
    netns, node,
    wait::{Look, s, until},
};

use crate::{
    clouds::by_hand,
    run::{run, run_on_both},
};

/// With these faults from the start, a cold node serves a pod all the same.
fn comes_up_with(faults: Vec<FaultSpec>) {
    comes_up_on(CloudKind::Aliyun, faults.clone());
    comes_up_on(CloudKind::Aws, faults);
}

fn comes_up_on(cloud: CloudKind, faults: Vec<FaultSpec>) {
    run(Setup::default().on(cloud).dual().cold().pool("addTimeoutSeconds", 60), |bed| {
        for fault in faults {
            bed.lab.fault(fault)?;
        }
        bed.node_mut(0)?.start()?;
        serve_one(bed)?;
        bed.lab.clear_all()?;
        bed.node(0)?.warm()?;
        books_match(bed)
    });
}

fn serve_one(bed: &Bed) -> Result<()> {
    let here = bed.node(0)?;
    let pod = Pod::new("p")?;
    here.add(&pod)?;
    pod.reaches(bed.target()?)?;
    here.del(&pod)
}

/// The cloud has the ENIs that the books have, and no other.
fn books_match(bed: &Bed) -> Result<()> {
    let here = bed.node(0)?;
    here.until_shown("the books name the cloud's ENIs", s(20), |shown| {
        let mut known: Vec<_> = shown.enis.iter().map(|eni| eni.id.clone()).collect();
        let mut there = bed.lab.secondary_enis().unwrap_or_default();
        known.sort();
        there.sort();
        known == there
    })?;
    Ok(())
}

fn fault(kind: FaultKind, action: &str) -> FaultSpec {
    FaultSpec::new(kind).on(action)
}

#[test]
fn throttled_calls_are_sent_again() {
    let kinds = ["CreateNetworkInterface", "AttachNetworkInterface", "DescribeNetworkInterfaces"];
    comes_up_with(kinds.map(|action| fault(FaultKind::Throttle, action).times(2)).into());
}

#[test]
fn server_errors_pass() {
    let kinds = ["CreateNetworkInterface", "AttachNetworkInterface", "DescribeNetworkInterfaces"];
    comes_up_with(kinds.map(|action| fault(FaultKind::ServerError, action).times(1)).into());
}

#[test]
fn security_tokens_that_expire_in_the_middle_of_the_work_are_fetched_anew() {
    let kinds = ["CreateNetworkInterface", "AttachNetworkInterface", "DescribeNetworkInterfaces"];
    let codes =
        [(CloudKind::Aliyun, "InvalidSecurityToken.Expired"), (CloudKind::Aws, "RequestExpired")];
    for (cloud, code) in codes {
        comes_up_on(cloud, kinds.map(|action| expired(action, code)).into());
    }
}

fn expired(action: &str, code: &str) -> FaultSpec {
    FaultSpec { code: Some(code.to_owned()), ..fault(FaultKind::Error, action).times(1) }
}

#[test]
fn a_created_eni_whose_answer_was_lost_is_adopted() {
    comes_up_with(vec![fault(FaultKind::LostAnswer, "CreateNetworkInterface").times(1)]);
}

#[test]
fn an_attach_whose_answer_was_lost_is_seen() {
    comes_up_with(vec![fault(FaultKind::LostAnswer, "AttachNetworkInterface").times(1)]);
}

#[test]
fn an_attach_that_falls_back_is_tried_again() {
    comes_up_with(vec![FaultSpec::new(FaultKind::FailedAttach).times(1)]);
}

#[test]
fn stale_reads_make_no_second_eni() {
    let stale = FaultSpec { ms: Some(800), ..FaultSpec::new(FaultKind::StaleReads) };
    comes_up_with(vec![stale]);
}

#[test]
fn an_assign_whose_answer_was_lost_gives_its_addresses_to_the_pool() {
    run(
        Setup::default().dual().pool("low", 1).pool("high", 2).pool("addTimeoutSeconds", 60),
        |bed| {
            for action in ["AssignPrivateIpAddresses", "AssignIpv6Addresses"] {
                bed.lab.fault(fault(FaultKind::LostAnswer, action).times(1))?;
            }
            let here = bed.node(0)?;
            let pods: Vec<Pod> =
                (0..5).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
            for answer in here.add_all(&pods)? {
                answer.success()?;
            }
            for pod in &pods {
                here.del(pod)?;
            }
            Ok(())
        },
    );
}

#[test]
fn an_unassign_whose_answer_was_lost_never_frees_an_address_that_is_gone() {
    run_on_both(&Setup::default().pool("low", 1).pool("high", 2), |bed| {
        let here = bed.node(0)?;
        let pods: Vec<Pod> = (0..6).map(|n| Pod::new(&format!("p{n}"))).collect::<Result<_>>()?;
        for answer in here.add_all(&pods)? {
            answer.success()?;
        }
        let lost =
            bed.lab.fault(fault(FaultKind::LostAnswer, "UnassignPrivateIpAddresses").times(1))?;
        for pod in &pods {
            here.del(pod)?;
        }
        here.until_shown("the surplus is gone", s(40), |shown| node::free(shown) == 2)?;
        bed.lab.clear(lost)?;
        // Every address that the pool still offers works.
        let two = [Pod::new("x")?, Pod::new("y")?];
        for pod in &two {
            here.add(pod)?;
            pod.reaches(bed.target()?)?;
        }
        for pod in &two {
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn a_full_vswitch_is_named_alike_wherever_people_look_and_the_pod_comes_up_when_there_is_room() {
    run_on_both(&Setup::default().cold().pool("addTimeoutSeconds", 4), |bed| {
        let full = bed.lab.fault_of_all(FaultKind::FullSubnet)?;
        let api = FakeApiServer::start(&bed.lab.instance("n1")?.namespace, "none")?;
        let here = bed.node_mut(0)?;
        api.serves(here)?;
        here.start()?;
        let pod = Pod::new("p")?;
        let text = here.add_is_told(&pod, &["[subnet_full]"])?;
        names_the_full_subnet("the CNI error", &text)?;
        told_once(here, &api, &pod)?;
        status_is_fine_without_addresses(here, &pod)?;
        // The next one waits as long as the test needs to look.
        here.set_pool("addTimeoutSeconds", 230);
        here.restart()?;
        let waits = here.cni_spawn("ADD", &pod)?;
        here.until_shown("it waits for the subnet", s(20), |shown| {
            shown.waiting.iter().any(|waiting| waiting.cause.contains("[subnet_full]"))
        })?;
        for words in [&["pod", "default/p"][..], &["status", "-o", "json"]] {
            names_the_full_subnet(&words.join(" "), &here.tideway(words)?)?;
        }
        bed.lab.clear(full)?;
        cni::ended(waits)?.success()?;
        pod.reaches(bed.target()?)?;
        bed.node(0)?.del(&pod)
    });
}

/// Cause, remedy, and the cause's name, which is the label of the metric and the field of the log, too.
fn names_the_full_subnet(place: &str, text: &str) -> Result<()> {
    for part in ["no free address", "eni.subnets", "[subnet_full]"] {
        ensure!(text.contains(part), "{place} does not say {part:?}: {text}");
    }
    Ok(())
}

/// In the metric, in the log and by an event of the pod.
fn told_once(here: &Node, api: &FakeApiServer, pod: &Pod) -> Result<()> {
    let counted = r#"tideway_cni_failures_total{verb="ADD",cause="subnet_full"} 1"#;
    let metrics = here.metrics()?;
    ensure!(metrics.lines().any(|line| line == counted), "{metrics}");
    let log = here.log();
    let told =
        |line: &str| line.contains("CNI request failed") && line.contains(r#"cause="subnet_full""#);
    ensure!(log.lines().any(told), "the failure is not in the log");
    until("an event of the pod", s(20), || {
        let events = api.events();
        let of_pod = |event: &&Value| event.pointer("/involvedObject/uid") == Some(&json!(pod.uid));
        let Some(event) = events.iter().find(of_pod) else {
            return Ok(Look::NotYet(format!("{events:?}")));
        };
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        ensure!(text("reason") == "SubnetFull" && text("type") == "Warning", "{event}");
        let message = text("message");
        ensure!(message.contains("eni.subnets"), "{message}");
        Ok(Look::Seen(()))
    })
}

/// A failing STATUS would make the whole node `NotReady`: its exclusive and `hostNetwork` pods need no address of the pool.
fn status_is_fine_without_addresses(here: &Node, pod: &Pod) -> Result<()> {
    let shown = here.show()?;
    ensure!(node::free(&shown) == 0, "addresses are there: {}", node::brief(&shown));
    here.cni("STATUS", pod, &Call::newest())?
        .success()
        .context("STATUS while addresses are short")?;
    Ok(())
}

/// The runtime repeats ADD until it works; each failure says "try again".
fn comes_up_later(bed: &Bed, pod: &Pod) -> Result<()> {
    let here = bed.node(0)?;
    here.add_patiently(pod, s(60))?;
    pod.reaches(bed.target()?)?;
    here.del(pod)
}

#[test]
fn a_stuck_attach_is_told_and_ends_well() {
    run(Setup::default().cold().pool("addTimeoutSeconds", 4), |bed| {
        let stuck = bed.lab.fault_of_all(FaultKind::StuckAttach)?;
        let here = bed.node_mut(0)?;
        here.start()?;
        let pod = Pod::new("p")?;
        here.add_is_told(&pod, &["attach"])?;
        bed.lab.clear(stuck)?;
        comes_up_later(bed, &pod)
    });
}

#[test]
fn a_pool_that_was_detached_behind_our_back_is_replaced() {
    run_on_both(&Setup::default().pool("addTimeoutSeconds", 4), |bed| {
        let eni = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
        bed.lab.api()?.force_detach(&eni).map_err(|e| anyhow::anyhow!("{e}"))?;
        bed.lab.settle()?;
        comes_up_later(bed, &Pod::new("p")?)
    });
}

#[test]
fn a_pool_that_was_deleted_behind_our_back_is_replaced_and_leaves_nothing_on_the_host() {
    run_on_both(&Setup::default().pool("addTimeoutSeconds", 4), |bed| {
        let id = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
        let subnet = bed.lab.instance("n1")?.vswitch_id.clone();
        let former = by_hand(&bed.lab, |cloud, now| {
            let former = cloud.vpc.eni(&id)?.clone();
            cloud.vpc.force_detach(&id, now).map(|()| former)
        })?;
        // If that took long, the daemon has deleted it by itself.
        by_hand(&bed.lab, |cloud, now| match cloud.vpc.eni(&id) {
            Ok(_) => eni::delete(&mut cloud.vpc, &id, now),
            Err(_) => Ok(()),
        })?;
        // Its addresses are somebody else's by now: the replacement has others.
        let other = by_hand(&bed.lab, |cloud, now| {
            let subnet = cloud.vpc.vswitch(&subnet)?.clone();
            let count = u32::try_from(former.v4.len()).unwrap_or(1);
            let wanted = Wanted { v4_count: count, ..Wanted::default() };
            let other = eni::create(&mut cloud.vpc, &subnet, former.groups.clone(), &wanted, now)?;
            cloud.vpc.put(other.clone());
            Ok(other.id)
        })?;
        comes_up_later(bed, &Pod::new("p")?)?;
        by_hand(&bed.lab, |cloud, now| eni::delete(&mut cloud.vpc, &other, now))
    });
}

/// The kernel gives the name of a link that went to the next one that comes: the replacement, or anybody's.
#[test]
fn a_link_with_the_name_of_a_lost_eni_is_not_taken_for_it() {
    run(Setup::default().pool("addTimeoutSeconds", 4), |bed| {
        let host = &bed.node(0)?.host;
        let mut names = netns::links(host)?;
        let eni = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
        bed.lab.api()?.force_detach(&eni).map_err(|e| anyhow::anyhow!("{e}"))?;
        bed.lab.settle()?;
        let left = netns::links(host)?;
        names.retain(|name| !left.contains(name));
        let [lost] = names.as_slice() else { bail!("lost: {names:?}") };
        netns::run(host, "ip", ["link", "add", lost, "type", "veth", "peer", "name", "other"])?;
        comes_up_later(bed, &Pod::new("p")?)?;
        netns::run(host, "ip", ["link", "delete", lost]).map(drop)
    });
}

#[test]
fn a_meddled_eni_still_carries_its_pods() {
    run(Setup::default().cold(), |bed| {
        bed.node_mut(0)?.start()?;
        bed.node(0)?.warm()?;
        let eni = bed.lab.secondary_enis()?.first().cloned().context("no ENI")?;
        let pod = Pod::new("p")?;
        bed.node(0)?.add(&pod)?;
        let spec = FaultSpec { eni: Some(eni), ..FaultSpec::new(FaultKind::Meddling) };
        bed.lab.fault(spec)?;
        bed.lab.settle()?;
        let target = bed.target()?;
        bed.node_mut(0)?.restart()?;
        pod.reaches(target)?;
        let host = &bed.node(0)?.host;
        let defaults = netns::run(host, "ip", ["-4", "route", "show", "default"])?;
        ensure!(defaults.lines().count() == 1, "a second default route is left: {defaults}");
        bed.node(0)?.del(&pod)
    });
}
