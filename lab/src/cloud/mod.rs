//! The emulated cloud: a VPC as a state machine, the operations on it, faults and the ledger, and on top the APIs of two
//! clouds ([`actions`] and [`ec2`]). What one cloud does otherwise than the other stands in [`profile`]. Pure: time is an
//! argument, randomness is seeded, nothing does IO.

pub mod actions;
pub mod addresses;
pub mod asked;
pub mod bucket;
pub mod catalog;
pub mod cause;
pub mod clock;
pub mod denial;
pub mod dice;
pub mod ec2;
pub mod error;
pub mod faults;
pub mod imds;
pub mod latency;
pub mod ledger;
pub mod metadata;
pub mod network;
pub mod operations;
pub mod params;
pub mod policy;
pub mod profile;
pub mod resources;
pub mod token;
pub mod vpc;

use std::net::IpAddr;

use serde_json::{Value, json};

use asked::Asked;
use clock::Millis;
use error::ApiError;
use faults::{FaultKind, FaultSpec, Occasion};
use latency::Work;
use ledger::{Call, Violation};
use params::Params;
use token::Tokens;
use vpc::{BuildError, Effect, Vpc};

use crate::config::{CloudKind, LabConfig};

/// One authenticated API call.
#[derive(Debug, Clone)]
pub struct ApiCall {
    /// Action.
    pub action: String,
    /// API version: tells ECS from VPC.
    pub version: String,
    /// Decoded parameters.
    pub params: Params,
    /// Instance name of the source address, or `outside`.
    pub caller: String,
    /// Access key id.
    pub access_key: String,
}

/// What to do about a call.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The answer, with the request's id.
    pub outcome: Result<Value, ApiError>,
    /// The request's id, also for errors.
    pub request_id: String,
    /// How long to wait before answering.
    pub delay: Millis,
    /// Close the connection instead of answering.
    pub lose: bool,
    /// Number of the last piece of network work that must be done before answering.
    pub after_effect: Option<u64>,
}

/// The cloud: what the servers talk to.
#[derive(Debug)]
pub struct Cloud {
    /// The state.
    pub vpc: Vpc,
    tokens: Tokens,
}

impl Cloud {
    /// Builds the cloud from a checked configuration.
    pub fn new(config: LabConfig, now: Millis) -> Result<Self, BuildError> {
        Ok(Self { vpc: Vpc::new(config, now)?, tokens: Tokens::default() })
    }

    /// Does one call. The effect is in place when this returns; the delay is for the answer only.
    pub fn call(&mut self, call: &ApiCall, now: Millis) -> Reply {
        self.vpc.tick(now);
        let subject = subject(&call.params);
        let on = Occasion {
            action: &call.action,
            instance: &call.caller,
            eni: call.params.get("NetworkInterfaceId").unwrap_or_default(),
            vswitch: (first(&call.params, &["VSwitchId", "SubnetId"]), ""),
        };
        let mut delay = self.vpc.draw(work(&call.action));
        let mut lose = false;
        let ordered = self.vpc.last_order();
        let profile = self.vpc.profile;
        let outcome = if let Some(error) = self.vpc.faults.refusal(on, now, profile) {
            delay = 0;
            Err(error)
        } else if let Some(asked) = self.lacking(call, on, now) {
            delay = 0;
            Err(denial::denied(&self.vpc, call, &asked))
        } else {
            let done = self.dispatch(call, now);
            if done.is_err() {
                delay = delay.min(self.vpc.draw(Work::Read));
            } else if !call.action.starts_with("Describe") {
                self.vpc.remember(now);
            }
            lose = self.vpc.faults.strike(FaultKind::LostAnswer, on, now).is_some();
            done
        };
        let last = self.vpc.last_order();
        let after_effect = (last > ordered).then_some(last);
        if let Some(spec) = self.vpc.faults.strike(FaultKind::Latency, on, now) {
            delay = delay.saturating_add(spec.ms.unwrap_or(1000));
        }
        self.vpc.tick(now);
        self.book(call, &outcome, lose, subject, now);
        let request_id = self.request_id();
        let outcome = self.with_id(outcome, &request_id);
        Reply { outcome, request_id, delay, lose, after_effect }
    }

    /// What the caller may not do of what the call needs: by the role's policy, or by a fault, which meets an action once.
    fn lacking(&mut self, call: &ApiCall, on: Occasion<'_>, now: Millis) -> Option<Asked> {
        let mut met = String::new();
        asked::asked(&self.vpc, call).into_iter().find(|asked| {
            let new = std::mem::replace(&mut met, asked.action.clone()) != asked.action;
            let name = asked.action.split_once(':').map_or("", |(_, name)| name);
            let on = Occasion { action: name, ..on };
            let policy = self.vpc.config.role_policy.as_ref();
            policy.is_some_and(|policy| !policy.allows(asked))
                || new && self.vpc.faults.strike(FaultKind::Deny, on, now).is_some()
        })
    }

    /// Books a call that never reached an action: bad signature, unknown key.
    pub fn refuse(&mut self, call: &ApiCall, error: ApiError, now: Millis) -> Reply {
        self.answered(call, Err(error), now)
    }

    /// Books a call that another service of the cloud answers.
    pub fn elsewhere(
        &mut self,
        call: &ApiCall,
        outcome: Result<Value, ApiError>,
        now: Millis,
    ) -> Reply {
        let on = Occasion { action: &call.action, instance: &call.caller, ..Occasion::default() };
        let outcome = self.vpc.faults.refusal(on, now, self.vpc.profile).map_or(outcome, Err);
        self.answered(call, outcome, now)
    }

