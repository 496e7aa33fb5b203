//! The life of an ENI and its addresses, and what the cloud tells of everything else.

use std::{collections::BTreeSet, net::IpAddr};

use tideway_cloud::{Cloud, EniFilter, EniStatus, ErrorKind};
use tideway_model::{Family, InstanceId};

use super::{Bench, CREATED, lab_config};

#[tokio::test]
async fn an_eni_lives_from_create_to_delete() {
    let bench = Bench::start();
    let cloud = &bench.cloud;
    let made = cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(made.status, EniStatus::Available);
    assert_eq!((made.of_family(Family::V4).count(), made.of_family(Family::V6).count()), (3, 2));
    assert_eq!(made.created, Some(CREATED), "EC2 does not tell the age; our tag does");
    let shown = bench.view(&made.id).await.unwrap();
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
    let ours = EniFilter { tags: bench.wish("t1").tags, ..EniFilter::default() };
    assert!(cloud.enis(&ours).await.unwrap().is_empty());
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
    let (attached, detached) =
        (bench.attached("t1").await, bench.cloud.create(&bench.wish("t2")).await.unwrap());
    let mut like = bench.wish("t3");
    like.tags.insert("tideway.dev/cluster".into(), "c 1anything~+/=&%éx\\".into());
    bench.cloud.create(&like).await.unwrap();
    let cluster = "tideway.dev/cluster".to_owned();
    let tags: std::collections::BTreeMap<_, _> =
        [(cluster.clone(), attached.tags[&cluster].clone())].into();
    let found = async |status| {
        let filter = EniFilter { status, tags: tags.clone(), ..EniFilter::default() };
        let mut ids: Vec<_> =
            bench.cloud.enis(&filter).await.unwrap().into_iter().map(|e| e.id).collect();
        ids.sort();
        ids
    };
    let mut both = [detached.id, attached.id];
    assert_eq!(found(Some(EniStatus::Available)).await, both[..1]);
    assert_eq!(found(Some(EniStatus::InUse)).await, both[1..]);
    both.sort();
    assert_eq!(found(None).await, both);
}

#[tokio::test]
async fn instances_that_are_gone_are_left_out_without_an_error() {
    let bench = Bench::start();
    let all = bench.lab.description().instances.iter().map(|i| i.id.as_str().try_into().unwrap());
    let mut living: BTreeSet<InstanceId> = all.collect();
    // More than one filter takes.
    let gone = (0..250).map(|n| InstanceId::try_from(format!("i-{n:08x}")).unwrap());
    let asked = living.iter().cloned().chain(gone).collect();
    assert_eq!(bench.cloud.existing(&asked).await.unwrap(), living);
    assert_eq!(bench.cloud.existing(&BTreeSet::new()).await.unwrap(), BTreeSet::new());
    // EC2 shows a terminated one for an hour.
    bench.lab.terminate("n1").unwrap();
    living.remove(&bench.instance);
    assert_eq!(bench.cloud.existing(&asked).await.unwrap(), living);
}

#[tokio::test]
async fn a_token_makes_create_happen_once_and_assign_has_none() {
    let bench = Bench::start();
    let first = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    let again = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(first.id, again.id);
    let once = bench.cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    let twice = bench.cloud.assign(&first.id, Family::V4, 2, "a1").await.unwrap();
    assert!(once.iter().all(|ip| !twice.contains(ip)), "{once:?} {twice:?}");
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
    assert_eq!(view.instance_type, description.instances[0].instance_type);
    assert_eq!(view.vpc, description.vpc.id);
    assert!(view.vpc_blocks.iter().any(|b| b.to_string() == description.vpc.ipv4));
    assert_eq!(view.vpc_blocks.len(), 1 + usize::from(description.vpc.ipv6.is_some()));
    let limits = bench.cloud.limits("m5.large").await.unwrap();
    assert_eq!((limits.enis, limits.ipv4_per_eni, limits.ipv6_per_eni), (3, 10, 10));
    assert_eq!((limits.trunk, limits.members), (false, 0));
    let unknown = bench.cloud.limits("m99.large").await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NotFound, "{unknown}");
    // In the order in which they are asked for.
    let ids: Vec<_> =
        description.vswitches.iter().rev().map(|v| v.id.as_str().try_into().unwrap()).collect();
    let subnets = bench.cloud.subnets(&ids).await.unwrap();
    assert_eq!(subnets.len(), description.vswitches.len());
    for (subnet, told) in subnets.iter().zip(description.vswitches.iter().rev()) {
        assert_eq!(subnet.plan.gateway_v4.unwrap().to_string(), told.gateway_v4);
        assert_eq!(subnet.plan.gateway_v6.map(|ip| ip.to_string()), told.gateway_v6);
        assert_eq!(subnet.plan.ipv4.unwrap().to_string(), told.ipv4);
    }
    let before = subnets.last().unwrap().available;
    bench.cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(bench.cloud.subnets(&ids).await.unwrap().last().unwrap().available, before - 3);
    let missing = bench.cloud.subnets(&["subnet-00000000".try_into().unwrap()]).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn the_limit_of_addresses_has_its_own_error() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    for family in Family::BOTH {
        let error = bench.cloud.assign(&eni.id, family, 100, "a").await.unwrap_err();
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
    let many = 1010;
    for n in 0..many {
        let mut wish = bench.wish(&format!("t{n}"));
        (wish.secondary_v4, wish.v6) = (0, 0);
        bench.cloud.create(&wish).await.unwrap();
    }
    let tags =
        [("tideway.dev/cluster".to_owned(), bench.wish("x").tags["tideway.dev/cluster"].clone())];
    let filter = EniFilter { tags: tags.into(), ..EniFilter::default() };
    let found = bench.cloud.enis(&filter).await.unwrap();
    assert_eq!(found.len(), many);
    assert_eq!(bench.calls("DescribeNetworkInterfaces"), 2);
    // By id, in as many questions as the longest filter needs.
    let ids = found.into_iter().map(|eni| eni.id).collect();
    let by_id = EniFilter { ids, ..EniFilter::default() };
    assert_eq!(bench.cloud.enis(&by_id).await.unwrap().len(), many);
    assert_eq!(bench.calls("DescribeNetworkInterfaces"), 2 + 6);
}

