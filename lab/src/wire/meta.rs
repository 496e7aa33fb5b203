//! The instance metadata service of both clouds: plain mode and token mode. The source address tells the instance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::incoming::Incoming;
use super::listen::{Answer, Handler};
use super::shared::Shared;
use crate::cloud::clock::Millis;
use crate::cloud::faults::{FaultKind, Occasion};
use crate::cloud::imds;
use crate::cloud::latency::Work;
use crate::cloud::metadata::{self, RoleKey};
use crate::cloud::resources::{Instance, InstanceStatus};
use crate::cloud::vpc::{EniView, Vpc};
use crate::config::{CloudKind, HttpTokens};

/// Headers of the token mode: life of a token that is asked for, and the token.
struct Headers {
    ttl: &'static str,
    token: &'static str,
}

const ALIYUN: Headers = Headers {
    ttl: "x-aliyun-ecs-metadata-token-ttl-seconds",
    token: "x-aliyun-ecs-metadata-token",
};
const AWS: Headers =
    Headers { ttl: "x-aws-ec2-metadata-token-ttl-seconds", token: "x-aws-ec2-metadata-token" };
const LONGEST: u64 = 21_600;

/// Tokens by value: instance name and end.
type Tokens = Mutex<BTreeMap<String, (String, Millis)>>;

/// The tree of a cloud: path in, answer out.
type Tree = fn(&Vpc, &Instance, &EniView, &str, &RoleKey) -> Option<String>;

/// The handler. With `only`, every caller is taken for that instance (for listeners outside of the VPC); without, the
/// source address tells.
pub fn handler(shared: Arc<Shared>, only: Option<String>) -> Handler {
    let tokens: Arc<Tokens> = Arc::default();
    Arc::new(move |request, peer| {
        let answer = answer(&shared, &tokens, only.as_deref(), &request, peer);
        Box::pin(async move { answer })
    })
}

fn answer(
    shared: &Shared,
    tokens: &Tokens,
    only: Option<&str>,
    request: &Incoming,
    peer: IpAddr,
) -> Option<Answer> {
    let now = Shared::now();
    // The gate before the cloud, everywhere: one order of locks.
    let mut gate = shared.gate();
    let mut cloud = shared.cloud();
    cloud.vpc.tick(now);
    let instance = match only {
        Some(name) => cloud.vpc.instance_named(name),
        None => cloud.vpc.instance_at(peer),
    };
    let living = instance.filter(|instance| instance.status != InstanceStatus::Terminated);
    let Some(instance) = living.cloned() else { return Some(missing()) };
    let on = Occasion { instance: &instance.name, ..Occasion::default() };
    if cloud.vpc.faults.strike(FaultKind::MetadataDown, on, now).is_some() {
        return None;
    }
    let headers = match shared.kind {
        CloudKind::Aliyun => &ALIYUN,
        CloudKind::Aws => &AWS,
    };
    if request.path == "/latest/api/token" {
        let mut answer = give_token(tokens, request, headers.ttl, &instance.name, now);
        if shared.kind == CloudKind::Aws {
            answer.ttl = Some(instance.hop_limit.into());
        }
        return Some(answer);
    }
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Some(Answer::text(405, "405 - Method Not Allowed\n".to_owned()));
    }
    let known = request.header(headers.token).map(|token| {
        let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).is_some_and(|(name, end)| *name == instance.name && now < *end)
    });
    let refused = match known {
        Some(fits) => !fits,
        None => instance.http_tokens == HttpTokens::Required,
    };
    if refused {
        return Some(Answer::text(401, "401 - Unauthorized\n".to_owned()));
    }
    let (root, tree): (&str, Tree) = match shared.kind {
        CloudKind::Aliyun => ("/latest/meta-data", metadata::answer),
        CloudKind::Aws => ("/latest", imds::answer),
    };
    let Some(path) = request.path.strip_prefix(root) else { return Some(missing()) };
    let key = gate.keys.role_key(&instance.name, now);
    let age = cloud.vpc.draw(Work::Metadata);
    let view = cloud.vpc.enis_before(age, now);
    let text = tree(&cloud.vpc, &instance, view, path, &key);
    Some(text.map_or_else(missing, |text| Answer::text(200, text)))
}

fn missing() -> Answer {
    Answer::text(404, "404 - Not Found\n".to_owned())
}

fn give_token(
    tokens: &Tokens,
    request: &Incoming,
    ttl: &'static str,
    instance: &str,
    now: Millis,
) -> Answer {
    if request.method != "PUT" {
        return Answer::text(405, "405 - Method Not Allowed\n".to_owned());
    }
    let seconds = request.header(ttl).and_then(|text| text.trim().parse::<u64>().ok());
    let Some(seconds) = seconds.filter(|s| (1..=LONGEST).contains(s)) else {
        return Answer::text(400, "400 - Bad Request: ttl is not 1 to 21600 seconds\n".to_owned());
    };
    let token = uuid::Uuid::new_v4().simple().to_string();
    let end = now.saturating_add(seconds.saturating_mul(1000));
    let mut all = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, (_, end)| now < *end);
    all.insert(token.clone(), (instance.to_owned(), end));
    let mut answer = Answer::text(200, token);
    answer.headers.push((ttl, seconds.to_string()));
    answer
}
