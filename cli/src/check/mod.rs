//! `tideway check`: the settings around the daemon against what they should be. It looks and changes nothing.
//!
//! Each finding is a pure function of what was seen, so that each is tested without a node.

mod host;
mod kubelet;
mod proxy;
mod rest;

use std::io::Write;

use serde::Serialize;
use tideway_kubeapi::{KubeConfig, NodeView};
use tideway_proto::node as pb;

use self::host::Host;
use crate::{
    CommandError,
    args::{CheckOptions, Output},
    capacity, node, table,
};

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// Works, and not as well as it could; or could not be checked.
    Warn,
    /// Pods will suffer.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) grade: Grade,
    /// What was seen.
    pub(crate) says: String,
    /// What to do; empty when nothing.
    pub(crate) remedy: String,
}

impl Finding {
    fn new(check: &'static str, grade: Grade, says: impl Into<String>, remedy: &str) -> Self {
        Self { check, grade, says: says.into(), remedy: remedy.to_owned() }
    }

    pub(crate) fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self::new(check, Grade::Ok, says, "")
    }

    pub(crate) fn warn(check: &'static str, says: impl Into<String>, remedy: &str) -> Self {
        Self::new(check, Grade::Warn, says, remedy)
    }

    pub(crate) fn fail(check: &'static str, says: impl Into<String>, remedy: &str) -> Self {
        Self::new(check, Grade::Fail, says, remedy)
    }
}

/// `tideway check -o json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Number of findings with grade `fail`.
    failed: usize,
    findings: &'a [Finding],
}

/// Looks and prints. An error when something fails.
pub(crate) fn run(options: &CheckOptions, out: &mut dyn Write) -> Result<(), CommandError> {
    let host = Host::new(&options.root);
    let asked = node::ask(&options.connection, async |mut client| {
        let status = client.status(pb::StatusRequest {}).await?.into_inner();
        Ok((client.show(pb::ShowRequest {}).await?.into_inner(), status))
    });
    let config = capacity::config(&options.config)?;
    let mut findings = vec![daemon(&asked)];
    let show = asked.ok().map(|(show, _)| show).unwrap_or_default();
    let known = show.capacity.clone();
    findings.extend(sources(&show));
    let dir = known.as_ref().map_or(config.paths.cni_conf_dir.as_str(), |c| &c.cni_conf_dir);
    findings.push(host.conflist(dir));
    let ipv6 = config.families.has(tideway_model::Family::V6);
    findings.extend(host.forwarding(ipv6));
    findings.push(host.rp_filter());
    let view = api_server(options, &config, &show.node)?;
    findings.push(kubelet::max_pods(known.as_ref(), &view));
    let proxy = host.proxy().or_else(|| proxy::of_config_map(view.as_ref().ok()?));
    if let Some(Ok(proxy)) = &proxy {
        findings.push(rest::cooldown(proxy, &config.pool));
    }
    let blocks = known.as_ref().map_or(&[][..], |c| &c.vpc_blocks);
    findings.push(proxy::cluster_cidr(proxy, blocks));
    print(options.output, &findings, out)?;
    match findings.iter().filter(|f| f.grade == Grade::Fail).count() {
        0 => Ok(()),
        failed => Err(CommandError::Failed(failed)),
    }
}

fn print(output: Output, findings: &[Finding], out: &mut dyn Write) -> Result<(), CommandError> {
    if output == Output::Json {
        let failed = findings.iter().filter(|f| f.grade == Grade::Fail).count();
        writeln!(out, "{:#}", serde_json::json!(Report { failed, findings }))?;
        return Ok(());
    }
    let grade = |g: Grade| match g {
        Grade::Ok => "ok",
        Grade::Warn => "warn",
        Grade::Fail => "FAIL",
    };
    let rows = findings.iter().map(|f| {
        let says =
            if f.remedy.is_empty() { f.says.clone() } else { format!("{}; {}", f.says, f.remedy) };
        [grade(f.grade).to_owned(), f.check.to_owned(), says]
    });
    table::write(out, "Settings around tidewayd", ["", "CHECK", "SEEN"], rows.collect())?;
    Ok(())
}

/// What the API server shows of this node, or why it shows nothing.
fn api_server(
    options: &CheckOptions,
    config: &tideway_model::Config,
    shown: &str,
) -> Result<Result<NodeView, String>, CommandError> {
    let kubeconfig = options.kubeconfig.clone().or_else(|| config.kubernetes.kubeconfig.clone());
    if kubeconfig.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Ok(Err("no kubeconfig is configured; name one with --kubeconfig".into()));
    }
    let node = if shown.is_empty() {
        config.node_name.clone().unwrap_or_else(tideway_kubeapi::node_name)
    } else {
        shown.to_owned()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(tideway_kubeapi::node_view(&KubeConfig { kubeconfig, node })))
}

fn daemon(asked: &Result<(pb::ShowReply, pb::StatusReply), CommandError>) -> Finding {
    match asked {
        Ok((show, status)) if status.ready => {
            Finding::ok("tidewayd", format!("{} serves {}", show.version, show.node))
        }
        Ok((_, status)) => Finding::fail(
            "tidewayd",
            format!("not ready: {}", status.reason),
            "see `tideway status`",
        ),
        Err(error) => Finding::fail(
            "tidewayd",
            error.to_string().lines().next().unwrap_or_default(),
            "start it, and run this command on the node as root",
        ),
    }
}

fn sources(show: &pb::ShowReply) -> impl Iterator<Item = Finding> {
    show.source_errors.iter().map(|error| {
        Finding::warn("sources", error, "see whether it runs and can be reached from this node")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_away_and_one_that_is_not_ready_fail() {
        let away = CommandError::Unreachable { socket: "/s".into(), cause: "refused".into() };
        let found = daemon(&Err(away));
        assert_eq!(found.grade, Grade::Fail);
        assert!(found.says.contains("refused") && !found.says.contains('\n'), "{found:?}");
        let status = pb::StatusReply { ready: false, reason: "no ENI".into() };
        let found = daemon(&Ok((pb::ShowReply::default(), status)));
        assert_eq!((found.grade, found.says.as_str()), (Grade::Fail, "not ready: no ENI"));
        let status = pb::StatusReply { ready: true, ..pb::StatusReply::default() };
        assert_eq!(daemon(&Ok((pb::ShowReply::default(), status))).grade, Grade::Ok);
    }

    #[test]
    fn a_source_that_does_not_answer_is_a_warning() {
        let errors = vec!["API server (NodeNetwork): away".to_owned()];
        let show = pb::ShowReply { source_errors: errors, ..pb::ShowReply::default() };
        let found: Vec<Finding> = sources(&show).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].grade == Grade::Warn && found[0].says.contains("NodeNetwork"));
    }
}
