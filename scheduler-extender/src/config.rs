//! The configuration file (`/etc/tideway/extender.yaml`) and its validation.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tideway_model::{ConfigError, ConfigFile};

use crate::decide::{Policy, Profile};

/// The whole file. Every key has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Where the scheduler asks. Beyond loopback only with `tls`.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub http: SocketAddr,
    /// TLS for `listen`.
    pub tls: Option<TlsConfig>,
    /// Path of a kubeconfig; without it the service account of the pod.
    pub kubeconfig: Option<String>,
    /// Who binds.
    pub mode: Mode,
    /// Which nodes are better.
    pub profile: ProfileName,
    /// So many nodes are returned at most; 0: all with room. Only if this is the last filter extender.
    pub short_list: usize,
    /// `schedulerName`s of the scheduler that asks, at least one.
    pub scheduler_names: Vec<String>,
    /// Seconds that a pod holds its units at most, 5 to 600.
    pub hold_seconds: u32,
    /// `bindTimeoutSeconds` of the scheduler's plugin `VolumeBinding`, 1 to 3600.
    pub volume_bind_timeout_seconds: u32,
    /// For so many seconds after the start, 0 to 300, only nodes with room for certain are offered.
    pub caution_seconds: u32,
}

/// Server certificate, and who may ask.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// PEM file with the key.
    pub key_file: PathBuf,
    /// PEM file with authorities: clients must show a certificate of one of them.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// Who binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The scheduler.
    Default,
    /// We: never two pods for one last address.
    Strict,
}

/// Which nodes are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProfileName {
    /// Fill nodes up.
    Pack,
    /// Keep room everywhere.
    Spread,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9843)),
            http: SocketAddr::from(([127, 0, 0, 1], 9844)),
            tls: None,
            kubeconfig: None,
            mode: Mode::Default,
            profile: ProfileName::Spread,
            short_list: 64,
            scheduler_names: vec!["default-scheduler".to_owned()],
            hold_seconds: 30,
            volume_bind_timeout_seconds: 600,
            caution_seconds: 10,
        }
    }
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// The file cannot be read, or says something wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::from_file(&ConfigFile::read(path)?)
    }

    /// Parses and validates a text; `path` is for messages only.
    ///
    /// # Errors
    /// It says something wrong.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        Self::from_file(&ConfigFile::of(text, path))
    }

    fn from_file(file: &ConfigFile) -> Result<Self, ConfigError> {
        let config: Self = file.parse()?;
        config.validate().map_err(|(key, message)| file.refuse(key, message))?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), (&'static str, String)> {
        if !self.listen.ip().is_loopback() && self.tls.is_none() {
            return Err((
                "listen",
                format!("{} is not loopback: set tls, or listen on 127.0.0.1", self.listen),
            ));
        }
        if self.listen == self.http && self.listen.port() != 0 {
            return Err(("http", "it must be another address than listen".to_owned()));
        }
        if !(5..=600).contains(&self.hold_seconds) {
            return Err((
                "holdSeconds",
                "5 to 600 is expected: shorter than a bind breaks the promise".to_owned(),
            ));
        }
        if !(1..=3600).contains(&self.volume_bind_timeout_seconds) {
            return Err(("volumeBindTimeoutSeconds", "1 to 3600 is expected".to_owned()));
        }
        if self.caution_seconds > 300 {
            return Err(("cautionSeconds", "0 to 300 is expected".to_owned()));
        }
        if self.scheduler_names.is_empty() || self.scheduler_names.iter().any(String::is_empty) {
            return Err((
                "schedulerNames",
                "at least one name is expected, and no empty one".to_owned(),
            ));
        }
        Ok(())
    }

    /// What the decisions need of it.
    pub fn policy(&self) -> Policy {
        let seconds = |s: u32| Duration::from_secs(s.into());
        Policy {
            strict: self.mode == Mode::Strict,
            profile: match self.profile {
                ProfileName::Pack => Profile::Pack,
                ProfileName::Spread => Profile::Spread,
            },
            short_list: self.short_list,
            hold: seconds(self.hold_seconds),
            volume_hold: seconds(self.volume_bind_timeout_seconds) + seconds(30),
            caution: seconds(self.caution_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, "/etc/tideway/extender.yaml").unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_has_the_documented_defaults() {
        let config = Config::parse("# nothing\n", "x").unwrap();
        assert_eq!((config.short_list, config.hold_seconds, config.mode), (64, 30, Mode::Default));
    }

    #[test]
    fn every_refusal_names_file_line_and_key() {
        let cases = [
            ("mode: strict\nshortlist: 3\n", 2, "shortlist"),
            ("mode: strickt\n", 1, "mode"),
            ("shortList: many\n", 1, "shortList"),
            ("# holdSeconds: 9\nholdSeconds: 1\n", 2, "holdSeconds"),
        ];
        for (text, line, key) in cases {
            let said = error(text);
            let begin =
                format!("configuration /etc/tideway/extender.yaml: line {line}: key {key}: ");
            assert!(said.starts_with(&begin), "{text:?}: {said}");
        }
    }

    #[test]
    fn addresses_beyond_loopback_without_tls_are_refused() {
        let text = error("mode: strict\nlisten: 10.0.0.1:9843\n");
        assert_eq!(
            text,
            "configuration /etc/tideway/extender.yaml: line 2: key listen: 10.0.0.1:9843 is not loopback: set tls, or listen on 127.0.0.1"
        );
    }
}
