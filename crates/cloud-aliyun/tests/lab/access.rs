//! Who may call, over which transport, and what the instance knows of itself.

use std::{io::Write, time::Duration};

use tideway_cloud::{Cloud, CloudError, EniFilter, ErrorKind};
use tideway_cloud_aliyun::{
    AccessKey, AliyunCloud, AliyunConfig, CredentialSource, Secret, system_clock,
};
use tideway_lab::config::HttpTokens;
use tideway_model::{UnixMillis, config::CloudConfig};

use super::{Bench, config_for, key_of, lab_config, worker};

async fn with_key(bench: &Bench, id: &str, secret: &str, token: Option<&str>) -> CloudError {
    let key =
        AccessKey { id: id.into(), secret: Secret::new(secret), token: token.map(Secret::new) };
    let config = config_for(&bench.lab, CredentialSource::Fixed(key));
    let cloud = AliyunCloud::new(config, system_clock).unwrap();
    cloud.enis(&EniFilter::default()).await.unwrap_err()
}

#[tokio::test]
async fn wrong_keys_are_refused_as_such_and_not_shown() {
    let bench = Bench::start();
    for error in [
        with_key(&bench, "testid", "wrong-s3cr3t", None).await,
        with_key(&bench, "nobody", "testsecret", None).await,
        with_key(&bench, "testid", "wrong-s3cr3t", Some("wrong-t0ken")).await,
    ] {
        assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("wrong-s3cr3t") && !shown.contains("wrong-t0ken"), "{shown}");
    }
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_named_as_a_matter_of_credentials_and_clock() {
    let bench = Bench::start();
    let late = || UnixMillis(system_clock().0 - 3_600_000);
    let cloud = AliyunCloud::new(config_for(&bench.lab, key_of(&bench.lab)), late).unwrap();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.remedy().contains("clock"));
    assert!(error.message.contains(" s behind the cloud's"), "{error}");
    assert_eq!(calls(&bench), 1, "repeated behind the caller's back");
    // The next call has the cloud's time.
    cloud.enis(&EniFilter::default()).await.unwrap();
    assert_eq!(calls(&bench), 2);
}

fn calls(bench: &Bench) -> u64 {
    bench.lab.calls().iter().map(|c| c.calls).sum()
}

#[tokio::test]
async fn a_wrong_region_is_named_by_its_key_in_the_configuration() {
    let bench = Bench::start();
    let config =
        AliyunConfig { region: "cn-nowhere".into(), ..config_for(&bench.lab, key_of(&bench.lab)) };
    let cloud = AliyunCloud::new(config, system_clock).unwrap();
    let error = cloud.instance(&bench.instance).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("region cn-nowhere is that of cloud.region"), "{error}");
    assert!(error.remedy().contains("region"), "{}", error.remedy());
}

/// The next key is fetched before the cloud refuses the old one, or right after.
#[tokio::test]
async fn keys_that_run_out_in_the_middle_of_the_work_are_followed_by_new_ones() {
    let bench = Bench::with(tideway_lab::LabConfig { ram_ttl_seconds: 2, ..lab_config() });
    let config = config_for(&bench.lab, CredentialSource::InstanceRole);
    let cloud = AliyunCloud::new(config, system_clock).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut failed = 0;
    while keys_seen(&bench) < 3 {
        assert!(std::time::Instant::now() < deadline, "always the same key");
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

fn keys_seen(bench: &Bench) -> usize {
    let requests = bench.lab.requests();
    let keys = requests.iter().map(|request| &request.access_key_id);
    keys.collect::<std::collections::BTreeSet<_>>().len()
}

#[tokio::test]
async fn tls_works_with_the_authority_of_the_lab_and_only_with_it() {
    let bench = Bench::start();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(bench.lab.ca_pem().as_bytes()).unwrap();
    let config = |ca_file| AliyunConfig {
        ecs_endpoint: Some(bench.lab.tls_endpoint().to_owned()),
        ca_file,
        ..config_for(&bench.lab, key_of(&bench.lab))
    };
    let cloud = AliyunCloud::new(config(Some(pem.path().to_owned())), system_clock).unwrap();
    assert!(!cloud.enis(&EniFilter::default()).await.unwrap().is_empty());
    let cloud = AliyunCloud::new(config(None), system_clock).unwrap();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}

/// With and without forced tokens: the role's key signs, and the metadata service and the API tell the same.
#[tokio::test]
async fn the_instance_role_works_and_metadata_agrees_with_the_api() {
    for http_tokens in [HttpTokens::Optional, HttpTokens::Required] {
        let mut config = lab_config();
        for instance in &mut config.instances {
            instance.metadata.http_tokens = http_tokens;
        }
        let bench = Bench::with(config);
        let made = bench.attached("t1").await;
        let config = CloudConfig {
            ecs_endpoint: Some(bench.lab.endpoint().to_owned()),
            vpc_endpoint: Some(bench.lab.endpoint().to_owned()),
            metadata_endpoint: bench.lab.metadata_endpoint("n1").map(str::to_owned),
            ..CloudConfig::default()
        };
        let cloud = AliyunCloud::from_config(&config, system_clock).await.unwrap();
        assert_eq!(cloud.region(), bench.lab.description().region);

        let told = cloud.metadata().instance().await.unwrap();
        assert_eq!(told.id, bench.instance);
        let view = cloud.instance(&told.id).await.unwrap();
        assert_eq!((view.instance_type, view.zone), (told.instance_type, told.zone));
        let primary = cloud.metadata().primary_eni().await.unwrap();
        assert_eq!(primary.as_str(), worker(&bench.lab).primary_eni);

        let filter = EniFilter { instance: Some(told.id), ..EniFilter::default() };
        let mut api = cloud.enis(&filter).await.unwrap();
        assert!(api.iter().any(|eni| eni.id == made.id));
        let mut meta = cloud.metadata().enis().await.unwrap();
        for eni in api.iter_mut().chain(&mut meta) {
            // What the metadata service does not know, and the order of secondary addresses.
            eni.security_groups.clear();
            eni.tags.clear();
            eni.created = None;
            eni.addresses.sort();
        }
        api.sort_by(|a, b| a.id.cmp(&b.id));
        meta.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(api, meta);
    }
}

#[tokio::test]
async fn a_metadata_service_that_is_down_is_an_error_with_a_remedy() {
    let bench = Bench::start();
    let fault = tideway_lab::FaultSpec::new(tideway_lab::FaultKind::MetadataDown);
    bench.lab.add_fault(fault).unwrap();
    let config = config_for(&bench.lab, CredentialSource::InstanceRole);
    let cloud = AliyunCloud::new(config, system_clock).unwrap();
    let filter = EniFilter::default();
    let call = cloud.enis(&filter);
    let error = tokio::time::timeout(Duration::from_secs(10), call).await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Credentials, "NoCredentials"));
    assert!(error.message.contains("credentials file"), "{}", error.message);
}
