//! The life of an ENI and its addresses, and what the cloud tells of everything else.

use std::{collections::BTreeSet, net::IpAddr};

use tideway_cloud::{Cloud, CreateEni, EniFilter, EniStatus, ErrorKind, known_limits, known_types};
use tideway_lab::{CloudKind, LabConfig};
use tideway_model::{Family, InstanceId};

use super::{Bench, lab_config, worker};
use crate::provider;

#[tokio::test]
async fn an_eni_lives_from_create_to_delete() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let mut made = cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(made.status, EniStatus::Available);
    assert_eq!((made.of_family(Family::V4).count(), made.of_family(Family::V6).count()), (3, 2));
    let shown = bench.view(&made.id).await.unwrap();
    assert!(shown.created.is_some(), "a describe tells the age");
    made.created = shown.created;
    assert_eq!(shown, made, "create and describe must agree");

    cloud.attach(&made.id, &bench.instance).await.unwrap();
    let attached = bench.until(&made.id, Some(EniStatus::InUse)).await.unwrap();
    assert_eq!(attached.instance.as_ref(), Some(&bench.instance));
    assert_eq!(attached.tags, bench.wish("t1").tags);
    assert!(!attached.primary);

    let four = cloud.assign(&made.id, Family::V4, 3, "a1").await.unwrap();
    let six = cloud.assign(&made.id, Family::V6, 4, "a2").await.unwrap();
    assert_eq!((four.len(), six.len()), (3, 4));
    let view = bench.view(&made.id).await.unwrap();
    assert!(four.iter().chain(&six).all(|ip| view.addresses.contains(ip)), "{view:?}");

    let back: Vec<IpAddr> = four.iter().chain(&six).copied().collect();
    cloud.unassign(&made.id, &back).await.unwrap();
    assert_eq!(bench.view(&made.id).await.unwrap().addresses, made.addresses);

    let wrong = cloud.delete(&made.id).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::Conflict, "an attached ENI cannot be deleted: {wrong}");
    cloud.detach(&made.id, &bench.instance).await.unwrap();
    bench.until(&made.id, Some(EniStatus::Available)).await;
    cloud.delete(&made.id).await.unwrap();
    bench.until(&made.id, None).await;
    assert_eq!(cloud.delete(&made.id).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(cloud.enis(&bench.ours()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_eni_goes_with_its_instance() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    bench.lab.terminate("n1").unwrap();
    bench.until(&eni.id, None).await;
}

#[tokio::test]
async fn a_filter_takes_what_has_its_tags_to_the_letter_and_is_in_its_state() {
    let bench = Bench::start();
    let attached = bench.attached("t1").await.id;
    let detached = bench.cloud().create(&bench.wish("t2")).await.unwrap().id;
    let mut like = bench.wish("t3");
    like.tags.insert("tideway.dev/cluster".into(), "c 1anything~+/=&%éx\\".into());
    bench.cloud().create(&like).await.unwrap();
    let found = async |status| {
        let filter = EniFilter { status, ..bench.ours() };
        let found = bench.cloud().enis(&filter).await.unwrap();
        found.into_iter().map(|eni| eni.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(found(Some(EniStatus::Available)).await, [detached.clone()].into());
    assert_eq!(found(Some(EniStatus::InUse)).await, [attached.clone()].into());
    assert_eq!(found(None).await, [attached, detached].into());
}

#[tokio::test]
async fn instances_that_are_gone_are_left_out_without_an_error() {
    let bench = Bench::start();
    let all = bench.lab.description().instances.iter().map(|i| i.id.as_str().try_into().unwrap());
    let mut living: BTreeSet<InstanceId> = all.collect();
    // More than a page or a filter takes.
    let gone = (0..250).map(|n| InstanceId::try_from(format!("i-{n:08x}")).unwrap());
    let asked = living.iter().cloned().chain(gone).collect();
    assert_eq!(bench.cloud().existing(&asked).await.unwrap(), living);
    assert_eq!(bench.cloud().existing(&BTreeSet::new()).await.unwrap(), BTreeSet::new());
    // A cloud may show a terminated one for an hour.
    bench.lab.terminate("n1").unwrap();
    living.remove(&bench.instance);
    assert_eq!(bench.cloud().existing(&asked).await.unwrap(), living);
}

#[tokio::test]
async fn a_token_makes_create_happen_once_and_assign_where_the_cloud_has_one() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let first = cloud.create(&bench.wish("t1")).await.unwrap();
    let again = cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(first.id, again.id);
    let once = cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    let twice = cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    assert_eq!(once == twice, provider::ASSIGN_HAS_A_TOKEN, "{once:?} {twice:?}");
    let once = cloud.assign_prefixes(&first.id, Family::V4, 1, "a2").await.unwrap();
    let twice = cloud.assign_prefixes(&first.id, Family::V4, 1, "a2").await.unwrap();
    assert_eq!(once == twice, provider::ASSIGN_HAS_A_TOKEN, "{once:?} {twice:?}");
    let other = CreateEni { secondary_v4: 5, ..bench.wish("t1") };
    let clash = cloud.create(&other).await.unwrap_err();
    assert_eq!(clash.kind, ErrorKind::Invalid, "{clash}");
}

#[tokio::test]
async fn instance_and_subnets_are_those_of_the_lab() {
    let bench = Bench::start();
    let (cloud, description) = (bench.cloud(), bench.lab.description());
    let view = cloud.instance(&bench.instance).await.unwrap();
    assert_eq!(view.id, bench.instance);
    assert_eq!(view.instance_type, worker(&bench.lab).instance_type);
    assert_eq!(view.vpc, description.vpc.id);
    assert!(view.vpc_blocks.iter().any(|b| b.to_string() == description.vpc.ipv4));
    assert_eq!(view.vpc_blocks.len(), 1 + usize::from(description.vpc.ipv6.is_some()));
    // In the order in which they are asked for.
    let told: Vec<_> = description.vswitches.iter().rev().collect();
    let ids: Vec<_> = told.iter().map(|v| v.id.as_str().try_into().unwrap()).collect();
    let subnets = cloud.subnets(&ids).await.unwrap();
    assert_eq!(subnets.len(), told.len());
    for (subnet, told) in subnets.iter().zip(told) {
        assert_eq!(subnet.plan.gateway_v4.unwrap().to_string(), told.gateway_v4);
        assert_eq!(subnet.plan.gateway_v6.map(|ip| ip.to_string()), told.gateway_v6);
        assert_eq!(subnet.plan.ipv4.unwrap().to_string(), told.ipv4);
    }
    let before = subnets.last().unwrap().available;
    cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(cloud.subnets(&ids).await.unwrap().last().unwrap().available, before - 3);
    let missing = cloud.subnets(&["subnet-00000000".try_into().unwrap()]).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound, "{missing}");
}

/// The daemon has a table of its own for the hour in which the cloud does not tell; the lab's comes from its data files.
#[tokio::test]
async fn the_built_in_limits_are_those_that_the_cloud_tells() {
    let bench = Bench::with(LabConfig { type_overrides: [].into(), ..lab_config() });
    let here = |name: &&str| name.starts_with("ecs.") == (provider::KIND == CloudKind::Aliyun);
    let mut told = 0;
    for name in known_types().filter(here) {
        assert_eq!(Some(bench.cloud().limits(name).await.unwrap()), known_limits(name), "{name}");
        told += 1;
    }
    assert!(told >= 20, "{told} types");
    let unknown = bench.cloud().limits("m99.large").await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound, "{unknown}");
}

#[tokio::test]
async fn the_limits_of_type_and_eni_have_their_own_errors() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let limits = cloud.limits(&worker(&bench.lab).instance_type).await.unwrap();
    let one = bench.attached("t1").await;
    for n in 2..limits.enis {
        bench.attached(&format!("t{n}")).await;
    }
    let more = cloud.create(&bench.wish("more")).await.unwrap();
    let error = cloud.attach(&more.id, &bench.instance).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
    for (family, limit) in [(Family::V4, limits.ipv4_per_eni), (Family::V6, limits.ipv6_per_eni)] {
        let error = cloud.assign(&one.id, family, limit, "a").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
    }
}

