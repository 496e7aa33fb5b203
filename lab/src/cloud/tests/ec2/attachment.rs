use super::super::World;
use crate::cloud::faults::{FaultKind, FaultSpec};
use crate::cloud::latency::LatencyMode;

#[test]
fn device_index_and_limit_and_use_have_their_own_codes() {
    let mut world = World::aws();
    let enis: Vec<String> = (0..3).map(|_| world.made(&[]).unwrap()).collect();
    world.plug(&enis[0], "1").unwrap();
    assert_eq!(world.plug(&enis[0], "2").unwrap_err(), "InvalidNetworkInterface.InUse");
    assert_eq!(world.plug(&enis[1], "0").unwrap_err(), "InvalidParameterValue", "the primary's");
    assert_eq!(world.plug(&enis[1], "1").unwrap_err(), "InvalidParameterValue");
    world.plug(&enis[1], "2").unwrap();
    assert_eq!(world.plug(&enis[2], "3").unwrap_err(), "AttachmentLimitExceeded");
    assert_eq!(
        world.plug("eni-0123456789abcdef0", "3").unwrap_err(),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(world.plug("eni-x", "3").unwrap_err(), "InvalidNetworkInterfaceId.Malformed");
}

#[test]
fn each_network_card_has_its_own_limit_and_its_own_device_indexes() {
    let mut world = World::aws_with(|config| {
        "hpc7a.96xlarge".clone_into(&mut config.instances[1].instance_type);
    });
    let instance = world.instance("n1");
    let mut plug = |card: &str, device: &str| {
        let eni = world.made(&[]).unwrap();
        let params = [
            ("NetworkInterfaceId", eni.as_str()),
            ("InstanceId", instance.as_str()),
            ("DeviceIndex", device),
            ("NetworkCardIndex", card),
        ];
        world.ec2("AttachNetworkInterface", &params).err().unwrap_or_default()
    };
    assert_eq!(plug("0", "1"), "");
    assert_eq!(plug("0", "2"), "AttachmentLimitExceeded", "two on each of two cards");
    assert_eq!(plug("1", "1"), "");
    assert_eq!(plug("1", "1"), "InvalidParameterValue");
    assert_eq!(plug("2", "1"), "InvalidParameterValue", "no such card");
    assert_eq!(plug("1", "2"), "");
}

#[test]
fn attached_eni_outlives_its_instance_until_somebody_says_otherwise() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    let first = world.plug(&eni, "1").unwrap();
    let on = |world: &mut World| world.shown(&eni)["attachment"]["deleteOnTermination"].clone();
    assert_eq!(on(&mut world), false);
    let modify = |world: &mut World, attachment: &str| {
        let params = [
            ("NetworkInterfaceId", eni.as_str()),
            ("Attachment.AttachmentId", attachment),
            ("Attachment.DeleteOnTermination", "true"),
        ];
        world.ec2("ModifyNetworkInterfaceAttribute", &params).err().unwrap_or_default()
    };
    assert_eq!(modify(&mut world, &first), "");
    assert_eq!(on(&mut world), true);
    world.ec2_ok("DetachNetworkInterface", &[("AttachmentId", &first)]);
    world.pass(0);
    let second = world.plug(&eni, "1").unwrap();
    assert_ne!(first, second, "an attachment is made once");
    assert_eq!(on(&mut world), false, "the flag was the attachment's");
    assert_eq!(modify(&mut world, &first), "InvalidAttachmentID.NotFound");
}

