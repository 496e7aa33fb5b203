//! The verbs.

use std::{
    io::{Read, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tideway_model::{Cause, UnixMillis};
use tideway_proto::node as pb;

use crate::{
    CniError, Environment, SpecVersion, Ticket,
    args::{self, Container},
    bandwidth,
    netconf::{self, NetConf},
    node::{self, CallError},
    portmap::{self, Portmap},
    previous, result,
};

/// How long DEL waits for the daemon before it leaves a ticket.
const DEL_LIMIT: Duration = Duration::from_mins(1);
/// How long CHECK waits.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// How long GC waits.
const GC_LIMIT: Duration = Duration::from_mins(1);
/// How long STATUS waits: the kubelet asks every five seconds, through the runtime.
const STATUS_LIMIT: Duration = Duration::from_secs(4);

/// Runs the verb that the environment names. True when it succeeded; otherwise the error object stands on `stdout`.
/// `log` gets what people should know beside it.
pub fn run(
    env: &dyn Environment,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    log: &mut dyn Write,
) -> bool {
    let (version, outcome) = dispatch(env, stdin, log);
    let (text, fine) = match outcome {
        Ok(None) => return true,
        Ok(Some(value)) => (value.to_string(), true),
        Err(error) => (error.to_json(version), false),
    };
    // A runtime that closed its end hears nothing; the exit status still tells it.
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok() && fine
}

type Outcome = Result<Option<Value>, CniError>;

fn dispatch(
    env: &dyn Environment,
    stdin: &mut dyn Read,
    log: &mut dyn Write,
) -> (Option<SpecVersion>, Outcome) {
    let command = env.var("CNI_COMMAND").unwrap_or_default();
    let input = netconf::read(stdin);
    let asked = input.version;
    if command == "VERSION" {
        return (asked, Ok(Some(versions(asked))));
    }
    let verb = match (input.conf, asked) {
        (Ok(conf), Some(version)) => Call { env, conf, version },
        (Err(error), _) => return (asked, Err(error)),
        (Ok(_), None) => return (None, Err(unknown(&command))),
    };
    let outcome = match command.as_str() {
        "ADD" => verb.add(log).map(Some),
        "DEL" => verb.del(log).map(|()| None),
        "CHECK" => verb.check().map(|()| None),
        "GC" => verb.gc().map(|()| None),
        "STATUS" => verb.status().map(|()| None),
        _ => Err(unknown(&command)),
    };
    (asked, outcome)
}

/// What a verb asks of the daemon.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// ADD.
    Add(pb::AddRequest),
    /// DEL.
    Delete(pb::DeleteRequest),
    /// CHECK.
    Check(pb::CheckRequest),
    /// GC.
    Gc(pb::GcRequest),
    /// STATUS.
    Status,
}

/// Reads environment and stdin as [`run`] does, and asks nobody.
pub fn question(env: &dyn Environment, stdin: &mut dyn Read) -> Result<Question, CniError> {
    let command = env.var("CNI_COMMAND").unwrap_or_default();
    let netconf::Stdin { version, conf } = netconf::read(stdin);
    let (conf, Some(version)) = (conf?, version) else { return Err(unknown(&command)) };
    let call = Call { env, conf, version };
    let container = || Container::read(env);
    match command.as_str() {
        "ADD" => call.add_request(&container()?).map(Question::Add),
        "DEL" => Ok(Question::Delete(call.delete_request(&container()?))),
        "CHECK" => call.check_request(&container()?).map(Question::Check),
        "GC" => call.gc_request().map(Question::Gc),
        "STATUS" => Ok(Question::Status),
        _ => Err(unknown(&command)),
    }
}

fn unknown(command: &str) -> CniError {
    CniError::new(
        Cause::RuntimeArguments,
        format!("CNI_COMMAND {command:?} is no verb that we know"),
        "this program is run by the container runtime; for people there is `tideway`",
    )
}

/// VERSION answers in the version that it was asked in (specification, "VERSION"), whatever else stands on stdin.
fn versions(asked: Option<SpecVersion>) -> Value {
    json!({
        "cniVersion": asked.unwrap_or(SpecVersion::LATEST).as_str(),
        "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
    })
}

/// One run of the plugin.
struct Call<'a> {
    env: &'a dyn Environment,
    conf: NetConf,
    version: SpecVersion,
}

