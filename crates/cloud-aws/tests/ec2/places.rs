//! Device indexes, network cards and attachments, and how few describes they cost.

use std::time::{Duration, Instant};

use tideway_cloud::{Cloud, EniFilter, EniStatus, ErrorKind};

use super::{
    provider,
    suite::{Access, Bench, lab_config},
};

fn another_client(bench: &Bench) -> provider::Client {
    provider::client(Access::to(&bench.lab))
}

#[tokio::test]
async fn what_a_look_at_the_instance_showed_saves_the_describes_of_attach_and_detach() {
    let bench = Bench::start();
    let cloud = &bench.client;
    let view = cloud.instance(&bench.instance).await.unwrap();
    cloud.limits(&view.instance_type).await.unwrap();
    let all = EniFilter { instance: Some(bench.instance.clone()), ..EniFilter::default() };
    let primary = cloud.enis(&all).await.unwrap();
    assert!(primary.len() == 1 && primary[0].primary);
    let before = cloud.calls();
    let (one, two) = (
        cloud.create(&bench.wish("t1")).await.unwrap().id,
        cloud.create(&bench.wish("t2")).await.unwrap().id,
    );
    cloud.attach(&one, &bench.instance).await.unwrap();
    cloud.attach(&two, &bench.instance).await.unwrap();
    let mut spent = cloud.calls();
    spent.retain(|action, n| before.get(action) != Some(n));
    let expected = [
        ("AttachNetworkInterface", 2),
        ("CreateNetworkInterface", 2),
        ("ModifyNetworkInterfaceAttribute", 2),
    ];
    assert_eq!(spent, expected.map(|(action, n)| (action.to_owned(), n)).into());
    bench.until(&one, Some(EniStatus::InUse)).await;
    let describes = bench.lab.calls_of("DescribeNetworkInterfaces");
    cloud.detach(&one, &bench.instance).await.unwrap();
    assert_eq!(bench.lab.calls_of("DescribeNetworkInterfaces"), describes);
}

#[tokio::test]
async fn a_client_that_knows_nothing_looks_once() {
    let bench = Bench::start();
    bench.attached("t1").await;
    let fresh = another_client(&bench);
    let eni = fresh.create(&bench.wish("t2")).await.unwrap().id;
    fresh.attach(&eni, &bench.instance).await.unwrap();
    assert_eq!(fresh.calls()["DescribeNetworkInterfaces"], 1);
    assert_eq!(fresh.calls()["DescribeInstanceTypes"], 1);
    bench.until(&eni, Some(EniStatus::InUse)).await;
    let newer = another_client(&bench);
    newer.detach(&eni, &bench.instance).await.unwrap();
    assert_eq!(newer.calls()["DescribeNetworkInterfaces"], 1);
}

#[tokio::test]
async fn a_device_index_that_somebody_else_took_is_a_conflict_and_the_next_try_looks() {
    let bench = Bench::start();
    bench.attached("t1").await;
    // Another client takes the next place behind our back.
    let other = another_client(&bench);
    let theirs = other.create(&bench.wish("t2")).await.unwrap().id;
    other.attach(&theirs, &bench.instance).await.unwrap();
    bench.until(&theirs, Some(EniStatus::InUse)).await;
    other.detach(&theirs, &bench.instance).await.unwrap();
    // What the look of `until` showed is no longer so: the place is free, and taken again by another ENI.
    bench.until(&theirs, Some(EniStatus::Available)).await;
    let by_hand = other.create(&bench.wish("t3")).await.unwrap().id;
    other.attach(&by_hand, &bench.instance).await.unwrap();
    let mine = bench.client.create(&bench.wish("t4")).await.unwrap().id;
    let error = bench.client.attach(&mine, &bench.instance).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Conflict | ErrorKind::QuotaExceeded(_)), "{error}");
}

#[tokio::test]
async fn an_attachment_that_was_replaced_by_hand_is_not_taken_for_ours() {
    let bench = Bench::start();
    let eni = bench.attached("t1").await;
    bench.lab.force_detach(eni.id.as_str()).unwrap();
    // Another client waits for the end of it, so that our memory still has the old attachment.
    let other = another_client(&bench);
    let one = EniFilter { ids: vec![eni.id.clone()], ..EniFilter::default() };
    let deadline = Instant::now() + Duration::from_mins(1);
    while other.enis(&one).await.unwrap()[0].status != EniStatus::Available {
        assert!(Instant::now() < deadline, "it is never detached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = bench.client.detach(&eni.id, &bench.instance).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "the ENI exists, so it is not NotFound: {error}");
    let error = bench.client.detach(&eni.id, &bench.instance).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "NotAttached"));
    let gone = "eni-00000000".try_into().unwrap();
    let error = bench.client.detach(&gone, &bench.instance).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn enis_are_spread_over_the_network_cards_when_one_is_full() {
    let mut config = lab_config();
    for instance in &mut config.instances {
        instance.instance_type = "p4d.24xlarge".into();
    }
    let bench = Bench::with(config);
    assert_eq!(bench.client.limits("p4d.24xlarge").await.unwrap().enis, 60);
    for n in 0..16 {
        let eni = bench.client.create(&bench.small_wish(&format!("t{n}"))).await.unwrap().id;
        bench.client.attach(&eni, &bench.instance).await.unwrap();
    }
    // Fourteen beside the primary one on the first card.
    assert_eq!(bench.lab.calls_of("DescribeNetworkInterfaces"), 1);
}

#[tokio::test]
async fn when_every_place_is_taken_no_call_is_spent() {
    let mut config = lab_config();
    for instance in &mut config.instances {
        instance.instance_type = "m5.large".into();
    }
    let bench = Bench::with(config);
    bench.attached("t1").await;
    bench.attached("t2").await;
    let third = bench.client.create(&bench.wish("t3")).await.unwrap();
    let error = bench.client.attach(&third.id, &bench.instance).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::QuotaExceeded(_)), "{error}");
    assert_eq!(bench.lab.calls_of("AttachNetworkInterface"), 2);
}

#[tokio::test]
async fn an_attach_whose_second_call_is_refused_has_succeeded() {
    let bench = Bench::start();
    let fault = tideway_lab::FaultSpec {
        code: Some("UnauthorizedOperation".into()),
        status: Some(403),
        ..tideway_lab::FaultSpec::new(tideway_lab::FaultKind::Error)
            .on("ModifyNetworkInterfaceAttribute")
    };
    bench.lab.add_fault(fault).unwrap();
    let eni = bench.attached("t1").await;
    bench.lab.terminate("n1").unwrap();
    // Nobody said that it should go.
    bench.until(&eni.id, Some(EniStatus::Available)).await;
}
