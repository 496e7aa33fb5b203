//! Lost, torn, huge, slow and senseless answers: the kind must tell whether something may have happened.

use std::time::Duration;

use tideway_cloud::{Cloud, EniFilter, ErrorKind};
use tideway_cloud_aliyun::{AliyunCloud, system_clock};
use tideway_model::Family;

use super::{
    Reply, Server, cloud, config, eni, fixed, hasty_cloud, instance, new_eni, server::whole,
    shows_no_secret,
};

/// Makes one change and one read against the same server; gives kind and code of both.
async fn both(reply: fn() -> Reply) -> [(ErrorKind, String); 2] {
    let server = Server::start(move |_, _| reply()).await;
    both_of(&cloud(&server)).await
}

async fn both_of(cloud: &AliyunCloud) -> [(ErrorKind, String); 2] {
    let change = cloud.create(&new_eni()).await.unwrap_err();
    let read = cloud.enis(&EniFilter::default()).await.unwrap_err();
    shows_no_secret(&change);
    shows_no_secret(&read);
    [(change.kind, change.code), (read.kind, read.code)]
}

fn lost(code: &str) -> [(ErrorKind, String); 2] {
    [(ErrorKind::Unknown, code.into()), (ErrorKind::Unavailable, code.into())]
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let cloud = AliyunCloud::new(config(&url, fixed()), system_clock).unwrap();
    let error = cloud.delete(&eni()).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, "ConnectFailed"));
    assert!(error.message.contains("refused"), "{}", error.message);
}

