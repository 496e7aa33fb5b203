//! The program against a fake daemon.

#[cfg(test)]
mod cli {
    use std::{ffi::OsString, path::Path};

    use serde_json::{Value, json};
    use tideway_cli::exit;
    use tideway_proto::node::{AddRequest, Pod, node_client::NodeClient};
    use tideway_testkit::{FakeNode, Fault, Verb};

    fn run(args: &[&str]) -> (u8, String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let args = args.iter().map(OsString::from).collect();
        let status = tideway_cli::run(args, &mut stdout, &mut stderr);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status, text(stdout), text(stderr))
    }

    fn add(socket: &Path, namespace: &str, name: &str) {
        let uri = format!("unix://{}", socket.display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let channel =
                tonic::transport::Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
            let pod = Pod { namespace: namespace.into(), name: name.into(), uid: "u1".into() };
            let request = AddRequest {
                container_id: "c0ffee".into(),
                ifname: "eth0".into(),
                netns: "/run/netns/x".into(),
                pod: Some(pod),
                ..AddRequest::default()
            };
            NodeClient::new(channel).add(request).await.unwrap();
        });
    }

    struct Fixture {
        node: FakeNode,
        socket: String,
        _dir: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let node = FakeNode::start(&path).unwrap();
        Fixture { node, socket: path.display().to_string(), _dir: dir }
    }

    #[test]
    fn status_shows_enis_addresses_waiting_pods_and_cloud_errors() {
        let fixture = fixture();
        add(fixture.node.socket(), "default", "web-0");
        fixture.node.set_waiting("default", "web-1", "AssignPrivateIpAddresses is in flight");
        fixture.node.set_cloud_error("CreateNetworkInterface", "Forbidden.RAM", "no", "grant it");
        fixture.node.set_lease("default/db-0", "10.64.255.3", true, 1);
        let (status, out, err) = run(&["tideway", "status", "--socket", &fixture.socket]);
        assert_eq!((status, err.as_str()), (exit::OK, ""));
        for part in [
            "Node fake-node (i-fake, ecs.g6.xlarge), tidewayd",
            ": ready",
            "1 free of 3 addresses (low 2, high 6); 1 assigned, 1 cooling",
            "eni-fake0",
            "slot-2",
            "AssignPrivateIpAddresses is in flight",
            "Forbidden.RAM",
            "grant it",
            "default/db-0",
            "strict",
        ] {
            assert!(out.contains(part), "{part:?} is missing:\n{out}");
        }
        assert!(!out.contains("10.64.0.10"), "addresses belong into the wide form:\n{out}");
        let (_, wide, _) = run(&["tideway", "status", "-o", "wide", "--socket", &fixture.socket]);
        assert!(wide.contains("10.64.0.10") && wide.contains("default/web-0"), "{wide}");
    }

    #[test]
    fn json_keys_of_status_do_not_change() {
        let fixture = fixture();
        add(fixture.node.socket(), "default", "web-0");
        fixture.node.set_lease("default/db-0", "10.64.255.3", false, 0);
        let (status, out, _) =
            run(&["tideway", "status", "-o", "json", "--socket", &fixture.socket]);
        assert_eq!(status, exit::OK);
        let mut seen: Value = serde_json::from_str(&out).unwrap();
        seen["daemonVersion"] = "V".into();
        let golden = json!({
            "node": "fake-node", "instanceId": "i-fake", "instanceType": "ecs.g6.xlarge",
            "daemonVersion": "V", "ready": true, "notReadyBecause": "",
            "pool": {"low": 2, "high": 6, "total": 3, "free": 1, "assigned": 1, "cooling": 1,
                "leased": 0, "releasing": 0, "lost": 0},
            "enis": [{"id": "eni-fake0", "mac": "00:16:3e:00:00:01", "state": "ready",
                "use": "shared", "subnet": "vsw-fake", "link": "eth1", "table": 1001,
                "prefixes": [], "securityGroups": ["sg-fake"], "addresses": [
                {"ip": "10.64.0.10", "state": "assigned", "pod": "default/web-0", "coolingSeconds": 0},
                {"ip": "10.64.255.1", "state": "free", "pod": "", "coolingSeconds": 0},
                {"ip": "10.64.255.2", "state": "cooling", "pod": "", "coolingSeconds": 12}]}],
            "devices": [{"id": "slot-2", "healthy": true, "pod": "", "eni": ""}],
            "waiting": [], "cloudErrors": [], "cloudCalls": {"AssignPrivateIpAddresses": 2},
            "shortfall": "", "sourceErrors": [], "pendingLinks": 0,
            "pods": [{"pod": "default/web-0", "uid": "u1", "containerId": "c0ffee",
                "ifname": "eth0", "mode": "veth", "ips": ["10.64.0.10"], "eni": "eni-fake0",
                "hostLink": "twc0ffee", "netns": "/run/netns/x"}],
            "leases": [{"pod": "default/db-0", "ips": ["10.64.255.3"], "eni": "eni-fake0",
                "strict": false, "untilUnixMillis": 0}],
        });
        assert_eq!(seen, golden);
    }

    #[test]
    fn a_pod_is_explained_whether_it_runs_waits_or_is_unknown() {
        let fixture = fixture();
        add(fixture.node.socket(), "default", "web-0");
        fixture.node.set_waiting("default", "web-1", "vsw-1 is full; add a vSwitch");
        let pod = |name: &str, form: &str| {
            run(&["tideway", "pod", name, "-o", form, "--socket", &fixture.socket])
        };
        let (status, out, _) = pod("default/web-0", "table");
        assert_eq!(status, exit::OK);
        assert!(out.contains("shares the ENI eni-fake0"), "{out}");
        assert!(out.contains("The kernel has what it must have."), "{out}");
        let (_, out, _) = pod("default/web-1", "table");
        assert!(out.contains("web-1 waits since 4.2s: vsw-1 is full; add a vSwitch"), "{out}");
        fixture.node.set_finding("route 10.64.0.10/32 is missing");
        let (_, out, _) = pod("default/web-0", "json");
        let seen: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(seen["pod"], "default/web-0");
        assert_eq!(seen["findings"], json!(["route 10.64.0.10/32 is missing"]));
        assert_eq!(seen["attachments"][0]["ips"], json!(["10.64.0.10"]));
        assert_eq!(seen["waiting"], json!([]));
        let (status, out, err) = pod("default/none", "json");
        assert_eq!((status, out.as_str()), (exit::UNKNOWN_POD, ""));
        assert!(err.contains("pod default/none has no interface"), "{err}");
        assert_eq!(pod("web-0", "table").0, exit::USAGE);
    }

    #[test]
    fn a_daemon_that_is_away_hangs_or_refuses_is_told_apart() {
        let mut fixture = fixture();
        let socket = fixture.socket.clone();
        fixture.node.fail(Verb::Show, Fault::Bare(tonic::Code::PermissionDenied));
        let (status, _, err) = run(&["tideway", "status", "--socket", &socket]);
        assert_eq!(status, exit::FAILED, "{err}");
        fixture.node.heal();
        fixture.node.delay(Verb::Status, std::time::Duration::from_mins(10));
        let (status, _, err) = run(&["tideway", "status", "--timeout", "1", "--socket", &socket]);
        assert_eq!(status, exit::UNREACHABLE);
        assert!(err.contains("no answer within 1 s"), "{err}");
        fixture.node.crash().unwrap();
        let (status, out, err) = run(&["tideway", "status", "--socket", &socket]);
        assert_eq!((status, out.as_str()), (exit::UNREACHABLE, ""));
        assert!(err.contains("does not answer") && err.contains("refused"), "{err}");
    }

    #[test]
    fn maxpods_answers_for_this_node_and_for_a_type_that_the_cloud_described() {
        let fixture = fixture();
        let words = ["tideway", "maxpods", "--host-network", "3", "-o", "json", "--socket"];
        let (status, out, err) = run(&[&words[..], &[&fixture.socket]].concat());
        assert_eq!((status, err.as_str()), (exit::OK, ""));
        let seen: Value = serde_json::from_str(&out).unwrap();
        let golden = json!({
            "instanceType": "ecs.g6.xlarge", "maxPods": 23, "addresses": 20, "hostNetworkPods": 3, "exact": false,
            "why": "2 shared ENIs with 10 pods each, 3 hostNetwork pods; upper bound: each pod with aliyun/eni takes the place of a shared ENI",
        });
        assert_eq!(seen, golden);
        let dir = tempfile::tempdir().unwrap();
        let (from, config) = (dir.path().join("types.json"), dir.path().join("tidewayd.yaml"));
        std::fs::write(&config, "cluster: c\nshared: {minEnis: 3}\n").unwrap();
        std::fs::write(
            &from,
            r#"{"InstanceTypes": {"InstanceType": [{"InstanceTypeId": "ecs.x.large", "EniQuantity": 4,
                "EniPrivateIpAddressQuantity": 6}]}}"#,
        )
        .unwrap();
        let (from, config) = (from.to_str().unwrap(), config.to_str().unwrap());
        let of = |name: &str| {
            run(&["tideway", "maxpods", "--type", name, "--from", from, "--config", config])
        };
        let (status, out, _) = of("ecs.x.large");
        assert_eq!(status, exit::OK);
        assert!(out.starts_with("maxPods: 18\n") && out.contains("exact"), "{out}");
        let (status, _, err) = of("ecs.y.large");
        assert!(status == exit::USAGE && err.contains("ecs.x.large"), "{err}");
        assert_eq!(run(&["tideway", "maxpods", "--type", "ecs.x.large"]).0, exit::USAGE);
    }

    #[test]
    fn check_fails_when_one_finding_does_and_warns_of_what_it_cannot_see() {
        let fixture = fixture();
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        fixture.node.set_cni_conf_dir("/etc/cni/net.d");
        write("etc/cni/net.d/10-tideway.conflist", "{}");
        write("proc/sys/net/ipv4/ip_forward", "1\n");
        write("proc/sys/net/ipv4/conf/all/rp_filter", "0\n");
        write("proc/7/cmdline", "/usr/bin/kube-proxy\0--cluster-cidr=10.0.0.0/8\0");
        let check = |form: &str| {
            let root = root.path().to_str().unwrap();
            let words = ["tideway", "check", "--config", "/none", "--root", root, "-o", form];
            run(&[&words[..], &["--socket", &fixture.socket]].concat())
        };
        let (status, out, err) = check("json");
        assert_eq!((status, err.as_str()), (exit::OK, ""), "{out}");
        let seen: Value = serde_json::from_str(&out).unwrap();
        let grades: Vec<(&str, &str)> = seen["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| (f["check"].as_str().unwrap(), f["grade"].as_str().unwrap()))
            .collect();
        let wanted = [
            ("tidewayd", "ok"),
            ("CNI configuration", "ok"),
            ("ip_forward", "ok"),
            ("rp_filter", "ok"),
            ("maxPods", "warn"),
            ("cooldown", "ok"),
            ("kube-proxy", "ok"),
        ];
        assert_eq!(grades, wanted, "{out}");
        assert_eq!(seen["failed"], 0);
        write("proc/sys/net/ipv4/ip_forward", "0\n");
        let (status, out, err) = check("table");
        assert_eq!(status, exit::FAILED, "{out}");
        assert!(err.contains("checks that failed: 1"), "{err}");
        assert!(out.lines().any(|l| l.starts_with(" FAIL") || l.starts_with("FAIL")), "{out}");
    }

    #[test]
    fn under_its_other_name_it_is_a_plugin_of_kubectl() {
        let (status, out, _) = run(&["/usr/local/bin/kubectl-tideway", "--help"]);
        assert_eq!(status, exit::OK);
        assert!(out.contains("Usage: kubectl tideway <COMMAND>"), "{out}");
        let (status, _, err) = run(&["tideway", "frobnicate"]);
        assert_eq!(status, exit::USAGE);
        assert!(err.contains("frobnicate"), "{err}");
        let (status, out, _) = run(&["tideway", "version"]);
        assert_eq!((status, out), (exit::OK, format!("tideway {}\n", env!("CARGO_PKG_VERSION"))));
    }
}
