//! `kubectl`, run where the API server can be reached: in the control plane's network namespace.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    cluster::{list, text},
    command,
};

/// A configured `kubectl`.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(super) binary: PathBuf,
    pub(super) namespace: String,
    pub(super) server: String,
    pub(super) pki: PathBuf,
    pub(super) cache: PathBuf,
}

impl Kubectl {
    /// The command with these arguments.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> std::process::Command {
        let mut command = command::in_netns(&self.namespace, &self.binary);
        command.arg("kubectl").arg("--kubeconfig").arg(self.pki.join("admin.kubeconfig"));
        command.arg("--cache-dir").arg(&self.cache).args(arguments);
        command
    }

    /// How a person calls it.
    pub fn shown(&self) -> String {
        command::shown(&self.command::<&str>([]))
    }

    /// Runs it and returns what it printed.
    pub fn run<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        command::run(&mut self.command(arguments))
    }

    /// Reads an object or a list, with selectors as the API has them: `nodes`, `pods/own`, `pods?labelSelector=app=db`, or a
    /// whole path. By `curl`, which takes a tenth of the CPU of a `kubectl`: a wait looks dozens of times.
    pub fn get(&self, what: &str) -> Result<Value> {
        let group = match what.split(['/', '?']).next() {
            Some("") => "",
            Some("nodes") => "/api/v1/",
            Some("nodenetworks") => "/apis/tideway.dev/v1alpha1/",
            _namespaced => "/api/v1/namespaces/default/",
        };
        let file = |name: &str| self.pki.join(name).display().to_string();
        let mut curl = command::in_netns(&self.namespace, "curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]);
        curl.args(["--cacert", &file("ca.crt"), "--cert", &file("admin.crt")]);
        curl.args(["--key", &file("admin.key"), &format!("{}{group}{what}", self.server)]);
        let text = command::run(&mut curl)?;
        serde_json::from_str(&text).with_context(|| command::shown(&curl))
    }

    /// The names of a list's objects.
    pub fn names(&self, what: &str) -> Result<Vec<String>> {
        let name = |object: &Value| text(object, "/metadata/name").to_owned();
        Ok(list(&self.get(what)?, "/items").iter().map(name).collect())
    }

    /// Applies manifests.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(["apply", "-f", "-"]);
        command::run_with(&mut command, Some(manifests.as_bytes())).map(drop)
    }

    /// Runs a program in a pod with standard input.
    pub fn exec(&self, pod: &str, program: &[&str], stdin: &[u8]) -> Result<String> {
        let mut command = self.command(["exec", "-i", pod, "--"]);
        command::run_with(command.args(program), Some(stdin))
    }
}