impl Call<'_> {
    fn add(&self, log: &mut dyn Write) -> Result<Value, CniError> {
        let container = Container::read(self.env)?;
        let request = self.add_request(&container)?;
        container.require_netns()?;
        // Found before the address is taken: a node without the plugin then has nothing to undo.
        let portmap = self.portmap()?;
        let reply = node::call(&self.conf.socket, self.conf.add_deadline(), async |mut client| {
            client.add(request).await.map(tonic::Response::into_inner)
        })
        .map_err(CallError::into_cni)?;
        let added = self.finish_add(&container, reply, portmap.as_ref());
        if added.is_err() {
            self.undo(&container, portmap.as_ref(), log);
        }
        added
    }

    fn add_request(&self, container: &Container) -> Result<pb::AddRequest, CniError> {
        let annotations = self.conf.annotations();
        Ok(pb::AddRequest {
            container_id: container.id.to_string(),
            ifname: container.ifname.to_string(),
            netns: container.netns.clone(),
            pod: Some(args::pod(self.env)?),
            bandwidth: bandwidth::of(self.conf.bandwidth(), &annotations)?,
            annotations: annotations.into_iter().collect(),
        })
    }

    fn finish_add(
        &self,
        container: &Container,
        reply: pb::AddReply,
        portmap: Option<&Portmap>,
    ) -> Result<Value, CniError> {
        let dns = self.conf.dns.as_ref();
        if let Some(portmap) = portmap {
            let older = portmap::version(self.version);
            let result = result::convert(reply.clone(), older, dns)?;
            portmap.run("ADD", container, &self.conf, self.version, Some(&result))?;
        }
        result::convert(reply, self.version, dns)
    }

    /// An ADD that fails leaves nothing behind. What fails here is only told: the runtime sends a DEL anyway.
    fn undo(&self, container: &Container, portmap: Option<&Portmap>, log: &mut dyn Write) {
        let mut errors = Vec::new();
        if let Some(portmap) = portmap {
            errors.extend(portmap.run("DEL", container, &self.conf, self.version, None).err());
        }
        errors.extend(self.release(container, log).err());
        if let Err(error) = CniError::collected(errors) {
            tell(log, &format!("undoing the failed ADD of {}: {error}", container.id));
        }
    }

    fn del(&self, log: &mut dyn Write) -> Result<(), CniError> {
        let container = Container::read(self.env)?;
        let mut errors = Vec::new();
        match self.portmap() {
            Ok(None) => {}
            Ok(Some(portmap)) => {
                let result = self.conf.prev_result.as_ref().map(|it| self.for_portmap(it));
                let run = portmap.run("DEL", &container, &self.conf, self.version, result.as_ref());
                errors.extend(run.err());
            }
            // Without the plugin no ADD with host ports can have succeeded; a DEL must not fail for ever.
            Err(missing) => tell(log, &format!("DEL of {}: {missing}", container.id)),
        }
        errors.extend(self.release(&container, log).err());
        CniError::collected(errors)
    }

    /// Tells the daemon, or leaves a ticket.
    fn release(&self, container: &Container, log: &mut dyn Write) -> Result<(), CniError> {
        let request = self.delete_request(container);
        let deleted = node::call(&self.conf.socket, DEL_LIMIT, async |mut client| {
            client.delete(request).await
        });
        match deleted {
            Ok(_) => Ok(()),
            Err(CallError::Refused(error)) => Err(error),
            Err(CallError::Away(error)) => {
                let ticket = Ticket {
                    container_id: container.id.clone(),
                    ifname: container.ifname.clone(),
                    unix_millis: now(),
                };
                let path = ticket.write(Path::new(&self.conf.tickets)).map_err(|none| {
                    let details = format!("{}; tidewayd: {error}", none.details);
                    CniError { details, ..none }
                })?;
                tell(log, &format!("{error}; the release waits in {}", path.display()));
                Ok(())
            }
        }
    }

    fn delete_request(&self, container: &Container) -> pb::DeleteRequest {
        // Nothing of a pod is in the host's namespace: a runtime that says so means "no namespace".
        let netns =
            if container.is_in_host_netns() { String::new() } else { container.netns.clone() };
        pb::DeleteRequest {
            container_id: container.id.to_string(),
            ifname: container.ifname.to_string(),
            netns,
            pod: args::pod(self.env).ok(),
        }
    }

    fn check(&self) -> Result<(), CniError> {
        let container = Container::read(self.env)?;
        let request = self.check_request(&container)?;
        container.require_netns()?;
        node::call(&self.conf.socket, CHECK_LIMIT, async |mut client| client.check(request).await)
            .map_err(CallError::into_cni)?;
        match self.portmap()? {
            None => Ok(()),
            Some(portmap) => {
                let result = self.conf.prev_result.as_ref().map(|it| self.for_portmap(it));
                let checked =
                    portmap.run("CHECK", &container, &self.conf, self.version, result.as_ref());
                checked.or_else(|error| portmap::forgive_absent_family(error, result.as_ref()))
            }
        }
    }

    fn check_request(&self, container: &Container) -> Result<pb::CheckRequest, CniError> {
        self.version.require(SpecVersion::V0_4_0, "CHECK")?;
        Ok(pb::CheckRequest {
            container_id: container.id.to_string(),
            ifname: container.ifname.to_string(),
            netns: container.netns.clone(),
            ips: previous::verify(self.conf.prev_result.as_ref(), container)?,
        })
    }

    fn gc(&self) -> Result<(), CniError> {
        let request = self.gc_request()?;
        node::call(&self.conf.socket, GC_LIMIT, async |mut client| client.gc(request).await)
            .map(drop)
            .map_err(CallError::into_cni)
    }

    fn gc_request(&self) -> Result<pb::GcRequest, CniError> {
        self.version.require(SpecVersion::V1_1_0, "GC")?;
        let valid = self.conf.valid_attachments()?.iter().map(|it| pb::Attachment {
            container_id: it.container.to_string(),
            ifname: it.ifname.to_string(),
        });
        Ok(pb::GcRequest { valid: valid.collect() })
    }

    fn status(&self) -> Result<(), CniError> {
        self.version.require(SpecVersion::V1_1_0, "STATUS")?;
        let reply = node::call(&self.conf.socket, STATUS_LIMIT, async |mut client| {
            client.status(pb::StatusRequest {}).await.map(tonic::Response::into_inner)
        })
        .map_err(|error| CniError { code: Cause::NotServing.code(), ..error.into_cni() })?;
        if reply.ready {
            return Ok(());
        }
        Err(CniError::new(
            Cause::NotServing,
            format!("tidewayd is not ready: {}", reply.reason),
            "wait, or look at tidewayd's log and at `tideway status`",
        ))
    }

    /// The delegate, when this pod has port mappings.
    fn portmap(&self) -> Result<Option<Portmap>, CniError> {
        if self.conf.port_mappings().is_empty() {
            return Ok(None);
        }
        let var = |name| self.env.var(name).unwrap_or_default();
        Portmap::find(&var("CNI_PATH"), &var("CNI_ARGS")).map(Some)
    }

    /// A previous result in the version that the delegate is spoken to. From 1.0.0 on the shape only grew.
    fn for_portmap(&self, previous: &Value) -> Value {
        let mut out = previous.clone();
        if let Some(object) = out.as_object_mut() {
            object.insert("cniVersion".into(), portmap::version(self.version).as_str().into());
        }
        out
    }
}

fn tell(log: &mut dyn Write, text: &str) {
    // The runtime keeps stderr for people; when it does not, nobody would read it.
    drop(writeln!(log, "tideway-cni: {text}"));
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::default().plus(since)
}
