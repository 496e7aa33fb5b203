//! Calls of the probe, from nodes and from inside pods: who is asked, and who answered whom.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tideway_e2e::{
    cluster::{Node, list, text},
    command,
    wait::{self, Look},
};

use crate::bed::{Bed, SOON};

/// One target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    proto: &'static str,
    to: IpAddr,
    port: u16,
    source_port: u16,
}

impl Call {
    pub(crate) fn tcp(to: IpAddr, port: u16) -> Self {
        Self { proto: "tcp", to, port, source_port: 0 }
    }

    pub(crate) fn udp(to: IpAddr, port: u16) -> Self {
        Self { proto: "udp", to, port, source_port: 0 }
    }

    /// UDP from one port of ours: all such calls belong to one flow.
    pub(crate) fn of_flow(self, source_port: u16) -> Self {
        Self { source_port, ..self }
    }
}

/// Who answered, and which client it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) host: String,
    pub(crate) client: IpAddr,
}

/// Where calls come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'a> {
    Node(&'a Node<'a>),
    Pod(&'a str),
}

impl Bed {
    /// Makes every call, several tries each; an answer for each in their order, or why there was none.
    pub(crate) fn call(
        &self,
        from: From<'_>,
        calls: &[Call],
    ) -> Result<Vec<Result<Reply, String>>> {
        let target = |(number, call): (usize, &Call)| {
            json!({
                "name": number.to_string(), "proto": call.proto, "address": call.to, "port": call.port,
                "sourcePort": call.source_port, "timeoutMs": 800, "expect": "ok",
            })
        };
        let targets: Vec<Value> = calls.iter().enumerate().map(target).collect();
        let targets = serde_json::to_vec(&targets)?;
        let said = match from {
            From::Node(node) => {
                let mut probe = node.command(&self.binaries.probe)?;
                command::run_with(probe.arg("call"), Some(&targets))?
            }
            From::Pod(pod) => self.kubectl()?.exec(pod, &["tideway-probe", "call"], &targets)?,
        };
        let outcomes: Value = serde_json::from_str(&said).context(said)?;
        (0..calls.len())
            .map(|number| {
                let number = number.to_string();
                let outcome = list(&outcomes, "").iter().find(|o| text(o, "/name") == number);
                reply(outcome.context("a call without an outcome")?)
            })
            .collect()
    }

    /// Waits until every call is answered.
    pub(crate) fn answers(&self, from: From<'_>, calls: &[Call]) -> Result<Vec<Reply>> {
        wait::until(&format!("{from:?} is answered"), SOON, || {
            let outcomes = self.call(from, calls)?;
            let silent = calls.iter().zip(&outcomes).filter_map(|(call, outcome)| {
                let error = outcome.as_ref().err()?;
                Some(format!("{} {} port {}: {error}", call.proto, call.to, call.port))
            });
            let silent: Vec<String> = silent.collect();
            if silent.is_empty() {
                return Ok(Look::Seen(outcomes.into_iter().flatten().collect()));
            }
            Ok(Look::NotYet(silent.join("\n  ")))
        })
    }

    /// Waits until port 8080 of these addresses answers a node.
    pub(crate) fn reaches(&self, from: &Node<'_>, addresses: &[IpAddr]) -> Result<()> {
        let calls: Vec<Call> = addresses.iter().map(|ip| Call::tcp(*ip, 8080)).collect();
        self.answers(From::Node(from), &calls).map(drop)
    }
}

/// The probe answers `HOST LOCAL CLIENT`.
fn reply(outcome: &Value) -> Result<Result<Reply, String>> {
    if outcome.get("answered").and_then(Value::as_bool) != Some(true) {
        return Ok(Err(text(outcome, "/error").to_owned()));
    }
    let said = text(outcome, "/reply");
    let mut words = said.split(' ');
    let (host, client) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    let client = client.parse().with_context(|| format!("no client in {said:?}"))?;
    Ok(Ok(Reply { host: host.to_owned(), client }))
}
