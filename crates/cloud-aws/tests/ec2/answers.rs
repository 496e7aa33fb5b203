//! Lost, torn, huge, slow and senseless answers: the kind must tell whether something may have happened.

use std::time::Duration;

use tideway_cloud::{AccessKey, Cloud, CreateEni, EniFilter, ErrorKind, Secret};
use tideway_cloud_aws::{AwsCloud, AwsConfig, CredentialSource, Timeouts, system_clock};
use tideway_model::{EniId, Family};

use super::server::{Reply, Server, whole};

const SECRET: &str = "s3cr3t-of-the-tests";
const TOKEN: &str = "t0ken-of-the-tests";

fn cloud_at(url: &str, call: Duration) -> AwsCloud {
    let key = AccessKey {
        id: "AKIATESTS".into(),
        secret: Secret::new(SECRET),
        token: Some(Secret::new(TOKEN)),
    };
    let config = AwsConfig {
        ec2_endpoint: Some(url.to_owned()),
        timeouts: Timeouts { connect: Duration::from_secs(10), call, body_limit: 64 * 1024 },
        ..AwsConfig::new("eu-test-1", CredentialSource::Fixed(key))
    };
    AwsCloud::new(config, system_clock).unwrap()
}

/// Generous, so that a busy machine does not turn one test into another.
fn cloud(server: &Server) -> AwsCloud {
    cloud_at(&server.url(), Duration::from_secs(20))
}

/// Gives up soon after the request is out.
fn hasty_cloud(server: &Server) -> AwsCloud {
    cloud_at(&server.url(), Duration::from_secs(2))
}

fn eni() -> EniId {
    "eni-1".try_into().unwrap()
}

fn new_eni() -> CreateEni {
    CreateEni {
        subnet: "subnet-1".try_into().unwrap(),
        security_groups: vec!["sg-1".try_into().unwrap()],
        secondary_v4: 2,
        v6: 0,
        prefixes_v4: 0,
        prefixes_v6: 0,
        tags: [("a b".to_owned(), "c/d".to_owned())].into(),
        token: "tok".into(),
    }
}

/// Makes one change and one read against the same server; gives kind and code of both. No error may show a secret.
async fn both_of(cloud: &AwsCloud) -> [(ErrorKind, String); 2] {
    let change = cloud.create(&new_eni()).await.unwrap_err();
    let read = cloud.enis(&EniFilter::default()).await.unwrap_err();
    for error in [&change, &read] {
        let shown = format!("{error} {error:?} {error:#?} {}", error.remedy());
        assert!(!shown.contains(SECRET) && !shown.contains(TOKEN), "{shown}");
    }
    [(change.kind, change.code), (read.kind, read.code)]
}

async fn both(reply: Reply) -> [(ErrorKind, String); 2] {
    let server = Server::start(reply).await;
    both_of(&cloud(&server)).await
}

fn lost(code: &str) -> [(ErrorKind, String); 2] {
    [(ErrorKind::Unknown, code.into()), (ErrorKind::Unavailable, code.into())]
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = cloud_at(&url, Duration::from_secs(20)).delete(&eni()).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, "ConnectFailed"));
    assert!(error.message.contains("refused"), "{}", error.message);
}

#[tokio::test]
async fn a_torn_answer_leaves_a_change_unknown() {
    let mut bytes = whole(200, "<CreateNetworkInterfaceResponse><networkInterface>");
    bytes.truncate(bytes.len() - 10);
    assert_eq!(both(Reply::Close(bytes)).await, lost("TornAnswer"));
    let unstated =
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<CreateNetworkInterfaceRes".to_vec();
    assert_eq!(both(Reply::Close(unstated)).await, lost("SenselessAnswer"));
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_leaves_a_change_unknown() {
    assert_eq!(both(Reply::Close(Vec::new())).await, lost("ConnectionLost"));
    let garbage = b"\x16\x03\x01 no http at all\r\n\r\n".to_vec();
    assert_eq!(both(Reply::Close(garbage)).await, lost("ConnectionLost"));
}

#[tokio::test]
async fn silence_and_a_slow_drip_end_with_the_time_limit() {
    let drip = Reply::Drip(whole(200, &" ".repeat(5000)), Duration::from_millis(20));
    let (silent, slow) = (Server::start(Reply::Hang).await, Server::start(drip).await);
    let (silent, slow) = (hasty_cloud(&silent), hasty_cloud(&slow));
    let (silent, slow) = tokio::join!(both_of(&silent), both_of(&slow));
    assert_eq!((silent, slow), (lost("Timeout"), lost("Timeout")));
}

#[tokio::test]
async fn a_huge_answer_is_cut_off() {
    for head in
        ["HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"]
    {
        let endless = Reply::Endless(head.as_bytes().to_vec());
        assert_eq!(both(endless).await, lost("AnswerTooLarge"), "{head}");
    }
}

#[tokio::test]
async fn garbage_with_status_200_is_no_empty_list_and_leaves_a_change_unknown() {
    for garbage in [
        "",
        "null",
        "<html></html>",
        "<CreateNetworkInterfaceResponse/>",
        "<DescribeNetworkInterfacesResponse/>",
        "<DescribeNetworkInterfacesResponse><networkInterfaceSet><item/></networkInterfaceSet></DescribeNetworkInterfacesResponse>",
        "<AssignPrivateIpAddressesResponse/>",
        "\u{0}",
    ] {
        let server = Server::start(Reply::with(200, garbage)).await;
        let cloud = cloud(&server);
        let error = cloud.create(&new_eni()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "SenselessAnswer"));
        let error = cloud.assign(&eni(), Family::V4, 1, "t").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{garbage:?}");
        let instance = "i-1".try_into().unwrap();
        assert!(cloud.instance(&instance).await.is_err(), "{garbage:?}");
        assert!(cloud.existing(&[instance].into()).await.is_err(), "{garbage:?}");
        assert!(cloud.limits("t").await.is_err(), "{garbage:?}");
        assert!(cloud.subnets(&["subnet-1".try_into().unwrap()]).await.is_err(), "{garbage:?}");
        assert!(cloud.enis(&EniFilter::default()).await.is_err(), "{garbage:?}");
    }
}

#[tokio::test]
async fn errors_of_the_server_keep_their_kind_and_nothing_is_repeated() {
    let throttled = ErrorKind::Throttled { retry_after: None };
    for (reply, kind, code) in [
        (Reply::with(500, ""), ErrorKind::Unavailable, "Http500"),
        (Reply::error(503, "Unavailable", "x"), ErrorKind::Unavailable, "Unavailable"),
        (Reply::with(504, "<html>"), ErrorKind::Unknown, "Http504"),
        (Reply::error(503, "RequestLimitExceeded", "x"), throttled.clone(), "RequestLimitExceeded"),
        (Reply::with(429, ""), throttled, "Http429"),
        (Reply::with(302, ""), ErrorKind::Invalid, "Http302"),
    ] {
        let server = Server::start(reply).await;
        let cloud = cloud(&server);
        let error = cloud.create(&new_eni()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind, code));
        assert_eq!(server.count(), 1, "{code}");
        assert_eq!(cloud.calls()["CreateNetworkInterface"], 1, "{code}");
    }
}

#[tokio::test]
async fn a_refusal_that_repeats_the_signed_text_is_passed_on_without_secrets() {
    let server = Server::start(Reply::Tell).await;
    let error = cloud(&server).delete(&eni()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert_eq!(error.message, "the canonical string was ***");
    assert_eq!(error.request_id.as_deref(), Some("R-1"));
}
