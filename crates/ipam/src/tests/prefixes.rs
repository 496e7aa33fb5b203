//! Prefixes: one place of the ENI, sixteen addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use tideway_cloud::{CloudOp, EniStatus, ErrorKind, OpAnswer};
use tideway_model::{Families, Family};

use super::{
    cloud::Fate,
    setup::settings,
    simulated::{assign, ip, record, view},
    world::{World, facts, secs},
};
use crate::{
    AddressState, Effects, Entry, Ipam, Settings, eni::Held, prefixes::block, record::IntentRecord,
};

fn preferred() -> Settings {
    Settings { prefixes: true, use_primary_address: false, ..settings() }
}

fn prefixes(w: &World) -> Vec<IpNet> {
    w.ipam.books(w.now).enis.iter().flat_map(|e| e.prefixes.clone()).collect()
}

fn singles(w: &World) -> usize {
    let books = w.ipam.books(w.now);
    let single = books.enis.iter().flat_map(|e| {
        let within = |ip: &IpAddr| e.prefixes.iter().any(|p| p.contains(ip));
        e.addresses.iter().filter(move |(ip, _)| !within(ip))
    });
    single.filter(|(_, s)| *s != AddressState::Reserved).count()
}

/// Pods with an address of a prefix.
fn pods_in(w: &World, prefix: IpNet) -> usize {
    let books = w.ipam.books(w.now);
    books.attachments.iter().filter(|a| a.addresses.iter().any(|ip| prefix.contains(&ip))).count()
}

#[test]
fn a_node_is_filled_with_one_call_for_many_addresses_and_drained() {
    let mut w = World::with(preferred(), facts(3, 8, Families::V4));
    w.settle();
    assert_eq!((prefixes(&w).len(), singles(&w)), (1, 0), "the create brings one");
    w.come(0..100);
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 100);
    assert_eq!(prefixes(&w).len(), 7, "106 addresses");
    assert!(w.calls("AssignPrefixes") <= 2, "{:?}", w.cloud.calls);
    assert_eq!(w.calls("Assign {"), 0);
    w.go(0..100);
    w.pass(secs(300));
    assert_eq!(prefixes(&w).len(), 1, "the pool is a prefix");
    let calls = w.cloud.calls.len();
    w.pass(secs(3600));
    assert_eq!(w.cloud.calls.len(), calls, "and neither goes nor comes again");
}

#[test]
fn a_prefix_takes_one_place_of_the_limit() {
    let mut w = World::with(preferred(), facts(2, 3, Families::V4));
    w.come(0..40);
    w.pass(secs(30));
    assert_eq!(prefixes(&w).len(), 2, "beside the primary address");
    assert_eq!(w.ipam.books(w.now).attachments.len(), 32);
}

#[test]
fn a_prefix_that_is_asked_for_counts_with_all_its_addresses() {
    let both = Settings { min_shared: 2, ..preferred() };
    let mut w = World::with(both, facts(3, 3, Families::V4));
    w.settle();
    w.come(0..15);
    w.hold_cloud = true;
    w.come(15..28);
    w.settle();
    let asked: Vec<&CloudOp> = w.flying.iter().map(|(_, op)| op).collect();
    assert!(matches!(asked[..], [CloudOp::AssignPrefixes { count: 1, .. }]), "{asked:?}");
    w.hold_cloud = false;
    w.settle();
    assert_eq!((w.calls("Create"), w.ipam.books(w.now).attachments.len()), (1, 28));
}

#[test]
fn a_prefix_with_a_live_pod_is_never_given_back() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.come(0..64);
    w.pass(secs(10));
    let all = prefixes(&w);
    let stays = *all.iter().find(|p| pods_in(&w, **p) == 16).unwrap();
    let books = w.ipam.books(w.now);
    let pod = books.attachments.iter().find(|a| a.addresses.iter().any(|ip| stays.contains(&ip)));
    let last = pod.unwrap().key.container.to_string();
    for n in (0..64).filter(|n| format!("c{n}") != last) {
        w.del(&format!("c{n}"));
    }
    w.pass(secs(600));
    assert!(prefixes(&w).contains(&stays), "the world's own check sees it in the cloud, too");
    assert_eq!(prefixes(&w).len(), 1, "fifteen are enough for the pool");
    w.del(&last);
    w.pass(secs(600));
    assert_eq!(prefixes(&w).len(), 1);
}