    fn answered(&mut self, call: &ApiCall, outcome: Result<Value, ApiError>, now: Millis) -> Reply {
        self.book(call, &outcome, false, String::new(), now);
        let request_id = self.request_id();
        let outcome = self.with_id(outcome, &request_id);
        Reply { outcome, request_id, delay: 0, lose: false, after_effect: None }
    }

    fn with_id(
        &self,
        outcome: Result<Value, ApiError>,
        request_id: &str,
    ) -> Result<Value, ApiError> {
        let mut outcome = outcome;
        if let Ok(Value::Object(fields)) = &mut outcome {
            fields.insert(self.vpc.profile.request_id.to_owned(), json!(request_id));
        }
        outcome
    }

    fn book(
        &mut self,
        call: &ApiCall,
        outcome: &Result<Value, ApiError>,
        lost: bool,
        subject: String,
        now: Millis,
    ) {
        let word = match outcome {
            Ok(_) => "OK".to_owned(),
            Err(error) => error.code.clone(),
        };
        self.vpc.ledger.record(Call {
            at: now,
            action: call.action.clone(),
            caller: call.caller.clone(),
            access_key: call.access_key.clone(),
            outcome: word,
            lost,
            subject,
        });
    }

    fn request_id(&mut self) -> String {
        let (a, b) = (self.vpc.dice.roll(), self.vpc.dice.roll());
        let hex = format!("{a:016X}{b:016X}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        parts.map(|range| hex.get(range).unwrap_or_default().to_owned()).join("-")
    }

    fn dispatch(&mut self, call: &ApiCall, now: Millis) -> Result<Value, ApiError> {
        let Self { vpc, tokens } = self;
        match vpc.config.cloud {
            CloudKind::Aliyun => actions::dispatch::dispatch(vpc, tokens, call, now),
            CloudKind::Aws => ec2::dispatch(vpc, tokens, call, now),
        }
    }

    /// Puts a fault in force; those that strike at once do so.
    pub fn add_fault(&mut self, spec: FaultSpec, now: Millis) -> Result<u32, ApiError> {
        match spec.kind {
            FaultKind::ForcedDetach => {
                let id = spec.eni.as_deref().ok_or_else(|| ApiError::missing("eni"))?;
                self.vpc.force_detach(id, now)?;
                Ok(0)
            }
            FaultKind::Meddling => {
                let id = spec.eni.as_deref().ok_or_else(|| ApiError::missing("eni"))?;
                self.vpc.eni(id)?;
                self.vpc.order(Effect::Meddle(id.to_owned()));
                Ok(0)
            }
            FaultKind::Throttle
            | FaultKind::ServerError
            | FaultKind::Error
            | FaultKind::Deny
            | FaultKind::Echo
            | FaultKind::LostAnswer
            | FaultKind::StaleReads
            | FaultKind::StuckAttach
            | FaultKind::FailedAttach
            | FaultKind::StuckDetach
            | FaultKind::FullSubnet
            | FaultKind::HiddenInstances
            | FaultKind::MetadataDown
            | FaultKind::Latency => Ok(self.vpc.faults.add(spec, now)),
        }
    }

    /// Everything that the ledger finds wrong.
    pub fn verify(&self) -> Vec<Violation> {
        let enis = self.vpc.enis().values().map(AsRef::as_ref);
        let mut found = self.vpc.ledger.verify(&resources::present(enis));
        // The third witness: what the subnets believe.
        for (address, eni) in self.vpc.vswitches.values().flat_map(|v| v.space.held()) {
            let there = self
                .vpc
                .enis()
                .get(eni)
                .is_some_and(|e| e.addresses().any(|a: IpAddr| a == address));
            if !there {
                let lost = Violation::Lost { address, eni: eni.to_owned() };
                if !found.contains(&lost) {
                    found.push(lost);
                }
            }
        }
        found
    }
}

fn subject(params: &Params) -> String {
    let names = [
        "NetworkInterfaceId",
        "AttachmentId",
        "VSwitchId",
        "SubnetId",
        "InstanceId",
        "ResourceId.1",
        "InstanceIds",
        "NetworkInterfaceId.1",
        "InstanceId.1",
        "SubnetId.1",
    ];
    first(params, &names).to_owned()
}

/// The first of these parameters that is given.
fn first<'a>(params: &'a Params, names: &[&str]) -> &'a str {
    names.iter().find_map(|name| params.get(name)).unwrap_or_default()
}

fn stale_age(vpc: &mut Vpc, call: &ApiCall, now: Millis) -> Millis {
    if !call.action.starts_with("Describe") {
        return 0;
    }
    let on = Occasion { action: &call.action, instance: &call.caller, ..Occasion::default() };
    vpc.faults.strike(FaultKind::StaleReads, on, now).map_or(0, |spec| spec.ms.unwrap_or(5000))
}

fn work(action: &str) -> Work {
    match action {
        "CreateNetworkInterface" => Work::Create,
        "AssignPrivateIpAddresses"
        | "UnassignPrivateIpAddresses"
        | "AssignIpv6Addresses"
        | "UnassignIpv6Addresses" => Work::Assign,
        _ if action.starts_with("Describe") => Work::Read,
        _ => Work::Change,
    }
}

#[cfg(test)]
mod tests;
