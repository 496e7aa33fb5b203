//! `tideway-extender`: arguments, signals, exit code. The program itself is the library beside this file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tideway_extender::config::Config;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Extender of the Kubernetes scheduler: knows which addresses and ENIs are really free.
#[derive(Debug, Parser)]
#[command(name = "tideway-extender", version)]
struct Arguments {
    /// Configuration file.
    #[arg(long, default_value = "/etc/tideway/extender.yaml", env = "TIDEWAY_EXTENDER_CONFIG")]
    config: PathBuf,
    /// Only read the configuration and say what is wrong with it.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tideway_telemetry::init();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signals(cancel.clone())?;
        tideway_extender::run(config, cancel).await?.ended().await;
        Ok(())
    })
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
