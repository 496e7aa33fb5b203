//! `up`: the process that is the lab, and its start in the background.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tideway_lab::fabric::{self, Fabric, KernelFabric, NoFabric};
use tideway_lab::{Lab, LabConfig, LabHost};
use tokio::signal::unix::{SignalKind, signal};

use super::place::Place;
use super::{Up, print};

/// How long the background process may take to become ready.
const START: Duration = Duration::from_mins(1);

fn configuration(up: &Up) -> Result<LabConfig> {
    let mut config = match &up.config {
        None => LabConfig::default(),
        Some(path) => LabConfig::read(path)?,
    };
    if let Some(id) = &up.id {
        config.id.clone_from(id);
    }
    if let Some(latency) = up.latency {
        config.latency = latency.into();
    }
    if let Some(cloud) = up.cloud {
        config.cloud = cloud.into();
        config = config.fitted();
    }
    config.check()?;
    Ok(config)
}

/// Starts this program again, detached, and waits until it is ready.
pub(crate) fn background(up: &Up) -> Result<()> {
    let config = configuration(up)?;
    let place = Place::of(&config.id)?;
    if let Some(pid) = place.process() {
        bail!(
            "lab {} runs already (pid {pid}); stop it with `tideway-lab down --id {}`",
            place.id,
            place.id
        );
    }
    fs::create_dir_all(&place.dir)
        .with_context(|| format!("{} cannot be made", place.dir.display()))?;
    place.remove(true)?;
    let log = File::create(place.log_file())
        .with_context(|| format!("{} cannot be written", place.log_file().display()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["up", "--foreground", "--detached", "--id", &config.id]);
    if let Some(path) = &up.config {
        command.arg("--config").arg(fs::canonicalize(path)?);
    }
    if let Some(latency) = up.latency {
        command.args(["--latency", latency.word()]);
    }
    if let Some(cloud) = up.cloud {
        command.args(["--cloud", cloud.word()]);
    }
    if up.no_fabric {
        command.arg("--no-fabric");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the lab's process cannot be started")?;
    let end = Instant::now() + START;
    loop {
        if let Some(description) = place.description()
            && description.pid == child.id()
        {
            print::summary(&description);
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            let said = fs::read_to_string(place.log_file()).unwrap_or_default();
            bail!("the lab did not start:\n{}", said.trim_end());
        }
        if Instant::now() >= end {
            child.kill()?;
            bail!("the lab was not ready in time; see {}", place.log_file().display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Is the lab until a signal or the control socket ends it.
pub(crate) fn foreground(up: &Up) -> Result<()> {
    if up.detached {
        nix::unistd::setsid().context("the lab's process cannot detach")?;
    }
    let config = configuration(up)?;
    let place = Place::of(&config.id)?;
    if let Some(pid) = place.process() {
        bail!("lab {} runs already (pid {pid})", place.id);
    }
    fs::create_dir_all(&place.dir)
        .with_context(|| format!("{} cannot be made", place.dir.display()))?;
    fs::write(place.pid_file(), std::process::id().to_string())
        .with_context(|| format!("{} cannot be written", place.pid_file().display()))?;
    let outcome = serve(up, config, &place);
    let cleaned = if up.no_fabric { Ok(()) } else { fabric::cleanup(&place.id) };
    place.remove(true)?;
    outcome?;
    cleaned.context("the lab's network could not be removed entirely")
}

fn serve(up: &Up, config: LabConfig, place: &Place) -> Result<()> {
    let mut host = LabHost {
        state_dir: Some(place.dir.clone()),
        tell: Arc::new(|text| print::error(&format!("network: {text}"))),
        ..LabHost::default()
    };
    let names: Vec<String> = config.instances.iter().map(|i| i.name.clone()).collect();
    if up.no_fabric {
        host.fabric = Arc::new(NoFabric::default());
    } else {
        let kernel =
            KernelFabric::start(&config.id, |event| print::error(&format!("network: {event:?}")))
                .context("the lab's network cannot be made; `up --no-fabric` works without it")?;
        host.namespace = Some(kernel.vpc_namespace().to_owned());
        host.fabric = Arc::new(kernel);
    }
    let fabric: Arc<dyn Fabric> = Arc::clone(&host.fabric);
    let lab = Lab::start_on(config, host)?;
    publish(place, &lab)?;
    if !up.detached {
        print::summary(lab.description());
    }
    wait_for_end(&lab)?;
    lab.stop();
    // Deliberate removal, so that the watch for lost links does not fight the cleanup.
    for name in &names {
        if let Err(error) = fabric.delete_instance(name) {
            print::error(&format!("network: {error}"));
        }
    }
    Ok(())
}

/// Writes `lab.json` in one step: who sees it may use the lab.
fn publish(place: &Place, lab: &Lab) -> Result<()> {
    let file = place.description_file();
    let fresh = file.with_extension("json.new");
    let text = serde_json::to_string_pretty(lab.description())?;
    fs::write(&fresh, text).with_context(|| format!("{} cannot be written", fresh.display()))?;
    fs::rename(&fresh, &file).with_context(|| format!("{} cannot be written", file.display()))
}

fn wait_for_end(lab: &Lab) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut asked = lab.stop_asked();
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = asked.wait_for(|stop| *stop) => {}
        }
        Ok(())
    })
}
