use super::World;

#[test]
fn repeated_create_with_its_token_makes_one_eni() {
    let mut world = World::new();
    let first = world.create(&[("ClientToken", "t1")]).unwrap();
    let again = world.create(&[("ClientToken", "t1")]).unwrap();
    assert_eq!(first, again);
    let other = world.create(&[("ClientToken", "t2")]).unwrap();
    assert_ne!(first, other);
    assert_eq!(
        world.create(&[("ClientToken", "t1"), ("Description", "other")]).unwrap_err(),
        "IdempotentParameterMismatch"
    );
}

#[test]
fn repeated_assign_with_its_token_assigns_once_and_answers_the_same() {
    let mut world = World::new();
    let eni = world.attached("n1");
    let params = [
        ("NetworkInterfaceId", eni.as_str()),
        ("SecondaryPrivateIpAddressCount", "2"),
        ("ClientToken", "t1"),
    ];
    let mut first = world.ok("AssignPrivateIpAddresses", &params);
    let mut again = world.ok("AssignPrivateIpAddresses", &params);
    for answer in [&mut first, &mut again] {
        answer.as_object_mut().unwrap().remove("RequestId");
    }
    assert_eq!(first, again);
    assert_eq!(world.cloud.vpc.eni(&eni).unwrap().v4.len(), 3);
    let six = [params[0], ("Ipv6AddressCount", "1"), params[2]];
    assert_eq!(
        world.refused("AssignIpv6Addresses", &six),
        "IdempotentParameterMismatch",
        "a token belongs to one action"
    );
}

#[test]
fn refused_call_may_be_tried_again_with_its_token() {
    let mut world = World::with(|config| config.quotas.enis = 1);
    let first = world.create(&[]).unwrap();
    assert_eq!(world.create(&[("ClientToken", "t1")]).unwrap_err(), "MaxEniCountExceeded");
    world.ok("DeleteNetworkInterface", &[("NetworkInterfaceId", &first)]);
    world.create(&[("ClientToken", "t1")]).unwrap();
}

#[test]
fn token_longer_than_64_characters_is_refused() {
    let mut world = World::new();
    let long = "x".repeat(65);
    assert_eq!(world.create(&[("ClientToken", &long)]).unwrap_err(), "InvalidParameter");
}
