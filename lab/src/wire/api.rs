//! The API server: gate, cloud, delay, answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::gate::{Admitted, Gate};
use super::incoming::Incoming;
use super::listen::{Answer, Handler};
use super::shared::Shared;
use super::sts::{self, TokenCall};
use super::{sigv4, xml};
use crate::cloud::error::ApiError;
use crate::cloud::faults::{FaultKind, Occasion};
use crate::cloud::params::Params;
use crate::cloud::{ApiCall, Cloud, Reply};
use crate::config::CloudKind;

/// How long an answer waits for the network at most; then it is given anyway and the fault shows in the network.
const NETWORK: Duration = Duration::from_secs(15);

/// The handler of the API ports.
pub fn handler(shared: Arc<Shared>) -> Handler {
    Arc::new(move |request, peer| {
        let shared = Arc::clone(&shared);
        Box::pin(async move { answer(&shared, request, peer).await })
    })
}

async fn answer(shared: &Arc<Shared>, request: Incoming, peer: IpAddr) -> Option<Answer> {
    let decided = decide(shared, &request, peer);
    let reply = decided.reply;
    shared.work.notify_one();
    if let Some(wanted) = reply.after_effect {
        let mut done = shared.done.subscribe();
        let network = tokio::time::timeout(NETWORK, done.wait_for(|n| *n >= wanted)).await;
        drop(network);
    }
    if reply.delay > 0 {
        tokio::time::sleep(Duration::from_millis(reply.delay)).await;
    }
    if reply.lose {
        return None;
    }
    Some(match (shared.kind, reply.outcome) {
        (CloudKind::Aliyun, Ok(value)) => Answer::json(200, value.to_string()),
        (CloudKind::Aliyun, Err(error)) => failure(&error, &reply.request_id, &decided.host),
        (CloudKind::Aws, Ok(value)) if decided.of_sts => {
            Answer::xml(200, sts::success(&decided.action, &value, &reply.request_id))
        }
        (CloudKind::Aws, Err(error)) if decided.of_sts => {
            Answer::xml(error.status, sts::failure(&error, &reply.request_id))
        }
        (CloudKind::Aws, Ok(value)) => Answer::xml(200, xml::answer(&decided.action, &value)),
        (CloudKind::Aws, Err(error)) => {
            Answer::xml(error.status, xml::failure(&error, &reply.request_id))
        }
    })
}

/// A reply, and what its answer names.
struct Decided {
    reply: Reply,
    action: String,
    host: String,
    of_sts: bool,
}

fn failure(error: &ApiError, request_id: &str, host: &str) -> Answer {
    let mut body = json!({
        "Code": error.code,
        "Message": error.message,
        "RequestId": request_id,
        "HostId": host,
    });
    if let (Some(detail), Some(fields)) = (&error.access_denied, body.as_object_mut()) {
        fields.insert("AccessDeniedDetail".to_owned(), detail.clone());
    }
    let mut answer = Answer::json(error.status, body.to_string());
    if let Some(seconds) = error.retry_after {
        // The header counts milliseconds: the official SDKs hand its value to a sleep in milliseconds.
        let millis = u64::from(seconds) * 1000;
        answer.headers.push(("x-acs-retry-after", millis.to_string()));
    }
    answer
}

/// Everything that needs the locks, without an await.
fn decide(shared: &Shared, request: &Incoming, peer: IpAddr) -> Decided {
    let now = Shared::now();
    let host = request.header("host").unwrap_or_default().to_owned();
    let mut gate = shared.gate();
    if let Some(token_call) = TokenCall::read(request, shared.kind) {
        return token(shared, &mut gate, &token_call, host, peer);
    }
    let admitted = if matches!(request.method.as_str(), "GET" | "POST") {
        match shared.kind {
            CloudKind::Aliyun => gate.admit(request, now).map(Admitted::from),
            CloudKind::Aws => sigv4::admit(request, &gate.keys, &shared.region, now),
        }
    } else {
        Err(ApiError::new(405, "MethodNotAllowed", "Use GET or POST."))
    };
    let mut cloud = shared.cloud();
    let caller = caller(&cloud, peer);
    let (reply, action, key_id) = match admitted {
        Ok(claim) => {
            let call = ApiCall {
                action: claim.action.clone(),
                version: claim.version,
                params: Params::new(claim.params),
                caller,
                access_key: claim.key_id.clone(),
            };
            let on = Occasion { action: &call.action, ..Occasion::default() };
            let reply = if cloud.vpc.faults.strike(FaultKind::Echo, on, now).is_some() {
                cloud.refuse(&call, echo(request), now)
            } else {
                cloud.call(&call, now)
            };
            (reply, claim.action, claim.key_id)
        }
        Err(error) => {
            let mut pairs = request.query().into_iter().chain(request.form());
            let named = pairs.find(|(key, _)| key == "Action");
            let action = request
                .header("x-acs-action")
                .map(str::to_owned)
                .or_else(|| named.map(|(_, value)| value))
                .unwrap_or_default();
            let call = ApiCall {
                action: action.clone(),
                version: String::new(),
                params: Params::default(),
                caller,
                access_key: String::new(),
            };
            (cloud.refuse(&call, error, now), action, String::new())
        }
    };
    drop(cloud);
    let outcome = reply.outcome.as_ref().map_or_else(|e| e.code.clone(), |_| "OK".to_owned());
    let secret = gate.keys.known_secret(&key_id).unwrap_or_default();
    let source = peer.to_string();
    shared.requests().add(request, &action, (&key_id, secret), &outcome, &source);
    drop(gate);
    Decided { reply, action, host, of_sts: false }
}

/// A call of the token service. It is not recorded: there is no signature that a judge could repeat.
fn token(
    shared: &Shared,
    gate: &mut Gate,
    asked: &TokenCall,
    host: String,
    peer: IpAddr,
) -> Decided {
    let now = Shared::now();
    let mut cloud = shared.cloud();
    let outcome = asked.answer(&cloud.vpc.config, &mut gate.keys, now);
    let call = ApiCall {
        action: asked.action.clone(),
        version: String::new(),
        params: Params::default(),
        caller: caller(&cloud, peer),
        access_key: String::new(),
    };
    let reply = cloud.elsewhere(&call, outcome, now);
    Decided { reply, action: asked.action.clone(), host, of_sts: true }
}

/// As gateways do that help people to find the mistake in their signature. What is secret comes first: clients may cut it.
fn echo(request: &Incoming) -> ApiError {
    let mut message = "The signature does not match. Server received: ".to_owned();
    for (name, value) in request.headers.iter().rev() {
        message.extend(["\n", name, ":", value]);
    }
    ApiError::new(400, "SignatureDoesNotMatch", message)
}

/// Name of the instance that calls.
fn caller(cloud: &Cloud, peer: IpAddr) -> String {
    let instance = cloud.vpc.instance_at(peer);
    instance.map_or_else(|| "outside".to_owned(), |instance| instance.name.clone())
}
