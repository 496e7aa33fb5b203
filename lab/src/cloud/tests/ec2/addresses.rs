use super::super::World;
use super::each;

#[test]
fn fragmented_subnet_gives_single_addresses_but_no_prefix() {
    let mut world = World::aws_with(|config| {
        config.vswitches[0].ipv4 = "10.0.0.0/26".parse().unwrap();
    });
    // Four blocks of 16: the first and the last one hold reserved addresses, so two are free.
    let eni = world.made(&[("Ipv4PrefixCount", "2")]).unwrap();
    assert_eq!(world.made(&[("Ipv4PrefixCount", "1")]).unwrap_err(), "InsufficientCidrBlocks");
    let prefixes = each(&world.shown(&eni)["ipv4PrefixSet"], "ipv4Prefix");
    assert_eq!(prefixes, ["10.0.0.32/28", "10.0.0.16/28"]);
    let give = [
        ("NetworkInterfaceId", eni.as_str()),
        ("Ipv4Prefix.1", "10.0.0.16/28"),
        ("Ipv4Prefix.2", "10.0.0.32/28"),
    ];
    world.ec2_ok("UnassignPrivateIpAddresses", &give);
    world.made(&[("PrivateIpAddress", "10.0.0.20")]).unwrap();
    world.made(&[("PrivateIpAddress", "10.0.0.40")]).unwrap();
    assert!(world.free() > 32, "enough for two prefixes, but not in a row");
    assert_eq!(world.made(&[("Ipv4PrefixCount", "1")]).unwrap_err(), "InsufficientCidrBlocks");
    world.made(&[("SecondaryPrivateIpAddressCount", "16")]).unwrap();
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn prefix_takes_one_slot_and_sixteen_addresses_of_the_subnet() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    world.plug(&eni, "1").unwrap();
    let before = world.free();
    let id = ("NetworkInterfaceId", eni.as_str());
    let got = world.ec2_ok("AssignPrivateIpAddresses", &[id, ("Ipv4PrefixCount", "9")]);
    assert_eq!(got["assignedIpv4PrefixSet"].as_array().unwrap().len(), 9);
    assert_eq!(got["assignedPrivateIpAddressesSet"].as_array().unwrap().len(), 0);
    assert_eq!(world.free(), before - 9 * 16);
    for one in [("Ipv4PrefixCount", "1"), ("SecondaryPrivateIpAddressCount", "1")] {
        let code = world.ec2_refused("AssignPrivateIpAddresses", &[id, one]);
        assert_eq!(code, "PrivateIpAddressLimitExceeded");
    }
    let six = world.ec2_ok("AssignIpv6Addresses", &[id, ("Ipv6PrefixCount", "1")]);
    assert!(six["assignedIpv6PrefixSet"][0].as_str().unwrap().ends_with("/80"), "{six}");
}

#[test]
fn caller_with_an_address_of_a_prefix_is_its_instance_and_not_a_stranger() {
    let mut world = World::aws();
    let eni = world.made(&[("Ipv4PrefixCount", "1"), ("Ipv6PrefixCount", "1")]).unwrap();
    let prefixes = world.cloud.vpc.eni(&eni).unwrap().prefixes.clone();
    let name = |world: &World, at: std::net::IpAddr| {
        world.cloud.vpc.instance_at(at).map(|instance| instance.name.clone())
    };
    for prefix in &prefixes {
        assert_eq!(name(&world, prefix.broadcast()), None, "attached to nobody");
    }
    world.plug(&eni, "1").unwrap();
    for prefix in &prefixes {
        assert_eq!(name(&world, prefix.broadcast()), Some("n1".to_owned()));
    }
}

#[test]
fn prefixes_need_an_instance_of_the_nitro_system() {
    let mut world = World::aws_with(|config| {
        "m4.large".clone_into(&mut config.instances[1].instance_type);
    });
    let eni = world.made(&[]).unwrap();
    world.plug(&eni, "1").unwrap();
    let id = ("NetworkInterfaceId", eni.as_str());
    let code = world.ec2_refused("AssignPrivateIpAddresses", &[id, ("Ipv4PrefixCount", "1")]);
    assert_eq!(code, "UnsupportedOperation");
    world.ec2_ok("AssignPrivateIpAddresses", &[id, ("SecondaryPrivateIpAddressCount", "1")]);
}

#[test]
fn assign_answers_only_what_this_call_added_and_may_follow_at_once() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    let count = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "2")];
    let mut got = Vec::new();
    for _ in 0..2 {
        let answer = world.ec2_ok("AssignPrivateIpAddresses", &count);
        got.extend(each(&answer["assignedPrivateIpAddressesSet"], "privateIpAddress"));
    }
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 4, "none twice, the primary address not among them");
}

