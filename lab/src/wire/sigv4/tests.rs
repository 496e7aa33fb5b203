//! Vectors that AWS publishes: its key pair of examples, its date, its services.

use super::*;
use crate::config::CredentialConfig;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn request(method: &str, query: &str, body: &str, headers: &[(&str, &str)]) -> Incoming {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Incoming {
        method: method.to_owned(),
        path: "/".to_owned(),
        raw_query: query.to_owned(),
        headers,
        body: body.as_bytes().to_vec(),
    }
}

fn authorization(service: &str, names: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
         SignedHeaders={names}, Signature={signature}"
    )
}

#[test]
fn published_signatures_fit_and_fit_nothing_else() {
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let date = ("X-Amz-Date", "20150830T123600Z");
    let listing = authorization(
        "iam",
        "content-type;host;x-amz-date",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    );
    let vanilla = authorization(
        "service",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    );
    let post = authorization(
        "service",
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    );
    let example = ("Host", "example.amazonaws.com");
    let vectors = [
        request(
            "GET",
            "Action=ListUsers&Version=2010-05-08",
            "",
            &[
                ("Host", "iam.amazonaws.com"),
                ("Content-Type", form),
                date,
                ("Authorization", &listing),
            ],
        ),
        request("GET", "", "", &[example, date, ("Authorization", &vanilla)]),
        request("POST", "", "", &[example, date, ("Authorization", &post)]),
    ];
    for vector in vectors {
        let signed = Signed::read(&vector).unwrap();
        assert_eq!(signed.key_id, "AKIDEXAMPLE");
        assert!(signed.fits(SECRET), "{vector:?}");
        assert!(!signed.fits("another"), "{vector:?}");
        let changed = Incoming { body: b"x".to_vec(), ..vector };
        assert!(!Signed::read(&changed).unwrap().fits(SECRET), "{changed:?}");
    }
}

/// A request to EC2, signed here.
fn call(key: &str, secret: &str, token: Option<&str>, date: &str, scope: &str) -> Incoming {
    let names = if token.is_some() {
        "content-type;host;x-amz-date;x-amz-security-token"
    } else {
        "content-type;host;x-amz-date"
    };
    let text = format!(
        "AWS4-HMAC-SHA256 Credential={key}/{}/{scope}/aws4_request, SignedHeaders={names}, Signature=00",
        date.get(..8).unwrap()
    );
    let mut headers = vec![
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "127.0.0.1:1"),
        ("x-amz-date", date),
        ("authorization", &text),
    ];
    headers.extend(token.map(|token| ("x-amz-security-token", token)));
    let mut made = request("POST", "", "Action=DescribeVpcs&Version=2016-11-15", &headers);
    let unsigned = Signed::read(&made).unwrap();
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in unsigned.scope.iter().chain([&unsigned.string_to_sign]) {
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        key = mac.chain_update(part.as_bytes()).finalize().into_bytes().to_vec();
    }
    made.headers[3].1 = text.replace("Signature=00", &format!("Signature={}", hex::encode(key)));
    made
}

#[test]
fn what_does_not_fit_gets_the_real_code_and_tells_no_secret() {
    let pair = |id: &str, token: Option<&str>| CredentialConfig {
        id: id.to_owned(),
        secret: "topsecret".to_owned(),
        security_token: token.map(str::to_owned),
    };
    let keys = Keys::from_pairs(&[pair("AK", None), pair("STS", Some("tok"))], 1000, 1);
    let now = parse_iso8601("2026-11-28T12:00:00Z").unwrap();
    let good = "us-east-1/ec2";
    let admit = |request: &Incoming| admit(request, &keys, "us-east-1", now);
    let code = |request: &Incoming| {
        let error = admit(request).unwrap_err();
        assert!(!error.message.contains("topsecret"));
        (error.status, error.code)
    };
    let right = call("AK", "topsecret", None, "20261128T120000Z", good);
    assert_eq!(admit(&right).unwrap().action, "DescribeVpcs");
    assert_eq!(admit(&right).unwrap().version, "2016-11-15", "a replay is no error at EC2");
    let token = call("STS", "topsecret", Some("tok"), "20261128T114500Z", good);
    assert_eq!(admit(&token).unwrap().key_id, "STS");
    let auth = (401, "AuthFailure".to_owned());
    for wrong in [
        call("AK", "guess", None, "20261128T120000Z", good),
        call("nobody", "topsecret", None, "20261128T120000Z", good),
        call("AK", "topsecret", None, "20261128T120000Z", "eu-west-1/ec2"),
        call("AK", "topsecret", None, "20261128T120000Z", "us-east-1/s3"),
        call("STS", "topsecret", None, "20261128T120000Z", good),
        call("STS", "topsecret", Some("other"), "20261128T120000Z", good),
    ] {
        assert_eq!(code(&wrong), auth, "{wrong:?}");
    }
    let expired = (400, "RequestExpired".to_owned());
    assert_eq!(code(&call("AK", "topsecret", None, "20261128T114459Z", good)), expired);
    assert_eq!(code(&call("AK", "topsecret", None, "20261128T121501Z", good)), expired);
    let mut bare = right.clone();
    bare.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(code(&bare), (403, "MissingAuthenticationToken".to_owned()));
    let mut cut = right;
    cut.headers.retain(|(name, _)| name != "host");
    assert_eq!(code(&cut), (400, "IncompleteSignature".to_owned()));
}

#[test]
fn key_of_a_role_ends_with_its_time() {
    let mut keys = Keys::from_pairs(&[], 60_000, 1);
    let now = parse_iso8601("2026-11-28T12:00:00Z").unwrap();
    let role = keys.role_key("n1", now);
    let made = |date: &str| call(&role.id, &role.secret, Some(&role.token), date, "us-east-1/ec2");
    admit(&made("20261128T120059Z"), &keys, "us-east-1", now + 59_000).unwrap();
    let late = admit(&made("20261128T120100Z"), &keys, "us-east-1", now + 60_000).unwrap_err();
    assert_eq!(late.code, "RequestExpired");
}
