//! Lists over several pages and calls in several batches.

use std::{collections::BTreeSet, net::IpAddr};

use tideway_cloud::{Cloud, EniFilter, ErrorKind};
use tideway_model::{EniId, Family, InstanceId};

use super::{Reply, Server, cloud, eni};

fn page(ids: &[usize], next: &str) -> Reply {
    let enis: Vec<String> = ids
        .iter()
        .map(|n| {
            format!(
                r#"{{"NetworkInterfaceId":"eni-{n}","MacAddress":"00:16:3e:00:00:{n:02x}","Status":"Available","VSwitchId":"vsw-1"}}"#
            )
        })
        .collect();
    Reply::ok(&format!(
        r#"{{"NextToken":"{next}","NetworkInterfaceSets":{{"NetworkInterfaceSet":[{}]}}}}"#,
        enis.join(",")
    ))
}

#[tokio::test]
async fn every_page_is_read_and_a_repeated_eni_counts_once() {
    let server = Server::start(|n, request| match n {
        0 => page(&[1, 2], "p=2"),
        1 => {
            assert!(request.target.contains("NextToken=p%3D2"), "{}", request.target);
            page(&[2, 3], "p3")
        }
        _ => page(&[], ""),
    })
    .await;
    let enis = cloud(&server).enis(&EniFilter::default()).await.unwrap();
    let ids: Vec<&str> = enis.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["eni-1", "eni-2", "eni-3"]);
}

#[tokio::test]
async fn a_list_whose_second_page_fails_is_no_list() {
    let server = Server::start(|n, _| match n {
        0 => page(&[1], "p2"),
        _ => Reply::error(503, "ServiceUnavailable"),
    })
    .await;
    let error = cloud(&server).enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_page_token_that_comes_again_ends_the_reading() {
    let server = Server::start(|_, _| page(&[1], "same")).await;
    let error = cloud(&server).enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.code, "SenselessAnswer");
    assert_eq!(server.received().len(), 2);
}

fn instances(ids: &[&str], next: &str) -> Reply {
    let list: Vec<String> = ids.iter().map(|id| format!(r#"{{"InstanceId":"{id}"}}"#)).collect();
    let list = list.join(",");
    Reply::ok(&format!(r#"{{"NextToken":"{next}","Instances":{{"Instance":[{list}]}}}}"#))
}

#[tokio::test]
async fn an_instance_on_a_later_page_is_not_taken_for_gone() {
    let server = Server::start(|n, request| match n {
        0 => instances(&["i-0"], "p=2"),
        1 => {
            assert!(request.target.contains("NextToken=p%3D2"), "{}", request.target);
            instances(&["i-1"], "")
        }
        _ => instances(&["i-101"], ""),
    })
    .await;
    let asked: BTreeSet<_> =
        (0..120).map(|n| InstanceId::try_from(format!("i-{n}")).unwrap()).collect();
    let found = cloud(&server).existing(&asked).await.unwrap();
    assert_eq!(found.iter().map(InstanceId::as_str).collect::<Vec<_>>(), ["i-0", "i-1", "i-101"]);
    assert_eq!(server.received().len(), 3, "100 ids in one question");
}

#[tokio::test]
async fn a_list_of_instances_whose_second_page_fails_is_no_list() {
    let server = Server::start(|n, _| match n {
        0 => instances(&[], "p2"),
        _ => Reply::error(503, "ServiceUnavailable"),
    })
    .await;
    let asked = BTreeSet::from([InstanceId::try_from("i-1").unwrap()]);
    let error = cloud(&server).existing(&asked).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn many_ids_are_asked_in_several_calls() {
    let server = Server::start(|n, _| page(&[n + 1], "")).await;
    let ids = (0..150).map(|n| EniId::try_from(format!("eni-x{n}")).unwrap()).collect();
    let enis = cloud(&server).enis(&EniFilter { ids, ..EniFilter::default() }).await.unwrap();
    assert_eq!((enis.len(), server.received().len()), (2, 2));
    assert!(server.received()[1].target.contains("NetworkInterfaceId.50=eni-x149"));
}

fn v6(n: u16) -> Vec<IpAddr> {
    (1..=n).map(|i| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, i])).collect()
}

#[tokio::test]
async fn many_ipv6_addresses_go_back_in_batches_of_ten() {
    let server = Server::start(|_, _| Reply::ok("{}")).await;
    let cloud = cloud(&server);
    cloud.unassign(&eni(), &v6(25)).await.unwrap();
    let per_call: Vec<usize> =
        server.received().iter().map(|r| r.target.matches("Ipv6Address.").count()).collect();
    assert_eq!(per_call, [10, 10, 5]);
    cloud.unassign(&eni(), &[]).await.unwrap();
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_failure_after_a_batch_went_through_leaves_the_whole_unknown() {
    let server = Server::start(|n, _| match n {
        1 => Reply::error(400, "Throttling"),
        _ => Reply::ok("{}"),
    })
    .await;
    let error = cloud(&server).unassign(&eni(), &v6(25)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown);
    assert_eq!(server.received().len(), 2, "it must stop there");
}

#[tokio::test]
async fn a_failure_of_the_first_batch_keeps_its_kind() {
    let server = Server::start(|_, _| Reply::error(403, "InvalidOperation.InvalidEniState")).await;
    let error = cloud(&server).unassign(&eni(), &v6(25)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn an_address_that_is_gone_already_is_given_back_but_in_a_batch_nothing_is_known() {
    let server = Server::start(|_, _| Reply::error(400, "InvalidIp.IpUnassigned")).await;
    let cloud = cloud(&server);
    cloud.unassign(&eni(), &v6(1)).await.unwrap();
    assert_eq!(cloud.unassign(&eni(), &v6(2)).await.unwrap_err().kind, ErrorKind::Unknown);
}

#[tokio::test]
async fn asking_for_no_address_asks_nobody() {
    let server = Server::start(|_, _| Reply::Hang).await;
    assert!(cloud(&server).assign(&eni(), Family::V4, 0, "t").await.unwrap().is_empty());
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn an_instance_that_is_not_listed_is_not_found() {
    let server = Server::start(|_, request| match request.action() {
        "DescribeInstances" => Reply::ok(r#"{"Instances":{"Instance":[]}}"#),
        "DescribeInstanceTypes" => Reply::ok(r#"{"InstanceTypes":{"InstanceType":[]}}"#),
        _ => Reply::ok(r#"{"VSwitchId":""}"#),
    })
    .await;
    let cloud = cloud(&server);
    assert_eq!(cloud.instance(&super::instance()).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(cloud.limits("ecs.none").await.unwrap_err().kind, ErrorKind::NotFound);
    let subnet = ["vsw-1".try_into().unwrap()];
    assert_eq!(cloud.subnets(&subnet).await.unwrap_err().kind, ErrorKind::NotFound);
}