#[test]
fn an_address_at_rest_keeps_its_prefix() {
    let mut s = preferred();
    s.cooldown = secs(300);
    let mut w = World::with(s, facts(2, 8, Families::V4));
    w.come(0..48);
    w.pass(secs(10));
    w.go(0..48);
    w.pass(secs(200));
    assert_eq!(w.calls("UnassignPrefixes"), 0);
    w.pass(secs(400));
    assert_eq!(prefixes(&w).len(), 1);
}

#[test]
fn a_sparse_prefix_empties_and_goes_back() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.come(0..42);
    w.pass(secs(10));
    let all = prefixes(&w);
    // One pod stays in each of two prefixes, ten in the third: all new pods go there.
    let books = w.ipam.books(w.now);
    let mut kept = [1, 1, 10].into_iter().zip(all.clone()).collect::<Vec<_>>();
    for a in &books.attachments {
        let own = kept.iter_mut().find(|(_, p)| a.addresses.iter().any(|ip| p.contains(&ip)));
        match own {
            Some((left, _)) if *left > 0 => *left -= 1,
            Some(_) | None => {
                w.del(a.key.container.as_str());
            }
        }
    }
    w.pass(secs(100));
    w.come(100..106);
    w.pass(secs(1));
    assert_eq!(pods_in(&w, all[2]), 16, "the fullest one takes them");
    let sparse = w.ipam.books(w.now).attachments;
    let sparse = sparse.iter().find(|a| a.addresses.iter().any(|ip| all[0].contains(&ip)));
    w.del(&sparse.unwrap().key.container.to_string());
    w.pass(secs(200));
    assert!(!prefixes(&w).contains(&all[0]), "it is empty now, and the other one has enough");
    assert_eq!(w.ipam.books(w.now).attachments.len(), 17, "no running pod was touched");
}

#[test]
fn a_fragmented_subnet_falls_back_to_single_addresses() {
    let mut w = World::with(preferred(), facts(3, 20, Families::V4));
    w.cloud.fragmented = true;
    w.come(0..5);
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 5);
    assert_eq!((prefixes(&w).len(), singles(&w)), (0, 11));
    let asked = w.calls("AssignPrefixes");
    w.come(5..9);
    w.pass(secs(10));
    assert_eq!(w.calls("AssignPrefixes"), asked, "not asked for again at once");
    w.cloud.fragmented = false;
    w.pass(secs(900));
    w.come(9..16);
    w.pass(secs(10));
    assert_eq!(prefixes(&w).len(), 1, "both kinds are on the ENI");
    assert_eq!(w.ipam.books(w.now).attachments.len(), 16);
}

#[test]
fn single_addresses_go_back_before_a_prefix_and_are_handed_out_after_it() {
    let mut w = World::with(preferred(), facts(2, 30, Families::V4));
    w.cloud.fragmented = true;
    w.come(0..20);
    w.pass(secs(10));
    w.cloud.fragmented = false;
    w.pass(secs(900));
    w.come(20..30);
    w.pass(secs(10));
    let all = prefixes(&w);
    w.go(0..20);
    w.pass(secs(300));
    assert_eq!(prefixes(&w), all);
    assert!(singles(&w) <= 6, "{}", singles(&w));
    w.come(30..32);
    assert!(all.iter().map(|p| pods_in(&w, *p)).sum::<usize>() >= 2);
}

#[test]
fn ipv6_addresses_of_a_prefix_are_as_many_as_pods_can_take() {
    let mut w = World::with(preferred(), facts(2, 8, Families::Dual));
    w.come(0..40);
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 40);
    let wide = prefixes(&w).into_iter().filter(|p| p.addr().is_ipv6()).count();
    assert_eq!(wide, 1, "one /80 for the ENI");
    let books = w.ipam.books(w.now);
    let count = |v6: bool| {
        let all = books.enis.iter().flat_map(|e| &e.addresses);
        all.filter(|(ip, s)| ip.is_ipv6() == v6 && *s != AddressState::Reserved).count()
    };
    assert_eq!(count(true), count(false), "each has its partner");
    w.go(0..40);
    w.pass(secs(400));
    let left: Vec<IpNet> = prefixes(&w);
    assert_eq!(left.len(), 2, "one of each family: {left:?}");
}

