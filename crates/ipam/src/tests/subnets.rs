//! What a subnet refuses says nothing of what it was not asked for.

use tideway_cloud::{CloudOp, ErrorKind};
use tideway_model::{Families, Family};

use super::{
    cloud::Fate,
    world::{World, facts, pod, secs, settings, subnet},
};
use crate::{NodeFacts, Settings};

/// A pool of singles on one ENI of ten that was just refused another ENI.
fn cramped() -> World {
    let mut w = World::small();
    w.settle();
    w.see_devices();
    w.cloud.cramped = Some(0);
    w.admit(0, &pod("x", "ux"));
    w.settle();
    w
}

#[test]
fn a_subnet_that_refuses_a_whole_eni_gives_the_single_addresses_that_it_has() {
    let mut w = cramped();
    assert_eq!(w.counts().full, [w.facts.subnets[0].id.clone()], "people are told");
    w.come(0..7);
    w.pass(secs(5));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 7, "{:?}", w.cloud.calls);
}

#[test]
fn an_eni_that_no_subnet_gives_does_not_pass_for_addresses_on_their_way() {
    let mut w = World::small();
    w.settle();
    // For a moment the subnet has nothing, so that another ENI is decided; then a few addresses and no more.
    w.cloud.cramped = Some(0);
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    w.come(0..7);
    w.pass(secs(60));
    assert!(w.calls("Create") > 1, "{:?}", w.cloud.calls);
    assert_eq!(w.ipam.books(w.now).attachments.len(), 7, "{:?}", w.cloud.calls);
}

#[test]
fn an_eni_for_which_a_subnet_lacks_room_is_asked_for_with_fewer_addresses() {
    let mut w = World::small();
    w.cloud.cramped = Some(1);
    w.come(0..7);
    w.pass(secs(30));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 7, "{:?}", w.cloud.calls);
}

#[test]
fn a_subnet_that_has_fewer_addresses_than_are_wanted_gives_those_that_it_has() {
    let one = Settings { max_shared: Some(1), ..settings() };
    let mut w = World::with(one, facts(3, 10, Families::V4));
    w.settle();
    w.cloud.scarce.insert(Family::V4, 1);
    w.come(0..8);
    w.pass(secs(60));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 8, "{:?}", w.cloud.calls);
}

#[test]
fn what_a_subnet_lacks_of_one_family_does_not_keep_the_partners_of_the_other_away() {
    let one = Settings { max_shared: Some(1), ..settings() };
    let mut w = World::with(one, facts(3, 30, Families::Dual));
    w.settle();
    // For a while there are IPv4 addresses and no IPv6 ones, and then it is the other way round.
    w.cloud.scarce.insert(Family::V6, 0);
    w.come(0..5);
    w.settle();
    w.cloud.scarce = [(Family::V4, 0)].into();
    w.come(5..10);
    w.pass(secs(60));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 10, "{:?}", w.cloud.calls);
}

#[test]
fn a_subnet_that_refuses_a_single_address_is_asked_for_no_whole_eni_either() {
    let mut w = World::small();
    w.settle();
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    let calls = w.calls("Create");
    w.come(0..7);
    w.pass(secs(5));
    assert_eq!(w.calls("Create"), calls);
}

#[test]
fn a_subnet_that_calls_itself_full_when_asked_for_a_prefix_is_asked_for_single_addresses() {
    let prefixes = Settings { prefixes: true, ..settings() };
    let mut w = World::with(prefixes.clone(), facts(2, 8, Families::V4));
    w.settle();
    let singles = |w: &World| w.calls("Assign {");
    let before = singles(&w);
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    w.come(0..17);
    w.pass(secs(5));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 17);
    assert!(singles(&w) > before, "{:?}", w.cloud.calls);

    // The same of a whole ENI with a prefix.
    let mut w = World::with(prefixes, facts(2, 8, Families::V4));
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull)];
    w.come(0..1);
    w.pass(secs(5));
    let plain = |op: &CloudOp| matches!(op, CloudOp::Create(c) if c.prefixes_v4 == 0);
    assert!(w.cloud.calls.iter().any(plain), "{:?}", w.cloud.calls);
    assert_eq!(w.ipam.books(w.now).attachments.len(), 1);
}

/// Nobody may create ENIs for a while; the subnet of the one that is there is full for some seconds only.
#[test]
fn an_eni_that_cannot_be_created_keeps_no_pod_from_the_addresses_of_another_one() {
    let facts = NodeFacts { subnets: vec![subnet(1), subnet(2)], ..facts(4, 30, Families::V4) };
    let mut w = World::with(Settings { min_shared: 2, ..settings() }, facts);
    w.settle();
    let denied = ErrorKind::Denied("ecs:CreateNetworkInterface".into());
    w.fates = vec![Fate::Refused(ErrorKind::SubnetFull), Fate::Refused(denied)];
    w.come(0..7);
    w.pass(secs(15));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 7, "{:?}", w.cloud.calls);
}