#[tokio::test]
async fn a_torn_answer_leaves_a_change_unknown() {
    let torn = || {
        let mut bytes =
            whole(200, "", r#"{"NetworkInterfaceId":"eni-1","MacAddress":"00:16:3e:00:00:01"}"#);
        bytes.truncate(bytes.len() - 10);
        Reply::Close(bytes)
    };
    assert_eq!(both(torn).await, lost("TornAnswer"));
}

#[tokio::test]
async fn an_answer_torn_without_a_stated_length_is_not_taken_for_whole() {
    let torn = || {
        Reply::Close(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"NetworkInterfaceId\":\"en".to_vec(),
        )
    };
    assert_eq!(both(torn).await, lost("SenselessAnswer"));
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_leaves_a_change_unknown() {
    assert_eq!(both(|| Reply::Close(Vec::new())).await, lost("ConnectionLost"));
}

#[tokio::test]
async fn silence_ends_with_the_time_limit() {
    let server = Server::start(|_, _| Reply::Hang).await;
    assert_eq!(both_of(&hasty_cloud(&server)).await, lost("Timeout"));
}

#[tokio::test]
async fn a_slow_drip_does_not_outlive_the_time_limit() {
    let drip = || Reply::Drip(whole(200, "", &" ".repeat(5000)), Duration::from_millis(20));
    let server = Server::start(move |_, _| drip()).await;
    assert_eq!(both_of(&hasty_cloud(&server)).await, lost("Timeout"));
}

#[tokio::test]
async fn a_huge_answer_is_cut_off() {
    let endless =
        || Reply::Endless(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec());
    assert_eq!(both(endless).await, lost("AnswerTooLarge"));
    let unstated = || Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    assert_eq!(both(unstated).await, lost("AnswerTooLarge"));
}

#[tokio::test]
async fn garbage_with_status_200_leaves_a_change_unknown() {
    for garbage in ["", "null", "<html>", "{\"RequestId\":\"r\"}", "[1]", "\u{0}"] {
        let server = Server::start(move |_, _| Reply::ok(garbage)).await;
        let cloud = cloud(&server);
        let error = cloud.create(&new_eni()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unknown, "SenselessAnswer"));
        let error = cloud.assign(&eni(), Family::V4, 1, "t").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{garbage:?}");
        assert!(cloud.instance(&instance()).await.is_err(), "{garbage:?}");
        assert!(cloud.limits("t").await.is_err(), "{garbage:?}");
        assert!(cloud.enis(&EniFilter::default()).await.is_err(), "{garbage:?}");
    }
    assert_eq!(
        both(|| Reply::Close(b"\x16\x03\x01 no http at all\r\n\r\n".to_vec())).await,
        lost("ConnectionLost")
    );
}

#[tokio::test]
async fn errors_of_the_server_keep_their_kind() {
    let kind = |reply: fn() -> Reply| async move { both(reply).await[0].0.clone() };
    assert_eq!(kind(|| Reply::with(500, "", "")).await, ErrorKind::Unavailable);
    assert_eq!(kind(|| Reply::error(503, "ServiceUnavailable")).await, ErrorKind::Unavailable);
    assert_eq!(kind(|| Reply::with(504, "", "<html>")).await, ErrorKind::Unknown);
    let retry_after = None;
    assert_eq!(
        kind(|| Reply::error(400, "Throttling.User")).await,
        ErrorKind::Throttled { retry_after }
    );
    assert_eq!(kind(|| Reply::with(429, "", "")).await, ErrorKind::Throttled { retry_after });
    let retry_after = Some(Duration::from_secs(2));
    let hinted = || Reply::with(400, "x-acs-retry-after: 2000\r\n", r#"{"Code":"Throttling.Api"}"#);
    assert_eq!(kind(hinted).await, ErrorKind::Throttled { retry_after });
    let moved = || Reply::with(302, "location: http://127.0.0.1:1/\r\n", "");
    assert_eq!(both(moved).await[0], (ErrorKind::Invalid, "Http302".into()));
}

#[tokio::test]
async fn a_refusal_that_repeats_the_signed_text_is_passed_on_without_secrets() {
    let server = Server::start(|_, request| {
        let token = request.header("x-acs-security-token").unwrap();
        let body =
            format!(r#"{{"Code":"SignatureDoesNotMatch","Message":"server string is {token}"}}"#);
        Reply::with(400, "", &body)
    })
    .await;
    let error = cloud(&server).delete(&eni()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert_eq!(error.message, "server string is ***");
    shows_no_secret(&error);
}

#[tokio::test]
async fn nothing_is_repeated_inside() {
    for reply in [
        || Reply::error(500, "InternalError"),
        || Reply::error(400, "Throttling"),
        || Reply::Close(Vec::new()),
    ] {
        let server = Server::start(move |_, _| reply()).await;
        let cloud = cloud(&server);
        assert!(cloud.attach(&eni(), &instance()).await.is_err());
        assert_eq!(server.received().len(), 1);
        assert_eq!(cloud.calls()["AttachNetworkInterface"], 1);
    }
}

/// The HTTP library repeats requests that never left; this one did.
#[tokio::test]
async fn a_kept_connection_that_ends_after_the_request_was_read_is_not_tried_again() {
    let server = Server::start(|n, _| match n {
        0 => Reply::ok("{}"),
        _ => Reply::Close(Vec::new()),
    })
    .await;
    let cloud = cloud(&server);
    cloud.attach(&eni(), &instance()).await.unwrap();
    let error = cloud.detach(&eni(), &instance()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    assert_eq!((server.connections(), server.received().len()), (1, 2));
}

#[tokio::test]
async fn connections_are_kept_and_no_nonce_comes_twice() {
    let server = Server::start(|_, _| Reply::ok(r#"{"RequestId":"r"}"#)).await;
    let cloud = cloud(&server);
    for _ in 0..5 {
        cloud.delete(&eni()).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    let received = server.received();
    let nonces: std::collections::BTreeSet<_> =
        received.iter().map(|r| r.header("x-acs-signature-nonce").unwrap()).collect();
    assert_eq!(nonces.len(), 5);
    assert!(received.iter().all(|r| r.method == "POST" && r.target.starts_with("/?")));
    assert_eq!(cloud.calls()["DeleteNetworkInterface"], 5);
}
