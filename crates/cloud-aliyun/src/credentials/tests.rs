use std::io::Write;

use super::*;

fn held(fetched: u64, expires: Option<u64>) -> HeldKey {
    HeldKey {
        key: AccessKey { id: "id".into(), secret: Secret::new("s3cr3t"), token: None },
        fetched: UnixMillis(fetched),
        expires: expires.map(UnixMillis),
    }
}

#[test]
fn a_key_is_renewed_before_its_end_and_a_short_lived_one_not_at_once() {
    let six_hours = held(0, Some(21_600_000));
    assert!(!six_hours.needs_refresh(UnixMillis(20_999_999)));
    assert!(six_hours.needs_refresh(UnixMillis(21_000_000)));
    assert!(!six_hours.is_expired(UnixMillis(21_599_999)));
    let minute = held(1_000_000, Some(1_060_000));
    assert!(!minute.needs_refresh(UnixMillis(1_044_999)));
    assert!(minute.needs_refresh(UnixMillis(1_045_000)));
    assert!(!held(0, None).needs_refresh(UnixMillis(u64::MAX)));
}

#[test]
fn the_order_is_file_then_environment_then_role() {
    let env = |name: &str| match name {
        ENV_ID => Some("id".to_owned()),
        ENV_SECRET => Some("s3cr3t".to_owned()),
        _ => None,
    };
    let path = Path::new("/x");
    let file = CredentialSource::discover_in(Some(path), env).unwrap();
    assert_eq!(file, CredentialSource::File(path.to_owned()));
    let fixed = CredentialSource::discover_in(None, env).unwrap();
    assert!(matches!(&fixed, CredentialSource::Fixed(key) if key.id == "id"));
    assert!(!format!("{fixed:?}").contains("s3cr3t"));
    let role = CredentialSource::discover_in(None, |_| Some(String::new())).unwrap();
    assert_eq!(role, CredentialSource::InstanceRole);
}

#[test]
fn half_a_key_in_the_environment_is_an_error_and_not_the_role() {
    let only_id = |name: &str| (name == ENV_ID).then(|| "id".to_owned());
    let error = CredentialSource::discover_in(None, only_id).unwrap_err();
    assert!(error.to_string().contains(ENV_SECRET), "{error}");
}

#[test]
fn a_service_account_comes_before_the_instances_role_and_after_a_key() {
    let rrsa = |name: &str| match name {
        "ALIBABA_CLOUD_ROLE_ARN" => Some("acs:ram::1:role/r".to_owned()),
        "ALIBABA_CLOUD_OIDC_PROVIDER_ARN" => Some("acs:ram::1:oidc-provider/p".to_owned()),
        "ALIBABA_CLOUD_OIDC_TOKEN_FILE" => Some("/t".to_owned()),
        _ => None,
    };
    let source = CredentialSource::discover_in(None, rrsa).unwrap();
    let CredentialSource::WebIdentity(who) = &source else { panic!("{source:?}") };
    assert_eq!((who.token_file.as_path(), who.session.as_str()), (Path::new("/t"), "tidewayd"));
    let both = |name: &str| match name {
        ENV_ID | ENV_SECRET => Some("x".to_owned()),
        other => rrsa(other),
    };
    let source = CredentialSource::discover_in(None, both).unwrap();
    assert!(matches!(source, CredentialSource::Fixed(_)), "{source:?}");
    // A half-set environment is a mistake and not a wish for the node's role.
    let half = |name: &str| rrsa(name).filter(|_| name.ends_with("ROLE_ARN"));
    let error = CredentialSource::discover_in(None, half).unwrap_err();
    assert!(error.to_string().contains("ALIBABA_CLOUD_OIDC_PROVIDER_ARN is not"), "{error}");
}

fn credentials_of(text: &str) -> (tempfile::NamedTempFile, Credentials) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let source = CredentialSource::File(file.path().to_owned());
    let metadata = Arc::new(Metadata::new("http://127.0.0.1:1").unwrap());
    let sender = crate::send::Sender::plain(crate::Timeouts::default());
    let tokens = TokenService { region: "r".into(), sender };
    (file, Credentials::new(source, metadata, tokens))
}

#[tokio::test]
async fn a_rotated_file_is_read_again_after_a_refusal() {
    let (file, credentials) =
        credentials_of(r#"{"accessKeyId":"old","accessKeySecret":"a","note":"ignored"}"#);
    let old = credentials.key(UnixMillis(1)).await.unwrap();
    std::fs::write(
        file.path(),
        r#"{"AccessKeyId":"new","AccessKeySecret":"b","SecurityToken":"t"}"#,
    )
    .unwrap();
    assert_eq!(credentials.key(UnixMillis(2)).await.unwrap().key.id, "old");
    credentials.refused(&old);
    let new = credentials.key(UnixMillis(3)).await.unwrap();
    assert_eq!(new.key.id, "new");
    credentials.refused(&old);
    assert_eq!(credentials.key(UnixMillis(4)).await.unwrap(), new, "a late refusal of the old key");
}

#[tokio::test]
async fn errors_of_a_bad_file_name_the_file_and_no_value() {
    for text in [
        "",
        "s3cr3t",
        r#"{"accessKeyId":"x"}"#,
        r#"{"accessKeyId":"x","accessKeySecret":["s3cr3t"]}"#,
        r#"{"accessKeyId":{"s3cr3t":1},"accessKeySecret":"s3cr3t"}"#,
        r#"{"accessKeyId":"","accessKeySecret":"s3cr3t"}"#,
        r#"{"accessKeyId":"x","accessKeySecret":"s3cr3t","expiration":"soon"}"#,
    ] {
        let (file, credentials) = credentials_of(text);
        let error = credentials.key(UnixMillis(1)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert!(shown.contains(&file.path().display().to_string()), "{shown}");
    }
}