#[test]
fn a_node_of_ipv6_alone_lives_on_one_prefix() {
    let mut w = World::with(preferred(), facts(2, 4, Families::V6));
    w.come(0..50);
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 50);
    assert_eq!(prefixes(&w).len(), 1);
    assert!(w.calls("Assign") == 0, "{:?}", w.cloud.calls);
}

/// Found by the simulator: the address that a pod still had of it passed for a prefix that gives more.
#[test]
fn an_ipv6_prefix_that_others_took_away_is_replaced_although_a_pod_holds_on_to_it() {
    let mut w = World::with(preferred(), facts(2, 4, Families::V6));
    w.come(0..3);
    w.pass(secs(10));
    let taken = prefixes(&w);
    let ips = w.ipam.books(w.now).attachments;
    w.taken.extend(ips.iter().flat_map(|a| a.addresses.iter()).map(|ip| ip.to_string()));
    for view in w.cloud.enis.values_mut() {
        view.prefixes.clear();
    }
    for _ in 0..3 {
        w.pass(secs(60));
        w.see_cloud();
    }
    w.come(3..20);
    w.pass(secs(10));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 20);
    assert!(prefixes(&w).iter().any(|p| !taken.contains(p)));
}

#[test]
fn a_lost_answer_of_an_assign_of_prefixes_is_read_back_and_not_repeated() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.settle();
    for fate in [Fate::LostAnswer, Fate::Late] {
        let before = prefixes(&w).len();
        w.fates = vec![fate];
        let n = u32::try_from(w.ipam.books(w.now).attachments.len()).unwrap();
        w.come(n..n + 16);
        w.pass(secs(200));
        assert_eq!(prefixes(&w).len(), before + 1);
        let shown: usize = w.cloud.enis.values().map(|v| v.prefixes.len()).sum();
        assert_eq!(shown, before + 1, "none is left over in the cloud");
    }
}

#[test]
fn a_lost_answer_of_an_unassign_of_a_prefix_gives_it_to_nobody_before_it_is_read_back() {
    for fate in [Fate::LostAnswer, Fate::LostCall, Fate::Late] {
        let mut w = World::with(preferred(), facts(2, 8, Families::V4));
        w.come(0..40);
        w.pass(secs(10));
        w.go(0..40);
        w.pass(secs(40));
        w.fates = vec![fate];
        w.pass(secs(35));
        w.come(50..62);
        w.pass(secs(600));
        assert_eq!(w.ipam.books(w.now).attachments.len(), 12);
        let shown: usize = w.cloud.enis.values().map(|v| v.prefixes.len()).sum();
        assert_eq!(shown, prefixes(&w).len());
    }
}

#[test]
fn a_restart_between_the_decision_and_the_answer_keeps_a_prefix_whole() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.come(0..40);
    w.pass(secs(10));
    w.go(0..40);
    w.hold_cloud = true;
    w.pass(secs(100));
    assert!(w.flying.iter().any(|(_, op)| matches!(op, CloudOp::UnassignPrefixes { .. })));
    w.hold_cloud = false;
    w.crash();
    w.pass(secs(600));
    let shown: usize = w.cloud.enis.values().map(|v| v.prefixes.len()).sum();
    assert_eq!((shown, prefixes(&w).len()), (1, 1));
}

#[test]
fn a_refused_unassign_of_a_prefix_is_tried_again() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.come(0..40);
    w.pass(secs(10));
    w.go(0..40);
    w.pass(secs(40));
    w.fates = vec![Fate::Refused(ErrorKind::Conflict); 3];
    w.pass(secs(600));
    assert_eq!(prefixes(&w).len(), 1);
}

