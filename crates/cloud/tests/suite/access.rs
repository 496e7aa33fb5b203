//! Who may call, and over which transport.

use std::{
    collections::BTreeSet,
    io::Write,
    time::{Duration, Instant},
};

use tideway_cloud::{AccessKey, Cloud, EniFilter, ErrorKind, Secret};
use tideway_lab::{FaultKind, FaultSpec, LabConfig, config::HttpTokens};
use tideway_model::{UnixMillis, config::CloudConfig};

use super::{Access, Bench, Key, lab_config};
use crate::provider;

/// The configuration of the daemon on the lab's first worker.
pub(crate) fn of_node(bench: &Bench) -> CloudConfig {
    let endpoint = Some(bench.lab.endpoint().to_owned());
    CloudConfig {
        ecs_endpoint: endpoint.clone(),
        vpc_endpoint: endpoint.clone(),
        ec2_endpoint: endpoint,
        metadata_endpoint: bench.lab.metadata_endpoint("n1").map(str::to_owned),
        ..CloudConfig::default()
    }
}

#[tokio::test]
async fn wrong_keys_are_refused_as_such_and_not_shown() {
    let bench = Bench::start();
    for (id, secret, token) in [
        ("testid", "wrong-s3cr3t", None),
        ("nobody", "testsecret", None),
        ("testid", "wrong-s3cr3t", Some(Secret::new("wrong-t0ken"))),
    ] {
        let key = AccessKey { id: id.into(), secret: Secret::new(secret), token };
        let cloud = provider::client(Access::by(Key::Fixed(key), &bench.lab));
        let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("wrong-s3cr3t") && !shown.contains("wrong-t0ken"), "{shown}");
    }
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_named_and_the_next_call_has_the_clouds_time() {
    let bench = Bench::start();
    let late = || UnixMillis(provider::system_clock().0 - 3_600_000);
    let cloud = provider::client(Access { clock: late, ..Access::to(&bench.lab) });
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.remedy().contains("clock"));
    assert_eq!(bench.lab.requests().len(), 1, "repeated behind the caller's back");
    cloud.enis(&EniFilter::default()).await.unwrap();
    assert_eq!(bench.lab.requests().len(), 2);
}

#[tokio::test]
async fn a_wrong_region_is_named_by_its_key_in_the_configuration() {
    let bench = Bench::start();
    let access = Access { region: "nowhere-1".into(), ..Access::to(&bench.lab) };
    let error = provider::client(access).instance(&bench.instance).await.unwrap_err();
    assert_eq!(error.kind, provider::WRONG_REGION, "{error}");
    assert!(error.message.contains("cloud.region"), "{error}");
}

#[tokio::test]
async fn tls_works_with_the_authority_of_the_lab_and_only_with_it() {
    let bench = Bench::start();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(bench.lab.ca_pem().as_bytes()).unwrap();
    let over_tls = |ca_file| {
        let endpoint = bench.lab.tls_endpoint().to_owned();
        provider::client(Access { endpoint, ca_file, ..Access::to(&bench.lab) })
    };
    let cloud = over_tls(Some(pem.path().to_owned()));
    assert!(!cloud.enis(&EniFilter::default()).await.unwrap().is_empty());
    let error = over_tls(None).create(&bench.wish("t1")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "nothing was sent: {error}");
}

/// With and without forced tokens.
#[tokio::test]
async fn the_key_of_the_instances_role_signs() {
    for http_tokens in [HttpTokens::Optional, HttpTokens::Required] {
        let mut config = lab_config();
        for instance in &mut config.instances {
            instance.metadata.http_tokens = http_tokens;
        }
        let bench = Bench::with(config);
        let cloud = provider::from_config(&of_node(&bench)).await.unwrap();
        assert_eq!(cloud.region(), bench.lab.description().region);
        let filter = EniFilter { instance: Some(bench.instance.clone()), ..EniFilter::default() };
        assert_eq!(cloud.enis(&filter).await.unwrap().len(), 1);
    }
}

/// The next key is fetched before the cloud refuses the old one, or right after.
#[tokio::test]
async fn keys_that_run_out_in_the_middle_of_the_work_are_followed_by_new_ones() {
    let bench = Bench::with(LabConfig { ram_ttl_seconds: 2, ..lab_config() });
    let cloud = provider::client(Access::by(Key::InstanceRole, &bench.lab));
    let keys = || {
        let requests = bench.lab.requests().into_iter();
        requests.map(|request| request.access_key_id).collect::<BTreeSet<_>>().len()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut failed = 0;
    while keys() < 3 {
        assert!(Instant::now() < deadline, "always the same key");
        match cloud.enis(&EniFilter::default()).await {
            Ok(_) => failed = 0,
            Err(e) => {
                assert_eq!(e.kind, ErrorKind::Credentials, "{e}");
                failed += 1;
                assert!(failed < 2, "{e}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_metadata_service_that_is_down_is_an_error_with_a_remedy() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::MetadataDown)).unwrap();
    let cloud = provider::client(Access::by(Key::InstanceRole, &bench.lab));
    let filter = EniFilter::default();
    let call = cloud.enis(&filter);
    let error = tokio::time::timeout(Duration::from_secs(20), call).await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Credentials, "NoCredentials"));
    assert!(error.message.contains("credentials file"), "{}", error.message);
    assert!(bench.lab.requests().is_empty(), "something was sent");
    let error = provider::from_config(&of_node(&bench)).await.unwrap_err();
    assert!(matches!(error, provider::SetupError::Region(_)), "{error}");
}
