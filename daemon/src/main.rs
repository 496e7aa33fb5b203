//! `tidewayd`: arguments, signals, exit code. The daemon itself is the library beside this file.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tideway_model::{Config, Provider, names};
use tidewayd::{
    connect::{self, Client},
    meter, start, uninstall,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The node's daemon: ENIs, addresses and pod interfaces.
#[derive(Debug, Parser)]
#[command(name = "tidewayd", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, global = true, default_value = names::CONFIG, env = "TIDEWAY_CONFIG")]
    config: PathBuf,
    /// Forget the journal (it is kept aside) and rebuild it from cloud, runtime and kernel.
    #[arg(long)]
    rebuild_journal: bool,
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve (the default).
    Run,
    /// Give back every ENI and address of this node and remove what is ours from kernel and disk.
    Uninstall,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tideway_telemetry::init();
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("tidewayd must run as root: it changes interfaces, routes and namespaces");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Blocking work is netlink, which the kernel serialises; more threads would only each keep a heap of their own.
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let result = runtime.block_on(async {
        match config.cloud.provider {
            #[cfg(feature = "aliyun")]
            Provider::Aliyun => on::<tideway_cloud_aliyun::AliyunCloud>(arguments, config).await,
            #[cfg(feature = "aws")]
            Provider::Aws => Box::pin(on::<tideway_cloud_aws::AwsCloud>(arguments, config)).await,
            #[cfg(not(all(feature = "aliyun", feature = "aws")))]
            _ => Err(connect::not_in_this_build(&config).into()),
        }
    });
    // What still hangs is not waited for: the journal holds every promise.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

/// The work, on one cloud.
async fn on<C: Client>(arguments: Arguments, mut config: Config) -> anyhow::Result<()> {
    let (cloud, instance) = connect::connect::<C>(&mut config).await?;
    match arguments.command.unwrap_or(Verb::Run) {
        Verb::Uninstall => uninstall::uninstall(cloud, instance, &config).await,
        Verb::Run => {
            let cancel = CancellationToken::new();
            stop_on_signals(cancel.clone())?;
            let meter = meter::Meter::default();
            let life =
                start::run(cloud, instance, config, arguments.rebuild_journal, meter, cancel);
            Box::pin(life).await
        }
    }
}

fn stop_on_signals(cancel: CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        cancel.cancel();
    });
    Ok(())
}
