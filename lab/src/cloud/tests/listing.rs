use serde_json::Value;

use super::World;

/// No ENI at all.
const NONE: [&str; 0] = [];

fn ids(answer: &Value) -> Vec<String> {
    let list = answer["NetworkInterfaceSets"]["NetworkInterfaceSet"].as_array().unwrap();
    list.iter().map(|e| e["NetworkInterfaceId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn filters_are_joined_by_and() {
    let mut world = World::new();
    let one = world.create(&[("Tag.1.Key", "owner"), ("Tag.1.Value", "x")]).unwrap();
    let two = world.attached("n1");
    let six = world.create(&[("Ipv6AddressCount", "1")]).unwrap();
    let mut find = |filter: &[(&str, &str)]| ids(&world.ok("DescribeNetworkInterfaces", filter));
    assert_eq!(find(&[("Tag.1.Key", "owner")]), [one.as_str()]);
    assert_eq!(find(&[("Tag.1.Key", "owner"), ("Tag.1.Value", "y")]), NONE);
    assert_eq!(find(&[("Status", "InUse"), ("Type", "Secondary")]), [two.as_str()]);
    assert_eq!(
        find(&[("NetworkInterfaceId.1", &one), ("NetworkInterfaceId.2", &six)]),
        [one.clone(), six]
    );
    assert_eq!(find(&[("PrivateIpAddress.1", "10.0.0.5")]), [two]);
    assert_eq!(find(&[("PrimaryIpAddress", "10.0.0.4")]), [one]);
    assert_eq!(find(&[("VSwitchId", "vsw-none")]), NONE);
    assert_eq!(find(&[("Type", "Primary")]).len(), 3);
    assert_eq!(
        world.refused("DescribeNetworkInterfaces", &[("Status", "Away")]),
        "InvalidParameter"
    );
}

#[test]
fn all_shapes_are_wrapped_as_the_api_does() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let found = world.ok("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", &eni)]);
    let item = &found["NetworkInterfaceSets"]["NetworkInterfaceSet"][0];
    assert_eq!(item["Attachment"]["InstanceId"], world.instance("n1").as_str());
    assert_eq!(item["PrivateIpSets"]["PrivateIpSet"][0]["Primary"], true);
    assert_eq!(item["SecurityGroupIds"]["SecurityGroupId"][0], world.group().as_str());
    assert!(item["Tags"]["Tag"].as_array().unwrap().is_empty());
    assert!(found["RequestId"].as_str().unwrap().len() == 36);
    let instances = world.ok("DescribeInstances", &[]);
    assert_eq!(instances["TotalCount"], 3);
    let n1 = &instances["Instances"]["Instance"][1];
    assert_eq!(n1["NetworkInterfaces"]["NetworkInterface"].as_array().unwrap().len(), 2);
    assert_eq!((&n1["Cpu"], &n1["Memory"]), (&4.into(), &16384.into()));
    let vpcs = world.ok("DescribeVpcs", &[]);
    assert_eq!(vpcs["Vpcs"]["Vpc"][0]["VSwitchIds"]["VSwitchId"].as_array().unwrap().len(), 2);
    let groups = world.ok("DescribeSecurityGroups", &[]);
    assert_eq!(groups["SecurityGroups"]["SecurityGroup"][0]["SecurityGroupName"], "default");
}

#[test]
fn actions_belong_to_their_api_and_regions_are_checked() {
    let mut world = World::new();
    assert_eq!(world.refused("RunInstances", &[]), "InvalidAction.NotFound");
    assert_eq!(
        world.refused("DescribeNetworkInterfaces", &[("RegionId", "cn-nowhere")]),
        "InvalidRegionId.NotFound"
    );
    assert_eq!(world.refused("DeleteNetworkInterface", &[]), "MissingParameter");
}

#[test]
fn tags_are_changed_on_all_resources_or_none() {
    let mut world = World::new();
    let one = world.create(&[]).unwrap();
    let tag = [("Tag.1.Key", "a"), ("Tag.1.Value", "b"), ("ResourceType", "eni")];
    let both = [tag[0], tag[1], tag[2], ("ResourceId.1", one.as_str()), ("ResourceId.2", "eni-no")];
    assert_eq!(world.refused("TagResources", &both), "InvalidResourceId.NotFound");
    assert!(world.cloud.vpc.eni(&one).unwrap().tags.is_empty());
    world.ok("TagResources", &[tag[0], tag[1], tag[2], ("ResourceId.1", &one)]);
    assert_eq!(world.cloud.vpc.eni(&one).unwrap().tags["a"], "b");
    let many: Vec<(String, String)> =
        (1..=20).map(|n| (format!("Tag.{n}.Key"), format!("k{n}"))).collect();
    let mut params: Vec<(&str, &str)> =
        many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    params.extend([("ResourceType", "eni"), ("ResourceId.1", one.as_str())]);
    assert_eq!(world.refused("TagResources", &params), "NumberExceed.Tags", "21 tags");
    world.ok("UntagResources", &[tag[2], ("ResourceId.1", &one), ("All", "True")]);
    assert!(world.cloud.vpc.eni(&one).unwrap().tags.is_empty());
}

#[test]
fn malformed_names_tags_and_descriptions_are_refused() {
    let mut world = World::new();
    for (name, value, code) in [
        ("NetworkInterfaceName", "1eni", "InvalidNetworkInterfaceName.Malformed"),
        ("Description", "http://x", "InvalidDescription.Malformed"),
        ("Tag.1.Key", "aliyun", "InvalidTagKey.Malformed"),
        ("Ipv6AddressCount", "11", "InvalidParameter"),
        ("SecondaryPrivateIpAddressCount", "50", "InvalidParameter"),
        ("SecondaryPrivateIpAddressCount", "many", "InvalidParameter"),
        ("SecurityGroupIds.1", "sg-none", "InvalidSecurityGroupId.NotFound"),
        ("InstanceType", "Trunk", "InvalidInstanceType.ValueNotSupported"),
    ] {
        assert_eq!(world.create(&[(name, value)]).unwrap_err(), code, "{name}={value}");
    }
    assert_eq!(world.cloud.vpc.enis().len(), 3, "nothing was made");
}
