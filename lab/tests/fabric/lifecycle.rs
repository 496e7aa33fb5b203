//! Labs beside each other, labs that died, and calls that come twice.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tideway_lab::fabric::{Fabric as _, FabricError, InstanceNet, KernelFabric, cleanup, netns};

use crate::support::{Lab, eni, fresh_id, links_of, ping, reaches, v4};

#[test]
fn two_labs_with_the_same_addresses_do_not_disturb_each_other() {
    let test = "two_labs_with_the_same_addresses_do_not_disturb_each_other";
    let (Some(one), Some(two)) = (Lab::start(test), Lab::start(test)) else { return };
    for lab in [&one, &two] {
        lab.instance("n1", &eni(1, 0, true));
        lab.instance("n2", &eni(2, 0, true));
    }
    two.fabric().detach("eni-2").expect("detach");
    reaches(&one.namespace("n1"), None, v4(0, 2));
    assert!(!ping(&two.namespace("n1"), None, v4(0, 2)), "unplugged in this lab");
    cleanup(&two.id).expect("the second lab goes");
    reaches(&one.namespace("n1"), None, v4(0, 2));
}

/// Not a test: runs in a child process of the tests below, which say by the environment what it shall do.
#[test]
#[ignore = "part of other tests"]
fn victim() {
    let Ok(id) = std::env::var("TIDEWAY_LAB_VICTIM") else { return };
    match KernelFabric::start(&id, |_| {}) {
        Ok(fabric) => {
            let instance = InstanceNet { name: "n1".into(), sysctls: [].into() };
            fabric.create_instance(&instance).expect("made");
            fabric.attach(&eni(1, 0, true), "n1").expect("attach");
            eprintln!("the lab is up");
            std::io::stdin().read_line(&mut String::new()).expect("waits for its end");
        }
        Err(error) => eprintln!("refused: {error}"),
    }
}

fn start_victim(id: &str, path: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "lifecycle::victim", "--ignored", "--nocapture"]);
    command.env("TIDEWAY_LAB_VICTIM", id);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("starts")
}

#[test]
fn lab_whose_process_was_killed_is_removed_by_its_id_alone() {
    let Some(lab) = Lab::start("lab_whose_process_was_killed_is_removed_by_its_id_alone") else {
        return;
    };
    let id = fresh_id();
    let mut victim = start_victim(&id, None);
    let mut words = BufReader::new(victim.stderr.take().expect("piped")).lines();
    let up = words.any(|line| line.expect("a line").contains("the lab is up"));
    let alive = netns::exists(&format!("{id}-n1"));
    victim.kill().expect("kills");
    victim.wait().expect("reaps");
    let left = netns::exists(&format!("{id}-n1"));
    cleanup(&id).expect("cleans");
    assert!(up && alive && left, "it ran, and a kill removes nothing: {up} {alive} {left}");
    let names = netns::list().expect("lists");
    assert!(!names.iter().any(|name| name.starts_with(&format!("{id}-"))), "{names:?}");
    drop(lab);
}

#[test]
fn machine_without_tools_is_told_everything_at_once() {
    let Some(_lab) = Lab::start("machine_without_tools_is_told_everything_at_once") else { return };
    let victim = start_victim(&fresh_id(), Some("/nonexistent"));
    let output = victim.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stderr);
    for remedy in ["apt-get install iproute2", "apt-get install nftables"] {
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn cleanup_removes_what_a_killed_lab_left_even_in_foreign_namespaces() {
    let test = "cleanup_removes_what_a_killed_lab_left_even_in_foreign_namespaces";
    let Some(mut lab) = Lab::start(test) else { return };
    let moved = eni(11, 0, false);
    lab.instance("n1", &eni(1, 0, true));
    lab.fabric().attach(&moved, "n1").expect("attach");
    let pod = lab.pod("x");
    crate::support::ip(&lab.namespace("n1"), &format!("link set eth1 netns {pod}"));
    drop(lab.fabric.take()); // nobody watches and nobody remembers any more, as after a kill
    // Somebody still sits in the router's namespace and keeps it alive.
    let mut squatter = netns::spawn_in(
        &lab.namespace("vpc"),
        Command::new("sleep").arg("60").stdin(Stdio::null()),
    )
    .expect("starts");
    let cleaned = cleanup(&lab.id);
    let left = links_of(&pod, &moved);
    squatter.kill().expect("kills");
    squatter.wait().expect("reaps");
    cleaned.expect("cleans");
    assert!(left.is_empty(), "{left:?}");
    let prefix = format!("{}-", lab.id);
    let names = netns::list().expect("lists");
    assert!(!names.iter().any(|name| name.starts_with(&prefix)), "{names:?}");
    cleanup(&lab.id).expect("cleans again");
}

#[test]
fn lab_starts_over_the_remains_of_a_killed_one() {
    let Some(mut lab) = Lab::start("lab_starts_over_the_remains_of_a_killed_one") else { return };
    lab.instance("n1", &eni(1, 0, true));
    drop(lab.fabric.take());
    lab.fabric = Some(KernelFabric::start(&lab.id, |_| {}).expect("starts again"));
    lab.instance("n1", &eni(5, 0, true));
    assert!(links_of(&lab.namespace("n1"), &eni(1, 0, true)).is_empty(), "nothing of the old one");
    reaches(&lab.namespace("n1"), None, v4(0, 253));
}

#[test]
fn every_call_may_come_twice() {
    let Some(lab) = Lab::start("every_call_may_come_twice") else { return };
    let (primary, secondary) = (eni(1, 0, true), eni(2, 0, false));
    for _ in 0..2 {
        lab.instance("n1", &primary);
        lab.fabric().attach(&secondary, "n1").expect("attach");
        lab.fabric().set_addresses(&secondary).expect("assign");
        lab.fabric().set_security_groups(&[], &[]).expect("groups");
    }
    assert_eq!(links_of(&lab.namespace("n1"), &secondary), ["eth1"]);
    lab.instance("n2", &eni(3, 0, true));
    let elsewhere = lab.fabric().attach(&secondary, "n2").expect_err("it is in n1");
    assert!(matches!(elsewhere, FabricError::AttachedElsewhere { .. }), "{elsewhere}");
    let nowhere = lab.fabric().attach(&eni(9, 0, false), "n9").expect_err("no such instance");
    assert!(nowhere.to_string().contains("n9"), "{nowhere}");
    for _ in 0..2 {
        lab.fabric().delete_instance("n1").expect("deletes");
    }
    assert!(!netns::exists(&lab.namespace("n1")), "the namespace is gone");
    lab.fabric().attach(&secondary, "n2").expect("free again");
}
