//! What the cloud's API and the metadata service answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tideway_cloud::CreateEni;
use tideway_cloud_aliyun::{
    AccessKey, Secret,
    codec::{address, eni, instance, network},
    credentials,
    metadata::{address_list, role_key},
    refusal::refused,
    send::Answer,
};
use tideway_model::{EniId, Family, InstanceId, Mac, UnixMillis};

const SECRET: &str = "s3cr3t-value";
const TOKEN: &str = "t0ken-value";

/// A text of the metadata service, or of a credentials file.
pub(crate) fn metadata(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text = text.trim();
    if let Ok(ips) = address_list("private-ipv4s", text) {
        assert!(ips.len() <= text.len().div_ceil(2), "every address stands there: {ips:?}");
    }
    for line in text.lines().map(|line| line.trim().trim_end_matches('/')) {
        if let Ok(mac) = line.parse::<Mac>() {
            assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac), "a MAC is read as it is written");
        }
    }
    drop(EniId::try_from(text));
    let now = UnixMillis(1_800_000_000_000);
    let keys = [role_key("role", text, now).ok(), credentials::file_key(text, now).ok()];
    for held in keys.into_iter().flatten() {
        let (over, renewed) = (held.is_expired(now), held.needs_refresh(now));
        assert!(renewed || !over, "a key that is over is renewed");
    }
}

/// A line with the HTTP status and the milliseconds of `x-acs-retry-after`, then the body.
pub(crate) fn answer(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let mut words = head.split_whitespace();
    let status = words.next().and_then(|word| word.parse::<u16>().ok());
    match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        None | Some(StatusCode::OK) => understood(body),
        Some(status) => refusal(status, words.next(), body),
    }
}

fn eni_id() -> EniId {
    "eni-1".try_into().expect("an identity")
}

fn instance_id() -> InstanceId {
    "i-1".try_into().expect("an identity")
}

fn understood(body: &[u8]) {
    let create = CreateEni {
        subnet: "vsw-1".try_into().expect("an identity"),
        security_groups: vec!["sg-1".try_into().expect("an identity")],
        secondary_v4: 1,
        prefixes_v4: 0,
        prefixes_v6: 0,
        v6: 1,
        tags: BTreeMap::new(),
        token: "t".into(),
    };
    drop(eni::decode_page(body));
    drop(eni::decode_created(body, &create));
    for family in Family::BOTH {
        if let Ok(ips) = address::decode_assigned(body, family) {
            assert!(ips.iter().all(|ip| Family::of(*ip) == family), "{family:?}: {ips:?}");
        }
    }
    for family in Family::BOTH {
        if let Ok(prefixes) = address::decode_assigned_prefixes(body, family) {
            let right = |p: &ipnet::IpNet| Family::of(p.addr()) == family && p.trunc() == *p;
            assert!(prefixes.iter().all(right), "{family:?}: {prefixes:?}");
        }
    }
    drop(instance::decode(body, &instance_id()));
    drop(instance::decode_ids(body));
    drop(instance::decode_limits(body, "ecs.g6.large"));
    drop(network::decode_subnet(body));
    drop(network::decode_vpc_blocks(body, "vpc-1"));
}

fn refusal(status: StatusCode, retry: Option<&str>, body: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert("x-acs-retry-after", value);
    }
    let answer = Answer { status, headers, body: Bytes::copy_from_slice(body) };
    let key = AccessKey {
        id: "LTAI5t".into(),
        secret: Secret::new(SECRET),
        token: Some(Secret::new(TOKEN)),
    };
    for request in [eni::delete("r", &eni_id()), instance::describe("r", &instance_id())] {
        let error = refused(&request, &answer, &key);
        let shown = format!("{error} {error:?} {}", error.remedy());
        for secret in [SECRET, TOKEN] {
            assert!(!shown.contains(secret), "a secret is shown: {shown}");
        }
        assert!(!error.remedy().is_empty(), "an error says what to do: {error}");
    }
}
