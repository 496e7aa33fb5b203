use super::super::World;
use crate::cloud::imds::answer;
use crate::cloud::latency::LatencyMode;
use crate::cloud::metadata::RoleKey;

fn get(world: &World, instance: &str, path: &str) -> Option<String> {
    let key = RoleKey {
        id: "ASIA1".to_owned(),
        secret: "s".to_owned(),
        token: "t".to_owned(),
        given: 1_800_000_000_000,
        expires: 1_800_003_600_000,
    };
    let vpc = &world.cloud.vpc;
    answer(vpc, vpc.instance_named(instance).unwrap(), vpc.enis(), path, &key)
}

#[test]
fn mac_is_listed_before_there_is_anything_to_read_about_it() {
    let mut world = World::aws_with(|config| config.latency = LatencyMode::Real);
    let eni = world.made(&[("Ipv4PrefixCount", "1")]).unwrap();
    world.plug(&eni, "1").unwrap();
    let mac = world.cloud.vpc.eni(&eni).unwrap().mac_text();
    let macs = "/meta-data/network/interfaces/macs/";
    let at = |world: &World, field: &str| get(world, "n1", &format!("{macs}{mac}/{field}"));
    assert!(get(&world, "n1", macs).unwrap().contains(&format!("{mac}/")));
    assert_eq!(at(&world, "interface-id"), None);
    world.pass(3000);
    assert_eq!(at(&world, "interface-id"), Some(eni));
    assert_eq!(at(&world, "device-number"), Some("1".to_owned()));
    assert_eq!(at(&world, "ipv4-prefix"), Some("10.0.0.224/28".to_owned()));
    assert_eq!(at(&world, "ipv6s"), None, "404 when there is none");
    assert_eq!(at(&world, "subnet-ipv4-cidr-block"), Some("10.0.0.0/24".to_owned()));
    assert_eq!(at(&world, "vpc-ipv6-cidr-blocks"), Some("fd00:10::/56".to_owned()));
    assert!(at(&world, "").unwrap().contains("ipv4-prefix\n"));
    assert_eq!(get(&world, "n2", macs).unwrap().lines().count(), 1, "each sees its own");
}

#[test]
fn document_and_role_tell_what_a_client_needs_to_begin() {
    let world = World::aws();
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_str(&get(&world, "n1", path).unwrap()).unwrap()
    };
    let document = json("/dynamic/instance-identity/document");
    assert_eq!(document["instanceId"], world.instance("n1"));
    assert_eq!(
        (&document["region"], &document["accountId"]),
        (&"us-east-1".into(), &"123456789012".into())
    );
    let role = get(&world, "n1", "/meta-data/iam/security-credentials/").unwrap();
    let key = json(&format!("/meta-data/iam/security-credentials/{role}"));
    assert_eq!((&key["Code"], &key["AccessKeyId"]), (&"Success".into(), &"ASIA1".into()));
    assert_eq!(key["Expiration"], "2027-01-15T09:00:00Z");
    assert_eq!(get(&world, "n1", "/meta-data/placement/region").unwrap(), "us-east-1");
    assert_eq!(get(&world, "n1", "/meta-data/nothing"), None);
    assert_eq!(get(&world, "n1", "/user-data"), None);
}
