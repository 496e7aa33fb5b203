//! The metadata service and the life of a role's key.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tideway_cloud::{Cloud, ErrorKind};
use tideway_cloud_aliyun::{
    AliyunCloud, CredentialSource, Credentials, Metadata, MetadataError, Timeouts, TokenService,
    send::Sender, system_clock,
};
use tideway_model::{UnixMillis, config::CloudConfig};

use super::{Reply, SECRET, Server, TOKEN, config, eni, server::Received, shows_no_secret};

const META: &str = "/latest/meta-data/";

/// A metadata service as documented; `token_status` is what PUT answers.
fn service(request: &Received, token_status: u16, key: &str, expires: &str) -> Reply {
    if request.method == "PUT" {
        assert_eq!(request.target, "/latest/api/token");
        assert_eq!(request.header("x-aliyun-ecs-metadata-token-ttl-seconds"), Some("21600"));
        return Reply::with(token_status, "", "meta-token");
    }
    if token_status == 200 && request.header("x-aliyun-ecs-metadata-token") != Some("meta-token") {
        return Reply::with(401, "", "");
    }
    let Some(path) = request.target.strip_prefix(META) else {
        return Reply::ok("{}");
    };
    let role = format!(
        r#"{{"AccessKeyId":"{key}","AccessKeySecret":"{SECRET}","SecurityToken":"{TOKEN}","Expiration":"{expires}","Code":"Success"}}"#
    );
    let mac = "network/interfaces/macs/00:16:3e:00:00:01/";
    let answer = match path.strip_prefix(mac).unwrap_or(path) {
        "instance-id" => "i-1",
        "instance/instance-type" => "ecs.g6.xlarge",
        "region-id" => "cn-test",
        "zone-id" => "cn-test-a",
        "mac" => "00:16:3e:00:00:01",
        "vswitch-id" => "vsw-1",
        "vpc-id" => "vpc-1",
        "network/interfaces/macs/" => "00:16:3e:00:00:01/\n",
        "network-interface-id" => "eni-1",
        "primary-ip-address" => "10.0.0.5",
        "private-ipv4s" => r#"["10.0.0.5","10.0.0.6"]"#,
        "ram/security-credentials/" => "node-role",
        "ram/security-credentials/node-role" => role.as_str(),
        _ => return Reply::with(404, "", ""),
    };
    Reply::ok(answer)
}

#[tokio::test]
async fn the_service_is_read_with_a_token_and_without() {
    for status in [200, 403, 404, 405] {
        let server =
            Server::start(move |_, r| service(r, status, "k", "2099-01-01T00:00:00Z")).await;
        let metadata = Metadata::new(&server.url()).unwrap();
        let instance = metadata.instance().await.unwrap();
        assert_eq!((instance.id.as_str(), instance.region.as_str()), ("i-1", "cn-test"));
        assert_eq!(metadata.primary_eni().await.unwrap(), eni());
        let enis = metadata.enis().await.unwrap();
        assert_eq!((enis.len(), enis[0].primary, enis[0].addresses.len()), (1, true, 2));
        let puts = server.received().iter().filter(|r| r.method == "PUT").count();
        assert_eq!(puts, 1, "status {status}: the mode must be remembered");
    }
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_once() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let server = Server::start(move |_, r| {
        if r.method == "GET" && count.fetch_add(1, Ordering::SeqCst) == 1 {
            return Reply::with(401, "", "");
        }
        service(r, 200, "k", "2099-01-01T00:00:00Z")
    })
    .await;
    let metadata = Metadata::new(&server.url()).unwrap();
    metadata.region().await.unwrap();
    metadata.region().await.unwrap();
    assert_eq!(server.received().iter().filter(|r| r.method == "PUT").count(), 2);
}

#[tokio::test]
async fn a_service_that_always_refuses_is_an_error_and_no_loop() {
    let server =
        Server::start(|_, r| Reply::with(if r.method == "PUT" { 200 } else { 401 }, "", "x")).await;
    let error = Metadata::new(&server.url()).unwrap().region().await.unwrap_err();
    assert!(matches!(error, MetadataError::Refused { status: 401, .. }), "{error}");
    assert_eq!(server.received().len(), 4);
}

fn role(server: &Server) -> Credentials {
    let metadata = Arc::new(Metadata::new(&server.url()).unwrap());
    let tokens = TokenService { region: "r".into(), sender: Sender::plain(Timeouts::default()) };
    Credentials::new(CredentialSource::InstanceRole, metadata, tokens)
}

/// 2030-01-01T00:00:00Z
const NEW_YEAR: u64 = 1_893_456_000_000;

#[tokio::test]
async fn many_calls_at_once_fetch_the_key_once() {
    let server = Server::start(|_, r| service(r, 404, "k", "2030-01-01T06:00:00Z")).await;
    let credentials = Arc::new(role(&server));
    let now = UnixMillis(NEW_YEAR);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let credentials = Arc::clone(&credentials);
        tasks.spawn(async move { credentials.key(now).await.unwrap().key.id.clone() });
    }
    while let Some(id) = tasks.join_next().await {
        assert_eq!(id.unwrap(), "k");
    }
    let fetched = server.received().iter().filter(|r| r.target.ends_with("node-role")).count();
    assert_eq!(fetched, 1);
    assert!(!format!("{credentials:?} {:?}", credentials.key(now).await).contains(SECRET));
}