#[test]
fn attach_and_detach_go_through_their_states_and_delete_is_done_when_it_answers() {
    let mut world = World::aws_with(|config| config.latency = LatencyMode::Real);
    let eni = world.made(&[]).unwrap();
    let id = [("NetworkInterfaceId", eni.as_str())];
    let attachment = world.plug(&eni, "1").unwrap();
    let states = |world: &mut World| {
        let shown = world.shown(&eni);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("none").to_owned();
        (text(&shown["status"]), text(&shown["attachment"]["status"]))
    };
    let pair = |one: &str, two: &str| (one.to_owned(), two.to_owned());
    assert_eq!(states(&mut world), pair("attaching", "attaching"));
    assert_eq!(
        world.ec2_refused("DetachNetworkInterface", &[("AttachmentId", &attachment)]),
        "IncorrectState"
    );
    world.pass(3000);
    assert_eq!(states(&mut world), pair("in-use", "attached"));
    assert_eq!(world.ec2_refused("DeleteNetworkInterface", &id), "InvalidParameterValue");
    world.ec2_ok("DetachNetworkInterface", &[("AttachmentId", &attachment)]);
    assert_eq!(states(&mut world), pair("detaching", "detaching"));
    world.pass(5000);
    assert_eq!(states(&mut world), pair("available", "none"));
    let code = world.ec2_refused("DetachNetworkInterface", &[("AttachmentId", &attachment)]);
    assert_eq!(code, "InvalidAttachmentID.NotFound");
    world.ec2_ok("DeleteNetworkInterface", &id);
    assert_eq!(
        world.ec2_refused("DeleteNetworkInterface", &id),
        "InvalidNetworkInterfaceID.NotFound"
    );
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn primary_eni_is_not_detached_and_another_zone_is_too_far() {
    let mut world =
        World::aws_with(|config| "us-east-1b".clone_into(&mut config.vswitches[1].zone));
    let primary = world.cloud.vpc.instance_named("n1").unwrap().primary_eni.clone();
    let shown = world.shown(&primary);
    assert_eq!(shown["attachment"]["deviceIndex"], 0);
    assert_eq!(shown["attachment"]["deleteOnTermination"], true);
    let attachment = shown["attachment"]["attachmentId"].as_str().unwrap();
    let code = world.ec2_refused("DetachNetworkInterface", &[("AttachmentId", attachment)]);
    assert_eq!(code, "OperationNotPermitted");
    let subnet = world.vswitch("b");
    let made = world.ec2_ok("CreateNetworkInterface", &[("SubnetId", &subnet)]);
    let eni = made["networkInterface"]["networkInterfaceId"].as_str().unwrap();
    assert_eq!(world.plug(eni, "1").unwrap_err(), "InvalidParameterCombination");
}

#[test]
fn eni_with_too_many_addresses_does_not_attach_to_a_small_type() {
    let mut world = World::aws();
    let eni = world.made(&[("SecondaryPrivateIpAddressCount", "20")]).unwrap();
    assert_eq!(world.plug(&eni, "1").unwrap_err(), "PrivateIpAddressLimitExceeded");
}

#[test]
fn terminated_instance_takes_only_enis_along_that_say_so() {
    let mut world = World::aws();
    let (stays, goes) = (world.made(&[]).unwrap(), world.made(&[]).unwrap());
    let before = world.free();
    world.plug(&stays, "1").unwrap();
    let attachment = world.plug(&goes, "2").unwrap();
    let along = [
        ("NetworkInterfaceId", goes.as_str()),
        ("Attachment.AttachmentId", &attachment),
        ("Attachment.DeleteOnTermination", "true"),
    ];
    world.ec2_ok("ModifyNetworkInterfaceAttribute", &along);
    let instance = world.instance("n1");
    let id = [("InstanceId.1", instance.as_str())];
    let answer = world.ec2_ok("TerminateInstances", &id);
    assert_eq!(answer["instancesSet"][0]["currentState"]["name"], "shutting-down");
    world.pass(0);
    let shown = world.shown(&stays);
    assert_eq!(shown["status"], "available");
    assert!(shown["attachment"].is_null(), "{shown}");
    let look = [("NetworkInterfaceId.1", goes.as_str())];
    let code = world.ec2_refused("DescribeNetworkInterfaces", &look);
    assert_eq!(code, "InvalidNetworkInterfaceID.NotFound");
    assert_eq!(world.free(), before + 2, "its own and the primary ENI's address are back");
    let seen = world.ec2_ok("DescribeInstances", &id);
    let seen = &seen["reservationSet"][0]["instancesSet"][0];
    assert_eq!(
        (&seen["instanceState"]["code"], &seen["networkInterfaceSet"]),
        (&48.into(), &serde_json::json!([]))
    );
    assert_eq!(world.plug(&stays, "1").unwrap_err(), "IncorrectInstanceState");
    let again = world.ec2_ok("TerminateInstances", &id);
    assert_eq!(again["instancesSet"][0]["currentState"]["name"], "terminated");
    world.cloud.vpc.reboot("n1").unwrap_err();
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn what_a_role_lacks_the_permission_for_is_not_done() {
    let mut world = World::aws();
    let eni = world.made(&[]).unwrap();
    let denied = FaultSpec::new(FaultKind::Deny).on("DeleteNetworkInterface");
    world.cloud.add_fault(denied, world.now).unwrap();
    let params = [("NetworkInterfaceId", eni.as_str())];
    assert_eq!(world.ec2_refused("DeleteNetworkInterface", &params), "UnauthorizedOperation");
    assert_eq!(world.shown(&eni)["status"], "available");
}

#[test]
fn a_policy_for_tagged_enis_lets_nobody_change_another_one_or_plug_into_an_instance_that_it_does_not_name()
 {
    let mut world = World::aws();
    let tag = [
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v"),
    ];
    let (ours, theirs) = (world.made(&tag).unwrap(), world.made(&[]).unwrap());
    let policy = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:CreateNetworkInterface", "Resource": "*",
            "Condition": {"Null": {"aws:RequestTag/k": "false"}}},
        {"Effect": "Allow", "Action": ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface",
            "ec2:DeleteNetworkInterface"], "Resource": "arn:aws:ec2:*:*:network-interface/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/k": "v"}}},
        {"Effect": "Allow", "Action": "ec2:AttachNetworkInterface",
            "Resource": "arn:aws:ec2:*:*:instance/*"}]}"#;
    world.cloud.vpc.config.role_policy = Some(serde_json::from_str(policy).unwrap());
    let no = "UnauthorizedOperation";
    assert_eq!(world.made(&[]).unwrap_err(), no, "without the tag");
    assert_eq!(world.made(&tag).unwrap_err(), no, "the tag itself is not allowed");
    assert_eq!(world.plug(&theirs, "1").unwrap_err(), no);
    let attachment = world.plug(&ours, "1").unwrap();
    // Its ENI is allowed, its instance is not.
    assert_eq!(world.ec2_refused("DetachNetworkInterface", &[("AttachmentId", &attachment)]), no);
    assert_eq!(world.ec2_refused("DeleteNetworkInterface", &[("NetworkInterfaceId", &theirs)]), no);
}
