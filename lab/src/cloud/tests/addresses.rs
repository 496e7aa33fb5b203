use serde_json::Value;

use super::World;
use crate::cloud::catalog::TypeOverride;
use crate::cloud::latency::LatencyMode;

fn assigned(answer: &Value) -> Vec<String> {
    let set = &answer["AssignedPrivateIpAddressesSet"]["PrivateIpSet"]["PrivateIpAddress"];
    set.as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect()
}

#[test]
fn assign_answers_only_what_this_call_added() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let count = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "2")];
    let first = assigned(&world.ok("AssignPrivateIpAddresses", &count));
    let second = assigned(&world.ok("AssignPrivateIpAddresses", &count));
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first.iter().all(|a| !second.contains(a)));
}

#[test]
fn limits_of_the_instance_type_hold_per_eni_and_family() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let id = ("NetworkInterfaceId", eni.as_str());
    world.ok("AssignPrivateIpAddresses", &[id, ("SecondaryPrivateIpAddressCount", "9")]);
    assert_eq!(
        world.refused("AssignPrivateIpAddresses", &[id, ("SecondaryPrivateIpAddressCount", "1")]),
        "InvalidOperation.Ipv4CountExceeded"
    );
    world.ok("AssignIpv6Addresses", &[id, ("Ipv6AddressCount", "10")]);
    assert_eq!(
        world.refused("AssignIpv6Addresses", &[id, ("Ipv6AddressCount", "1")]),
        "InvalidOperation.Ipv6CountExceeded"
    );
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn published_ipv6_limit_of_g6_allows_one_address() {
    let mut world = World::with(|config| config.type_overrides.clear());
    let eni = world.attached("n1");
    let id = ("NetworkInterfaceId", eni.as_str());
    world.ok("AssignIpv6Addresses", &[id, ("Ipv6AddressCount", "1")]);
    assert_eq!(
        world.refused("AssignIpv6Addresses", &[id, ("Ipv6AddressCount", "1")]),
        "InvalidOperation.Ipv6CountExceeded"
    );
}

#[test]
fn eni_with_too_many_addresses_does_not_attach_to_a_small_type() {
    let mut world = World::new();
    let eni = world.create(&[("SecondaryPrivateIpAddressCount", "20")]).unwrap();
    let instance = world.instance("n1");
    assert_eq!(
        world.refused(
            "AttachNetworkInterface",
            &[("NetworkInterfaceId", &eni), ("InstanceId", &instance)]
        ),
        "InvalidOperation.Ipv4CountExceeded"
    );
}

#[test]
fn full_vswitch_refuses_and_keeps_nothing_of_the_call() {
    let mut world = World::with(|config| {
        config.vswitches[0].ipv4 = "10.0.0.0/28".parse().unwrap();
    });
    // 16 addresses, 4 reserved, 3 instances: 9 left.
    assert_eq!(world.available("a"), 9);
    assert_eq!(
        world.create(&[("SecondaryPrivateIpAddressCount", "9")]).unwrap_err(),
        "InvalidVSwitchId.IpNotEnough"
    );
    assert_eq!(world.available("a"), 9);
    let eni = world.create(&[("SecondaryPrivateIpAddressCount", "8")]).unwrap();
    assert_eq!(world.available("a"), 0);
    assert_eq!(world.create(&[]).unwrap_err(), "InvalidVSwitchId.IpNotEnough");
    let id = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "1")];
    assert_eq!(world.refused("AssignPrivateIpAddresses", &id), "InvalidVSwitchId.IpNotEnough");
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn chosen_address_does_not_take_the_place_of_a_named_one() {
    let mut world = World::new();
    // The lowest free address would be 10.0.0.4, which this call names as a secondary one.
    let eni = world.create(&[("PrivateIpAddress.1", "10.0.0.4")]).unwrap();
    let v4 = world.cloud.vpc.eni(&eni).unwrap().v4.clone();
    assert_eq!(v4.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.5", "10.0.0.4"]);
}

#[test]
fn wrong_addresses_get_their_own_codes() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let mut assign = |one: &str, two: &str| {
        let id = ("NetworkInterfaceId", eni.as_str());
        world.refused(
            "AssignPrivateIpAddresses",
            &[id, ("PrivateIpAddress.1", one), ("PrivateIpAddress.2", two)],
        )
    };
    assert_eq!(assign("10.0.0.1", "10.0.0.99"), "InvalidIp.IpAssigned");
    assert_eq!(assign("10.0.0.99", "10.0.0.99"), "InvalidIp.IpRepeated");
    assert_eq!(assign("10.0.1.7", "10.0.0.99"), "InvalidIp.Address", "another vSwitch's");
    assert_eq!(assign("10.0.0.253", "10.0.0.99"), "InvalidIp.Address", "the gateway");
    assert_eq!(assign("10.0.0.x", "10.0.0.99"), "InvalidIp.Address");
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn unassign_is_all_or_nothing_and_spares_the_primary_address() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let id = ("NetworkInterfaceId", eni.as_str());
    let got = assigned(
        &world.ok("AssignPrivateIpAddresses", &[id, ("SecondaryPrivateIpAddressCount", "2")]),
    );
    let bad = [id, ("PrivateIpAddress.1", got[0].as_str()), ("PrivateIpAddress.2", "10.0.0.250")];
    assert_eq!(world.refused("UnassignPrivateIpAddresses", &bad), "InvalidIp.IpUnassigned");
    assert_eq!(world.cloud.vpc.eni(&eni).unwrap().v4.len(), 3, "nothing was taken");
    let primary = world.cloud.vpc.eni(&eni).unwrap().v4[0].to_string();
    assert_eq!(
        world.refused("UnassignPrivateIpAddresses", &[id, ("PrivateIpAddress.1", &primary)]),
        "InvalidOperation.PrimaryIpAddress"
    );
    let right = [id, ("PrivateIpAddress.1", got[0].as_str()), ("PrivateIpAddress.2", &got[1])];
    world.ok("UnassignPrivateIpAddresses", &right);
    assert_eq!(world.refused("UnassignPrivateIpAddresses", &right), "InvalidIp.IpUnassigned");
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn second_change_of_one_eni_conflicts_while_the_first_is_in_work() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let eni = world.create(&[]).unwrap();
    let params = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "1")];
    world.ok("AssignPrivateIpAddresses", &params);
    world.now += 100;
    assert_eq!(world.refused("AssignPrivateIpAddresses", &params), "Operation.Conflict");
    world.now += 1000;
    world.ok("AssignPrivateIpAddresses", &params);
}

