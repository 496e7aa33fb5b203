//! Calls that a runtime makes twice, too early, too late, or with something missing.

use anyhow::{Result, ensure};
use serde_json::json;
use tideway_node_tests::{
    Node, Pod, Setup,
    cni::{self, Call},
    node,
    wait::s,
};

use crate::run::run;

/// CNI: the environment is not valid.
const INVALID_ENVIRONMENT: u64 = 4;
/// CNI: try again later.
const AGAIN: u64 = 11;

#[test]
fn the_same_container_asked_again_gets_the_same_answer() {
    run(Setup::default().dual(), |bed| {
        let here = bed.node(0)?;
        let pod = Pod::new("p")?;
        let first = here.cni("ADD", &pod, &Call::default())?.success()?;
        let second = here.cni("ADD", &pod, &Call::default())?.success()?;
        ensure!(first == second, "{first} and then {second}");
        ensure!(here.show()?.pods.len() == 1);
        here.check(&pod, &second)?;
        here.del(&pod)
    });
}

#[test]
fn two_containers_of_one_pod_name_never_share_an_address() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let old = Pod::new("web-0")?;
        let new = Pod::new("web-0")?;
        let (a, b) = (here.add(&old)?, here.add(&new)?);
        ensure!(a != b, "both have {a:?}");
        // The late DEL of the old one takes nothing from the new one.
        here.del(&old)?;
        for ip in &b {
            new.reaches(bed.target()?)?;
            ensure!(node::state_of(&here.show()?, *ip).as_deref() == Some("assigned"));
        }
        here.del(&new)
    });
}

#[test]
fn a_del_succeeds_whatever_is_missing() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let unknown = Pod::new("never-added")?;
        here.del(&unknown)?;
        let mut pod = Pod::new("p")?;
        let added = here.cni("ADD", &pod, &Call::default())?.success()?;
        let conf = Some(json!({ "prevResult": added }));
        here.cni("DEL", &pod, &Call { conf, ..Call::default() })?.success()?;
        // The runtime's second DEL: the namespace is gone, and nothing of the first ADD is passed.
        pod.destroy_namespace();
        let empty = Call { netns: Some(String::new()), ..Call::default() };
        here.cni("DEL", &pod, &empty)?.success()?;
        here.del(&pod)?;
        ensure!(here.show()?.pods.is_empty());
        Ok(())
    });
}

#[test]
fn the_only_del_may_come_after_the_namespace_has_gone() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let mut pod = Pod::new("p")?;
        here.add(&pod)?;
        pod.destroy_namespace();
        here.cni("DEL", &pod, &Call { netns: Some(String::new()), ..Call::default() })?
            .success()?;
        ensure!(here.show()?.pods.is_empty());
        Ok(())
    });
}

#[test]
fn an_add_without_a_living_namespace_is_refused_and_takes_nothing() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let mut gone = Pod::new("gone")?;
        gone.destroy_namespace();
        let text = here.cni("ADD", &gone, &Call::default())?.fails_with(INVALID_ENVIRONMENT)?;
        ensure!(text.contains(&gone.netns.display().to_string()), "{text}");
        let pod = Pod::new("host")?;
        let own = Call { netns: Some(here.host.display().to_string()), ..Call::default() };
        let text = here.cni("ADD", &pod, &own)?.fails_with(INVALID_ENVIRONMENT)?;
        ensure!(text.contains("host"), "{text}");
        let shown = here.show()?;
        ensure!(
            shown.pods.is_empty() && node::free(&shown) >= shown.high,
            "{}",
            node::brief(&shown)
        );
        Ok(())
    });
}

#[test]
fn a_namespace_that_dies_while_its_add_waits_leaves_nothing() {
    let setup = Setup::default().cold();
    run(setup, |bed| {
        let here = bed.node_mut(0)?;
        here.start()?;
        let mut pod = Pod::new("p")?;
        let running = here.cni_spawn("ADD", &pod)?;
        here.until_shown("the ADD waits", s(5), |shown| !shown.waiting.is_empty())?;
        pod.destroy_namespace();
        let answer = cni::ended(running)?;
        ensure!(!answer.fine, "an interface was made in a dead namespace: {}", answer.stdout);
        here.del(&pod)?;
        ensure!(here.show()?.pods.is_empty());
        Ok(())
    });
}

#[test]
fn an_add_while_the_daemon_starts_works_or_is_told_to_come_again() {
    run(Setup::default().cold(), |bed| {
        let here = bed.node_mut(0)?;
        let pod = Pod::new("early")?;
        here.cni("ADD", &pod, &Call::default())?.fails_with(AGAIN)?;
        here.spawn()?;
        here.add_patiently(&pod, s(30))?;
        ensure!(here.show()?.pods.len() == 1);
        here.del(&pod)
    });
}

/// A GC whose list has only this pod.
fn gc(here: &Node, valid: &Pod) -> Result<()> {
    let conf = json!({
        "cniVersion": "1.1.0",
        "cni.dev/valid-attachments": [{ "containerID": valid.container, "ifname": "eth0" }],
    });
    here.cni("GC", valid, &Call { conf: Some(conf), ..Call::default() })?.success().map(drop)
}

#[test]
fn check_and_gc_see_what_was_never_added_and_what_is_no_longer_valid() {
    run(Setup::default(), |bed| {
        let here = bed.node(0)?;
        let (kept, mut stale) = (Pod::new("kept")?, Pod::new("stale")?);
        let unknown = Pod::new("unknown")?;
        let added = here.cni("ADD", &kept, &Call::default())?.success()?;
        here.add(&stale)?;
        let conf = json!({ "prevResult": added });
        let check = Call { conf: Some(conf), ..Call::default() };
        ensure!(!here.cni("CHECK", &unknown, &check)?.fine, "CHECK of an unknown container");
        stale.destroy_namespace();
        // As a runtime does it: again and again. The kernel may take its time with the namespace.
        here.until_shown("the dead one is freed", s(5), |shown| {
            let freed = shown.pods.iter().map(|pod| &pod.container_id).eq([&kept.container]);
            if !freed {
                gc(here, &kept).unwrap();
            }
            freed
        })?;
        here.check(&kept, &added)?;
        here.del(&kept)
    });
}

#[test]
fn a_gc_list_from_before_an_add_takes_nothing_from_the_living_pod() {
    run(Setup::default(), |bed| {
        let target = bed.target()?;
        let here = bed.node(0)?;
        let (old, young) = (Pod::new("old")?, Pod::new("young")?);
        here.add(&old)?;
        here.add(&young)?;
        for n in 0..3 {
            gc(here, &old)?;
            // More looks at the kernel than any rule asks for.
            here.pod_passes(&format!("other{n}"))?;
        }
        ensure!(here.show()?.pods.len() == 2, "{}", node::brief(&here.show()?));
        for pod in [&old, &young] {
            pod.reaches(target)?;
            here.del(pod)?;
        }
        Ok(())
    });
}

#[test]
fn adds_right_after_a_restart_with_a_warm_pool_fail_only_with_try_again() {
    run(Setup::default().dual(), |bed| {
        let target = bed.target()?;
        let here = bed.node_mut(0)?;
        for round in 0..4 {
            here.stop()?;
            here.spawn()?;
            let pod = Pod::new(&format!("early{round}"))?;
            here.add_patiently(&pod, s(30))?;
            pod.reaches(target)?;
            here.del(&pod)?;
        }
        Ok(())
    });
}
