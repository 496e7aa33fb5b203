//! The lab fails on purpose.

use std::time::Duration;

use tideway_cloud::{Cloud, EniFilter, EniStatus, ErrorKind};
use tideway_lab::{FaultKind, FaultSpec};
use tideway_model::Family;

use super::Bench;

#[tokio::test]
async fn throttling_carries_the_hint_and_the_next_call_goes() {
    let bench = Bench::start();
    let fault = FaultSpec {
        retry_after: Some(3),
        ..FaultSpec::new(FaultKind::Throttle).on("CreateNetworkInterface").times(1)
    };
    bench.lab.add_fault(fault).unwrap();
    let error = bench.cloud.create(&bench.wish("t1")).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Throttled { retry_after: Some(after) } if after > Duration::ZERO),
        "{error:?}"
    );
    assert!(error.request_id.is_some());
    bench.cloud.create(&bench.wish("t1")).await.unwrap();
    assert_eq!(bench.lab.calls_of("CreateNetworkInterface"), 2);
    assert_eq!(bench.cloud.calls()["CreateNetworkInterface"], 2);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_eni_is_found_by_its_intent_tag() {
    let bench = Bench::start();
    let fault = FaultSpec::new(FaultKind::LostAnswer).on("CreateNetworkInterface").times(1);
    bench.lab.add_fault(fault).unwrap();
    let wish = bench.wish("t1");
    let error = bench.cloud.create(&wish).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    let filter = EniFilter { tags: wish.tags.clone(), ..EniFilter::default() };
    let found = bench.cloud.enis(&filter).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(bench.cloud.create(&wish).await.unwrap().id, found[0].id, "the token finds it too");
}

#[tokio::test]
async fn a_lost_answer_of_unassign_is_unknown_and_the_address_is_gone() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    let fault = FaultSpec::new(FaultKind::LostAnswer).on("UnassignPrivateIpAddresses").times(1);
    bench.lab.add_fault(fault).unwrap();
    let secondary: Vec<_> =
        eni.of_family(Family::V4).filter(|ip| Some(*ip) != eni.primary_ip).collect();
    let error = bench.cloud.unassign(&eni.id, &secondary).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    assert_eq!(bench.view(&eni.id).await.unwrap().of_family(Family::V4).count(), 1);
}

#[tokio::test]
async fn server_errors_are_unavailable() {
    let bench = Bench::start();
    for code in [None, Some("ServiceUnavailable")] {
        let fault = FaultSpec {
            code: code.map(str::to_owned),
            ..FaultSpec::new(FaultKind::ServerError).times(1)
        };
        bench.lab.add_fault(fault).unwrap();
        let error = bench.cloud.create(&bench.wish("t1")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_missing_permission_names_action_and_resource() {
    let bench = Bench::start();
    let fault = FaultSpec::new(FaultKind::Deny).on("AttachNetworkInterface");
    bench.lab.add_fault(fault).unwrap();
    let eni = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    let error = bench.cloud.attach(&eni.id, &bench.instance).await.unwrap_err();
    let region = bench.lab.description().region.as_str();
    let missing = format!("ecs:AttachNetworkInterface on acs:ecs:{region}:*:eni/{}", eni.id);
    assert_eq!(error.kind, ErrorKind::Denied(missing.clone()));
    assert!(error.remedy().contains(&missing), "{}", error.remedy());
}

#[tokio::test]
async fn a_subnet_or_security_group_that_was_deleted_is_named_with_its_key() {
    let bench = Bench::start();
    let mut wish = bench.wish("t1");
    wish.subnet = "vsw-gone".try_into().unwrap();
    let error = bench.cloud.create(&wish).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("vSwitch vsw-gone does not exist"), "{error}");
    assert!(error.message.contains("eni.subnets"), "{error}");
    let mut wish = bench.wish("t2");
    wish.security_groups = vec!["sg-gone".try_into().unwrap()];
    let error = bench.cloud.create(&wish).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("sg-gone") && error.message.contains("eni.securityGroups"));
}

#[tokio::test]
async fn a_full_subnet_says_so() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::FullSubnet)).unwrap();
    let error = bench.cloud.create(&bench.wish("t1")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SubnetFull, "{error}");
}

#[tokio::test]
async fn a_stale_read_shows_the_past_and_then_the_truth() {
    let bench = Bench::start();
    let eni = bench.cloud.create(&bench.wish("t1")).await.unwrap();
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
    let eni = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    bench.cloud.attach(&eni.id, &bench.instance).await.unwrap();
    let view = bench.until(&eni.id, Some(EniStatus::Available)).await.unwrap();
    assert_eq!(view.instance, None);
}

#[tokio::test]
async fn a_stuck_attach_stays_attaching_and_names_the_instance() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::StuckAttach)).unwrap();
    let eni = bench.cloud.create(&bench.wish("t1")).await.unwrap();
    bench.cloud.attach(&eni.id, &bench.instance).await.unwrap();
    let view = bench.until(&eni.id, Some(EniStatus::Attaching)).await.unwrap();
    assert_eq!(view.instance.as_ref(), Some(&bench.instance));
    let error = bench.cloud.delete(&eni.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    bench.lab.clear_faults(None);
    bench.until(&eni.id, Some(EniStatus::InUse)).await;
}
