//! `tidewayd uninstall`: gives back what this node holds in the cloud, takes away what is ours in the kernel and on disk.
//! It runs in place of the daemon, which must be stopped first (the journal has one owner).

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use tideway_cloud::Cloud;
use tideway_ipam::Event;
use tideway_journal::LastingJournal;
use tideway_model::{Config, InstanceId, names};

use crate::{
    assemble::{assemble, facts_file, witness},
    clock, conflist,
    engine::Message,
    meter::Meter,
    publish,
    sources::SourceErrors,
};

/// Longest wait until the cloud has taken everything back.
const PATIENCE: Duration = Duration::from_mins(5);

/// Does it. Pods that still hold addresses stop it, unless they are provably gone.
pub async fn uninstall<C: Cloud>(
    cloud: C,
    instance: InstanceId,
    config: &Config,
) -> anyhow::Result<()> {
    if std::os::unix::net::UnixStream::connect(&config.paths.socket).is_ok() {
        bail!("tidewayd still serves {}; stop it, then call uninstall again", config.paths.socket);
    }
    let cancel = tokio_util::sync::CancellationToken::new();
    let errors = SourceErrors::new(Meter::default());
    let path = Path::new(&config.paths.journal);
    let journal = LastingJournal::open(path, instance.as_str(), &witness(config))?;
    let parts =
        assemble(cloud, instance, config, Some(journal), None, &errors, cancel.clone()).await?;
    let tools = &parts.tools;
    // The daemon is stopped, so nobody starts pods: what the kernel shows alive now stops us, the rest is dead.
    let alive = tools.promised.all();
    let living = tools
        .datapath
        .live(&alive.iter().map(|a| (**a).clone()).collect::<Vec<_>>())
        .await
        .context("the kernel could not be read")?;
    if !living.is_empty() {
        let pods: Vec<_> = alive
            .iter()
            .filter(|a| living.contains(&a.key))
            .map(|a| a.pod.key.to_string())
            .collect();
        bail!(
            "{} pods still use addresses of this node ({}); drain the node, then call uninstall again",
            pods.len(),
            pods.join(", ")
        );
    }
    conflist::withdraw(config).with_context(|| {
        let dir = &config.paths.cni_conf_dir;
        format!("{} could not be removed from {dir}; call uninstall again", names::CONFLIST)
    })?;
    for dead in alive {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let id = tideway_ipam::RequestId(
            u64::MAX - u64::try_from(clock::boot().as_nanos()).unwrap_or(0),
        );
        tools.engine.send(Message::Del(id, dead.key.clone(), tx.into()));
        rx.await.context("the allocator stopped")?.map_err(anyhow::Error::msg)?;
    }
    tools.engine.tell(Event::Uninstall);
    let done = tools.uninstalled.clone();
    if tokio::time::timeout(PATIENCE, done.cancelled()).await.is_err() {
        let (_, errors) = tools.log.snapshot();
        let last: Vec<_> =
            errors.iter().map(|e| format!("{} ({})", e.error, e.error.remedy())).collect();
        bail!(
            "the cloud did not take every ENI back within {} s: {}; call uninstall again",
            PATIENCE.as_secs(),
            last.join("; ")
        );
    }
    tools
        .datapath
        .uninstall()
        .await
        .context("not everything of ours could be taken out of the kernel")?;
    cancel.cancel();
    tools.engine.send(Message::Stop);
    let ended = tokio::task::spawn_blocking(move || parts.engine.join())
        .await
        .context("the engine did not end")?;
    ended.map_err(|_panic| anyhow::anyhow!("the engine failed"))??;
    for file in [path, &facts_file(config), &witness(config)] {
        remove(file)?;
    }
    publish::withdraw(config).await;
    drop(std::fs::remove_dir_all(&config.paths.tickets));
    drop(std::fs::remove_file(&config.paths.socket));
    Ok(())
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("{} could not be removed", file.display()))
        }
        _ => Ok(()),
    }
}
