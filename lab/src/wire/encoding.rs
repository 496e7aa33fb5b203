//! Percent-encoding as the signatures want it (RFC 3986, upper-case hex, space is `%20`) and lenient decoding as servers
//! do it (`+` is a space).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters `A-Za-z0-9-_.~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes one key or value.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes a query or form body into pairs, in wire order.
pub fn decode_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// A field of an `Authorization` header, whose parts are `NAME=VALUE` with commas between.
pub fn authorization_field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = fields.split(',').filter_map(|part| part.trim().split_once('='));
    parts.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The canonical form of parameters: sorted by decoded key, encoded, joined.
pub fn canonical_query(pairs: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = pairs.iter().collect();
    sorted.sort();
    let parts: Vec<String> =
        sorted.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_and_percent_twenty_on_the_wire_sign_alike() {
        assert_eq!(decode_pairs("a=x+y&b=%E4%B8%AD&c="), decode_pairs("a=x%20y&b=中&c"));
        assert_eq!(canonical_query(&decode_pairs("b=*~+&a=1")), "a=1&b=%2A~%20");
    }

    #[test]
    fn tag_ten_sorts_before_tag_two() {
        let pairs = decode_pairs("Tag.2.Key=b&Tag.10.Key=a");
        assert_eq!(canonical_query(&pairs), "Tag.10.Key=a&Tag.2.Key=b");
    }
}
