//! What people write: the configuration files.

use tideway_extender::config;
use tideway_model::Config;

const PATH: &str = "file.yaml";

/// `tidewayd.yaml`.
pub(crate) fn daemon(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text, PATH) {
        Ok(config) => {
            assert!(config.pool.low <= config.pool.high, "the watermarks are in order");
            let later = config.refuse("pool.low", "why").to_string();
            assert!(later.contains(PATH), "an error names its file: {later}");
        }
        Err(error) => assert!(error.to_string().contains(PATH), "it names its file: {error}"),
    }
}

/// `extender.yaml`.
pub(crate) fn extender(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::Config::parse(text, PATH) {
        Ok(config) => {
            let policy = config.policy();
            assert!(policy.hold.as_secs() >= 5, "a hold is no shorter than a bind");
        }
        Err(error) => assert!(error.to_string().contains(PATH), "it names its file: {error}"),
    }
}
