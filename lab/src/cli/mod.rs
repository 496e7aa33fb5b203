//! The command line. `up` without `--foreground` starts itself again in the background and waits until it is ready.

mod client;
mod daemon;
mod down;
mod place;
mod print;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::Value;
use tideway_lab::LatencyMode;
use tideway_lab::config::CloudKind;

use place::Place;

/// Emulated VPCs for Tideway: cloud APIs, metadata service and network on one machine.
#[derive(Debug, Parser)]
#[command(name = "tideway-lab")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a lab and wait until it is ready.
    Up(Up),
    /// Stop a lab and remove everything that it made, also after a crash.
    Down(Id),
    /// Show a lab.
    Status(Shown),
    /// List, add and clear faults.
    Faults {
        #[command(flatten)]
        id: Id,
        #[command(subcommand)]
        action: Option<FaultAction>,
    },
    /// Show calls and addresses.
    Ledger {
        #[command(flatten)]
        shown: Shown,
        /// Check that no address was given twice or lost; exit status 1 when one was.
        #[arg(long)]
        verify: bool,
    },
    /// Write the recorded signed requests as one JSON file each.
    Requests {
        #[command(flatten)]
        id: Id,
        /// Folder to write to.
        #[arg(short = 'o', long = "output")]
        output: PathBuf,
    },
    /// Print the network state of an instance.
    Snapshot {
        #[command(flatten)]
        id: Id,
        /// Name of the instance.
        instance: String,
    },
    /// Boot an instance anew: its network state goes, its ENIs stay attached. End its processes first.
    Reboot {
        #[command(flatten)]
        id: Id,
        /// Name of the instance.
        instance: String,
    },
    /// End an instance for good; its ENIs go with it or stay, each as it says. End its processes first.
    Terminate {
        #[command(flatten)]
        id: Id,
        /// Name of the instance.
        instance: String,
    },
    /// List the instance types with their limits.
    Types {
        /// The cloud whose types.
        #[arg(long, default_value = "aliyun")]
        cloud: Cloud,
    },
}

#[derive(Debug, clap::Args)]
struct Id {
    /// Lab id: 1 to 4 characters of a-z and 0-9.
    #[arg(long, default_value = "lab", global = true)]
    id: String,
}

#[derive(Debug, clap::Args)]
struct Shown {
    #[command(flatten)]
    id: Id,
    /// `json` for machines.
    #[arg(short = 'o', long = "output")]
    output: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Lab id: 1 to 4 characters of a-z and 0-9. Overrides the file's.
    #[arg(long)]
    id: Option<String>,
    /// YAML file; without it, one control-plane instance and two workers.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Stay in the foreground.
    #[arg(long)]
    foreground: bool,
    /// APIs only: no namespaces, no root needed.
    #[arg(long)]
    no_fabric: bool,
    /// Whose VPC it is. Overrides the file's.
    #[arg(long)]
    cloud: Option<Cloud>,
    /// How long things take. Overrides the file's.
    #[arg(long)]
    latency: Option<Latency>,
    /// Set by `up` for its background process.
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cloud {
    Aliyun,
    Aws,
}

impl Cloud {
    fn word(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Aws => "aws",
        }
    }
}

impl From<Cloud> for CloudKind {
    fn from(cloud: Cloud) -> Self {
        match cloud {
            Cloud::Aliyun => Self::Aliyun,
            Cloud::Aws => Self::Aws,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Latency {
    None,
    Real,
    Slow,
}

impl Latency {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Real => "real",
            Self::Slow => "slow",
        }
    }
}

impl From<Latency> for LatencyMode {
    fn from(latency: Latency) -> Self {
        match latency {
            Latency::None => Self::None,
            Latency::Real => Self::Real,
            Latency::Slow => Self::Slow,
        }
    }
}

#[derive(Debug, Subcommand)]
enum FaultAction {
    /// Faults in force.
    List,
    /// Put a fault in force, such as {"kind":"throttle","action":"CreateNetworkInterface","count":3}.
    Add {
        /// The fault as JSON.
        json: String,
    },
    /// End one fault, or all.
    Clear {
        /// Number of the fault.
        number: Option<u32>,
    },
}

/// Runs a command; errors go to stderr with their causes.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    match execute(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            print::error(&format!("tideway-lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) if up.foreground => daemon::foreground(&up)?,
        Command::Up(up) => daemon::background(&up)?,
        Command::Down(id) => down::down(&Place::of(&id.id)?)?,
        Command::Status(shown) => {
            let status = client::get(&Place::of(&shown.id.id)?, "/status")?;
            print::either(shown.output.is_some(), &status, print::status);
        }
        Command::Faults { id, action } => faults(&Place::of(&id.id)?, action)?,
        Command::Ledger { shown, verify } => {
            let ledger = client::get(&Place::of(&shown.id.id)?, "/ledger")?;
            print::either(shown.output.is_some(), &ledger, print::ledger);
            let wrong = ledger.get("violations").and_then(Value::as_array).map_or(0, Vec::len);
            if verify && wrong > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Requests { id, output } => requests(&Place::of(&id.id)?, &output)?,
        Command::Snapshot { id, instance } => {
            let path = format!("/snapshot/{instance}");
            print::line(client::text(&Place::of(&id.id)?, "GET", &path, "")?.trim_end());
        }
        Command::Reboot { id, instance } => {
            let path = format!("/instances/{instance}/reboot");
            print::json(&client::send(&Place::of(&id.id)?, "POST", &path, "")?);
        }
        Command::Terminate { id, instance } => {
            let path = format!("/instances/{instance}");
            print::json(&client::send(&Place::of(&id.id)?, "DELETE", &path, "")?);
        }
        Command::Types { cloud } => print::types(cloud.into())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn faults(place: &Place, action: Option<FaultAction>) -> Result<()> {
    let answer = match action.unwrap_or(FaultAction::List) {
        FaultAction::List => client::get(place, "/faults")?,
        FaultAction::Add { json } => client::send(place, "POST", "/faults", &json)?,
        FaultAction::Clear { number: None } => client::send(place, "DELETE", "/faults", "")?,
        FaultAction::Clear { number: Some(number) } => {
            client::send(place, "DELETE", &format!("/faults/{number}"), "")?
        }
    };
    print::json(&answer);
    Ok(())
}

fn requests(place: &Place, output: &std::path::Path) -> Result<()> {
    let all = client::get(place, "/requests")?;
    let Some(all) = all.as_array() else { bail!("the lab answered no list of requests") };
    std::fs::create_dir_all(output)
        .with_context(|| format!("the folder {} cannot be made", output.display()))?;
    for (number, request) in all.iter().enumerate() {
        let headers = request.get("headers").and_then(Value::as_array);
        let authorization = headers.into_iter().flatten().find_map(|h| {
            let name = h.get(0).and_then(Value::as_str)?;
            let value = h.get(1).and_then(Value::as_str)?;
            name.eq_ignore_ascii_case("authorization").then_some(value)
        });
        let name = request.get("name").and_then(Value::as_str).unwrap_or("unknown");
        let scheme = match authorization {
            None => "v1",
            Some(value) if value.starts_with("AWS4") => "sigv4",
            Some(_) => "v3",
        };
        let path = output.join(format!("{scheme}-{number:05}-{name}.json"));
        std::fs::write(&path, serde_json::to_string_pretty(request)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    print::line(&format!("{} requests written to {}", all.len(), output.display()));
    Ok(())
}