#[tokio::test]
async fn a_key_is_renewed_before_its_end_and_held_while_the_service_is_away() {
    let fetches = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&fetches);
    let server = Server::start(move |_, r| {
        if !r.target.ends_with("node-role") {
            return service(r, 404, "", "");
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => service(r, 404, "first", "2030-01-01T06:00:00Z"),
            1 => Reply::with(500, "", ""),
            _ => service(r, 404, "second", "2030-01-01T12:00:00Z"),
        }
    })
    .await;
    let credentials = role(&server);
    let at = |seconds: u64| UnixMillis(NEW_YEAR + seconds * 1000);
    let id = |seconds| {
        let credentials = &credentials;
        async move { credentials.key(at(seconds)).await.unwrap().key.id.clone() }
    };
    assert_eq!(id(0).await, "first");
    assert_eq!(id(5 * 3600).await, "first");
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    assert_eq!(id(6 * 3600 - 300).await, "first", "the renewal fails, the key still holds");
    assert_eq!(id(6 * 3600 - 299).await, "first", "no second try at once");
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    assert_eq!(id(6 * 3600 - 280).await, "second");
}

/// A portal, or a proxy that takes every address for its own.
#[tokio::test]
async fn a_web_page_in_place_of_the_metadata_service_is_no_answer() {
    for page in ["<!DOCTYPE html><html>log in</html>", "  \n<html></html>"] {
        let server = Server::start(move |_, _| Reply::ok(page)).await;
        let metadata = Metadata::new(&server.url()).unwrap();
        let errors = [
            metadata.instance_id().await.map(drop),
            metadata.region().await.map(drop),
            metadata.enis().await.map(drop),
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert!(matches!(error, MetadataError::Senseless { .. }), "{error}");
            assert!(error.to_string().contains("a web page"), "{error}");
        }
    }
}

#[tokio::test]
async fn without_a_role_the_error_says_what_to_do() {
    let server = Server::start(|_, r| {
        if r.target.contains("ram/") { Reply::with(404, "", "") } else { service(r, 404, "", "") }
    })
    .await;
    let cloud =
        AliyunCloud::new(config(&server.url(), CredentialSource::InstanceRole), system_clock)
            .unwrap();
    let error = cloud.delete(&eni()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials);
    assert!(error.message.contains("attach a RAM role"), "{error}");
    assert!(cloud.calls().is_empty());
}

#[tokio::test]
async fn credentials_that_make_no_sense_are_refused_without_being_shown() {
    for body in [
        format!(r#"{{"AccessKeySecret":"{SECRET}","Code":"Success"}}"#),
        format!(r#"{{"AccessKeyId":"x","AccessKeySecret":["{SECRET}"]}}"#),
        format!(
            r#"{{"AccessKeyId":"x","AccessKeySecret":"{SECRET}","SecurityToken":"{TOKEN}","Expiration":"soon"}}"#
        ),
        format!(
            r#"{{"AccessKeyId":"x","AccessKeySecret":"{SECRET}","SecurityToken":"{TOKEN}","Expiration":"2030-01-01T00:00:00Z","Code":"Failed"}}"#
        ),
        SECRET.to_owned(),
    ] {
        let server = Server::start(move |_, r| {
            if r.target.ends_with("node-role") { Reply::ok(&body) } else { service(r, 200, "", "") }
        })
        .await;
        let source = CredentialSource::InstanceRole;
        let cloud = AliyunCloud::new(config(&server.url(), source), system_clock).unwrap();
        let error = cloud.delete(&eni()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials);
        shows_no_secret(&error);
    }
}

#[tokio::test]
async fn a_refused_key_is_fetched_anew_for_the_next_call() {
    let fetches = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetches);
    let server = Server::start(move |_, r| {
        if !r.action().is_empty() {
            let old = r.header("authorization").unwrap().contains("Credential=k0,");
            return if old {
                Reply::error(404, "InvalidAccessKeyId.NotFound")
            } else {
                Reply::ok("{}")
            };
        }
        let n =
            if r.target.ends_with("node-role") { count.fetch_add(1, Ordering::SeqCst) } else { 0 };
        service(r, 200, &format!("k{n}"), "2099-01-01T00:00:00Z")
    })
    .await;
    let source = CredentialSource::InstanceRole;
    let cloud = AliyunCloud::new(config(&server.url(), source), system_clock).unwrap();
    assert_eq!(cloud.delete(&eni()).await.unwrap_err().kind, ErrorKind::Credentials);
    cloud.delete(&eni()).await.unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_region_is_asked_from_the_metadata_service() {
    let server = Server::start(|_, r| service(r, 200, "k", "2099-01-01T00:00:00Z")).await;
    let config = CloudConfig { metadata_endpoint: Some(server.url()), ..CloudConfig::default() };
    let cloud = AliyunCloud::from_config(&config, system_clock).await.unwrap();
    assert_eq!(cloud.region(), "cn-test");
    assert!(format!("{cloud:?}").contains("https://ecs.cn-test.aliyuncs.com"));
}
