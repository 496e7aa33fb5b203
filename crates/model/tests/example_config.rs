//! The example of the configuration is what people start from: it must load, and must show the defaults that it claims.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tideway_model::Config;

const EXAMPLE: &str = include_str!("../../../manifests/tidewayd.yaml");

#[test]
fn the_example_configuration_loads_and_differs_from_the_defaults_only_where_it_must() {
    let example = Config::parse(EXAMPLE, "manifests/tidewayd.yaml").unwrap();
    let mut defaults = Config::parse("cluster: my-cluster\n", "defaults").unwrap();
    defaults.pod.service_cidrs.clone_from(&example.pod.service_cidrs);
    assert_eq!(serde_json::to_value(&example).unwrap(), serde_json::to_value(&defaults).unwrap());
}

/// What stands behind a `#` is copied into real files: it must be right as well.
#[test]
fn the_keys_that_the_example_comments_out_load_too() {
    let all: Vec<_> = EXAMPLE
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if is_key(rest) => line.replacen("# ", "", 1),
            _ => line.to_owned(),
        })
        .collect();
    let text = all.join("\n");
    let config = Config::parse(&text, "manifests/tidewayd.yaml").unwrap();
    assert_eq!(config.node_name.as_deref(), Some("node-1"));
    assert_eq!(config.cloud.region.as_deref(), Some("cn-hangzhou"));
    assert_eq!(config.eni.subnets.len(), 2);
    assert_eq!(config.shared.max_enis, Some(2));
    assert!(config.kubernetes.kubeconfig.is_some());
}

/// `key:` or `key: value` with a key in camelCase; sentences start with a capital letter or have blanks before the colon.
fn is_key(text: &str) -> bool {
    text.trim_start().split_once(':').is_some_and(|(key, _)| {
        key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.chars().all(|c| c.is_ascii_alphanumeric())
    })
}
