//! The metadata service, and who is trusted.

use tideway_cloud::{Cloud, EniFilter, ErrorKind};
use tideway_cloud_aws::{AwsCloud, AwsConfig, MetadataError, SetupError, system_clock};
use tideway_model::config::CloudConfig;

use super::{
    provider,
    server::{Reply, Server},
    suite::{Access, Bench, of_node},
};

#[tokio::test]
async fn a_file_without_certificates_is_no_authority() {
    let bench = Bench::start();
    for text in
        ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let ca_file = Some(file.path().to_owned());
        let config = AwsConfig { ca_file, ..provider::config(Access::to(&bench.lab)) };
        let error = AwsCloud::new(config, system_clock).unwrap_err();
        assert!(matches!(error, SetupError::Trust(_)), "{error}");
    }
}

#[tokio::test]
async fn the_metadata_service_tells_who_we_are() {
    let bench = Bench::start();
    let cloud = provider::from_config(&of_node(&bench)).await.unwrap();
    assert_eq!(cloud.metadata().instance_id().await.unwrap(), bench.instance);
    let missing = cloud.metadata().text("no/such/thing").await.unwrap_err();
    assert!(matches!(missing, MetadataError::Missing { .. }), "{missing}");
}

#[tokio::test]
async fn a_page_instead_of_metadata_is_no_region_and_no_instance() {
    let server = Server::start(Reply::with(200, "<html>please log in</html>")).await;
    let config = CloudConfig {
        metadata_endpoint: Some(server.url()),
        ec2_endpoint: Some(server.url()),
        ..CloudConfig::default()
    };
    let error = provider::from_config(&config).await.unwrap_err();
    assert!(matches!(error, SetupError::Region(_)), "{error}");
    let config = CloudConfig { region: Some("eu-test-1".into()), ..config };
    let cloud = provider::from_config(&config).await.unwrap();
    cloud.metadata().instance_id().await.unwrap_err();
    let error = cloud.enis(&EniFilter::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
}