#[tokio::test]
async fn an_address_that_is_gone_is_no_error_alone_and_leaves_a_batch_open() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    for family in Family::BOTH {
        let got = bench.cloud.assign(&eni.id, family, 3, "a").await.unwrap();
        bench.cloud.unassign(&eni.id, &got[..1]).await.unwrap();
        bench.cloud.unassign(&eni.id, &got[..1]).await.unwrap();
        let error = bench.cloud.unassign(&eni.id, &got).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    }
    let primary = [eni.primary_ip.unwrap()];
    let error = bench.cloud.unassign(&eni.id, &primary).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "the primary address stays: {error}");
}

#[tokio::test]
async fn prefixes_live_beside_addresses_and_are_whole_or_fragmented() {
    let mut config = lab_config();
    config.vswitches[0].ipv4 = "10.0.0.0/25".parse().unwrap();
    let bench = Bench::with(config);
    let cloud = &bench.cloud;
    let mut wish = bench.wish("t1");
    (wish.prefixes_v4, wish.prefixes_v6) = (1, 1);
    let made = cloud.create(&wish).await.unwrap();
    // One call makes prefixes or addresses of a family.
    assert_eq!((made.addresses.len(), made.prefixes.len()), (1, 2), "{made:?}");
    cloud.attach(&made.id, &bench.instance).await.unwrap();
    bench.until(&made.id, Some(EniStatus::InUse)).await;
    let single = cloud.assign(&made.id, Family::V4, 1, "a").await.unwrap();
    let mut got = Vec::new();
    for family in Family::BOTH {
        got.extend(cloud.assign_prefixes(&made.id, family, 1, "p").await.unwrap());
    }
    let lengths: Vec<u8> = got.iter().map(ipnet::IpNet::prefix_len).collect();
    assert_eq!(lengths, [28, 80]);
    let view = bench.view(&made.id).await.unwrap();
    assert!(view.addresses.contains(&single[0]));
    assert_eq!(view.prefixes.len(), 4, "{view:?}");
    assert!(got.iter().all(|p| view.prefixes.contains(p)), "{view:?}");
    // Eight blocks in the subnet; those with the reserved and the single addresses are broken, the others go.
    let mut error = None;
    for n in 0..8 {
        error = cloud.assign_prefixes(&made.id, Family::V4, 1, &format!("q{n}")).await.err();
        if error.is_some() {
            break;
        }
    }
    let error = error.unwrap();
    assert_eq!(error.kind, ErrorKind::Fragmented, "{error}");
    cloud.assign(&made.id, Family::V4, 1, "b").await.unwrap();
    cloud.unassign_prefixes(&made.id, &got).await.unwrap();
    // A repetition finds it gone: that is what was wanted. Of several, nobody knows which.
    cloud.unassign_prefixes(&made.id, &got[..1]).await.unwrap();
    let left = bench.view(&made.id).await.unwrap().prefixes;
    assert!(got.iter().all(|p| !left.contains(p)), "{left:?}");
    let v4: Vec<_> = left.iter().chain(&got).filter(|p| p.addr().is_ipv4()).copied().collect();
    let error = cloud.unassign_prefixes(&made.id, &v4).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
}
