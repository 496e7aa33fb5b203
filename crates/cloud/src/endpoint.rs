//! Where an API answers, as a person may write it down.

use std::{fmt, str::FromStr};

use http::Uri;

/// Scheme, host and port; no path, because the path is signed as `/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: String,
    authority: String,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "endpoint {text:?} is not valid: {rule}; https://ecs.cn-hangzhou.aliyuncs.com or https://ec2.eu-west-1.amazonaws.com would be right"
)]
pub struct InvalidEndpoint {
    text: String,
    rule: &'static str,
}

impl Endpoint {
    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Host, with the port when one was given: the value of the `host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let bad = |rule| InvalidEndpoint { text: text.chars().take(120).collect(), rule };
        let Ok(uri) = text.parse::<Uri>() else { return Err(bad("it is not a URL")) };
        let scheme = match uri.scheme_str() {
            Some(s @ ("http" | "https")) => s.to_owned(),
            Some(_) => return Err(bad("the scheme must be http or https")),
            None => return Err(bad("the scheme is missing")),
        };
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("user and password have no place in it"));
        }
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return Err(bad("it must not have a path or query"));
        }
        Ok(Self { scheme, authority: authority.as_str().to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_cannot_be_signed_are_refused() {
        for bad in
            ["", "ecs.aliyuncs.com", "ftp://x", "https://x/path", "https://x/?q=1", "https://u:p@x"]
        {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was accepted");
        }
        for (good, host) in
            [("https://ecs.x.com", "ecs.x.com"), ("http://127.0.0.1:8/", "127.0.0.1:8")]
        {
            assert_eq!(good.parse::<Endpoint>().unwrap().authority(), host);
        }
    }
}
