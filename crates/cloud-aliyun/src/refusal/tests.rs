use bytes::Bytes;
use http::HeaderMap;

use super::*;
use crate::{Api, Secret};

fn key() -> AccessKey {
    AccessKey { id: "id".into(), secret: Secret::new("s3cr3t"), token: Some(Secret::new("t0ken")) }
}

fn request(action: &'static str) -> ApiRequest {
    ApiRequest::new(Api::Ecs, action, "r")
}

fn answer(status: u16, body: &str, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn kind(code: &str, status: u16) -> ErrorKind {
    let body = format!(r#"{{"Code":"{code}","Message":"m","RequestId":"r-1","HostId":"x"}}"#);
    refused(&request("CreateNetworkInterface"), &answer(status, &body, &[]), &key()).kind
}

#[test]
fn a_full_subnet_and_one_without_a_whole_prefix_have_one_code_and_two_meanings() {
    let a = answer(403, r#"{"Code":"InvalidVSwitchId.IpNotEnough","Message":"m"}"#, &[]);
    for action in ["AssignPrivateIpAddresses", "CreateNetworkInterface"] {
        let single = request(action).with("SecondaryPrivateIpAddressCount", 3);
        assert_eq!(refused(&single, &a, &key()).kind, ErrorKind::SubnetFull);
        let prefix = request(action).with("Ipv4PrefixCount", 1);
        assert_eq!(refused(&prefix, &a, &key()).kind, ErrorKind::Fragmented);
    }
}

#[test]
fn every_known_code_has_its_kind() {
    let throttled = ErrorKind::Throttled { retry_after: None };
    let quota = |what: &str| ErrorKind::QuotaExceeded(what.into());
    let denied = ErrorKind::Denied("ecs:CreateNetworkInterface on acs:ecs:r:*:eni/*".into());
    let table = [
        ("InvalidVSwitchId.IpNotEnough", 403, ErrorKind::SubnetFull),
        ("QuotaExceeded.PrivateIpAddress", 400, ErrorKind::SubnetFull),
        ("EniPerInstanceLimitExceeded", 403, quota("network interfaces of the instance")),
        (
            "InvalidOperation.Ipv4CountExceeded",
            403,
            quota("IPv4 addresses of the network interface"),
        ),
        (
            "InvalidOperation.Ipv6CountExceeded",
            403,
            quota("IPv6 addresses of the network interface"),
        ),
        ("SecurityGroupInstanceLimitExceed", 403, quota("members of the security group")),
        ("QuotaExceed.Eni", 403, quota("QuotaExceed.Eni")),
        ("InvalidOperation.InvalidEniState", 403, ErrorKind::Conflict),
        ("IncorrectEniStatus", 403, ErrorKind::Conflict),
        ("IncorrectInstanceStatus", 403, ErrorKind::Conflict),
        ("Operation.Conflict", 409, ErrorKind::Conflict),
        ("IdempotentProcessing", 400, ErrorKind::Conflict),
        ("IdempotentFailed", 400, ErrorKind::Invalid),
        ("InvalidEniId.NotFound", 404, ErrorKind::NotFound),
        ("InvalidEcsId.NotFound", 404, ErrorKind::NotFound),
        ("InvalidVSwitchId.NotFound", 404, ErrorKind::NotFound),
        ("InvalidIp.IpUnassigned", 403, ErrorKind::NotFound),
        ("Throttling", 400, throttled.clone()),
        ("Throttling.User", 400, throttled.clone()),
        ("Throttling.Api", 503, throttled.clone()),
        ("FlowLimited", 429, throttled),
        ("InternalError", 500, ErrorKind::Unavailable),
        ("ServiceUnavailable", 503, ErrorKind::Unavailable),
        ("Forbidden.RAM", 403, denied.clone()),
        ("Forbidden", 403, denied.clone()),
        ("NoPermission", 403, denied),
        ("InvalidAccessKeyId.NotFound", 404, ErrorKind::Credentials),
        ("SignatureDoesNotMatch", 400, ErrorKind::Credentials),
        ("InvalidSecurityToken.Expired", 400, ErrorKind::Credentials),
        ("InvalidTimeStamp.Expired", 400, ErrorKind::Credentials),
        ("SignatureNonceUsed", 400, ErrorKind::Unknown),
        ("InvalidParameter", 400, ErrorKind::Invalid),
        ("InvalidParameter.Conflict", 400, ErrorKind::Invalid),
        ("InvalidAction.NotFound", 404, ErrorKind::Invalid),
        ("InvalidRegionId.NotFound", 404, ErrorKind::Invalid),
        ("MissingParameter.RegionId", 400, ErrorKind::Invalid),
    ];
    for (code, status, want) in table {
        assert_eq!(kind(code, status), want, "{code}");
    }
}

#[test]
fn a_denial_names_the_action_that_ram_asked_for_and_the_resource() {
    let request = request("AttachNetworkInterface").with("NetworkInterfaceId", "eni-1");
    let body = |detail: &str| {
        format!(r#"{{"Code":"Forbidden.RAM","Message":"m","AccessDeniedDetail":{detail}}}"#)
    };
    let kind = |detail: &str| refused(&request, &answer(403, &body(detail), &[]), &key()).kind;
    for (detail, action) in [
        (r#"{"AuthAction":"ecs:Other","NoPermissionType":"ImplicitDeny"}"#, "ecs:Other"),
        // As old gateways have it, and as none should.
        ("null", "ecs:AttachNetworkInterface"),
        ("[1]", "ecs:AttachNetworkInterface"),
    ] {
        let said = format!("{action} on acs:ecs:r:*:eni/eni-1");
        assert_eq!(kind(detail), ErrorKind::Denied(said), "{detail}");
    }
}

#[test]
fn the_retry_header_marks_throttling_whatever_the_code_says() {
    let a = answer(503, r#"{"Code":"ServiceUnavailable"}"#, &[("x-acs-retry-after", "1500")]);
    let retry_after = Some(Duration::from_millis(1500));
    assert_eq!(refused(&request("X"), &a, &key()).kind, ErrorKind::Throttled { retry_after });
    for bad in ["0", "-5", "soon", ""] {
        let a = answer(503, r#"{"Code":"ServiceUnavailable"}"#, &[("x-acs-retry-after", bad)]);
        assert_eq!(refused(&request("X"), &a, &key()).kind, ErrorKind::Unavailable, "{bad:?}");
    }
}

#[test]
fn a_gateway_that_gave_up_leaves_a_change_unknown_and_a_read_undone() {
    let a = answer(504, "<html>504 Gateway Time-out</html>", &[]);
    let change = refused(&request("AttachNetworkInterface"), &a, &key());
    assert_eq!((change.kind, change.code.as_str()), (ErrorKind::Unknown, "Http504"));
    let read = refused(&request("DescribeNetworkInterfaces"), &a, &key());
    assert_eq!(read.kind, ErrorKind::Unavailable);
    let a = answer(500, "", &[]);
    assert_eq!(refused(&request("X"), &a, &key()).kind, ErrorKind::Unavailable);
    let a = answer(302, "go away", &[]);
    assert_eq!(refused(&request("X"), &a, &key()).kind, ErrorKind::Invalid);
}

#[test]
fn messages_pass_on_neither_secrets_nor_line_breaks_nor_novels() {
    let long = "x".repeat(5000);
    let body = format!(
        r#"{{"code":"SignatureDoesNotMatch","message":"signed t0ken\nwith s3cr3t {long}"}}"#
    );
    let error = refused(&request("X"), &answer(400, &body, &[]), &key());
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("t0ken") && !shown.contains("s3cr3t"), "{shown}");
    assert!(error.message.starts_with("signed *** with ***"), "{}", error.message);
    assert!(error.message.len() <= MESSAGE);
    // Found by the fuzzer: a quota is called what the code calls it.
    let body = r#"{"code":"LimitExceed.s3cr3t","message":""}"#;
    let error = refused(&request("X"), &answer(403, body, &[]), &key());
    assert!(!format!("{error:?} {}", error.remedy()).contains("s3cr3t"), "{error:?}");
}

#[test]
fn garbage_of_any_kind_is_an_error_and_no_panic() {
    for body in ["", "{", "[]", "null", "\u{0}\u{1}", r#"{"Code":5}"#, r#"{"Code":null}"#] {
        let error = refused(&request("X"), &answer(400, body, &[]), &key());
        assert_eq!(error.code, "Http400", "{body:?}");
    }
}

#[test]
fn only_what_was_sent_can_have_an_unknown_outcome() {
    let not_sent = SendError::NotSent { code: "ConnectFailed", cause: "refused".into() };
    let lost = SendError::Lost { code: "Timeout", cause: "15s".into() };
    let change = request("DeleteNetworkInterface");
    assert_eq!(unanswered(&change, &not_sent).kind, ErrorKind::Unavailable);
    assert_eq!(unanswered(&change, &lost).kind, ErrorKind::Unknown);
    assert_eq!(unanswered(&request("DescribeVpcs"), &lost).kind, ErrorKind::Unavailable);
}
