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
    /// What the kubelet's maxPods should be: pods that the node's addresses are enough for.
    #[command(name = "maxpods")]
    MaxPods(MaxPodsOptions),
    /// Settings around the daemon against what they should be: kubelet, kube-proxy, kernel, CNI configuration.
    Check(CheckOptions),
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

#[derive(Debug, Args)]
pub(crate) struct MaxPodsOptions {
    /// hostNetwork pods of the node, which need no address and count for the kubelet.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(crate) host_network: u32,
    /// Answer for this instance type instead of this node.
    #[arg(long = "type", requires = "from", value_name = "TYPE")]
    pub(crate) instance_type: Option<String>,
    /// The cloud's answer about it (`aliyun ecs DescribeInstanceTypes --InstanceTypes.1 TYPE`,
    /// `aws ec2 describe-instance-types --instance-types TYPE`), `-` for standard input.
    #[arg(long, requires = "instance_type", value_name = "FILE")]
    pub(crate) from: Option<String>,
    /// Configuration that nodes of the type will have; only with --type. The defaults, when it does not exist.
    #[arg(long, default_value = names::CONFIG, value_name = "FILE")]
    pub(crate) config: String,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// The daemon's configuration.
    #[arg(long, default_value = names::CONFIG, value_name = "FILE")]
    pub(crate) config: String,
    /// To ask for the Node; default: the daemon's, or the service account of the pod.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<String>,
    /// Where the host's files are seen.
    #[arg(long, default_value = "/", value_name = "DIRECTORY")]
    pub(crate) root: String,
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
