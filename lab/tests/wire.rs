//! A whole lab in this process, spoken to over its sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod support;

use std::io::Cursor;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::{Key, call, exchange, plain, send, v1, v3};
use tideway_lab::config::HttpTokens;
use tideway_lab::fabric::{FabricCall, NoFabric};
use tideway_lab::{FaultKind, FaultSpec, Lab, LabConfig, LabHost, LatencyMode};

fn lab(change: impl FnOnce(&mut LabConfig)) -> Lab {
    let mut config = LabConfig { latency: LatencyMode::None, ..LabConfig::default() };
    change(&mut config);
    Lab::start(config).unwrap()
}

fn create_params(lab: &Lab) -> [(&str, &str); 2] {
    let about = lab.description();
    [("VSwitchId", &about.vswitches[0].id), ("SecurityGroupId", &about.security_groups[0].id)]
}

#[test]
fn get_and_post_query_and_form_and_both_signatures_mean_the_same() {
    let lab = lab(|_| {});
    let host = lab.endpoint().trim_start_matches("http://");
    let params = [("RegionId", "cn-hangzhou"), ("Type", "Primary")];
    let action = "DescribeNetworkInterfaces";
    let key = Key::test();
    for text in [
        v3("GET", host, &key, action, &params),
        v3("POST", host, &key, action, &params),
        v1("GET", &key, action, &params, false),
        v1("POST", &key, action, &params, false),
        v1("POST", &key, action, &params, true),
    ] {
        let answer = send(lab.endpoint(), &text).unwrap();
        assert_eq!(answer.status, 200, "{text}\n{}", answer.body);
        assert_eq!(answer.json()["TotalCount"], 3);
    }
    assert_eq!(lab.calls_of(action), 5);
    assert_eq!(lab.requests().len(), 5);
}

#[test]
fn create_repeated_with_its_token_makes_one_eni_whatever_signs_it() {
    let lab = lab(|_| {});
    let host = lab.endpoint().trim_start_matches("http://");
    let [vswitch, group] = create_params(&lab);
    let params = [("RegionId", "cn-hangzhou"), vswitch, group, ("ClientToken", "t1")];
    let (action, key) = ("CreateNetworkInterface", Key::test());
    // Date and nonce are new each time, and v1 has them among the parameters.
    let created = [
        v3("POST", host, &key, action, &params),
        v1("POST", &key, action, &params, false),
        v1("POST", &key, action, &params, true),
    ]
    .map(|text| send(lab.endpoint(), &text).unwrap().json()["NetworkInterfaceId"].clone());
    assert!(created[0].is_string(), "{created:?}");
    assert_eq!(created.iter().filter(|eni| **eni == created[0]).count(), 3, "{created:?}");
}

#[test]
fn replayed_request_is_refused_on_the_wire() {
    let lab = lab(|_| {});
    let host = lab.endpoint().trim_start_matches("http://");
    let params = [("RegionId", "cn-hangzhou")];
    let text = v3("POST", host, &Key::test(), "DescribeVpcs", &params);
    assert_eq!(send(lab.endpoint(), &text).unwrap().status, 200);
    let again = send(lab.endpoint(), &text).unwrap();
    assert_eq!((again.status, again.json()["Code"].as_str()), (400, Some("SignatureNonceUsed")));
    let bare = plain(lab.endpoint(), "GET", "/?Action=DescribeVpcs", "").unwrap();
    assert_eq!(bare.json()["Code"], "IncompleteSignature");
    let stranger = Key { id: "nobody".to_owned(), ..Key::test() };
    let answer = call(lab.endpoint(), &stranger, "DescribeVpcs", &[]).unwrap();
    assert_eq!(
        (answer.status, answer.json()["Code"].as_str()),
        (404, Some("InvalidAccessKeyId.NotFound"))
    );
}

#[test]
fn lost_answer_closes_the_connection_and_the_eni_exists() {
    let lab = lab(|_| {});
    lab.add_fault(FaultSpec::new(FaultKind::LostAnswer).times(1)).unwrap();
    let params = create_params(&lab);
    assert!(call(lab.endpoint(), &Key::test(), "CreateNetworkInterface", &params).is_none());
    let seen = call(lab.endpoint(), &Key::test(), "DescribeNetworkInterfaces", &[]).unwrap();
    assert_eq!(seen.json()["TotalCount"], 4);
    assert_eq!(lab.verify(), []);
}

