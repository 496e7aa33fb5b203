//! A role for a service account's token, against the lab's token service.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tideway_cloud::{Cloud, CloudError, EniFilter, ErrorKind};
use tideway_lab::{FaultKind, FaultSpec, LabConfig};

use super::{Access, Bench, Key, lab_config};
use crate::provider;

/// A token as the kubelet projects it, `seconds` before its end.
fn token(name: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = now.saturating_add_signed(seconds);
    let claims = format!(r#"{{"sub":"system:serviceaccount:kube-system:{name}","exp":{end}}}"#);
    format!("e30.{}.{name}", URL_SAFE_NO_PAD.encode(claims))
}

/// The client of a pod with this token file.
fn pod(bench: &Bench, file: &Path, role: &str) -> provider::Client {
    let key = Key::WebIdentity { role: role.to_owned(), token_file: file.to_owned() };
    provider::client(Access::by(key, &bench.lab))
}

async fn ask(cloud: &impl Cloud) -> Result<(), CloudError> {
    cloud.enis(&EniFilter::default()).await.map(drop)
}

fn role(bench: &Bench) -> String {
    bench.lab.with_cloud(|cloud| cloud.vpc.config.ram_role.clone())
}

#[tokio::test]
async fn a_token_is_exchanged_once_and_its_file_read_again_before_the_key_ends() {
    let bench = Bench::with(LabConfig { ram_ttl_seconds: provider::SHORT_LIFE, ..lab_config() });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token("first", 600)).unwrap();
    let cloud = pod(&bench, file.path(), &role(&bench));
    ask(&cloud).await.unwrap();
    ask(&cloud).await.unwrap();
    assert_eq!(bench.lab.calls_of(provider::EXCHANGE), 1);
    // What the kubelet writes next is what the next exchange sends: the first token would be told as expired.
    std::fs::write(file.path(), token("second", 600)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while bench.lab.calls_of(provider::EXCHANGE) == 1 {
        assert!(Instant::now() < deadline, "the key is never renewed");
        ask(&cloud).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask(&cloud).await.unwrap();
}

#[tokio::test]
async fn a_key_that_the_cloud_refuses_is_fetched_anew_for_the_next_call() {
    let bench = Bench::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token("x", 600)).unwrap();
    let cloud = pod(&bench, file.path(), &role(&bench));
    ask(&cloud).await.unwrap();
    let expired = FaultSpec {
        code: Some(provider::EXPIRED.to_owned()),
        ..FaultSpec::new(FaultKind::Error).on("DescribeNetworkInterfaces").times(1)
    };
    bench.lab.add_fault(expired).unwrap();
    assert_eq!(ask(&cloud).await.unwrap_err().kind, ErrorKind::Credentials);
    ask(&cloud).await.unwrap();
    assert_eq!(bench.lab.calls_of(provider::EXCHANGE), 2);
}

#[tokio::test]
async fn a_refused_token_is_told_with_the_remedy_and_never_shown() {
    let bench = Bench::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let [expired, invalid, other_role] = provider::REFUSED_TOKENS;
    for (text, role, said) in [
        (token("kubelet-forgot", -5), role(&bench), expired),
        // The lab repeats this one in its message.
        ("no.token-at-all".to_owned(), role(&bench), invalid),
        (String::new(), role(&bench), "is empty"),
        (token("x", 600), "other".to_owned(), other_role),
    ] {
        std::fs::write(file.path(), &text).unwrap();
        let cloud = pod(&bench, file.path(), &role);
        let error = ask(&cloud).await.unwrap_err();
        assert_eq!((&error.kind, error.code.as_str()), (&ErrorKind::Credentials, "NoCredentials"));
        assert!(error.message.contains(said) && error.message.contains("trust policy"), "{error}");
        let shown = format!("{error} {error:?} {cloud:?}");
        assert!(text.is_empty() || !shown.contains(&text), "{shown}");
    }
    let nowhere = PathBuf::from("/nowhere/token");
    let missing = ask(&pod(&bench, &nowhere, &role(&bench))).await.unwrap_err();
    assert!(missing.message.contains("/nowhere/token"), "{missing}");
}
