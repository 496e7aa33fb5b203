//! Two snapshots are equal exactly if nothing changed.

use tideway_lab::fabric::Fabric as _;

use crate::support::{Lab, eni, eventually, ip, links_of, policy_routing};

#[test]
fn snapshot_is_the_same_after_everything_was_undone() {
    let Some(lab) = Lab::start("snapshot_is_the_same_after_everything_was_undone") else { return };
    lab.instance("n1", &eni(1, 0, true));
    let n1 = lab.namespace("n1");
    let take = || lab.fabric().snapshot("n1").expect("a snapshot");
    let before = take();
    assert_eq!(before, take());
    let secondary = eni(11, 0, false);
    lab.fabric().attach(&secondary, "n1").expect("attach");
    policy_routing(&n1, "eth1", &secondary);
    assert_ne!(before, take());
    for family in ["-4", "-6"] {
        ip(&n1, &format!("{family} rule del lookup 1011"));
    }
    lab.fabric().detach(&secondary.id).expect("detach");
    eventually("the snapshot is what it was", || take() == before);
}

#[test]
fn snapshot_shows_every_kind_of_leftover() {
    let Some(lab) = Lab::start("snapshot_shows_every_kind_of_leftover") else { return };
    lab.instance("n1", &eni(1, 0, true));
    let n1 = lab.namespace("n1");
    let clean = lab.fabric().snapshot("n1").expect("a snapshot");
    for (leave, remove) in [
        ("ip address add 10.9.9.9/32 dev lo", "ip address del 10.9.9.9/32 dev lo"),
        ("ip -4 rule add fwmark 7 lookup 7", "ip -4 rule del fwmark 7"),
        ("ip -6 rule add fwmark 7 lookup 7", "ip -6 rule del fwmark 7"),
        ("ip route add 10.9.0.0/24 dev eth0 table 77", "ip route del 10.9.0.0/24 table 77"),
        ("ip -6 route add fd77::/64 dev eth0 table 77", "ip -6 route del fd77::/64 table 77"),
        (
            "ip neighbour add 10.0.0.9 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
            "ip neighbour del 10.0.0.9 dev eth0",
        ),
        ("ip link add left type veth peer name over", "ip link del left"),
        ("ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"),
        (
            "tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb latency 50ms",
            "tc qdisc del dev eth0 root",
        ),
        ("nft add table inet left", "nft delete table inet left"),
    ] {
        run(&n1, leave);
        let dirty = lab.fabric().snapshot("n1").expect("a snapshot");
        assert_ne!(dirty, clean, "{leave}");
        run(&n1, remove);
        eventually(&format!("clean after {remove}"), || {
            lab.fabric().snapshot("n1").expect("a snapshot") == clean
        });
    }
}

#[test]
fn meddled_eni_has_another_name_an_address_and_a_second_default_route() {
    let test = "meddled_eni_has_another_name_an_address_and_a_second_default_route";
    let Some(lab) = Lab::start(test) else { return };
    lab.instance("n1", &eni(1, 0, true));
    let n1 = lab.namespace("n1");
    let secondary = eni(11, 0, false);
    let error = lab.fabric().meddle(&secondary.id).expect_err("not attached yet");
    assert!(error.to_string().contains("attach it first"), "{error}");
    lab.fabric().attach(&secondary, "n1").expect("attach");
    lab.fabric().meddle(&secondary.id).expect("meddles");
    lab.fabric().meddle(&secondary.id).expect("meddles no further");
    assert_eq!(links_of(&n1, &secondary), ["ens5"]);
    assert!(ip(&n1, "address show dev ens5").contains("10.0.0.11/24"));
    assert!(ip(&n1, "route get 10.77.0.1").contains("ens5"), "it pulls the host's traffic over");
    assert!(ip(&n1, "-6 route get fd77::1").contains("ens5"), "in both families");
}

fn run(namespace: &str, command: &str) {
    let mut words = command.split_whitespace();
    let mut program = std::process::Command::new(words.next().expect("a program"));
    let output = tideway_lab::fabric::netns::exec_in(namespace, program.args(words)).expect("runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