#[test]
fn throttling_carries_the_retry_header() {
    let lab = lab(|_| {});
    let mut spec = FaultSpec::new(FaultKind::Throttle);
    spec.retry_after = Some(9);
    lab.add_fault(spec).unwrap();
    let answer = call(lab.endpoint(), &Key::test(), "DescribeVpcs", &[]).unwrap();
    assert_eq!(answer.json()["Code"], "Throttling.User");
    assert!(answer.head.contains("x-acs-retry-after: 9000"), "{}", answer.head);
}

#[test]
fn attach_reaches_the_network_before_the_eni_is_in_use() {
    let lab = lab(|_| {});
    let params = create_params(&lab);
    let made = call(lab.endpoint(), &Key::test(), "CreateNetworkInterface", &params).unwrap();
    let made = made.json();
    let eni = made["NetworkInterfaceId"].as_str().unwrap();
    let instance = lab.description().instances[1].id.clone();
    let params = [("NetworkInterfaceId", eni), ("InstanceId", instance.as_str())];
    assert_eq!(
        call(lab.endpoint(), &Key::test(), "AttachNetworkInterface", &params).unwrap().status,
        200
    );
    assert!(lab.settle(Duration::from_mins(1)), "attach did not end");
    let state = lab.with_cloud(|cloud| cloud.vpc.eni(eni).unwrap().state.word());
    assert_eq!(state, "InUse");
    lab.force_detach(eni).unwrap();
    assert!(lab.settle(Duration::from_mins(1)), "forced detach did not end");
    let state = lab.with_cloud(|cloud| cloud.vpc.eni(eni).unwrap().state.word());
    assert_eq!(state, "Available");
}

#[test]
fn attached_eni_has_its_groups_before_it_is_in_use() {
    let fabric = Arc::new(NoFabric::default());
    let config = LabConfig { latency: LatencyMode::None, ..LabConfig::default() };
    let host = LabHost { fabric: Arc::<NoFabric>::clone(&fabric), ..LabHost::default() };
    let lab = Lab::start_on(config, host).unwrap();
    let instance = lab.description().instances[1].id.clone();
    let params = create_params(&lab);
    for _ in 0..2 {
        let made = call(lab.endpoint(), &Key::test(), "CreateNetworkInterface", &params).unwrap();
        let eni = made.json()["NetworkInterfaceId"].as_str().unwrap().to_owned();
        let params = [("NetworkInterfaceId", eni.as_str()), ("InstanceId", instance.as_str())];
        call(lab.endpoint(), &Key::test(), "AttachNetworkInterface", &params).unwrap();
    }
    assert!(lab.settle(Duration::from_mins(1)), "attach did not end");
    let mut grouped = Vec::new();
    let mut attached = 0;
    for seen in fabric.calls() {
        if let FabricCall::SetSecurityGroups(_, members) = seen {
            grouped = members.into_iter().map(|m| m.eni_id).collect();
        } else if let FabricCall::Attach(eni, _) = seen
            && !eni.primary
        {
            attached += 1;
            assert!(grouped.contains(&eni.id), "{} came before its groups", eni.id);
        }
    }
    assert_eq!(attached, 2);
}

