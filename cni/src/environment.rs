//! Environment variables behind a trait: tests pass a map, and never touch the variables of their own process.

use std::collections::BTreeMap;

/// Where `CNI_*` variables come from.
pub trait Environment {
    /// Value of a variable; `None` when it is not set or not UTF-8.
    fn var(&self, name: &str) -> Option<String>;
}

/// The variables of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Environment for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}
