//! The CNI configuration: published in one step when the daemon can serve, withdrawn at uninstall. Its presence is what
//! makes the runtime report the network as ready.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde_json::{Map, json};
use tideway_model::{Config, names};

/// Writes the configuration for this CNI version; leaves it untouched when it is right already.
pub fn publish(config: &Config, cni_version: &str) -> io::Result<()> {
    let dir = Path::new(&config.paths.cni_conf_dir);
    if config.paths.cni_conf_dir.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let text = render(config, cni_version);
    let target = dir.join(names::CONFLIST);
    if fs::read_to_string(&target).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // The leading dot keeps the runtime from reading it half written.
    let temporary = dir.join(format!(".{}.new", names::CONFLIST));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, &target)?;
    File::open(dir)?.sync_all()
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
        publish(&config, "1.0.0").unwrap();
        publish(&config, "1.0.0").unwrap();
        let names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, ["10-tideway.conflist"]);
        let text = fs::read_to_string(dir.join("10-tideway.conflist")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cniVersion"], "1.0.0");
        withdraw(&config).unwrap();
        withdraw(&config).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
