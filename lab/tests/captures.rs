//! The recorded requests of the official SDKs, both generations, against the lab's verifier.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tideway_lab::cloud::clock::{Millis, parse_iso8601};
use tideway_lab::config::CredentialConfig;
use tideway_lab::wire::gate::Gate;
use tideway_lab::wire::incoming::Incoming;
use tideway_lab::wire::keys::Keys;
use tideway_lab::wire::signature::Claim;

struct Capture {
    file: String,
    request: Incoming,
    action: String,
}

fn captures() -> Vec<Capture> {
    let folder = Path::new("tests/captures");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let target = value["target"].as_str().unwrap();
            let (path_part, query) = target.split_once('?').unwrap();
            let headers = value["headers"].as_array().unwrap();
            let word = |v: &Value| v.as_str().unwrap().to_owned();
            let request = Incoming {
                method: word(&value["method"]),
                path: path_part.to_owned(),
                raw_query: query.to_owned(),
                headers: headers.iter().map(|h| (word(&h[0]), word(&h[1]))).collect(),
                body: value["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
            };
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            // `v3-AssignIpv6Addresses-count.json`: the action is the second part.
            let action = file.trim_end_matches(".json").split('-').nth(1).unwrap().to_owned();
            Capture { file, request, action }
        })
        .collect()
}

fn gate(sts: bool) -> Gate {
    let key = CredentialConfig {
        id: "testid".to_owned(),
        secret: "testsecret".to_owned(),
        security_token: sts.then(|| "STSTOKEN123".to_owned()),
    };
    Gate::new(Keys::from_pairs(&[key], 3_600_000, 1))
}

fn date_of(request: &Incoming) -> Millis {
    let query = request.query();
    let named = query.iter().find(|(key, _)| key == "Timestamp").map(|(_, value)| value.as_str());
    parse_iso8601(request.header("x-acs-date").or(named).unwrap()).unwrap()
}

#[test]
fn every_recorded_request_of_the_official_sdks_is_admitted() {
    let all = captures();
    assert_eq!(all.len(), 46);
    for capture in all {
        let now = date_of(&capture.request);
        let claim = gate(capture.file.starts_with("v3sts"))
            .admit(&capture.request, now)
            .unwrap_or_else(|error| panic!("{}: {error}", capture.file));
        assert_eq!(claim.action, capture.action, "{}", capture.file);
        assert_eq!(claim.key_id, "testid", "{}", capture.file);
    }
}

#[test]
fn one_flipped_character_in_any_recorded_request_is_refused() {
    for capture in captures() {
        let now = date_of(&capture.request);
        let sts = capture.file.starts_with("v3sts");

        let mut changed = capture.request.clone();
        changed.raw_query = changed.raw_query.replacen("cn-hangzhou", "cn-hangzhov", 1);
        // DescribeInstanceTypes of the new SDK names no region: spoil its list instead.
        changed.raw_query = changed.raw_query.replacen("ecs.g7.large", "ecs.g7.largf", 1);
        assert_ne!(changed.raw_query, capture.request.raw_query, "{}", capture.file);
        let error = gate(sts).admit(&changed, now).unwrap_err();
        assert_eq!(error.code, "SignatureDoesNotMatch", "{}", capture.file);

        let mut changed = capture.request.clone();
        changed.method = "GET".to_owned();
        let error = gate(sts).admit(&changed, now).unwrap_err();
        assert_eq!(error.code, "SignatureDoesNotMatch", "{}", capture.file);

        if capture.file.starts_with("v3") {
            let mut changed = capture.request.clone();
            for (name, value) in &mut changed.headers {
                if name == "user-agent" {
                    value.push('x');
                }
            }
            let error = gate(sts).admit(&changed, now).unwrap_err();
            assert_eq!(error.code, "SignatureDoesNotMatch", "{}", capture.file);
        }
    }
}

#[test]
fn replayed_stale_and_unknown_requests_get_the_real_codes() {
    let capture = captures().into_iter().find(|c| c.file.starts_with("v3-Attach")).unwrap();
    let now = date_of(&capture.request);
    let mut gate = gate(false);
    assert_eq!(
        gate.admit(&capture.request, now + 15 * 60_000 + 1).unwrap_err().code,
        "InvalidTimeStamp.Expired"
    );
    assert_eq!(
        gate.admit(&capture.request, now - 15 * 60_000 - 1).unwrap_err().code,
        "InvalidTimeStamp.Expired"
    );
    // A refused request must not burn its nonce.
    gate.admit(&capture.request, now).unwrap();
    assert_eq!(gate.admit(&capture.request, now + 1).unwrap_err().code, "SignatureNonceUsed");

    let other = CredentialConfig {
        id: "other".to_owned(),
        secret: "testsecret".to_owned(),
        security_token: None,
    };
    let mut strangers = Gate::new(Keys::from_pairs(&[other], 1, 1));
    assert_eq!(
        strangers.admit(&capture.request, now).unwrap_err().code,
        "InvalidAccessKeyId.NotFound"
    );
}

#[test]
fn missing_parts_of_a_signature_are_incomplete() {
    let all = captures();
    let v1 = all.iter().find(|c| c.file.starts_with("v1-")).unwrap();
    let mut changed = v1.request.clone();
    changed.raw_query = changed.raw_query.replacen("SignatureNonce=", "Nonce=", 1);
    assert_eq!(Claim::read(&changed).unwrap_err().code, "IncompleteSignature");

    let v3 = all.iter().find(|c| c.file.starts_with("v3-")).unwrap();
    let mut changed = v3.request.clone();
    changed.headers.retain(|(name, _)| name != "x-acs-date");
    assert_eq!(Claim::read(&changed).unwrap_err().code, "IncompleteSignature");
    let mut changed = v3.request.clone();
    changed.body = b"A=1".to_vec();
    assert_eq!(Claim::read(&changed).unwrap_err().code, "SignatureDoesNotMatch");
}

#[test]
fn sts_token_is_bound_to_its_key() {
    let all = captures();
    let sts = all.iter().find(|c| c.file.starts_with("v3sts")).unwrap();
    let now = date_of(&sts.request);
    assert_eq!(
        gate(false).admit(&sts.request, now).unwrap_err().code,
        "InvalidSecurityToken.Malformed"
    );
    let plain = all.iter().find(|c| c.file.starts_with("v3-Describe")).unwrap();
    let now = date_of(&plain.request);
    assert_eq!(gate(true).admit(&plain.request, now).unwrap_err().code, "MissingSecurityToken");
}
