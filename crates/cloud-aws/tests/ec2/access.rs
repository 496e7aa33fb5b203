//! Who may call, over which transport, and what the instance knows of itself.

use std::{io::Write, time::Duration};

use tideway_cloud::{Cloud, CloudError, EniFilter, ErrorKind};
use tideway_cloud_aws::{
    AwsCloud, AwsConfig, CredentialSource, MetadataError, SecretKey, SetupError, system_clock,
};
use tideway_lab::{FaultKind, FaultSpec, config::HttpTokens};
use tideway_model::{UnixMillis, config::CloudConfig};

use super::{
    Bench, config_for, key_of, lab_config,
    server::{Reply, Server},
};

async fn with_key(bench: &Bench, id: &str, secret: &str, token: Option<&str>) -> CloudError {
    let key = SecretKey { id: id.into(), secret: secret.into(), token: token.map(str::to_owned) };
    let config = config_for(&bench.lab, CredentialSource::Fixed(key));
    let cloud = AwsCloud::new(config, system_clock).unwrap();
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
async fn a_clock_that_is_far_off_is_named_and_the_next_call_uses_the_clouds_time() {
    let bench = Bench::start();
    let late = || UnixMillis(system_clock().0 - 3_600_000);
    let cloud = AwsCloud::new(config_for(&bench.lab, key_of(&bench.lab)), late).unwrap();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Credentials, "RequestExpired"));
    cloud.enis(&EniFilter::default()).await.unwrap();
}

#[tokio::test]
async fn tls_works_with_the_authority_of_the_lab_and_only_with_it() {
    let bench = Bench::start();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(bench.lab.ca_pem().as_bytes()).unwrap();
    let config = |ca_file| AwsConfig {
        ec2_endpoint: Some(bench.lab.tls_endpoint().to_owned()),
        ca_file,
        ..config_for(&bench.lab, key_of(&bench.lab))
    };
    let cloud = AwsCloud::new(config(Some(pem.path().to_owned())), system_clock).unwrap();
    assert!(!cloud.enis(&EniFilter::default()).await.unwrap().is_empty());
    let cloud = AwsCloud::new(config(None), system_clock).unwrap();
    let error = cloud.create(&bench.wish("t1")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    for text in
        ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = AwsCloud::new(config(Some(file.path().to_owned())), system_clock).unwrap_err();
        assert!(matches!(error, SetupError::Trust(_)), "{error}");
    }
}

fn of_node(bench: &Bench) -> CloudConfig {
    CloudConfig {
        ec2_endpoint: Some(bench.lab.endpoint().to_owned()),
        metadata_endpoint: bench.lab.metadata_endpoint("n1").map(str::to_owned),
        ..CloudConfig::default()
    }
}

/// With and without forced tokens: the role's key signs.
#[tokio::test]
async fn the_instance_role_works_and_metadata_tells_who_we_are() {
    for http_tokens in [HttpTokens::Optional, HttpTokens::Required] {
        let mut config = lab_config();
        for instance in &mut config.instances {
            instance.metadata.http_tokens = http_tokens;
        }
        let bench = Bench::with(config);
        let cloud = AwsCloud::from_config(&of_node(&bench), system_clock).await.unwrap();
        assert_eq!(cloud.region(), bench.lab.description().region);
        assert_eq!(cloud.metadata().instance_id().await.unwrap(), bench.instance);
        let filter = EniFilter { instance: Some(bench.instance.clone()), ..EniFilter::default() };
        assert_eq!(cloud.enis(&filter).await.unwrap().len(), 1);
        let missing = cloud.metadata().text("no/such/thing").await.unwrap_err();
        assert!(matches!(missing, MetadataError::Missing { .. }), "{missing}");
    }
}

#[tokio::test]
async fn a_key_of_the_role_that_the_cloud_refuses_is_fetched_anew() {
    let mut config = lab_config();
    config.ram_ttl_seconds = 1;
    let bench = Bench::with(config);
    let cloud = AwsCloud::from_config(&of_node(&bench), system_clock).await.unwrap();
    let fault = FaultSpec {
        code: Some("ExpiredToken".into()),
        status: Some(400),
        ..FaultSpec::new(FaultKind::Error).times(1)
    };
    cloud.enis(&EniFilter::default()).await.unwrap();
    bench.lab.add_fault(fault).unwrap();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    cloud.enis(&EniFilter::default()).await.unwrap();
}

#[tokio::test]
async fn a_metadata_service_that_is_down_is_an_error_with_a_remedy() {
    let bench = Bench::start();
    bench.lab.add_fault(FaultSpec::new(FaultKind::MetadataDown)).unwrap();
    let config = config_for(&bench.lab, CredentialSource::InstanceRole);
    let cloud = AwsCloud::new(config, system_clock).unwrap();
    let filter = EniFilter::default();
    let call = cloud.enis(&filter);
    let error = tokio::time::timeout(Duration::from_secs(20), call).await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Credentials, "NoCredentials"));
    assert!(cloud.calls().is_empty(), "nothing was sent: {:?}", cloud.calls());
    let error = AwsCloud::from_config(&of_node(&bench), system_clock).await.unwrap_err();
    assert!(matches!(error, SetupError::Region(_)), "{error}");
}

#[tokio::test]
async fn a_page_instead_of_metadata_is_no_region_and_no_instance() {
    let server = Server::start(Reply::with(200, "<html>please log in</html>")).await;
    let config = CloudConfig {
        metadata_endpoint: Some(server.url()),
        ec2_endpoint: Some(server.url()),
        ..CloudConfig::default()
    };
    let error = AwsCloud::from_config(&config, system_clock).await.unwrap_err();
    assert!(matches!(error, SetupError::Region(_)), "{error}");
    let config = CloudConfig { region: Some("eu-test-1".into()), ..config };
    let cloud = AwsCloud::from_config(&config, system_clock).await.unwrap();
    cloud.metadata().instance_id().await.unwrap_err();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
}
