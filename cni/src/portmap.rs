//! hostPort by the standard `portmap` plugin, run as our delegate.
//!
//! Chaining `portmap` in the conflist would cost every pod two processes; few pods have port mappings. So we run it
//! ourselves, for those only. It is always spoken to in at most 1.0.0: distributions ship plugins that know no newer
//! version, and nothing newer is needed of it.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tideway_model::Cause;

use crate::{CniError, SpecVersion, args::Container, netconf::NetConf};

const PLUGIN: &str = "portmap";
/// Longest life of one run; `iptables` may wait for its lock.
const LIMIT: Duration = Duration::from_secs(30);
/// How often we look whether it ended.
const POLL: Duration = Duration::from_millis(1);
/// Most output that is read.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// The delegate, found but not run yet.
#[derive(Debug)]
pub(crate) struct Portmap {
    binary: PathBuf,
    cni_path: String,
    cni_args: String,
}

/// Newest version that we speak with the delegate.
pub(crate) fn version(asked: SpecVersion) -> SpecVersion {
    asked.min(SpecVersion::V1_0_0)
}

/// Plugins before 1.2 look for the rules of both families, also when the pod has addresses of one only, and CHECK of
/// every single-stack pod fails (seen with 1.1.1). Only that complaint is dropped.
pub(crate) fn forgive_absent_family(
    error: CniError,
    result: Option<&Value>,
) -> Result<(), CniError> {
    let ips = result.and_then(|it| it.get("ips")).and_then(Value::as_array);
    let has = |colon: bool| {
        ips.into_iter()
            .flatten()
            .filter_map(|ip| ip.get("address").and_then(Value::as_str))
            .any(|address| address.contains(':') == colon)
    };
    let absent = (error.msg.contains("ipv6 dnat") && !has(true))
        || (error.msg.contains("ipv4 dnat") && !has(false));
    if absent { Ok(()) } else { Err(error) }
}

impl Portmap {
    /// Looks for the plugin in the directories of `CNI_PATH`.
    pub(crate) fn find(cni_path: &str, cni_args: &str) -> Result<Self, CniError> {
        let found = cni_path
            .split(':')
            .filter(|dir| !dir.is_empty())
            .map(|dir| PathBuf::from(dir).join(PLUGIN))
            .find(|path| path.is_file());
        match found {
            Some(binary) => {
                Ok(Self { binary, cni_path: cni_path.to_owned(), cni_args: cni_args.to_owned() })
            }
            None => Err(CniError::new(
                Cause::Portmap,
                format!(
                    "the pod has host ports, but no {PLUGIN} plugin is in CNI_PATH {cni_path:?}"
                ),
                "install the standard CNI plugins beside tideway-cni",
            )),
        }
    }

    /// Runs one verb. `result` is the result of our ADD, in [`version`].
    pub(crate) fn run(
        &self,
        verb: &str,
        container: &Container,
        conf: &NetConf,
        asked: SpecVersion,
        result: Option<&Value>,
    ) -> Result<(), CniError> {
        let mut netconf = json!({
            "cniVersion": version(asked).as_str(),
            "name": conf.name,
            "type": PLUGIN,
            "snat": true,
            "capabilities": { "portMappings": true },
            "runtimeConfig": { "portMappings": conf.port_mappings() },
        });
        if let (Some(result), Some(object)) = (result, netconf.as_object_mut()) {
            object.insert("prevResult".into(), result.clone());
        }
        let failed = |cause: String| {
            CniError::new(
                Cause::Portmap,
                format!("{PLUGIN} {verb} failed: {cause}"),
                "host ports are set up by the standard plugin; it needs iptables on the node",
            )
        };
        let mut child = Command::new(&self.binary)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container.id.as_str())
            .env("CNI_NETNS", &container.netns)
            .env("CNI_IFNAME", container.ifname.as_str())
            .env("CNI_ARGS", &self.cni_args)
            .env("CNI_PATH", &self.cni_path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| failed(format!("{}: {error}", self.binary.display())))?;
        let output = converse(&mut child, netconf.to_string());
        let Some(status) = wait(&mut child) else {
            return Err(failed(format!("it did not end within {} s", LIMIT.as_secs())));
        };
        if status.success() {
            return Ok(());
        }
        let output = output.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let said: Value = serde_json::from_slice(&output).unwrap_or_default();
        let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut error = failed(format!("{status} {}", text("msg")));
        let code = said.get("code").and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
        error.code = code.filter(|code| *code != 0).unwrap_or(error.code);
        if !text("details").is_empty() {
            error.details = format!("{}; {}", text("details"), error.details);
        }
        Err(error)
    }
}

/// Writes and reads on threads of their own: neither side may block the other, nor our deadline.
fn converse(child: &mut Child, input: String) -> Option<std::thread::JoinHandle<Vec<u8>>> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    std::thread::spawn(move || {
        // A delegate that ends early breaks the pipe; its exit status tells more than that.
        drop(stdin.write_all(input.as_bytes()));
    });
    Some(std::thread::spawn(move || {
        let mut output = Vec::new();
        drop(stdout.take(MAX_OUTPUT).read_to_end(&mut output));
        output
    }))
}

/// Waits for the end; kills what takes too long.
fn wait(child: &mut Child) -> Option<std::process::ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(POLL);
    }
    drop(child.kill());
    drop(child.wait());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_complaint_about_an_absent_family_is_dropped() {
        let error = |msg: &str| CniError::new(Cause::Portmap, msg, "");
        let v4 = json!({"ips": [{"address": "10.0.0.1/32"}]});
        let dual = json!({"ips": [{"address": "10.0.0.1/32"}, {"address": "fd00::1/128"}]});
        let v6 = json!({"ips": [{"address": "fd00::1/128"}]});
        let no_v6 = "could not check ipv6 dnat: chain X not found";
        let no_v4 = "could not check ipv4 dnat: chain X not found";
        assert_eq!(forgive_absent_family(error(no_v6), Some(&v4)), Ok(()));
        assert_eq!(forgive_absent_family(error(no_v4), Some(&v6)), Ok(()));
        for (msg, result) in [(no_v4, &v4), (no_v6, &dual), (no_v4, &dual), ("port taken", &v4)] {
            assert_eq!(forgive_absent_family(error(msg), Some(result)), Err(error(msg)), "{msg}");
        }
    }
}
