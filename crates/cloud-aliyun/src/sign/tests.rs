use std::{collections::BTreeMap, path::Path};

use super::*;
use crate::{Api, Secret, request::canonical_query};

/// The vector of the public documentation.
#[test]
fn the_documented_request_gets_the_documented_signature() {
    let query = canonical_query(&[
        ("RegionId".into(), "cn-shanghai".into()),
        ("ImageId".into(), "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".into()),
    ]);
    let empty = hex::encode(Sha256::digest(""));
    let headers = [
        ("host", "ecs.cn-shanghai.aliyuncs.com"),
        ("x-acs-action", "RunInstances"),
        ("x-acs-content-sha256", empty.as_str()),
        ("x-acs-date", "2023-10-26T10:22:32Z"),
        ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
        ("x-acs-version", "2014-05-26"),
    ];
    let to_sign = string_to_sign("POST", &query, &headers, &empty);
    assert!(to_sign.starts_with("ACS3-HMAC-SHA256\n7ea06492da52"), "{to_sign}");
    assert_eq!(
        signature("YourAccessKeySecret", &to_sign),
        "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    );
}

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn pairs(value: &serde_json::Value) -> Vec<(String, String)> {
    let pair = |p: &serde_json::Value| {
        (p[0].as_str().unwrap().to_owned(), p[1].as_str().unwrap().to_owned())
    };
    value.as_array().unwrap().iter().map(pair).collect()
}

/// Requests of the official SDK, recorded: our rules must give its signature for each.
#[test]
fn recorded_requests_of_the_official_sdk_get_its_signatures() {
    let folder = Path::new("tests/captures");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let capture: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let headers: BTreeMap<String, String> = pairs(&capture["headers"])
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let authorization = &headers["authorization"];
        let names = authorization.split("SignedHeaders=").nth(1).unwrap();
        let names = names.split(',').next().unwrap();
        let signed: Vec<(&str, &str)> =
            names.split(';').map(|name| (name, headers[name].as_str())).collect();
        let body = hex::encode(Sha256::digest(text(&capture, "body")));
        assert_eq!(body, headers["x-acs-content-sha256"], "{}", path.display());
        let query = canonical_query(&pairs(&capture["query"]));
        let to_sign = string_to_sign(text(&capture, "method"), &query, &signed, &body);
        assert_eq!(to_sign, text(&capture["verify"], "string_to_sign"), "{}", path.display());
        let own = signature(text(&capture, "access_key_secret"), &to_sign);
        assert!(authorization.ends_with(&format!("Signature={own}")), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 28, "only {seen} captures");
}

fn key(token: Option<&str>) -> AccessKey {
    AccessKey {
        id: "testid".into(),
        secret: Secret::new("testsecret"),
        token: token.map(Secret::new),
    }
}

fn request() -> ApiRequest {
    ApiRequest::new(Api::Ecs, "DescribeNetworkInterfaces", "cn-hangzhou")
        .with("NextToken", "tok==/+ é")
}

#[test]
fn what_is_sent_is_what_was_signed() {
    let endpoint = "http://127.0.0.1:18181".parse().unwrap();
    let built =
        signed(&request(), &endpoint, &key(Some("sts")), "2026-11-22T00:51:57Z", "n1").unwrap();
    assert_eq!(built.method(), "POST");
    assert_eq!(
        built.uri().to_string(),
        "http://127.0.0.1:18181/?NextToken=tok%3D%3D%2F%2B%20%C3%A9&RegionId=cn-hangzhou"
    );
    let sent = |name: &str| built.headers()[name].to_str().unwrap();
    let authorization = sent("authorization");
    let names = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    assert_eq!(
        names,
        "accept;host;user-agent;x-acs-accesskey-id;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-security-token;x-acs-signature-nonce;x-acs-version"
    );
    let headers: Vec<(&str, &str)> = names.split(';').map(|n| (n, sent(n))).collect();
    let query = built.uri().query().unwrap();
    let own = signature(
        "testsecret",
        &string_to_sign("POST", query, &headers, sent("x-acs-content-sha256")),
    );
    assert!(authorization.ends_with(&own));
}

#[test]
fn debug_output_of_a_signed_request_shows_neither_token_nor_signature() {
    let endpoint = "http://127.0.0.1:1".parse().unwrap();
    let built =
        signed(&request(), &endpoint, &key(Some("t0ken")), "2026-11-22T00:51:57Z", "n1").unwrap();
    let shown = format!("{built:?}");
    assert!(!shown.contains("t0ken") && !shown.contains("testsecret"), "{shown}");
    assert!(!shown.contains("Signature="), "{shown}");
}

#[test]
fn a_line_break_in_a_key_is_refused_without_showing_the_key() {
    let endpoint = "http://127.0.0.1:1".parse().unwrap();
    let error = signed(&request(), &endpoint, &key(Some("t0k\nen")), "d", "n").unwrap_err();
    assert!(error.to_string().contains("x-acs-security-token"), "{error}");
    assert!(!error.to_string().contains("t0k"), "{error}");
}

#[test]
fn dates_are_utc_in_whole_seconds() {
    assert_eq!(acs_date(UnixMillis(1_795_308_717_999)), "2026-11-22T00:51:57Z");
    assert_eq!(acs_date(UnixMillis(0)), "1970-01-01T00:00:00Z");
}