#[test]
fn prefix_takes_one_slot_and_sixteen_addresses() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let id = ("NetworkInterfaceId", eni.as_str());
    let before = world.available("a");
    let answer = world.ok("AssignPrivateIpAddresses", &[id, ("Ipv4PrefixCount", "9")]);
    let prefixes = &answer["AssignedPrivateIpAddressesSet"]["Ipv4PrefixSet"]["Ipv4Prefixes"];
    assert_eq!(prefixes.as_array().unwrap().len(), 9);
    assert_eq!(world.available("a"), before - 9 * 16);
    assert_eq!(
        world.refused("AssignPrivateIpAddresses", &[id, ("Ipv4PrefixCount", "1")]),
        "InvalidOperation.Ipv4CountExceeded"
    );
    let first = prefixes[0].as_str().unwrap().to_owned();
    world.ok("UnassignPrivateIpAddresses", &[id, ("Ipv4Prefix.1", &first)]);
    assert_eq!(world.available("a"), before - 8 * 16);
}

#[test]
fn vswitch_without_ipv6_gives_no_ipv6_address() {
    let mut world = World::with(|config| config.vswitches[0].ipv6 = None);
    assert_eq!(
        world.create(&[("Ipv6AddressCount", "1")]).unwrap_err(),
        "InvalidVSwitch.Ipv6NotTurnOn"
    );
}

#[test]
fn account_quotas_have_their_own_codes() {
    let mut world = World::with(|config| config.quotas.addresses_per_vpc = 4);
    world.create(&[]).unwrap();
    assert_eq!(world.create(&[]).unwrap_err(), "QuotaExceeded.PrivateIpAddress");
    let mut world = World::with(|config| config.quotas.addresses_per_group = 4);
    world.create(&[]).unwrap();
    assert_eq!(world.create(&[]).unwrap_err(), "SecurityGroupInstanceLimitExceed");
    let mut world = World::with(|config| config.quotas.enis = 1);
    world.create(&[]).unwrap();
    assert_eq!(world.create(&[]).unwrap_err(), "MaxEniCountExceeded");
}

#[test]
fn override_of_a_type_changes_what_describe_says_and_what_holds() {
    let mut world = World::with(|config| {
        let change = TypeOverride { ipv4_per_eni: Some(3), ..TypeOverride::default() };
        config.type_overrides.insert("ecs.g6.xlarge".to_owned(), change);
    });
    let said = world.ok("DescribeInstanceTypes", &[("InstanceTypes.1", "ecs.g6.xlarge")]);
    let limit = &said["InstanceTypes"]["InstanceType"][0]["EniPrivateIpAddressQuantity"];
    assert_eq!(limit, 3);
    let eni = world.attached("n1");
    let params = [("NetworkInterfaceId", eni.as_str()), ("SecondaryPrivateIpAddressCount", "3")];
    assert_eq!(
        world.refused("AssignPrivateIpAddresses", &params),
        "InvalidOperation.Ipv4CountExceeded"
    );
}
