//! The instance metadata service at `http://100.100.100.200`: who we are, our RAM role, and our ENIs when the API is down.
//!
//! Hardened mode first: a token is asked by PUT and sent along; a service that does not know tokens (404, 403, 405) is
//! asked without. Metadata trails the API by seconds, so it never proves that something is gone.

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::Deserialize;
use tideway_cloud::{EniStatus, EniView};
use tideway_model::{EniId, InstanceId, Mac, SubnetId, UnixMillis};
use tokio::time::Instant;

use crate::{
    AccessKey, Endpoint, InvalidEndpoint, Secret, Timeouts,
    credentials::HeldKey,
    send::{Answer, SendError, Sender},
};

/// Where the service answers in every instance.
pub const ADDRESS: &str = "http://100.100.100.200";

/// Life of a token that we ask for, in seconds (the longest allowed).
const TOKEN_TTL: u64 = 21_600;
/// How long a service that knows no tokens is asked without.
const PLAIN_FOR: Duration = Duration::from_mins(5);
const TTL_HEADER: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aliyun-ecs-metadata-token";

/// Why the metadata service did not tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No whole answer.
    #[error(
        "metadata service: {path}: {source}; it must be reachable from the node's own network namespace"
    )]
    Unanswered {
        /// Path below `latest/`.
        path: String,
        /// Cause.
        source: SendError,
    },
    /// The instance has no such thing.
    #[error("metadata service: {path} does not exist")]
    Missing {
        /// Path below `latest/`.
        path: String,
    },
    /// It refused.
    #[error("metadata service: {path}: HTTP status {status}")]
    Refused {
        /// Path below `latest/`.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// It answered something that makes no sense. The text never holds the answer itself.
    #[error("metadata service: {path}: the answer cannot be understood: {why}")]
    Senseless {
        /// Path below `latest/`.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Who this instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataInstance {
    /// Instance.
    pub id: InstanceId,
    /// Instance type.
    pub instance_type: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
    /// MAC of the primary ENI.
    pub mac: Mac,
    /// Subnet of the primary ENI.
    pub subnet: SubnetId,
    /// VPC.
    pub vpc: String,
}

#[derive(Clone)]
enum Access {
    /// Not asked yet, or the last answer put it in doubt.
    Open,
    Plain {
        until: Instant,
    },
    Token {
        token: Secret,
        until: Instant,
    },
}

/// A client of the metadata service.
pub struct Metadata {
    endpoint: Endpoint,
    sender: Sender,
    access: Mutex<Access>,
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Metadata {
    /// A client of the service at `base`, such as [`ADDRESS`]. Nothing is sent yet.
    pub fn new(base: &str) -> Result<Self, InvalidEndpoint> {
        let timeouts = Timeouts {
            connect: Duration::from_secs(2),
            call: Duration::from_secs(5),
            body_limit: 1024 * 1024,
        };
        Ok(Self {
            endpoint: base.parse()?,
            sender: Sender::plain(timeouts),
            access: Mutex::new(Access::Open),
        })
    }

    /// Text of a path below `latest/meta-data/`, trimmed.
    pub async fn text(&self, path: &str) -> Result<String, MetadataError> {
        let path = format!("meta-data/{path}");
        let mut answer = self.get(&path).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            // The token ran out, or hardened mode was switched on meanwhile.
            self.set_access(Access::Open);
            answer = self.get(&path).await?;
        }
        match answer.status {
            StatusCode::OK => text(&path, &answer.body),
            StatusCode::NOT_FOUND => Err(MetadataError::Missing { path }),
            status => Err(MetadataError::Refused { path, status: status.as_u16() }),
        }
    }

    /// Region of this instance.
    pub async fn region(&self) -> Result<String, MetadataError> {
        self.text("region-id").await
    }

    /// Id of this instance.
    pub async fn instance_id(&self) -> Result<InstanceId, MetadataError> {
        self.parsed("instance-id").await
    }

    /// Who this instance is.
    pub async fn instance(&self) -> Result<MetadataInstance, MetadataError> {
        Ok(MetadataInstance {
            id: self.instance_id().await?,
            instance_type: self.text("instance/instance-type").await?,
            region: self.region().await?,
            zone: self.text("zone-id").await?,
            mac: self.parsed("mac").await?,
            subnet: self.parsed("vswitch-id").await?,
            vpc: self.text("vpc-id").await?,
        })
    }

    /// Id of the primary ENI.
    pub async fn primary_eni(&self) -> Result<EniId, MetadataError> {
        let mac = self.text("mac").await?;
        self.parsed(&format!("network/interfaces/macs/{mac}/network-interface-id")).await
    }

    /// The attached ENIs, for when the API does not answer. Security groups and tags are not known here and stay empty; an
    /// ENI that is missing may only be late.
    pub async fn enis(&self) -> Result<Vec<EniView>, MetadataError> {
        let instance = self.instance_id().await?;
        let primary: Mac = self.parsed("mac").await?;
        let macs = self.text("network/interfaces/macs/").await?;
        let mut enis = Vec::new();
        for line in macs.lines().map(|l| l.trim().trim_end_matches('/')).filter(|l| !l.is_empty()) {
            enis.push(self.eni(line, &instance, primary).await?);
        }
        Ok(enis)
    }

    async fn eni(
        &self,
        mac: &str,
        instance: &InstanceId,
        primary: Mac,
    ) -> Result<EniView, MetadataError> {
        let base = format!("network/interfaces/macs/{mac}");
        let address: Mac = parse(&base, mac)?;
        let primary_ip: IpAddr = self.parsed(&format!("{base}/primary-ip-address")).await?;
        let mut addresses = vec![primary_ip];
        for list in ["private-ipv4s", "ipv6s"] {
            let path = format!("{base}/{list}");
            match self.text(&path).await {
                Ok(text) => addresses.extend(address_list(&path, &text)?),
                Err(MetadataError::Missing { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|ip| seen.insert(*ip));
        Ok(EniView {
            id: self.parsed(&format!("{base}/network-interface-id")).await?,
            mac: address,
            status: EniStatus::InUse,
            primary: address == primary,
            instance: Some(instance.clone()),
            subnet: self.parsed(&format!("{base}/vswitch-id")).await?,
            security_groups: Vec::new(),
            primary_ip: Some(primary_ip),
            addresses,
            prefixes: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            created: None,
        })
    }

    /// Fresh credentials of the instance's RAM role.
    pub(crate) async fn role_credentials(&self, now: UnixMillis) -> Result<HeldKey, MetadataError> {
        const FOLDER: &str = "ram/security-credentials/";
        let roles = self.text(FOLDER).await?;
        let role = roles.lines().map(str::trim).find(|l| !l.is_empty());
        let role = role.ok_or_else(|| MetadataError::Missing { path: FOLDER.into() })?;
        let path = format!("{FOLDER}{}", tideway_cloud::secret::encode(role));
        role_key(&path, &self.text(&path).await?, now)
    }

    async fn parsed<T>(&self, path: &str) -> Result<T, MetadataError>
    where
        T: Parsed,
    {
        parse(path, &self.text(path).await?)
    }

    async fn get(&self, path: &str) -> Result<Answer, MetadataError> {
        let token = self.token().await?;
        let token = token.as_ref().map(|t| (TOKEN_HEADER, t.expose()));
        self.exchange(Method::GET, path, token).await
    }

    /// The token to send; none when the service knows none.
    async fn token(&self) -> Result<Option<Secret>, MetadataError> {
        let access = self.access.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Instant::now();
        match access {
            Access::Plain { until } if now < until => return Ok(None),
            Access::Token { token, until } if now < until => return Ok(Some(token)),
            Access::Open | Access::Plain { .. } | Access::Token { .. } => {}
        }
        const PATH: &str = "api/token";
        let ttl = TOKEN_TTL.to_string();
        let answer = self.exchange(Method::PUT, PATH, Some((TTL_HEADER, &ttl))).await?;
        match answer.status {
            StatusCode::OK => {
                let token = Secret::new(text(PATH, &answer.body)?);
                // Renewed well before its end.
                let until = now + Duration::from_secs(TOKEN_TTL / 2);
                self.set_access(Access::Token { token: token.clone(), until });
                Ok(Some(token))
            }
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED => {
                self.set_access(Access::Plain { until: now + PLAIN_FOR });
                Ok(None)
            }
            status => Err(MetadataError::Refused { path: PATH.into(), status: status.as_u16() }),
        }
    }

    fn set_access(&self, access: Access) {
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = access;
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        extra: Option<(&'static str, &str)>,
    ) -> Result<Answer, MetadataError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/latest/{path}", self.endpoint))
            .header(header::ACCEPT, "*/*");
        if let Some((name, value)) = extra {
            request = request.header(name, value);
        }
        let senseless =
            |e: http::Error| MetadataError::Senseless { path: path.to_owned(), why: e.to_string() };
        let request = request.body(Bytes::new()).map_err(senseless)?;
        self.sender
            .send(request)
            .await
            .map_err(|source| MetadataError::Unanswered { path: path.to_owned(), source })
    }
}

/// What a metadata text can be read as.
trait Parsed: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

macro_rules! parsed {
    ($($t:ty => $how:expr),+ $(,)?) => {$(
        impl Parsed for $t {
            fn from_text(text: &str) -> Result<Self, String> {
                $how(text).map_err(|e| e.to_string())
            }
        }
    )+};
}
parsed! {
    EniId => EniId::try_from,
    InstanceId => InstanceId::try_from,
    SubnetId => SubnetId::try_from,
    Mac => str::parse::<Mac>,
    IpAddr => str::parse::<IpAddr>,
}

fn parse<T: Parsed>(path: &str, text: &str) -> Result<T, MetadataError> {
    T::from_text(text).map_err(|why| MetadataError::Senseless { path: path.to_owned(), why })
}

fn text(path: &str, body: &[u8]) -> Result<String, MetadataError> {
    let fail = |why: &str| MetadataError::Senseless { path: path.to_owned(), why: why.to_owned() };
    let text = std::str::from_utf8(body).map_err(|_bytes| fail("it is not UTF-8"))?.trim();
    if text.starts_with('<') {
        return Err(fail("it is a web page; something else answers at the service's address"));
    }
    Ok(text.to_owned())
}

/// Temporary credentials of a RAM role, as `path` told them at `now`.
pub fn role_key(path: &str, text: &str, now: UnixMillis) -> Result<HeldKey, MetadataError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Wire {
        access_key_id: String,
        access_key_secret: String,
        security_token: String,
        expiration: String,
        code: Option<String>,
    }
    let senseless = |why: String| MetadataError::Senseless { path: path.to_owned(), why };
    // serde's own text may quote the value that it met, and the values are secrets.
    let wire: Wire = serde_json::from_str(text).map_err(|e| {
        senseless(format!("no credentials at line {} column {}", e.line(), e.column()))
    })?;
    if let Some(code) = wire.code.filter(|code| code != "Success") {
        return Err(senseless(format!("the code is {code:?} and not Success")));
    }
    let expires: jiff::Timestamp =
        wire.expiration.parse().map_err(|e| senseless(format!("Expiration is no time: {e}")))?;
    Ok(HeldKey {
        key: AccessKey {
            id: wire.access_key_id,
            secret: Secret::new(wire.access_key_secret),
            token: Some(Secret::new(wire.security_token)),
        },
        fetched: now,
        expires: Some(UnixMillis(u64::try_from(expires.as_millisecond()).unwrap_or(0))),
    })
}

/// A list of addresses: a JSON list, or the same without quotes (`[a, b]`), as the service writes IPv6.
pub fn address_list(path: &str, text: &str) -> Result<Vec<IpAddr>, MetadataError> {
    text.trim_matches(['[', ']'])
        .split(|c: char| c == ',' || c.is_whitespace())
        .map(|part| part.trim_matches(['"', '\'']))
        .filter(|part| !part.is_empty())
        .map(|part| parse(path, part))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_an_address_list_are_read() {
        for text in [r#"["10.0.0.1","10.0.0.2"]"#, "[10.0.0.1, 10.0.0.2]", "10.0.0.1\n10.0.0.2\n"] {
            assert_eq!(address_list("x", text).unwrap().len(), 2, "{text}");
        }
        assert_eq!(address_list("x", "[]").unwrap(), Vec::<IpAddr>::new());
        address_list("x", "[10.0.0.1, soon]").unwrap_err();
    }
}
