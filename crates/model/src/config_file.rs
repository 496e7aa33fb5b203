//! A configuration file of any of our programs: YAML, read once. Unknown keys are errors. An error names file, line and key,
//! and says what would be right; so does one that shows only later ([`ConfigFile::refuse`]).

use std::path::Path;

use serde::de::DeserializeOwned;

mod places;

use places::Places;

/// The text of a file, and where its keys stand.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    path: String,
    text: String,
    places: Places,
}

/// Why a configuration is refused. The text names file and place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(
        "configuration {path}: cannot be read ({cause}); create it, or name another file with --config"
    )]
    Read {
        /// File.
        path: String,
        /// Cause.
        cause: std::io::Error,
    },
    /// The YAML is wrong, or a key of it.
    #[error("configuration {path}: {message}")]
    Parse {
        /// File.
        path: String,
        /// Line, key and cause.
        message: String,
    },
    /// A value is refused.
    #[error("configuration {path}: {place}: key {key}: {message}")]
    Value {
        /// File.
        path: String,
        /// The key's line, or that the file does not have it.
        place: String,
        /// Dotted key.
        key: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::of(&text, &shown)),
            Err(cause) => Err(ConfigError::Read { path: shown, cause }),
        }
    }

    /// A text that was read already; `path` is for messages only.
    pub fn of(text: &str, path: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), places: Places::of(text) }
    }

    /// Its values. An empty file leaves all of them to their defaults.
    ///
    /// # Errors
    /// It is no YAML, has an unknown key or lacks one, or a value is of the wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        // To the parser an empty document is null, and no mapping.
        let blank = |line: &str| matches!(line.trim_start().chars().next(), None | Some('#'));
        let text = if self.text.lines().all(blank) { "{}" } else { &self.text };
        serde_saphyr::from_str(text).map_err(|e| self.unreadable(&e))
    }

    /// Refuses the value of a key, given in the file or by default.
    pub fn refuse(&self, key: &'static str, message: impl Into<String>) -> ConfigError {
        let line = self.places.line(key);
        let place = line.map_or_else(|| "not in the file".to_owned(), |n| format!("line {n}"));
        ConfigError::Value { path: self.path.clone(), place, key, message: message.into() }
    }

    /// The parser names the place in words of its own; which key stands there is added. A key that is missing has no place.
    fn unreadable(&self, e: &serde_saphyr::Error) -> ConfigError {
        let missing = matches!(e.without_snippet(), serde_saphyr::Error::SerdeMissingField { .. });
        let at = e.location().filter(|_| !missing);
        let key = at.and_then(|at| self.places.key_at((at.line(), at.column())));
        let message = match (e.location(), key) {
            (Some(at), Some(key)) => format!("line {}: key {key}: {e}", at.line()),
            (Some(at), None) => format!("line {}: {e}", at.line()),
            (None, _) => e.to_string(),
        };
        ConfigError::Parse { path: self.path.clone(), message }
    }
}
