//! `kubectl`, run where the API server can be reached: in the control plane's network namespace.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command;

/// A configured `kubectl`.
#[derive(Debug, Clone)]
pub struct Kubectl {
    binary: PathBuf,
    namespace: String,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(super) fn new(binary: &Path, namespace: &str, kubeconfig: &Path, cache: &Path) -> Self {
        Self {
            binary: binary.into(),
            namespace: namespace.into(),
            kubeconfig: kubeconfig.into(),
            cache: cache.into(),
        }
    }

    /// The command with these arguments.
    pub fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> std::process::Command {
        let mut command = command::in_netns(&self.namespace, &self.binary);
        command.arg("kubectl").arg("--kubeconfig").arg(&self.kubeconfig);
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

    /// Runs it with `-o json`.
    pub fn json<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Value> {
        let mut command = self.command(arguments);
        let text = command::run(command.args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| command::shown(&command))
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
