//! The file of `cloud.credentialsFile`: on every cloud the same.

use serde_json::{Map, Value};
use tideway_model::UnixMillis;

use crate::{AccessKey, Secret};

/// A key that a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenKey {
    /// The key.
    pub key: AccessKey,
    /// When it ends; none: the file does not say.
    pub expires: Option<UnixMillis>,
}

/// The key in the text of a file: a JSON object with `accessKeyId`, `accessKeySecret`, and perhaps `securityToken` and
/// `expiration` (RFC 3339); the names may begin with a capital, as `AssumeRole` answers them.
///
/// # Errors
///
/// The cause, without a value of the text: those are secrets.
pub fn written_key(text: &str) -> Result<WrittenKey, String> {
    let file: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| format!("no JSON object at line {} column {}", e.line(), e.column()))?;
    let find = |name: &str, capital: &str| match file.get(name).or_else(|| file.get(capital)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone()).filter(|v| !v.is_empty())),
        Some(_) => Err(format!("{name} is no text")),
    };
    let must = |name, capital| find(name, capital)?.ok_or_else(|| format!("it has no {name}"));
    let expires = find("expiration", "Expiration")?
        .map(|text| text.parse::<jiff::Timestamp>())
        .transpose()
        .map_err(|_quotes_it| "expiration is no time (RFC 3339)".to_owned())?;
    Ok(WrittenKey {
        key: AccessKey {
            id: must("accessKeyId", "AccessKeyId")?,
            secret: Secret::new(must("accessKeySecret", "AccessKeySecret")?),
            token: find("securityToken", "SecurityToken")?.map(Secret::new),
        },
        expires: expires.map(|at| UnixMillis(u64::try_from(at.as_millisecond()).unwrap_or(0))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_both_spellings() {
        let ours = written_key(
            r#"{"accessKeyId":"i","accessKeySecret":"s","expiration":"2026-11-28T12:00:00Z","note":1}"#,
        )
        .unwrap();
        assert_eq!((ours.key.id.as_str(), ours.key.secret.expose()), ("i", "s"));
        assert_eq!((ours.key.token, ours.expires), (None, Some(UnixMillis(1_795_867_200_000))));
        let theirs =
            written_key(r#"{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t"}"#)
                .unwrap();
        assert_eq!((theirs.key.token, theirs.expires), (Some(Secret::new("t")), None));
    }

    #[test]
    fn what_holds_no_key_is_refused_by_what_it_lacks_and_without_its_values() {
        for (text, why) in [
            ("", "line 1 column 0"),
            ("s3cr3t", "line 1 column 1"),
            (r#"["s3cr3t","s3cr3t"]"#, "no JSON object"),
            (r#"{"accessKeyId":"x"}"#, "it has no accessKeySecret"),
            (r#"{"accessKeyId":"x","accessKeySecret":["s3cr3t"]}"#, "accessKeySecret is no text"),
            (r#"{"AccessKeyId":"","AccessKeySecret":"s3cr3t"}"#, "it has no accessKeyId"),
            (
                r#"{"accessKeyId":"x","accessKeySecret":"s3cr3t","expiration":"s3cr3t"}"#,
                "expiration is no time",
            ),
            (
                r#"{"accessKeyId":"x","accessKeySecret":"s3cr3t","expiration":7}"#,
                "expiration is no text",
            ),
        ] {
            let said = written_key(text).unwrap_err();
            assert!(said.contains(why) && !said.contains("s3cr3t"), "{text}: {said}");
        }
    }
}
