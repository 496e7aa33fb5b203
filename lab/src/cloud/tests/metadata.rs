use super::World;
use crate::cloud::metadata::{RoleKey, answer};

fn key() -> RoleKey {
    RoleKey {
        id: "STS.1".to_owned(),
        secret: "s".to_owned(),
        token: "t".to_owned(),
        given: 1_800_000_000_000,
        expires: 1_800_003_600_000,
    }
}

fn get(world: &World, instance: &str, path: &str) -> Option<String> {
    let vpc = &world.cloud.vpc;
    answer(vpc, vpc.instance_named(instance).unwrap(), vpc.enis(), path, &key())
}

#[test]
fn tree_shows_the_instance_that_asks_and_no_other() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let macs = get(&world, "n1", "/network/interfaces/macs/").unwrap();
    assert_eq!(macs.lines().count(), 2);
    assert_eq!(get(&world, "n2", "/network/interfaces/macs/").unwrap().lines().count(), 1);
    let mac = world.cloud.vpc.eni(&eni).unwrap().mac_text();
    let at = |field: &str| format!("/network/interfaces/macs/{mac}/{field}");
    assert_eq!(get(&world, "n1", &at("network-interface-id")), Some(eni.clone()));
    assert_eq!(get(&world, "n2", &at("network-interface-id")), None);
    assert_eq!(get(&world, "n1", &at("private-ipv4s")), Some("[\"10.0.0.4\"]".to_owned()));
    assert_eq!(get(&world, "n1", &at("ipv6s")), None, "404 when there is none");
    world.ok("AssignIpv6Addresses", &[("NetworkInterfaceId", &eni), ("Ipv6AddressCount", "2")]);
    let six = get(&world, "n1", &at("ipv6s")).unwrap();
    assert!(six.starts_with("[fd00:10::") && six.contains(", fd00:10::"), "{six}");
    assert_eq!(get(&world, "n1", &at("gateway")), Some("10.0.0.253".to_owned()));
    assert_eq!(get(&world, "n1", &at("vswitch-cidr-block")), Some("10.0.0.0/24".to_owned()));
    assert_eq!(get(&world, "n1", "/instance-id"), Some(world.instance("n1")));
    assert_eq!(get(&world, "n1", "/zone-id"), Some("cn-hangzhou-h".to_owned()));
    assert_eq!(get(&world, "n1", "/nothing"), None);
}

#[test]
fn role_credentials_carry_their_end() {
    let world = World::new();
    let role = get(&world, "n1", "/ram/security-credentials/").unwrap();
    let text = get(&world, "n1", &format!("/ram/security-credentials/{role}")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["Code"], "Success");
    assert_eq!(json["Expiration"], "2027-01-15T09:00:00Z");
    assert_eq!(get(&world, "n1", "/ram/security-credentials/other"), None);
}
