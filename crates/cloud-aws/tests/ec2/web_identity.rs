//! A role for a service account's token, against the lab's token service.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tideway_cloud::{Cloud, CloudError, EniFilter, ErrorKind};
use tideway_cloud_aws::{AwsCloud, CredentialSource, WebIdentity, system_clock};
use tideway_lab::LabConfig;

use super::{Bench, config_for, lab_config};

/// A token as the kubelet projects it, `seconds` before its end.
fn token(name: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = now.saturating_add_signed(seconds);
    let claims = format!(r#"{{"sub":"system:serviceaccount:kube-system:{name}","exp":{end}}}"#);
    format!("e30.{}.{name}", URL_SAFE_NO_PAD.encode(claims))
}

/// The client of a pod with this token file.
fn pod(bench: &Bench, token_file: PathBuf, role: &str) -> AwsCloud {
    let who = WebIdentity {
        role: format!("arn:aws:iam::123456789012:role/{role}"),
        token_file,
        session: "tidewayd".into(),
        endpoint: Some(bench.lab.endpoint().to_owned()),
    };
    let config = config_for(&bench.lab, CredentialSource::WebIdentity(who));
    AwsCloud::new(config, system_clock).unwrap()
}

async fn ask(cloud: &AwsCloud) -> Result<(), CloudError> {
    cloud.enis(&EniFilter::default()).await.map(drop)
}

fn role(bench: &Bench) -> String {
    bench.lab.with_cloud(|cloud| cloud.vpc.config.ram_role.clone())
}

const EXCHANGE: &str = "AssumeRoleWithWebIdentity";

#[tokio::test]
async fn a_token_is_exchanged_once_and_its_file_read_again_before_the_key_ends() {
    // The SDK renews a key in the last ten seconds or so of its life.
    let bench = Bench::with(LabConfig { ram_ttl_seconds: 13, ..lab_config() });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token("first", 600)).unwrap();
    let cloud = pod(&bench, file.path().to_owned(), &role(&bench));
    ask(&cloud).await.unwrap();
    ask(&cloud).await.unwrap();
    assert_eq!(bench.lab.calls_of(EXCHANGE), 1);
    std::fs::write(file.path(), token("second", 600)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while bench.lab.calls_of(EXCHANGE) == 1 {
        assert!(Instant::now() < deadline, "the key is never renewed");
        ask(&cloud).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask(&cloud).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_told_with_the_remedy_and_never_shown() {
    let bench = Bench::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let old = token("kubelet-forgot", -5);
    for (text, role, said) in [
        (old.as_str(), role(&bench), "ExpiredTokenException"),
        // The lab repeats this one in its message.
        ("no.token-at-all", role(&bench), "InvalidIdentityToken"),
        ("", role(&bench), "is empty"),
        (token("x", 600).as_str(), "other".to_owned(), "AccessDenied"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let cloud = pod(&bench, file.path().to_owned(), &role);
        let error = ask(&cloud).await.unwrap_err();
        assert_eq!((&error.kind, error.code.as_str()), (&ErrorKind::Credentials, "NoCredentials"));
        assert!(error.message.contains(said) && error.message.contains("trust policy"), "{error}");
        let shown = format!("{error} {error:?} {cloud:?}");
        assert!(text.is_empty() || !shown.contains(text), "{shown}");
    }
    let missing = ask(&pod(&bench, "/nowhere/token".into(), &role(&bench))).await.unwrap_err();
    assert!(missing.message.contains("/nowhere/token"), "{missing}");
}
