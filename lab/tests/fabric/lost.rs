//! An ENI outlives the namespace that it is in, as hardware does.

use tideway_lab::fabric::{Fabric as _, netns};

use crate::support::{Lab, eni, eventually, ip, links_of, ping, policy_routing, reaches, v4, v6};

#[test]
fn eni_whose_namespace_died_comes_back_to_the_instance() {
    let Some(mut lab) = Lab::start("eni_whose_namespace_died_comes_back_to_the_instance") else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    lab.instance("n2", &eni(2, 0, true));
    let moved = eni(11, 0, false);
    lab.fabric().attach(&moved, "n1").expect("attach");
    let (n1, n2) = (lab.namespace("n1"), lab.namespace("n2"));
    let pod = lab.pod("x");
    ip(&n1, &format!("link set eth1 netns {pod} name eth0"));
    assert!(links_of(&n1, &moved).is_empty(), "it is in the pod");
    netns::delete(&pod).expect("the pod dies");
    eventually("the ENI is back in the instance", || links_of(&n1, &moved) == ["eth1"]);
    let shown = ip(&n1, "address show dev eth1");
    assert!(shown.contains("state DOWN") && !shown.contains("inet"), "bare and down: {shown}");
    // and it is the same ENI for the VPC
    policy_routing(&n1, "eth1", &moved);
    reaches(&n2, None, v4(0, 11));
    reaches(&n2, None, v6(0, 11));
}

#[test]
fn detach_takes_the_eni_out_of_a_foreign_namespace() {
    let Some(mut lab) = Lab::start("detach_takes_the_eni_out_of_a_foreign_namespace") else {
        return;
    };
    lab.instance("n1", &eni(1, 0, true));
    lab.instance("n2", &eni(2, 0, true));
    let moved = eni(11, 0, false);
    lab.fabric().attach(&moved, "n1").expect("attach");
    let pod = lab.pod("x");
    ip(&lab.namespace("n1"), &format!("link set eth1 netns {pod} name eth0"));
    policy_routing(&pod, "eth0", &moved);
    reaches(&lab.namespace("n2"), None, v4(0, 11));
    lab.fabric().detach(&moved.id).expect("detach");
    assert!(links_of(&pod, &moved).is_empty(), "gone from the pod");
    assert!(!ping(&lab.namespace("n2"), None, v4(0, 11)), "nobody has the address");
    lab.fabric().detach(&moved.id).expect("detach again");
    // The gateway is still there for the others, although its address was on the removed port too.
    reaches(&lab.namespace("n2"), None, v4(0, 253));
    assert_eq!(lab.fabric().restore_lost().expect("a round"), Vec::<String>::new());
    lab.fabric().attach(&moved, "n2").expect("attach to another instance");
    assert_eq!(links_of(&lab.namespace("n2"), &moved), ["eth1"]);
}

#[test]
fn detached_while_lost_does_not_come_back() {
    let Some(mut lab) = Lab::start("detached_while_lost_does_not_come_back") else { return };
    lab.instance("n1", &eni(1, 0, true));
    let moved = eni(11, 0, false);
    lab.fabric().attach(&moved, "n1").expect("attach");
    let pod = lab.pod("x");
    ip(&lab.namespace("n1"), &format!("link set eth1 netns {pod}"));
    netns::delete(&pod).expect("the pod dies");
    lab.fabric().detach(&moved.id).expect("detach");
    eventually("the port is gone from the VPC", || {
        !netns::links(lab.fabric().vpc_namespace()).expect("lists").contains(&"p11".to_owned())
    });
    assert_eq!(lab.fabric().restore_lost().expect("a round"), Vec::<String>::new());
    assert!(links_of(&lab.namespace("n1"), &moved).is_empty(), "stays away");
}