/// Found by the simulator: while the Unassign of a single address was open, others gave the ENI the prefix around it. The
/// address passed for one of the prefix, which then left in part; after a restart the journal passed for damaged.
#[test]
fn an_address_that_leaves_alone_is_none_of_a_prefix_that_others_put_around_it() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    let mut leaving = record(1, &[1, 200]);
    leaving.primary = Some(ip(1));
    leaving.releasing.insert(ip(200));
    let eni = leaving.id.clone().unwrap();
    let op = CloudOp::Unassign { eni: eni.clone(), addresses: vec![ip(200)] };
    let entries =
        [Entry::Eni(Box::new(leaving)), Entry::Intent(Box::new(IntentRecord { op, ..assign(1) }))];
    w.journal = entries.map(|e| (e.key(), serde_json::to_vec(&e).unwrap())).into();
    let mut shown = view(&[1], EniStatus::InUse);
    shown.prefixes.push("10.1.0.192/28".parse().unwrap());
    w.cloud.enis.insert(eni, shown);
    w.crash();
    // The first look that counts adopts the prefix, the second one ends the Unassign.
    w.pass(secs(61));
    let known = |w: &World| {
        let books = w.ipam.books(w.now);
        let own = books.enis.into_iter().flat_map(|e| e.addresses).filter(|(own, _)| *own != ip(1));
        own.map(|(_, state)| state).collect::<Vec<_>>()
    };
    assert_eq!(known(&w).len(), 16, "{:?}", known(&w));
    assert!(known(&w).contains(&AddressState::Releasing));
    w.crash();
    w.pass(secs(200));
    assert_eq!(known(&w), vec![AddressState::Free; 16]);
}

#[test]
fn a_mode_that_was_switched_off_keeps_prefixes_only_while_pods_need_them() {
    let mut w = World::with(preferred(), facts(2, 8, Families::V4));
    w.come(0..20);
    w.pass(secs(10));
    assert_eq!(prefixes(&w).len(), 2);
    w.settings.prefixes = false;
    w.crash();
    w.pass(secs(200));
    assert_eq!(w.ipam.books(w.now).attachments.len(), 20);
    w.go(0..20);
    w.pass(secs(600));
    assert!(prefixes(&w).len() <= 1);
}

#[test]
fn an_intent_of_an_older_daemon_asks_for_no_prefix() {
    let old = r#"{"Create":{"subnet":"vsw-1","security_groups":["sg-1"],"secondary_v4":3,"v6":0,"tags":{},"token":"t"}}"#;
    let op: CloudOp = serde_json::from_str(old).unwrap();
    let CloudOp::Create(create) = op else { panic!("{op:?}") };
    assert_eq!((create.secondary_v4, create.prefixes_v4, create.prefixes_v6), (3, 0, 0));
}

/// Books with a part of a prefix, which is to be given back.
fn with_a_part() -> (Ipam, IpNet) {
    let prefix = block(ip(200));
    let mut part = record(1, &[1, 200]);
    part.releasing.insert(ip(200));
    part.prefixes.insert(prefix);
    let entries = vec![("eni/1".to_owned(), Entry::Eni(Box::new(part)))];
    let ipam = Ipam::restore(preferred(), facts(2, 8, Families::V4), 1, entries);
    (ipam.expect("whole books"), prefix)
}

/// Found by the fuzzer: the new addresses were free, and the prefix left in part.
#[test]
fn a_prefix_that_the_cloud_gives_while_a_part_of_it_is_to_go_stays_whole() {
    let (mut ipam, prefix) = with_a_part();
    let mut out = Effects::default();
    let op = CloudOp::AssignPrefixes {
        eni: "eni-1".try_into().unwrap(),
        family: Family::V4,
        count: 1,
        token: "t".into(),
    };
    let asked = IntentRecord { op, ..assign(1) };
    ipam.succeeded(secs(1), &asked, OpAnswer::AssignedPrefixes(vec![prefix]), &mut out);
    let own = || ipam.enis[&1].of_prefix(prefix).map(|(_ip, a)| &a.held);
    assert_eq!(own().count(), 16);
    assert!(own().all(|held| *held != Held::Releasing), "{:?}", own().collect::<Vec<_>>());
}

/// Found by the fuzzer: it stayed behind in the books while its prefix was given back.
#[test]
fn a_single_address_of_a_prefix_that_the_eni_has_is_nothing_new() {
    let (mut ipam, prefix) = with_a_part();
    let answer = OpAnswer::Assigned(vec![ip(201), ip(2)]);
    ipam.succeeded(secs(1), &assign(1), answer, &mut Effects::default());
    let own: Vec<_> = ipam.enis[&1].addresses.keys().copied().collect();
    assert_eq!(own, [ip(1), ip(2), ip(200)], "of {prefix}");
}