#[test]
fn secondary_address_moves_only_when_reassignment_is_allowed_and_a_primary_one_never() {
    let mut world = World::aws();
    let one = world.made(&[("PrivateIpAddresses.1.PrivateIpAddress", "10.0.0.77")]).unwrap();
    let two = world.made(&[]).unwrap();
    let primary = world.shown(&one)["privateIpAddress"].as_str().unwrap().to_owned();
    let mut assign = |address: &str, allow: &str| {
        let params = [
            ("NetworkInterfaceId", two.as_str()),
            ("PrivateIpAddress.1", address),
            ("AllowReassignment", allow),
        ];
        world.ec2("AssignPrivateIpAddresses", &params).err().unwrap_or_default()
    };
    assert_eq!(assign("10.0.0.77", "false"), "InvalidIPAddress.InUse");
    assert_eq!(assign(&primary, "true"), "InvalidIPAddress.InUse");
    assert_eq!(assign("10.0.0.77", "true"), "");
    assert_eq!(each(&world.shown(&one)["privateIpAddressesSet"], "privateIpAddress"), [primary]);
    let moved = each(&world.shown(&two)["privateIpAddressesSet"], "privateIpAddress");
    assert_eq!(moved[1], "10.0.0.77");
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn wrong_addresses_are_refused_and_keep_nothing_of_the_call() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    let before = world.free();
    let mut assign = |one: &str, two: &str| {
        let id = ("NetworkInterfaceId", eni.as_str());
        let params = [id, ("PrivateIpAddress.1", one), ("PrivateIpAddress.2", two)];
        world.ec2_refused("AssignPrivateIpAddresses", &params)
    };
    let invalid = "InvalidParameterValue";
    assert_eq!(assign("10.0.0.99", "10.0.0.4"), "InvalidIPAddress.InUse");
    assert_eq!(assign("10.0.0.99", "10.0.0.3"), invalid, "reserved");
    assert_eq!(assign("10.0.0.99", "10.0.0.255"), invalid, "reserved");
    assert_eq!(assign("10.0.0.99", "10.0.1.9"), invalid, "another subnet's");
    assert_eq!(assign("10.0.0.99", "10.0.0.99"), invalid, "twice");
    assert_eq!(assign("10.0.0.99", "x"), invalid);
    assert_eq!(world.free(), before);
}

#[test]
fn unassign_is_all_or_nothing_and_spares_the_primary_address() {
    let mut world = World::aws();
    let eni = world.made(&[("SecondaryPrivateIpAddressCount", "2")]).unwrap();
    let all = each(&world.shown(&eni)["privateIpAddressesSet"], "privateIpAddress");
    let mut unassign = |one: &str, two: &str| {
        let id = ("NetworkInterfaceId", eni.as_str());
        let params = [id, ("PrivateIpAddress.1", one), ("PrivateIpAddress.2", two)];
        world.ec2("UnassignPrivateIpAddresses", &params).err().unwrap_or_default()
    };
    assert_eq!(unassign(&all[1], "10.0.0.200"), "InvalidParameterValue");
    assert_eq!(unassign(&all[1], &all[0]), "InvalidParameterValue");
    assert_eq!(unassign(&all[1], &all[2]), "");
    assert_eq!(unassign(&all[1], &all[2]), "InvalidParameterValue", "a repeat is an error");
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn full_subnet_and_its_fault_have_the_code_of_what_was_asked() {
    let mut world = World::aws_with(|config| {
        config.vswitches[0].ipv4 = "10.0.0.0/28".parse().unwrap();
    });
    assert_eq!(world.free(), 16 - 5 - 3);
    world.made(&[("SecondaryPrivateIpAddressCount", "7")]).unwrap();
    assert_eq!(world.free(), 0);
    assert_eq!(world.made(&[]).unwrap_err(), "InsufficientFreeAddressesInSubnet");

    let mut world = World::aws();
    let spec = crate::cloud::faults::FaultSpec::new(crate::cloud::faults::FaultKind::FullSubnet);
    world.cloud.add_fault(spec, world.now).unwrap();
    assert_eq!(world.made(&[]).unwrap_err(), "InsufficientFreeAddressesInSubnet");
    assert_eq!(world.made(&[("Ipv4PrefixCount", "1")]).unwrap_err(), "InsufficientCidrBlocks");
}

#[test]
fn ways_to_ask_for_addresses_exclude_each_other() {
    let mut world = World::aws();
    let code = "InvalidParameterCombination";
    let two = [("SecondaryPrivateIpAddressCount", "1"), ("Ipv4PrefixCount", "1")];
    assert_eq!(world.made(&two).unwrap_err(), code);
    let two = [("Ipv6AddressCount", "1"), ("Ipv6Prefix.1.Ipv6Prefix", "fd00:10:0:0:5::/80")];
    assert_eq!(world.made(&two).unwrap_err(), code);
    world.made(&[("Ipv6AddressCount", "1"), ("Ipv4PrefixCount", "1")]).unwrap();
}