#[test]
fn tls_answers_under_the_labs_authority_only() {
    let lab = lab(|_| {});
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_reader_iter(Cursor::new(lab.ca_pem())) {
        roots.add(cert.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let connect = |roots: RootCertStore| {
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let host = lab.tls_endpoint().trim_start_matches("https://").to_owned();
        let mut tcp = TcpStream::connect(&host).unwrap();
        let shaken = session.complete_io(&mut tcp);
        shaken.map(|_| (StreamOwned::new(session, tcp), host))
    };
    let (stream, host) = connect(roots).unwrap();
    let text = v3("POST", &host, &Key::test(), "DescribeVpcs", &[("RegionId", "cn-hangzhou")]);
    assert_eq!(exchange(stream, &text).unwrap().status, 200);
    assert!(connect(RootCertStore::empty()).is_err(), "an unknown authority is not trusted");
}

#[test]
fn metadata_needs_a_token_where_the_instance_says_so() {
    let lab = lab(|config| config.instances[1].metadata.http_tokens = HttpTokens::Required);
    let strict = lab.metadata_endpoint("n1").unwrap();
    let path = "/latest/meta-data/instance-id";
    assert_eq!(plain(strict, "GET", path, "").unwrap().status, 401);
    let ttl = "X-aliyun-ecs-metadata-token-ttl-seconds: 60\r\n";
    let token = plain(strict, "PUT", "/latest/api/token", ttl).unwrap().body;
    let header = format!("X-aliyun-ecs-metadata-token: {token}\r\n");
    let answer = plain(strict, "GET", path, &header).unwrap();
    assert_eq!(answer.body, lab.description().instances[1].id);
    let open = lab.metadata_endpoint("n2").unwrap();
    assert_eq!(plain(open, "GET", path, "").unwrap().body, lab.description().instances[2].id);
    assert_eq!(plain(open, "GET", path, &header).unwrap().status, 401, "another's token");
    assert_eq!(plain(open, "PUT", "/latest/api/token", "").unwrap().status, 400);
    assert_eq!(plain(open, "GET", "/latest/meta-data/none", "").unwrap().status, 404);

    let mut spec = FaultSpec::new(FaultKind::MetadataDown);
    spec.instance = Some("n2".to_owned());
    lab.add_fault(spec).unwrap();
    assert!(plain(open, "GET", path, "").is_none());
    assert_eq!(plain(strict, "GET", path, &header).unwrap().status, 200);
}

#[test]
fn metadata_service_trails_what_the_api_has_done() {
    let lab = lab(|config| config.latency = LatencyMode::Real);
    let node = &lab.description().instances[1];
    let macs = "/latest/meta-data/network/interfaces/macs";
    let path = format!("{macs}/{}/private-ipv4s", node.mac);
    let service = lab.metadata_endpoint("n1").unwrap();
    let shown = || plain(service, "GET", &path, "").unwrap().json().as_array().unwrap().len();
    assert_eq!(shown(), 1);
    let params = [
        ("NetworkInterfaceId", node.primary_eni.as_str()),
        ("SecondaryPrivateIpAddressCount", "1"),
    ];
    // A slow machine sees it later, never earlier.
    let start = Instant::now();
    let answer = call(lab.endpoint(), &Key::test(), "AssignPrivateIpAddresses", &params).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    while shown() == 1 {
        assert!(start.elapsed() < Duration::from_mins(1), "the address never shows");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(start.elapsed() >= Duration::from_millis(1500), "shown after {:?}", start.elapsed());
}

fn role_key(lab: &Lab) -> Key {
    let at = lab.metadata_endpoint("n1").unwrap();
    let base = "/latest/meta-data/ram/security-credentials/";
    let role = plain(at, "GET", base, "").unwrap().body;
    let json = plain(at, "GET", &format!("{base}{role}"), "").unwrap().json();
    let word = |name: &str| json[name].as_str().unwrap().to_owned();
    Key {
        id: word("AccessKeyId"),
        secret: word("AccessKeySecret"),
        token: Some(word("SecurityToken")),
    }
}

#[test]
fn role_credentials_work_until_they_expire() {
    let lab = lab(|_| {});
    let key = role_key(&lab);
    let host = lab.endpoint().trim_start_matches("http://");
    let params = [("RegionId", "cn-hangzhou")];
    assert_eq!(call(lab.endpoint(), &key, "DescribeVpcs", &[]).unwrap().status, 200);
    let text = v1("POST", &key, "DescribeNetworkInterfaces", &params, false);
    assert_eq!(send(lab.endpoint(), &text).unwrap().status, 200);
    let bare = Key { token: None, ..key.clone() };
    let answer = send(lab.endpoint(), &v3("POST", host, &bare, "DescribeVpcs", &params)).unwrap();
    assert_eq!(answer.json()["Code"], "MissingSecurityToken");
    assert_eq!(role_key(&lab).id, key.id, "the same key while it lives");
}

#[test]
fn expired_role_credentials_are_refused_and_new_ones_given() {
    let lab = lab(|config| config.ram_ttl_seconds = 0);
    let key = role_key(&lab);
    let answer = call(lab.endpoint(), &key, "DescribeVpcs", &[]).unwrap();
    assert_eq!(answer.json()["Code"], "InvalidSecurityToken.Expired");
    assert_ne!(role_key(&lab).id, key.id);
}
