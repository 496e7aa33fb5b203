use super::*;

fn refused(text: &str) -> String {
    Config::parse(text, "/etc/tideway/tidewayd.yaml").unwrap_err().to_string()
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let c = Config::parse("cluster: c1\n", "x").unwrap();
    assert_eq!((c.pool.low, c.pool.high, c.pool.cooldown_seconds), (2, 6, 30));
    assert_eq!(c.shared.min_enis, 1);
}

/// `off` is a boolean in some styles of YAML.
#[test]
fn the_prefix_mode_is_off_until_it_is_preferred() {
    let of =
        |text: &str| Config::parse(&format!("cluster: c\n{text}"), "x").map(|c| c.pool.prefix_mode);
    assert_eq!(of("").unwrap(), PrefixMode::Off);
    assert_eq!(of("pool: {prefixMode: off}\n").unwrap(), PrefixMode::Off);
    assert_eq!(of("pool: {prefixMode: \"off\"}\n").unwrap(), PrefixMode::Off);
    assert_eq!(of("pool: {prefixMode: preferred}\n").unwrap(), PrefixMode::Preferred);
    assert!(of("pool: {prefixMode: always}\n").unwrap_err().to_string().contains("prefixMode"));
}

#[test]
fn every_refusal_names_file_line_and_key_in_any_style_of_yaml() {
    let cases = [
        ("cluster: c1\npool:\n  lowe: 3\n", 3, "pool.lowe"),
        ("cluster: c1\npool:\n  low: many\n", 3, "pool.low"),
        ("cluster: c1\npool: {high: 4, low: many}\n", 2, "pool.low"),
        ("cluster: c1\npool:\n  low: 9\n  high: 3\n", 3, "pool.low"),
        ("cluster: c1\npool: {low: 9, high: 3}\n", 2, "pool.low"),
        ("cluster: c1\n# low: 1\npool:\n  # low: 2\n  high: 3\n  \"low\": 9\n", 6, "pool.low"),
        ("{\"cluster\": \"c1\",\n \"pool\": {\"high\": 3,\n \"low\": 9}}", 3, "pool.low"),
        ("pod: {mtu: 9}\ncluster: c1\n", 1, "pod.mtu"),
        ("eni: {subnets: [vsw-1, \"\"]}\ncluster: c1\n", 1, "eni.subnets"),
        ("cluster: a b\n", 1, "cluster"),
    ];
    for (text, line, key) in cases {
        let said = refused(text);
        let begin = format!("configuration /etc/tideway/tidewayd.yaml: line {line}: key {key}: ");
        assert!(said.starts_with(&begin), "{text:?}: {said}");
    }
}

#[test]
fn a_value_out_of_range_says_what_would_be_right() {
    let e = Config::parse("cluster: c1\npool:\n  low: 9\n  high: 3\n", "f").unwrap_err();
    assert_eq!(
        e.to_string(),
        "configuration f: line 3: key pool.low: 9 is above pool.high (3); low must not exceed high"
    );
}

#[test]
fn a_key_that_is_missing_is_named() {
    let said = refused("pool:\n  low: 1\n");
    assert!(said.starts_with("configuration /etc/tideway/tidewayd.yaml: line 1: "), "{said}");
    assert!(said.contains("cluster") && !said.contains("key pool"), "{said}");
    assert!(refused("# nothing yet\n").contains("cluster"));
}

#[test]
fn a_default_that_is_refused_is_said_to_be_one() {
    let config = Config::parse("cluster: c1\npool: {low: 1}\n", "f").unwrap();
    let said = config.refuse("eni.subnets", "cause and remedy").to_string();
    assert_eq!(said, "configuration f: not in the file: key eni.subnets: cause and remedy");
}

#[test]
fn devices_without_the_kubelets_word_are_refused_since_their_holders_would_share_an_eni() {
    let said = refused("cluster: c1\nkubernetes:\n  podResourcesSocket: \"\"\n");
    assert!(said.contains("line 3: key kubernetes.podResourcesSocket: "), "{said}");
    assert!(said.contains("devicePluginDir"), "{said}");
    let both = "cluster: c1\nkubernetes: {devicePluginDir: \"\", podResourcesSocket: \"\"}\n";
    Config::parse(both, "f").unwrap();
}

#[test]
fn a_strict_kind_that_gives_no_lease_is_refused() {
    let said = refused("cluster: c1\nleases:\n  kinds: [StatefulSet]\n  strictKinds: [Cluster]\n");
    assert!(said.contains("line 4: key leases.strictKinds: \"Cluster\""), "{said}");
}

