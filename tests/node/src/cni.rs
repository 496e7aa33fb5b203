//! The plugin, run as a runtime runs it: variables, configuration on stdin, JSON on stdout.

use std::{
    io::Write as _,
    net::IpAddr,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{Pod, netns, programs};

/// One run of the plugin, ended.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Exit status 0.
    pub fine: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub log: String,
}

impl Answer {
    /// The result; an error when the plugin failed.
    pub fn success(&self) -> Result<Value> {
        ensure!(self.fine, "the plugin failed: {} {}", self.stdout, self.log);
        if self.stdout.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {}", self.stdout))
    }

    /// Code and text of the error object; an error when the plugin succeeded.
    pub fn failure(&self) -> Result<(u64, String)> {
        ensure!(!self.fine, "the plugin succeeded: {}", self.stdout);
        let object: Value = serde_json::from_str(&self.stdout)
            .with_context(|| format!("no JSON: {} {}", self.stdout, self.log))?;
        let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let code = object.get("code").and_then(Value::as_u64).context("no code")?;
        Ok((code, format!("{}: {}", text("msg"), text("details"))))
    }

    /// Checks the code of a failure and returns its text.
    pub fn fails_with(&self, code: u64) -> Result<String> {
        let (found, text) = self.failure()?;
        ensure!(found == code, "code {found} instead of {code}: {text}");
        Ok(text)
    }

    /// The addresses of the result, in its order.
    pub fn ips(&self) -> Result<Vec<IpAddr>> {
        let result = self.success()?;
        let list = result.get("ips").and_then(Value::as_array).context("no ips")?;
        let ip = |entry: &Value| -> Result<IpAddr> {
            let text = entry.get("address").and_then(Value::as_str).context("no address")?;
            let (ip, _prefix) = text.split_once('/').context("no prefix")?;
            Ok(ip.parse()?)
        };
        list.iter().map(ip).collect()
    }
}

/// What a call may differ in from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Keys of the configuration beside or instead of the usual ones; `null` takes a key away.
    pub conf: Option<Value>,
    /// `CNI_NETNS` instead of the pod's.
    pub netns: Option<String>,
}

impl Call {
    /// In the version of the specification that brought GC and STATUS.
    pub fn newest() -> Self {
        Self { conf: Some(json!({ "cniVersion": "1.1.0" })), ..Self::default() }
    }
}

/// Everything about the node that the plugin needs.
#[derive(Debug, Clone)]
pub struct Runtime<'a> {
    /// The instance's namespace.
    pub host: &'a Path,
    /// Daemon's socket.
    pub socket: &'a Path,
    /// Ticket directory.
    pub tickets: &'a Path,
    /// `addTimeoutSeconds`.
    pub patience: u32,
}

impl Runtime<'_> {
    /// Starts the plugin; its input is written already.
    pub fn spawn(&self, verb: &str, pod: &Pod, call: &Call) -> Result<Child> {
        let netns = call.netns.clone().unwrap_or_else(|| pod.netns.display().to_string());
        self.spawn_as(verb, [&pod.name, &pod.uid, &pod.container, &netns], call)
    }

    fn spawn_as(&self, verb: &str, who: [&str; 4], call: &Call) -> Result<Child> {
        let [name, uid, container, netns] = who;
        let mut conf = json!({
            "cniVersion": "1.0.0",
            "name": "tideway",
            "type": "tideway-cni",
            "socket": self.socket,
            "tickets": self.tickets,
            "addTimeoutSeconds": self.patience,
        });
        if let (Some(into), Some(Value::Object(more))) = (conf.as_object_mut(), &call.conf) {
            for (key, value) in more {
                into.insert(key.clone(), value.clone());
            }
            into.retain(|_, value| !value.is_null());
        }
        let pod = format!("K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}");
        let mut command = netns::command(self.host, programs::plugin()?);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", netns)
            .env("CNI_PATH", "/usr/lib/cni")
            .env("CNI_ARGS", format!("IgnoreUnknown=1;{pod}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("the plugin does not start")?;
        let mut pipe = child.stdin.take().context("no stdin")?;
        // The configuration is smaller than a pipe, so this never blocks.
        pipe.write_all(conf.to_string().as_bytes()).context("the plugin closed its stdin")?;
        Ok(child)
    }

    /// Runs the plugin to its end.
    pub fn run(&self, verb: &str, pod: &Pod, call: &Call) -> Result<Answer> {
        ended(self.spawn(verb, pod, call)?)
    }

    /// Runs the plugin for a sandbox whose namespace is gone.
    pub fn run_by_name(
        &self,
        verb: &str,
        name: &str,
        uid: &str,
        container: &str,
        call: &Call,
    ) -> Result<Answer> {
        ended(self.spawn_as(verb, [name, uid, container, ""], call)?)
    }
}

/// Waits for a plugin that was spawned.
pub fn ended(child: Child) -> Result<Answer> {
    let output = child.wait_with_output().context("waiting for the plugin")?;
    Ok(Answer {
        fine: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
