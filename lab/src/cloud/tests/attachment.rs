use super::World;
use crate::cloud::latency::LatencyMode;
use crate::cloud::resources::InstanceStatus;

#[test]
fn attach_is_answered_before_it_is_done() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", instance.as_str())];
    world.ok("AttachNetworkInterface", &params);
    assert_eq!(world.state(&eni), "Attaching");
    world.pass(1500);
    assert_eq!(world.state(&eni), "Attaching", "attach takes 2 to 4 s");
    assert_eq!(
        world.refused("DetachNetworkInterface", &params),
        "InvalidOperation.InvalidEniState"
    );
    world.pass(2500);
    assert_eq!(world.state(&eni), "InUse");
    world.ok("DetachNetworkInterface", &params);
    world.ok("DetachNetworkInterface", &params);
    assert_eq!(world.state(&eni), "Detaching", "a repeat is allowed and changes nothing");
    world.pass(4000);
    assert_eq!(world.state(&eni), "Available");
    world.ok("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]);
    assert_eq!(world.state(&eni), "Deleting");
    world.pass(400);
    assert_eq!(world.state(&eni), "gone");
    assert_eq!(
        world.refused("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]),
        "InvalidEniId.NotFound"
    );
    assert_eq!(world.cloud.verify(), []);
}

#[test]
fn attaching_enis_count_against_the_limit_of_the_type() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let instance = world.instance("n1");
    let enis: Vec<String> = (0..3).map(|_| world.create(&[]).unwrap()).collect();
    for (n, eni) in enis.iter().enumerate() {
        let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", instance.as_str())];
        if n < 2 {
            world.ok("AttachNetworkInterface", &params);
        } else {
            assert_eq!(
                world.refused("AttachNetworkInterface", &params),
                "EniPerInstanceLimitExceeded"
            );
        }
    }
}

#[test]
fn eni_of_another_zone_does_not_attach() {
    let mut world = World::with(|config| "cn-hangzhou-k".clone_into(&mut config.vswitches[1].zone));
    let vswitch = world.vswitch("b");
    let group = world.group();
    let made = world
        .ok("CreateNetworkInterface", &[("VSwitchId", &vswitch), ("SecurityGroupIds.1", &group)]);
    let eni = made["NetworkInterfaceId"].as_str().unwrap();
    let instance = world.instance("n1");
    assert_eq!(
        world.refused(
            "AttachNetworkInterface",
            &[("NetworkInterfaceId", eni), ("InstanceId", &instance)]
        ),
        "InvalidOperation.AvailabilityZoneMismatch"
    );
}

#[test]
fn primary_eni_is_neither_detached_nor_deleted() {
    let mut world = World::new();
    let instance = world.instance("n1");
    let primary = world.cloud.vpc.instance_named("n1").unwrap().primary_eni.clone();
    assert_eq!(
        world.refused(
            "DetachNetworkInterface",
            &[("NetworkInterfaceId", &primary), ("InstanceId", &instance)]
        ),
        "InvalidOperation.InvalidEniType"
    );
    assert_eq!(
        world.refused("DeleteNetworkInterface", &[("NetworkInterfaceId", &primary)]),
        "InvalidOperation.InvalidEniState"
    );
}

#[test]
fn attached_eni_is_not_deleted_and_unknown_ones_are_not_found() {
    let mut world = World::new();
    let eni = world.attached("n1");
    assert_eq!(
        world.refused("DeleteNetworkInterface", &[("NetworkInterfaceId", &eni)]),
        "InvalidOperation.InvalidEniState"
    );
    let other = world.instance("n2");
    assert_eq!(
        world.refused(
            "DetachNetworkInterface",
            &[("NetworkInterfaceId", &eni), ("InstanceId", &other)]
        ),
        "InvalidOperation.InvalidEniState"
    );
    assert_eq!(
        world.refused(
            "AttachNetworkInterface",
            &[("NetworkInterfaceId", "eni-none"), ("InstanceId", &other)]
        ),
        "InvalidEniId.NotFound"
    );
    assert_eq!(
        world.refused(
            "AttachNetworkInterface",
            &[("NetworkInterfaceId", &eni), ("InstanceId", "i-none")]
        ),
        "InvalidEcsId.NotFound"
    );
}

#[test]
fn instance_between_two_states_takes_no_eni() {
    let mut world = World::new();
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    world.cloud.vpc.instances.get_mut(&instance).unwrap().status = InstanceStatus::Stopping;
    let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", instance.as_str())];
    assert_eq!(world.refused("AttachNetworkInterface", &params), "IncorrectInstanceStatus");
    world.cloud.vpc.instances.get_mut(&instance).unwrap().status = InstanceStatus::Stopped;
    world.ok("AttachNetworkInterface", &params);
}

#[test]
fn addresses_do_not_change_while_the_eni_moves() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    world.ok("AttachNetworkInterface", &[("NetworkInterfaceId", &eni), ("InstanceId", &instance)]);
    assert_eq!(
        world.refused(
            "AssignPrivateIpAddresses",
            &[("NetworkInterfaceId", &eni), ("SecondaryPrivateIpAddressCount", "1")]
        ),
        "InvalidOperation.InvalidEniState"
    );
}

#[test]
fn network_that_cannot_attach_leaves_the_eni_available() {
    let mut world = World::with(|config| config.latency = LatencyMode::Real);
    let eni = world.create(&[]).unwrap();
    let instance = world.instance("n1");
    world.ok("AttachNetworkInterface", &[("NetworkInterfaceId", &eni), ("InstanceId", &instance)]);
    world.now += 4000;
    world.cloud.vpc.tick(world.now);
    for (_, effect) in world.cloud.vpc.take_effects() {
        world.cloud.vpc.finished(&effect, false, world.now);
    }
    assert_eq!(world.state(&eni), "Available");
}

#[test]
fn terminated_instance_is_shown_no_more_and_takes_its_enis_along() {
    let mut world = World::new();
    let stays = world.create(&[("DeleteOnRelease", "false")]).unwrap();
    let instance = world.instance("n1");
    let params = [("NetworkInterfaceId", stays.as_str()), ("InstanceId", instance.as_str())];
    world.ok("AttachNetworkInterface", &params);
    world.pass(0);
    let goes = world.attached("n1");
    world.cloud.vpc.terminate("n1", world.now).unwrap();
    world.pass(0);
    assert_eq!(
        (world.state(&stays), world.state(&goes)),
        ("Available".to_owned(), "gone".to_owned())
    );
    let seen = world.ok("DescribeInstances", &[]);
    assert_eq!(seen["TotalCount"], 2);
    assert_eq!(world.refused("AttachNetworkInterface", &params), "IncorrectInstanceStatus");
    assert_eq!(world.cloud.verify(), []);
}