#[test]
fn a_sweep_that_could_take_an_eni_of_an_open_call_is_refused() {
    let said = refused("cluster: c1\nsweep:\n  ageLimitSeconds: 60\n");
    assert!(said.contains("line 3: key sweep.ageLimitSeconds: "), "{said}");
    let said = refused("cluster: c1\npool: {lateEffectSeconds: 1800}\n");
    assert!(said.contains("not in the file: key sweep.ageLimitSeconds: "), "{said}");
    let said = refused("cluster: c1\nsweep: {intervalSeconds: 0}\n");
    assert!(said.contains("line 2: key sweep.intervalSeconds: "), "{said}");
    let off = Config::parse("cluster: c1\nsweep: {enabled: false}\n", "f").unwrap();
    assert!(!off.sweep.enabled && Config::parse("cluster: c1\n", "f").unwrap().sweep.enabled);
}

#[test]
fn an_endpoint_of_the_other_cloud_is_refused_since_the_calls_would_go_elsewhere() {
    let cases = [
        ("cluster: c1\ncloud:\n  ec2Endpoint: https://e\n", "cloud.ec2Endpoint", "aws"),
        (
            "cloud:\n  provider: aws\n  ecsEndpoint: https://e\ncluster: c1\n",
            "cloud.ecsEndpoint",
            "aliyun",
        ),
        (
            "cloud: {provider: aws,\n\n vpcEndpoint: https://e}\ncluster: c1\n",
            "cloud.vpcEndpoint",
            "aliyun",
        ),
    ];
    for (text, key, other) in cases {
        let said = refused(text);
        assert!(said.contains(&format!("line 3: key {key}: it belongs to {other}")), "{said}");
        assert!(said.ends_with(&format!("set cloud.provider to {other}")), "{said}");
    }
    let said = refused("cluster: c1\ncloud:\n  provider: azure\n");
    assert!(said.contains("line 3: key cloud.provider: ") && said.contains("aws"), "{said}");
    let text =
        "cluster: c1\ncloud: {provider: aws, ec2Endpoint: https://e, metadataEndpoint: http://m}\n";
    assert_eq!(Config::parse(text, "f").unwrap().cloud.provider, Provider::Aws);
}

#[test]
fn times_of_zero_are_refused_since_one_look_would_free_what_lives() {
    for key in ["cooldownSeconds", "settleSeconds", "lateEffectSeconds"] {
        let said = refused(&format!("cluster: c1\npool:\n  {key}: 0\n"));
        let begin = format!("line 3: key pool.{key}: at least 1 is expected: without ");
        assert!(said.contains(&begin), "{said}");
        Config::parse(&format!("cluster: c1\npool: {{{key}: 1}}\n"), "f").unwrap();
    }
}

#[test]
fn times_shorter_than_the_defaults_are_told_and_no_others() {
    let hasty = |text: &str| Config::parse(text, "f").unwrap().pool.hasty();
    assert_eq!(hasty("cluster: c1\n"), Vec::<String>::new());
    assert_eq!(
        hasty(
            "cluster: c1\npool: {cooldownSeconds: 4, settleSeconds: 300, lateEffectSeconds: 59}\n"
        ),
        ["pool.cooldownSeconds 4 (30)", "pool.lateEffectSeconds 59 (60)"]
    );
}

#[test]
fn paths_that_others_cannot_use_are_refused_by_file_line_and_key() {
    let long = format!("/{}", "s".repeat(107));
    let cases = [
        ("paths", "socket", "run/tideway.sock", "no absolute path"),
        ("paths", "socket", "", "it is empty"),
        ("paths", "socket", &long, "it has 108 bytes"),
        ("paths", "journal", "journal.redb", "no absolute path"),
        ("paths", "journal", "", "it is empty"),
        ("paths", "tickets", "./tickets", "no absolute path"),
        ("paths", "tickets", "", "it is empty"),
        ("paths", "cniConfDir", "net.d", "no absolute path"),
        ("paths", "runtimeSocket", "unix:///run/containerd/containerd.sock", "no absolute path"),
        ("paths", "runtimeSocket", &long, "at most 107"),
        ("kubernetes", "devicePluginDir", "device-plugins", "no absolute path"),
        ("kubernetes", "podResourcesSocket", "kubelet.sock", "no absolute path"),
        ("kubernetes", "podResourcesSocket", &long, "at most 107"),
    ];
    for (section, key, value, why) in cases {
        let said = refused(&format!("cluster: c1\n{section}:\n  {key}: {value:?}\n"));
        let place = format!("tidewayd.yaml: line 3: key {section}.{key}: ");
        assert!(said.contains(&place) && said.contains(why), "{value}: {said}");
    }
    let fine = format!(
        "cluster: c1\npaths: {{socket: \"{}\", cniConfDir: \"\", runtimeSocket: \"\"}}\n",
        long.split_at(107).0
    );
    Config::parse(&fine, "f").unwrap();
}
