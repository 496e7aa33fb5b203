//! A role for a service account's token, against the lab's token service.

use std::{
    io::Write,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tideway_cloud::{Cloud, CloudError, EniFilter, ErrorKind};
use tideway_cloud_aliyun::{AliyunCloud, CredentialSource, WebIdentity, system_clock};
use tideway_lab::LabConfig;

use super::{Bench, config_for, lab_config};

/// A token as the kubelet projects it, `seconds` before its end.
fn token(name: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let end = now.saturating_add_signed(seconds);
    let claims = format!(r#"{{"sub":"system:serviceaccount:kube-system:{name}","exp":{end}}}"#);
    format!("e30.{}.{name}", URL_SAFE_NO_PAD.encode(claims))
}

fn write(file: &mut tempfile::NamedTempFile, text: &str) {
    file.as_file().set_len(0).unwrap();
    std::fs::write(file.path(), text).unwrap();
    file.flush().unwrap();
}

/// The client of a pod with this token file.
fn pod(bench: &Bench, file: PathBuf, role: &str) -> AliyunCloud {
    let who = WebIdentity {
        role: format!("acs:ram::1234567890123456:role/{role}"),
        provider: "acs:ram::1234567890123456:oidc-provider/ack-rrsa".into(),
        token_file: file,
        session: "tidewayd".into(),
        endpoint: Some(bench.lab.endpoint().to_owned()),
    };
    let config = config_for(&bench.lab, CredentialSource::WebIdentity(who));
    AliyunCloud::new(config, system_clock).unwrap()
}

async fn ask(cloud: &AliyunCloud) -> Result<(), CloudError> {
    cloud.enis(&EniFilter::default()).await.map(drop)
}

fn role(bench: &Bench) -> String {
    bench.lab.with_cloud(|cloud| cloud.vpc.config.ram_role.clone())
}

const EXCHANGE: &str = "AssumeRoleWithOIDC";

#[tokio::test]
async fn a_token_is_exchanged_once_and_its_file_read_again_before_the_key_ends() {
    // Keys of four seconds are renewed in the last one; the token in the file changes meanwhile.
    let bench = Bench::with(LabConfig { ram_ttl_seconds: 4, ..lab_config() });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write(&mut file, &token("first", 600));
    let cloud = pod(&bench, file.path().to_owned(), &role(&bench));
    ask(&cloud).await.unwrap();
    ask(&cloud).await.unwrap();
    assert_eq!(bench.lab.calls_of(EXCHANGE), 1);
    // What the kubelet writes next is what the next exchange sends: the first token would be told as expired.
    write(&mut file, &token("second", 600));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while bench.lab.calls_of(EXCHANGE) == 1 {
        assert!(std::time::Instant::now() < deadline, "the key is never renewed");
        ask(&cloud).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    ask(&cloud).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_told_with_the_remedy_and_never_shown() {
    let bench = Bench::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let old = token("kubelet-forgot", -5);
    for (text, role, said) in [
        (old.as_str(), role(&bench), "AuthenticationFail.OIDCToken.Expired"),
        // The lab repeats this one in its message.
        ("no.token-at-all", role(&bench), "AuthenticationFail.OIDCToken.Invalid"),
        ("", role(&bench), "is empty"),
        (token("x", 600).as_str(), "other".to_owned(), "EntityNotExist.Role"),
    ] {
        write(&mut file, text);
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