#[tokio::test]
async fn more_enis_than_a_page_holds_are_all_listed() {
    let mut config = lab_config();
    config.vswitches.truncate(1);
    config.vswitches[0].ipv4 = "10.0.0.0/20".parse().unwrap();
    config.quotas.enis = 2000;
    let bench = Bench::with(config);
    let mut made = BTreeSet::new();
    for n in 0..provider::PAGE + 10 {
        made.insert(bench.cloud().create(&bench.small_wish(&format!("t{n}"))).await.unwrap().id);
    }
    let listed = async |filter| {
        let found = bench.cloud().enis(&filter).await.unwrap();
        found.into_iter().map(|eni| eni.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(listed(bench.ours()).await, made);
    assert_eq!(bench.lab.calls_of("DescribeNetworkInterfaces"), 2);
    // By id, in as many questions as the longest filter needs.
    let ids = made.iter().cloned().collect();
    assert_eq!(listed(EniFilter { ids, ..EniFilter::default() }).await, made);
}

#[tokio::test]
async fn an_address_that_is_gone_is_no_error_alone_and_leaves_a_batch_open() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let eni = bench.attached("t1").await;
    for family in Family::BOTH {
        let some = cloud.assign(&eni.id, family, 5, &family.to_string()).await.unwrap();
        cloud.unassign(&eni.id, &some[..1]).await.unwrap();
        cloud.unassign(&eni.id, &some[..1]).await.unwrap();
        let error = cloud.unassign(&eni.id, &some).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
        let view = bench.view(&eni.id).await.unwrap();
        let all: Vec<_> = view.of_family(family).filter(|ip| Some(*ip) != eni.primary_ip).collect();
        assert_eq!(all.len(), 6);
        cloud.unassign(&eni.id, &all).await.unwrap();
        let left = bench.view(&eni.id).await.unwrap().of_family(family).count();
        assert_eq!(left, usize::from(family == Family::V4), "only the primary one stays");
    }
    let primary = [eni.primary_ip.unwrap()];
    let error = cloud.unassign(&eni.id, &primary).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn prefixes_are_assigned_shown_and_given_back() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let made = bench.attached_as(&CreateEni { prefixes_v4: 2, ..bench.small_wish("t1") }).await;
    assert_eq!((made.addresses.len(), made.prefixes.len()), (1, 2));

    let four = cloud.assign_prefixes(&made.id, Family::V4, 2, "a1").await.unwrap();
    let six = cloud.assign_prefixes(&made.id, Family::V6, 1, "a2").await.unwrap();
    let new: Vec<_> = four.iter().chain(&six).copied().collect();
    let lengths: Vec<u8> = new.iter().map(ipnet::IpNet::prefix_len).collect();
    assert_eq!(lengths, [28, 28, 80]);
    let single = cloud.assign(&made.id, Family::V4, 1, "a3").await.unwrap();
    let view = bench.view(&made.id).await.unwrap();
    assert_eq!(view.prefixes.len(), 5, "{view:?}");
    assert!(new.iter().all(|p| view.prefixes.contains(p)), "{view:?}");
    assert!(view.addresses.contains(&single[0]), "both kinds on one ENI: {view:?}");

    // A prefix takes one place of the limit of addresses, like the primary and the single one.
    let limits = cloud.limits(&worker(&bench.lab).instance_type).await.unwrap();
    let more = limits.ipv4_per_eni - 2 - 4 + 1;
    let error = cloud.assign_prefixes(&made.id, Family::V4, more, "a4").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");

    cloud.unassign_prefixes(&made.id, &new).await.unwrap();
    assert_eq!(bench.view(&made.id).await.unwrap().prefixes, made.prefixes);
    // A repetition finds it gone: that is what was wanted. Of several, nobody knows which.
    cloud.unassign_prefixes(&made.id, &four[..1]).await.unwrap();
    let error = cloud.unassign_prefixes(&made.id, &four).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
}

#[tokio::test]
async fn a_subnet_of_single_free_addresses_has_no_prefix_to_give() {
    let mut config = lab_config();
    config.vswitches.truncate(1);
    config.vswitches[0].ipv4 = "10.0.0.0/27".parse().unwrap();
    let bench = Bench::with(config);
    let eni = bench.cloud().create(&bench.small_wish("t1")).await.unwrap();
    // Each half of the block has an address of the cloud's own.
    let error = bench.cloud().assign_prefixes(&eni.id, Family::V4, 1, "a1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fragmented, "{error}");
    let create = CreateEni { prefixes_v4: 1, ..bench.small_wish("t2") };
    assert_eq!(bench.cloud().create(&create).await.unwrap_err().kind, ErrorKind::Fragmented);
    assert_eq!(bench.cloud().assign(&eni.id, Family::V4, 3, "a2").await.unwrap().len(), 3);
}
