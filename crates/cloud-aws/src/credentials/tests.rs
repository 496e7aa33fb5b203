use super::*;

fn found(vars: &[(&str, &str)]) -> Result<CredentialSource, CredentialError> {
    CredentialSource::discover_in(None, |name| {
        vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn sources_are_taken_in_their_order() {
    let all = [
        (ENV_ID, "AKIA"),
        (ENV_SECRET, "s"),
        (ENV_IDENTITY, "/t"),
        (ENV_ROLE, "arn:aws:iam::1:role/r"),
    ];
    let file = CredentialSource::discover_in(Some(Path::new("/k")), |_| Some("x".into())).unwrap();
    assert_eq!(file, CredentialSource::File("/k".into()));
    assert!(matches!(found(&all).unwrap(), CredentialSource::Fixed(key) if key.token.is_none()));
    assert_eq!(
        found(&all[2..]).unwrap(),
        CredentialSource::WebIdentity(WebIdentity {
            role: "arn:aws:iam::1:role/r".into(),
            token_file: "/t".into(),
            session: "tidewayd".into(),
            endpoint: None,
        })
    );
    assert_eq!(found(&all[3..]).unwrap(), CredentialSource::InstanceRole);
    assert_eq!(found(&[(ENV_ID, ""), (ENV_SECRET, "")]).unwrap(), CredentialSource::InstanceRole);
}

#[test]
fn half_a_key_is_an_error_and_not_another_identity() {
    let lack = |vars: &[(&str, &str)]| {
        let CredentialError::Environment { lack, .. } = found(vars).unwrap_err() else {
            panic!("{vars:?}");
        };
        lack
    };
    assert_eq!(lack(&[(ENV_ID, "AKIA"), (ENV_IDENTITY, "/t"), (ENV_ROLE, "r")]), ENV_SECRET);
    assert_eq!(lack(&[(ENV_SECRET, "s")]), ENV_ID);
    assert_eq!(lack(&[(ENV_IDENTITY, "/t")]), ENV_ROLE);
}

#[test]
fn a_key_file_is_read_and_a_broken_one_is_named_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        KeyFile(path.clone()).read()
    };
    let key = read(
        r#"{"accessKeyId":"AKIA","accessKeySecret":"s3cr3t","securityToken":"t0ken","expiration":"2026-11-28T12:00:00Z"}"#,
    )
    .unwrap();
    assert_eq!((key.secret_access_key(), key.session_token()), ("s3cr3t", Some("t0ken")));
    let ends = key.expiry().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(ends.as_secs(), 1_795_867_200);
    for broken in [r#"{"accessKeyId":"AKIA","accessKeySecret":["s3cr3t"]}"#, "s3cr3t", "{}"] {
        let said = read(broken).unwrap_err().to_string();
        assert!(said.contains("key.json") && !said.contains("s3cr3t"), "{said}");
    }
}

#[test]
fn no_secret_shows_in_debug_output_or_in_a_text_that_repeats_it() {
    let key = AccessKey {
        id: "AKIASECRETIVE".into(),
        secret: Secret::new("s3cr3t-value"),
        token: Some(Secret::new("t0ken-value")),
    };
    let last = LastKey::default();
    assert_eq!(last.scrub("s3cr3t-value"), "s3cr3t-value", "nothing is known yet");
    last.set(&Credentials::new(
        "AKIASECRETIVE",
        "s3cr3t-value",
        Some("t0ken-value".into()),
        None,
        "t",
    ));
    let shown = format!(
        "{key:?} {:#?} {}",
        CredentialSource::Fixed(key.clone()),
        last.scrub("x-amz-security-token:t0ken-value s3cr3t-value Credential=AKIASECRETIVE/2026, Signature=51c4")
    );
    for secret in ["s3cr3t-value", "t0ken-value", "AKIASECRETIVE", "51c4"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
