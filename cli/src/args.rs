//! The command line.

use std::{ffi::OsString, path::Path};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tideway_model::{PodKey, names};

/// See what Tideway does on this node.
#[derive(Debug, Parser)]
#[command(name = "tideway", version, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// This node: ENIs, addresses by state, devices, waiting pods, cloud errors.
    Status(StatusOptions),
    /// One pod: how it is plumbed, or why it waits.
    Pod(PodOptions),
    /// The emulated VPC (runs `tideway-lab`).
    #[command(disable_help_flag = true)]
    Lab {
        /// Arguments of `tideway-lab`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Version of this program.
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// The daemon's socket.
    #[arg(long, default_value = names::SOCKET, value_name = "PATH")]
    pub(crate) socket: String,
    /// Seconds to wait for the daemon.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) timeout: u32,
}

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct PodOptions {
    /// Namespace and name of the pod.
    #[arg(value_name = "NAMESPACE/NAME", value_parser = pod_key)]
    pub(crate) pod: PodKey,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables.
    Table,
    /// Tables, with every address and every pod.
    Wide,
    /// One JSON object.
    Json,
}

fn pod_key(text: &str) -> Result<PodKey, String> {
    let (namespace, name) =
        text.split_once('/').ok_or("write NAMESPACE/NAME, for example default/web-0")?;
    PodKey::new(namespace, name).map_err(|error| error.to_string())
}

/// Under the name `kubectl-tideway` kubectl finds this program as a plugin: its help then says `kubectl tideway`.
pub(crate) fn renamed(mut args: Vec<OsString>) -> Vec<OsString> {
    let plugin = args
        .first()
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|name| name.to_string_lossy().starts_with("kubectl-"));
    if let (true, Some(program)) = (plugin, args.first_mut()) {
        *program = "kubectl tideway".into();
    }
    args
}
