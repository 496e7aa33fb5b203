//! The life of an ENI and its addresses, and what the cloud tells of everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tideway_cloud::{Cloud, CreateEni, EniFilter, EniStatus, ErrorKind, known_limits, known_types};
use tideway_lab::{CloudKind, LabConfig, cloud::catalog::Catalog};
use tideway_model::{Family, InstanceId};

use super::{Bench, lab_config};

#[tokio::test]
async fn an_eni_lives_from_create_to_delete() {
    let bench = Bench::start();
    let cloud = &bench.cloud;
    let made = cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(made.status, EniStatus::Available);
    assert_eq!((made.of_family(Family::V4).count(), made.of_family(Family::V6).count()), (3, 2));
    let mut shown = bench.view(&made.id).await.unwrap();
    assert!(shown.created.take().is_some(), "only a describe tells the age");
    assert_eq!(shown, made, "create and describe must agree");

    cloud.attach(&made.id, &bench.instance).await.unwrap();
    let attached = bench.until(&made.id, Some(EniStatus::InUse)).await.unwrap();
    assert_eq!(attached.instance.as_ref(), Some(&bench.instance));
    assert_eq!(attached.tags, bench.wish("t1").tags);

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
    let ours = EniFilter { tags: bench.wish("t1").tags, ..EniFilter::default() };
    assert!(cloud.enis(&ours).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_detached_enis_are_listed_when_these_are_asked_for() {
    let bench = Bench::start();
    let (attached, detached) =
        (bench.attached("t1").await, bench.cloud.create(&bench.wish("t2")).await.unwrap());
    let cluster = "tideway.dev/cluster".to_owned();
    let tags = [(cluster.clone(), attached.tags[&cluster].clone())].into();
    let status = Some(EniStatus::Available);
    let filter = EniFilter { status, tags, ..EniFilter::default() };
    let found = bench.cloud.enis(&filter).await.unwrap();
    assert_eq!(found.iter().map(|e| &e.id).collect::<Vec<_>>(), [&detached.id]);
}

#[tokio::test]
async fn instances_that_are_gone_are_left_out_without_an_error() {
    let bench = Bench::start();
    // More than the API gives on a page of its own choice.
    let all = bench.lab.description().instances.iter().map(|i| i.id.as_str().try_into().unwrap());
    let living: BTreeSet<InstanceId> = all.collect();
    let gone = (0..150).map(|n| InstanceId::try_from(format!("i-gone{n}")).unwrap());
    let asked = living.iter().cloned().chain(gone).collect();
    assert_eq!(bench.cloud.existing(&asked).await.unwrap(), living);
    assert_eq!(bench.cloud.existing(&BTreeSet::new()).await.unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn a_token_makes_create_and_assign_happen_once() {
    let bench = Bench::start();
    let first = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    let again = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(first.id, again.id);
    let once = bench.cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    let twice = bench.cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    assert_eq!(once, twice);
    let mut other = bench.wish("t1");
    other.secondary_v4 = 5;
    let clash = bench.cloud.create(&other).await.unwrap_err();
    assert_eq!(clash.kind, ErrorKind::Invalid, "{clash}");
}

#[tokio::test]
async fn instance_limits_and_subnets_are_those_of_the_lab() {
    let bench = Bench::start();
    let description = bench.lab.description();
    let view = bench.cloud.instance(&bench.instance).await.unwrap();
    assert_eq!(view.instance_type, "ecs.g6.xlarge");
    assert_eq!(view.vpc, description.vpc.id);
    assert!(view.vpc_blocks.iter().any(|b| b.to_string() == description.vpc.ipv4));
    assert_eq!(view.vpc_blocks.len(), 1 + usize::from(description.vpc.ipv6.is_some()));
    let limits = bench.cloud.limits(&view.instance_type).await.unwrap();
    assert_eq!((limits.enis, limits.ipv4_per_eni, limits.ipv6_per_eni), (3, 10, 10));
    let ids: Vec<_> =
        description.vswitches.iter().map(|v| v.id.as_str().try_into().unwrap()).collect();
    let subnets = bench.cloud.subnets(&ids).await.unwrap();
    for (subnet, told) in subnets.iter().zip(&description.vswitches) {
        assert_eq!(subnet.plan.gateway_v4.unwrap().to_string(), told.gateway_v4);
        assert_eq!(subnet.plan.gateway_v6.map(|ip| ip.to_string()), told.gateway_v6);
        assert_eq!(subnet.plan.ipv4.unwrap().to_string(), told.ipv4);
    }
    let before = subnets[0].available;
    bench.cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(bench.cloud.subnets(&ids).await.unwrap()[0].available, before - 3);
}

/// The daemon has a table of its own for the hour in which the cloud does not tell; the lab's comes from its data files.
#[tokio::test]
async fn the_built_in_limits_are_those_that_the_cloud_tells() {
    let bench = Bench::with(LabConfig { type_overrides: BTreeMap::new(), ..lab_config() });
    let mut told = 0;
    for name in known_types().filter(|name| name.starts_with("ecs.")) {
        assert_eq!(Some(bench.cloud.limits(name).await.unwrap()), known_limits(name), "{name}");
        told += 1;
    }
    assert!(told >= 20, "{told} types");
    let aws = Catalog::load(CloudKind::Aws, &BTreeMap::new()).unwrap();
    for known in aws.iter() {
        let limits = known_limits(&known.instance_type_id).unwrap();
        let v6 = u32::from(limits.ipv6_per_eni);
        assert_eq!(u32::from(limits.enis), known.eni_quantity, "{}", known.instance_type_id);
        assert_eq!(u32::from(limits.ipv4_per_eni), known.eni_private_ip_address_quantity);
        assert_eq!(v6, known.eni_ipv6_address_quantity, "{}", known.instance_type_id);
    }
}

#[tokio::test]
async fn the_limits_of_type_and_eni_have_their_own_errors() {
    let bench = Bench::start();
    let one = bench.attached("t1").await;
    bench.attached("t2").await;
    let third = bench.cloud.create(&bench.wish("t3")).await.unwrap();
    let error = bench.cloud.attach(&third.id, &bench.instance).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
    let error = bench.cloud.assign(&one.id, Family::V4, 20, "a").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
    let error = bench.cloud.assign(&one.id, Family::V6, 10, "b").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
}

#[tokio::test]
async fn more_enis_than_a_page_holds_are_all_listed() {
    let mut config = lab_config();
    config.vswitches.truncate(1);
    config.vswitches[0].ipv4 = "10.0.0.0/20".parse().unwrap();
    let bench = Bench::with(config);
    let many = 510;
    for n in 0..many {
        let mut wish = bench.wish(&format!("t{n}"));
        (wish.secondary_v4, wish.v6) = (0, 0);
        bench.cloud.create(&wish).await.unwrap();
    }
    let tags =
        [("tideway.dev/cluster".to_owned(), bench.wish("x").tags["tideway.dev/cluster"].clone())];
    let filter = EniFilter { tags: tags.into(), ..EniFilter::default() };
    assert_eq!(bench.cloud.enis(&filter).await.unwrap().len(), many);
    assert_eq!(bench.cloud.calls()["DescribeNetworkInterfaces"], 2);
}

#[tokio::test]
async fn many_ipv6_addresses_go_back_in_one_call_of_ours() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    let more = bench.cloud.assign(&eni.id, Family::V6, 8, "a").await.unwrap();
    assert_eq!(more.len(), 8);
    let all: Vec<IpAddr> = bench.view(&eni.id).await.unwrap().of_family(Family::V6).collect();
    bench.cloud.unassign(&eni.id, &all).await.unwrap();
    assert_eq!(bench.view(&eni.id).await.unwrap().of_family(Family::V6).count(), 0);
    // A repetition finds the address gone: that is what was wanted.
    bench.cloud.unassign(&eni.id, &all[..1]).await.unwrap();
}

#[tokio::test]
async fn prefixes_are_assigned_shown_and_given_back() {
    let bench = Bench::start();
    let cloud = &bench.cloud;
    let wish = CreateEni { secondary_v4: 0, v6: 0, prefixes_v4: 2, ..bench.wish("t1") };
    let made = cloud.create(&wish).await.unwrap();
    assert_eq!((made.addresses.len(), made.prefixes.len()), (1, 2));
    cloud.attach(&made.id, &bench.instance).await.unwrap();
    bench.until(&made.id, Some(EniStatus::InUse)).await;
    assert_eq!(bench.view(&made.id).await.unwrap().prefixes, made.prefixes);

    let four = cloud.assign_prefixes(&made.id, Family::V4, 2, "a1").await.unwrap();
    let again = cloud.assign_prefixes(&made.id, Family::V4, 2, "a1").await.unwrap();
    assert_eq!((four.len(), &again), (2, &four), "the token makes it happen once");
    let six = cloud.assign_prefixes(&made.id, Family::V6, 1, "a2").await.unwrap();
    let single = cloud.assign(&made.id, Family::V4, 1, "a3").await.unwrap();
    let view = bench.view(&made.id).await.unwrap();
    assert!(four.iter().chain(&six).all(|p| view.prefixes.contains(p)), "{view:?}");
    assert!(view.addresses.contains(&single[0]), "both kinds on one ENI: {view:?}");

    // A prefix takes one place of the limit of ten: primary, four prefixes, one single address.
    let error = cloud.assign_prefixes(&made.id, Family::V4, 5, "a4").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");

    let back: Vec<_> = four.iter().chain(&six).copied().collect();
    cloud.unassign_prefixes(&made.id, &back).await.unwrap();
    assert_eq!(bench.view(&made.id).await.unwrap().prefixes, made.prefixes);
    // A repetition finds the prefix gone: that is what was wanted.
    cloud.unassign_prefixes(&made.id, &four[..1]).await.unwrap();
}

#[tokio::test]
async fn a_subnet_of_single_free_addresses_has_no_prefix_to_give() {
    let mut config = lab_config();
    config.vswitches.truncate(1);
    config.vswitches[0].ipv4 = "10.0.0.0/27".parse().unwrap();
    let bench = Bench::with(config);
    let wish = CreateEni { secondary_v4: 0, v6: 0, ..bench.wish("t1") };
    let eni = bench.cloud.create(&wish).await.unwrap();
    // Each half of the block has an address of the cloud's own.
    let error = bench.cloud.assign_prefixes(&eni.id, Family::V4, 1, "a1").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fragmented, "{error}");
    let create = CreateEni { prefixes_v4: 1, ..bench.wish("t2") };
    assert_eq!(bench.cloud.create(&create).await.unwrap_err().kind, ErrorKind::Fragmented);
    assert_eq!(bench.cloud.assign(&eni.id, Family::V4, 3, "a2").await.unwrap().len(), 3);
}
