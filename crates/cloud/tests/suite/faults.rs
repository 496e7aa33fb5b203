//! The lab fails on purpose.

use tideway_cloud::{Cloud, EniFilter, EniStatus, ErrorKind};
use tideway_lab::{FaultKind, FaultSpec};
use tideway_model::Family;

use super::Bench;
use crate::provider;

#[tokio::test]
async fn a_throttled_call_says_so_and_the_next_one_goes() {
    let bench = Bench::start();
    let fault = FaultSpec {
        retry_after: Some(3),
        ..FaultSpec::new(FaultKind::Throttle).on("CreateNetworkInterface").times(1)
    };
    bench.lab.add_fault(fault).unwrap();
    let error = bench.cloud().create(&bench.wish("t1")).await.unwrap_err();
    let ErrorKind::Throttled { retry_after } = error.kind else { panic!("{error:?}") };
    assert_eq!(retry_after.is_some_and(|after| !after.is_zero()), provider::THROTTLING_TELLS_WHEN);
    assert!(error.request_id.is_some());
    bench.cloud().create(&bench.wish("t1")).await.unwrap();
    assert_eq!(bench.lab.calls_of("CreateNetworkInterface"), 2);
    assert_eq!(bench.client.calls()["CreateNetworkInterface"], 2);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_eni_is_found_by_its_intent_tag() {
    let bench = Bench::start();
    let fault = FaultSpec::new(FaultKind::LostAnswer).on("CreateNetworkInterface").times(1);
    bench.lab.add_fault(fault).unwrap();
    let wish = bench.wish("t1");
    let error = bench.cloud().create(&wish).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    let filter = EniFilter { tags: wish.tags.clone(), ..EniFilter::default() };
    let found = bench.cloud().enis(&filter).await.unwrap();
    assert_eq!(found.len(), 1);
    let again = bench.cloud().create(&wish).await.unwrap();
    assert_eq!(again.id, found[0].id, "the token finds it too");
}

#[tokio::test]
async fn a_lost_answer_of_a_change_is_unknown_and_its_effect_is_seen() {
    let bench = Bench::start();
    let cloud = bench.cloud();
    let eni = bench.attached("t1").await;
    let lose = |action| {
        bench.lab.add_fault(FaultSpec::new(FaultKind::LostAnswer).on(action).times(1)).unwrap();
    };
    lose("UnassignPrivateIpAddresses");
    let secondary: Vec<_> =
        eni.of_family(Family::V4).filter(|ip| Some(*ip) != eni.primary_ip).collect();
    let error = cloud.unassign(&eni.id, &secondary).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    assert_eq!(bench.view(&eni.id).await.unwrap().of_family(Family::V4).count(), 1);
    lose("DetachNetworkInterface");
    let error = cloud.detach(&eni.id, &bench.instance).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    bench.until(&eni.id, Some(EniStatus::Available)).await;
    lose("AttachNetworkInterface");
    let error = cloud.attach(&eni.id, &bench.instance).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    bench.until(&eni.id, Some(EniStatus::InUse)).await;
    // The next ENI does not get the place of this one.
    bench.attached("t2").await;
}

#[tokio::test]
async fn server_errors_are_unavailable() {
    let bench = Bench::start();
    for code in [None, Some("ServiceUnavailable"), Some("Unavailable")] {
        let fault = FaultSpec {
            code: code.map(str::to_owned),
            ..FaultSpec::new(FaultKind::ServerError).times(1)
        };
        bench.lab.add_fault(fault).unwrap();
        let error = bench.cloud().create(&bench.wish("t1")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_subnet_or_security_group_that_was_deleted_is_named_with_its_key() {
    let bench = Bench::start();
    let (mut no_subnet, mut no_group) = (bench.wish("t1"), bench.wish("t2"));
    no_subnet.subnet = "subnet-0123456789abcdef0".try_into().unwrap();
    no_group.security_groups = vec!["sg-0123456789abcdef0".try_into().unwrap()];
    for (wish, id, key) in
        [(no_subnet, "subnet-0123", "eni.subnets"), (no_group, "sg-0123", "eni.securityGroups")]
    {
        let error = bench.cloud().create(&wish).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(error.message.contains(id) && error.message.contains(key), "{error}");
    }
}

#[tokio::test]
async fn a_full_subnet_says_so() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::FullSubnet)).unwrap();
    let error = bench.cloud().create(&bench.wish("t1")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SubnetFull, "{error}");
}

#[tokio::test]
async fn a_stale_read_shows_the_past_and_then_the_truth() {
    let bench = Bench::start();
    let eni = bench.cloud().create(&bench.wish("t1")).await.unwrap();
    let fault = FaultSpec {
        ms: Some(60_000),
        ..FaultSpec::new(FaultKind::StaleReads).on("DescribeNetworkInterfaces")
    };
    let id = bench.lab.add_fault(fault).unwrap();
    assert_eq!(bench.view(&eni.id).await, None, "a minute ago there was no such ENI");
    bench.lab.clear_faults(Some(id));
    assert_eq!(bench.view(&eni.id).await.map(|shown| shown.id), Some(eni.id));
}

#[tokio::test]
async fn an_attach_that_fails_shows_as_available_again() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::FailedAttach).times(1)).unwrap();
    let eni = bench.cloud().create(&bench.wish("t1")).await.unwrap();
    bench.cloud().attach(&eni.id, &bench.instance).await.unwrap();
    let view = bench.until(&eni.id, Some(EniStatus::Available)).await.unwrap();
    assert_eq!(view.instance, None);
    bench.cloud().attach(&eni.id, &bench.instance).await.unwrap();
}

#[tokio::test]
async fn a_stuck_attach_stays_attaching_and_names_the_instance() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::StuckAttach)).unwrap();
    let eni = bench.cloud().create(&bench.wish("t1")).await.unwrap();
    bench.cloud().attach(&eni.id, &bench.instance).await.unwrap();
    let view = bench.until(&eni.id, Some(EniStatus::Attaching)).await.unwrap();
    assert_eq!(view.instance.as_ref(), Some(&bench.instance));
    let error = bench.cloud().delete(&eni.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    bench.lab.clear_faults(None);
    bench.until(&eni.id, Some(EniStatus::InUse)).await;
}
