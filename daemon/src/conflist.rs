//! The CNI configuration: published in one step when the daemon can serve, withdrawn at uninstall. Its presence is what
//! makes the runtime report the network as ready.
//!
//! Its version is the runtime's: 1.1.0 brings STATUS and GC, and one that does not know it refuses the network. The runtime may
//! be away when the daemon starts, and another one when it is back, so it is asked again and again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tideway_model::{Config, names};
use tideway_nodeapi::Runtime;
use tokio_util::sync::CancellationToken;

/// Every runtime knows the first of them.
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

/// Publishes the configuration for the runtime that answers; gives back its version.
pub async fn publish(config: &Config, runtime: Option<&Runtime>) -> io::Result<&'static str> {
    let known = match runtime {
        None => Some(VERSIONS[0]),
        Some(runtime) => match runtime.cni_version().await {
            Ok(version) => Some(version),
            Err(error) => {
                tracing::warn!(%error, "the container runtime does not tell its version yet; the CNI configuration keeps its own meanwhile");
                None
            }
        },
    };
    write(config, known)
}

/// Publishes it anew whenever the runtime asks for another `version` than it has, or somebody took it away.
pub async fn follow(
    config: Config,
    runtime: Runtime,
    mut version: &'static str,
    pause: Duration,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Ok(known) = runtime.cni_version().await else { continue };
        match write(&config, Some(known)) {
            Ok(_) if known == version => {}
            Ok(_) => {
                tracing::info!(
                    from = version,
                    to = known,
                    "the CNI configuration follows the container runtime"
                );
                version = known;
            }
            Err(error) => {
                tracing::warn!(dir = %config.paths.cni_conf_dir, %error, "the CNI configuration cannot be written; make the directory writable (paths.cniConfDir)");
            }
        }
    }
}

/// Writes it for this version, else for the one that it has; leaves it untouched when it is right already.
fn write(config: &Config, known: Option<&'static str>) -> io::Result<&'static str> {
    let dir = Path::new(&config.paths.cni_conf_dir);
    let target = dir.join(names::CONFLIST);
    let old = fs::read_to_string(&target).unwrap_or_default();
    let version = known.or_else(|| version_of(&old)).unwrap_or(VERSIONS[0]);
    let text = render(config, version);
    if config.paths.cni_conf_dir.is_empty() || old == text {
        return Ok(version);
    }
    fs::create_dir_all(dir)?;
    // The leading dot keeps the runtime from reading it half written.
    let temporary = dir.join(format!(".{}.new", names::CONFLIST));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, &target)?;
    File::open(dir)?.sync_all()?;
    Ok(version)
}

fn version_of(text: &str) -> Option<&'static str> {
    let list: Value = serde_json::from_str(text).ok()?;
    let version = list.get("cniVersion")?.as_str()?;
    VERSIONS.into_iter().find(|known| *known == version)
}

/// Takes it away; a missing one is fine.
pub fn withdraw(config: &Config) -> io::Result<()> {
    if config.paths.cni_conf_dir.is_empty() {
        return Ok(());
    }
    match fs::remove_file(Path::new(&config.paths.cni_conf_dir).join(names::CONFLIST)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn render(config: &Config, cni_version: &str) -> String {
    let mut plugin = Map::from_iter([
        ("type".to_owned(), json!(names::CNI_TYPE)),
        ("addTimeoutSeconds".to_owned(), json!(config.pool.add_timeout_seconds)),
        (
            "capabilities".to_owned(),
            json!({ "bandwidth": true, "portMappings": true, names::CAP_ANNOTATIONS: true }),
        ),
    ]);
    if config.paths.socket != names::SOCKET {
        plugin.insert("socket".to_owned(), json!(config.paths.socket));
    }
    if config.paths.tickets != names::TICKETS {
        plugin.insert("tickets".to_owned(), json!(config.paths.tickets));
    }
    let list = json!({ "cniVersion": cni_version, "name": names::CNI_NAME, "plugins": [plugin] });
    format!("{list:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_appears_in_one_step_and_goes_without_a_trace() {
        let dir = std::env::temp_dir().join(format!("tideway-conflist-{}", std::process::id()));
        let mut config = Config::parse("cluster: c\n", "test").unwrap();
        config.paths.cni_conf_dir = dir.to_string_lossy().into_owned();
        write(&config, Some("1.0.0")).unwrap();
        write(&config, Some("1.0.0")).unwrap();
        let names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, ["10-tideway.conflist"]);
        let text = fs::read_to_string(dir.join("10-tideway.conflist")).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cniVersion"], "1.0.0");
        withdraw(&config).unwrap();
        withdraw(&config).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
