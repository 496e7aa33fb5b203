use super::super::World;
use super::each;
use crate::cloud::faults::{FaultKind, FaultSpec};

#[test]
fn eni_that_is_too_new_for_a_stale_view_is_not_found_and_a_deleted_one_is_still_listed() {
    let mut world = World::aws();
    let old = world.made(&[]).unwrap();
    world.now += 10_000;
    let spec = FaultSpec { ms: Some(5000), ..FaultSpec::new(FaultKind::StaleReads) };
    world.cloud.add_fault(spec, world.now).unwrap();
    let new = world.made(&[]).unwrap();
    world.ec2_ok("DeleteNetworkInterface", &[("NetworkInterfaceId", &old)]);
    let look = |world: &mut World, id: &str| {
        world.ec2("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", id)]).err()
    };
    let missing = Some("InvalidNetworkInterfaceID.NotFound".to_owned());
    assert_eq!((look(&mut world, &new), look(&mut world, &old)), (missing.clone(), None));
    world.now += 5000;
    assert_eq!((look(&mut world, &new), look(&mut world, &old)), (None, missing));
}

#[test]
fn repeated_create_with_its_token_makes_one_eni_and_assign_has_no_token() {
    let mut world = World::aws();
    let first = world.made(&[("ClientToken", "t1")]).unwrap();
    assert_eq!(world.made(&[("ClientToken", "t1")]).unwrap(), first);
    let other = [("ClientToken", "t1"), ("Description", "other")];
    assert_eq!(world.made(&other).unwrap_err(), "IdempotentParameterMismatch");
    let assign = [
        ("NetworkInterfaceId", first.as_str()),
        ("SecondaryPrivateIpAddressCount", "1"),
        ("ClientToken", "t2"),
    ];
    world.ec2_ok("AssignPrivateIpAddresses", &assign);
    world.ec2_ok("AssignPrivateIpAddresses", &assign);
    assert_eq!(world.cloud.vpc.eni(&first).unwrap().v4.len(), 3);
}

#[test]
fn filters_find_what_matches_all_of_them_and_an_unknown_one_is_refused() {
    let mut world = World::aws();
    let tagged = [
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "node"),
        ("TagSpecification.1.Tag.1.Value", "n1"),
        ("SecondaryPrivateIpAddressCount", "1"),
    ];
    let eni = world.made(&tagged).unwrap();
    let second = world.cloud.vpc.eni(&eni).unwrap().v4[1].to_string();
    let mut find = |filters: &[(&str, &str)]| {
        let mut params = Vec::new();
        for (n, (name, value)) in filters.iter().enumerate() {
            params.push((format!("Filter.{n}.Name"), (*name).to_owned()));
            params.push((format!("Filter.{n}.Value.1"), (*value).to_owned()));
        }
        let params: Vec<(&str, &str)> =
            params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let found = world.ec2("DescribeNetworkInterfaces", &params)?;
        Ok::<_, String>(each(&found["networkInterfaceSet"], "networkInterfaceId"))
    };
    let only = Ok(vec![eni]);
    assert_eq!(find(&[("tag:node", "n1")]), only);
    assert_eq!(find(&[("tag-key", "no?e"), ("status", "available")]), only);
    assert_eq!(find(&[("addresses.private-ip-address", &second)]), only);
    assert_eq!(find(&[("tag:node", "n1"), ("status", "in-use")]), Ok(Vec::new()));
    assert_eq!(find(&[("attachment.device-index", "0")]).unwrap().len(), 3);
    assert_eq!(find(&[("no-such-filter", "x")]), Err("InvalidParameterValue".to_owned()));
}

#[test]
fn pages_hold_each_eni_once_while_others_come_and_go() {
    let mut world = World::aws();
    let made: Vec<String> = (0..9).map(|_| world.made(&[]).unwrap()).collect();
    let first = world.ec2_ok("DescribeNetworkInterfaces", &[("MaxResults", "5")]);
    let token = first["nextToken"].as_str().unwrap().to_owned();
    world.ec2_ok("DeleteNetworkInterface", &[("NetworkInterfaceId", &made[0])]);
    let second =
        world.ec2_ok("DescribeNetworkInterfaces", &[("MaxResults", "1000"), ("NextToken", &token)]);
    assert!(second.get("nextToken").is_none(), "the last page");
    let mut seen = each(&first["networkInterfaceSet"], "networkInterfaceId");
    assert_eq!(seen.len(), 5);
    seen.extend(each(&second["networkInterfaceSet"], "networkInterfaceId"));
    assert_eq!(seen.len(), 12);
    let mut refused =
        |params: &[(&str, &str)]| world.ec2_refused("DescribeNetworkInterfaces", params);
    assert_eq!(refused(&[("MaxResults", "4")]), "InvalidParameterValue");
    assert_eq!(refused(&[("NextToken", "guess")]), "InvalidNextToken");
    let both = [("MaxResults", "5"), ("NetworkInterfaceId.1", made[1].as_str())];
    assert_eq!(refused(&both), "InvalidParameterCombination");
}

#[test]
fn tags_of_all_resources_change_or_of_none() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    let subnet = world.vswitch("a");
    let mut tag = |action: &str, second: &str, key: &str, value: Option<&str>| {
        let mut params =
            vec![("ResourceId.1", eni.as_str()), ("ResourceId.2", second), ("Tag.1.Key", key)];
        params.extend(value.map(|value| ("Tag.1.Value", value)));
        world.ec2(action, &params).err().unwrap_or_default()
    };
    assert_eq!(
        tag("CreateTags", "eni-00000000", "k", Some("v")),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(tag("CreateTags", "vol-00000000", "k", Some("v")), "InvalidID");
    assert_eq!(tag("CreateTags", &subnet, "aws:k", Some("v")), "InvalidParameterValue");
    assert_eq!(tag("CreateTags", &subnet, "k", Some("v")), "");
    assert_eq!(tag("DeleteTags", &subnet, "k", Some("other")), "", "not this value");
    let tags = |world: &World| world.cloud.vpc.eni(&eni).unwrap().tags.len();
    assert_eq!(tags(&world), 1);
    let found = [("Filter.1.Name", "tag:k"), ("Filter.1.Value.1", "v")];
    let found = world.ec2_ok("DescribeSubnets", &found);
    assert_eq!(each(&found["subnetSet"], "subnetId"), [subnet]);
    let named = [("ResourceId.1", eni.as_str()), ("Tag.1.Key", "k")];
    world.ec2_ok("DeleteTags", &named);
    assert_eq!(tags(&world), 0);
}

#[test]
fn throttled_dry_and_unknown_calls_have_the_codes_of_ec2() {
    let mut world = World::aws();
    let spec = FaultSpec { bucket: Some(1), ..FaultSpec::new(FaultKind::Throttle) };
    world.cloud.add_fault(spec, world.now).unwrap();
    world.made(&[]).unwrap();
    assert_eq!(world.made(&[]).unwrap_err(), "RequestLimitExceeded");
    world.cloud.vpc.faults.clear(None);
    let before = world.cloud.vpc.enis().len();
    assert_eq!(world.made(&[("DryRun", "true")]).unwrap_err(), "DryRunOperation");
    assert_eq!(world.cloud.vpc.enis().len(), before);
    assert_eq!(world.ec2_refused("RunInstances", &[]), "InvalidAction");
    let code = world.ec2_refused("DescribeInstanceTypes", &[("InstanceType.1", "z9.huge")]);
    assert_eq!(code, "InvalidInstanceType");
}
