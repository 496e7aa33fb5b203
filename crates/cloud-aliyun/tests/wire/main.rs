//! The client against servers that misbehave, over real sockets on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    missing_docs,
    reason = "tests"
)]

mod answers;
mod keys;
mod lists;
mod server;
mod trust;

use std::time::Duration;

use server::{Reply, Server};
use tideway_cloud::{CloudError, CreateEni};
use tideway_cloud_aliyun::{
    AccessKey, AliyunCloud, AliyunConfig, CredentialSource, Secret, Timeouts, system_clock,
};

const SECRET: &str = "s3cr3t-of-the-tests";
const TOKEN: &str = "t0ken-of-the-tests";

fn fixed() -> CredentialSource {
    CredentialSource::Fixed(AccessKey {
        id: "LTAItests".into(),
        secret: Secret::new(SECRET),
        token: Some(Secret::new(TOKEN)),
    })
}

fn config(endpoint: &str, credentials: CredentialSource) -> AliyunConfig {
    AliyunConfig {
        ecs_endpoint: Some(endpoint.to_owned()),
        vpc_endpoint: Some(endpoint.to_owned()),
        metadata_endpoint: Some(endpoint.to_owned()),
        // Generous, so that a busy machine does not turn one test into another.
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            call: Duration::from_secs(20),
            body_limit: 64 * 1024,
        },
        ..AliyunConfig::new("cn-test", credentials)
    }
}

fn cloud(server: &Server) -> AliyunCloud {
    AliyunCloud::new(config(&server.url(), fixed()), system_clock).unwrap()
}

/// Gives up soon after the request is out.
fn hasty_cloud(server: &Server) -> AliyunCloud {
    let mut config = config(&server.url(), fixed());
    config.timeouts.call = Duration::from_secs(2);
    AliyunCloud::new(config, system_clock).unwrap()
}

fn eni() -> tideway_model::EniId {
    "eni-1".try_into().unwrap()
}

fn instance() -> tideway_model::InstanceId {
    "i-1".try_into().unwrap()
}

fn new_eni() -> CreateEni {
    CreateEni {
        subnet: "vsw-1".try_into().unwrap(),
        security_groups: vec!["sg-1".try_into().unwrap()],
        secondary_v4: 2,
        prefixes_v4: 0,
        prefixes_v6: 0,
        v6: 0,
        tags: [("a b".to_owned(), "c/d".to_owned())].into(),
        token: "tok".into(),
    }
}

/// No error may show a secret, in whatever form it is printed.
fn shows_no_secret(error: &CloudError) {
    let shown = format!("{error} {error:?} {error:#?} {}", error.remedy());
    assert!(!shown.contains(SECRET) && !shown.contains(TOKEN), "{shown}");
}
