//! The watch of the node's pods against an API server that forgets, hangs up, refuses, and comes late.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod apiserver;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apiserver::ApiServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tideway_kubeapi::{KubeConfig, PodsView, watch_pods};
use tideway_testkit::api_server::write_kubeconfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};

struct Watched {
    view: watch::Receiver<PodsView>,
    cancel: DropGuard,
    _dir: TempDir,
}

impl Watched {
    fn new(address: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        write_kubeconfig(&path, &json!({"server": format!("http://{address}")})).unwrap();
        let cancel = CancellationToken::new();
        let kubeconfig = Some(path.to_str().unwrap().to_owned());
        let config = KubeConfig { kubeconfig, node: "node-1".to_owned() };
        Self { view: watch_pods(config, cancel.clone()), cancel: cancel.drop_guard(), _dir: dir }
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&PodsView) -> bool) -> PodsView {
        let mut view = self.view.clone();
        let found = view.wait_for(|view| condition(view));
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        if let Ok(found) = found {
            return found.expect("the watch ended").clone();
        }
        panic!("within 20 s not seen: {what}; {:?}", self.view.borrow());
    }
}

async fn server() -> (Arc<ApiServer>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (ApiServer::serve(listener), address)
}

fn pod(name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "default", "name": name, "uid": uid, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}], "tolerations": []},
        "status": {"phase": "Pending"},
    })
}

fn names(view: &PodsView) -> Vec<&str> {
    view.pods.iter().map(|pod| pod.key.name.as_str()).collect()
}

#[tokio::test]
async fn only_pods_of_this_node_are_asked_for_and_what_matters_is_read() {
    let (server, address) = server().await;
    let mut exclusive = pod("exclusive", "u-1");
    exclusive["spec"]["containers"][0]["resources"] = json!({"limits": {"aliyun/eni": "1"}});
    server.put("exclusive", exclusive);
    let mut host = pod("host", "u-2");
    host["spec"]["hostNetwork"] = json!(true);
    host["status"] = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
    server.put("host", host);

    let mut watched = Watched::new(address);
    let view = watched.until("both pods", |v| v.synced).await;
    assert_eq!(names(&view), ["exclusive", "host"]);
    assert_eq!(view.error, None);
    assert_eq!((view.pods[0].wants_eni, view.pods[0].host_network), (1, false));
    assert_eq!((view.pods[1].wants_eni, view.pods[1].host_network), (0, true));
    assert_eq!(
        view.pods[1].ips,
        ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
    );
    assert!(server.selectors().iter().all(|s| s == "spec.nodeName=node-1"));

    let mut ended = pod("host", "u-2");
    ended["status"]["phase"] = json!("Failed");
    ended["metadata"]["deletionTimestamp"] = json!("2026-11-01T00:00:01Z");
    server.put("host", ended);
    watched.until("the end of a pod", |v| v.pods[1].phase_ended && v.pods[1].deleting).await;
    server.delete("host");
    watched.until("one pod less", |v| names(v) == ["exclusive"]).await;
}

#[tokio::test]
async fn a_pod_that_went_away_while_the_server_forgot_is_not_kept() {
    let (server, address) = server().await;
    server.put("stays", pod("stays", "u-1"));
    server.put("goes", pod("goes", "u-2"));
    let mut watched = Watched::new(address);
    watched.until("two pods", |v| v.pods.len() == 2).await;
    server.delete_unseen("goes");
    server.forget();
    let view = watched.until("one pod", |v| v.pods.len() == 1 && v.error.is_none()).await;
    assert_eq!(names(&view), ["stays"]);
    assert!(server.calls().0 >= 2, "a second list was needed");
    server.put("new", pod("new", "u-3"));
    watched.until("the watch goes on", |v| names(v) == ["new", "stays"]).await;
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was_without_a_new_list() {
    let (server, address) = server().await;
    server.put("a", pod("a", "u-1"));
    let mut watched = Watched::new(address);
    watched.until("one pod", |v| v.pods.len() == 1).await;
    for round in 0..3 {
        server.cut();
        let name = format!("b-{round}");
        server.put(&name, pod(&name, &format!("u-b-{round}")));
        watched.until("the pod that came in the cut", |v| names(v).contains(&name.as_str())).await;
    }
    assert_eq!(server.calls().0, 1, "one list");
}

#[tokio::test]
async fn an_outage_keeps_what_was_known_and_shows_why_it_may_be_old() {
    let (server, address) = server().await;
    server.put("a", pod("a", "u-1"));
    let mut watched = Watched::new(address);
    watched.until("one pod", |v| v.pods.len() == 1).await;
    server.refuse(true);
    let view = watched.until("the outage", |v| v.error.is_some()).await;
    assert_eq!((view.synced, names(&view)), (true, vec!["a"]));
    server.put("b", pod("b", "u-2"));
    server.refuse(false);
    watched.until("the end of the outage", |v| v.error.is_none() && v.pods.len() == 2).await;
}

#[tokio::test]
async fn a_server_and_a_kubeconfig_that_come_late_are_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let cancel = CancellationToken::new();
    let kubeconfig = Some(path.to_str().unwrap().to_owned());
    let config = KubeConfig { kubeconfig, node: "node-1".to_owned() };
    let view = watch_pods(config, cancel.clone());
    let mut watched = Watched { view, cancel: cancel.drop_guard(), _dir: dir };
    let view = watched.until("the missing file", |v| v.error.is_some()).await;
    let text = view.error.unwrap();
    assert!(text.contains(path.to_str().unwrap()) && !view.synced, "{text}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener); // Nobody listens yet.
    write_kubeconfig(&path, &json!({"server": format!("http://{address}")})).unwrap();
    watched.until("the refused connection", |v| v.error.as_ref().is_some_and(|e| e != &text)).await;
    let server = ApiServer::serve(TcpListener::bind(address).await.unwrap());
    server.put("a", pod("a", "u-1"));
    watched.until("the late server", |v| v.error.is_none() && names(v) == ["a"]).await;
}

#[tokio::test]
async fn without_any_configuration_the_view_says_so_and_nothing_else_happens() {
    let cancel = CancellationToken::new();
    let config = KubeConfig { kubeconfig: None, node: "node-1".to_owned() };
    let mut view = watch_pods(config, cancel.clone());
    let found = tokio::time::timeout(Duration::from_secs(10), view.wait_for(|v| v.error.is_some()));
    let found = found.await.expect("an error within 10 s").unwrap().clone();
    assert!(!found.synced && found.error.unwrap().contains("no kubeconfig is configured"));
    cancel.cancel();
    let ended = async { while view.changed().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("the task ends with the cancel");
}

#[tokio::test]
async fn a_change_that_does_not_matter_wakes_nobody() {
    let (server, address) = server().await;
    server.put("a", pod("a", "u-1"));
    let mut watched = Watched::new(address);
    watched.until("one pod", |v| v.pods.len() == 1).await;
    watched.view.borrow_and_update();
    for n in 0..5 {
        let mut same = pod("a", "u-1");
        same["metadata"]["annotations"] = json!({"n": n.to_string()});
        server.put("a", same);
    }
    server.put("b", pod("b", "u-2"));
    watched.view.changed().await.unwrap();
    assert_eq!(names(&watched.view.borrow()), ["a", "b"]);
    drop(watched.cancel);
}

#[tokio::test]
async fn the_end_and_the_address_of_a_pod_are_told_with_their_versions_and_other_versions_wake_nobody()
 {
    let (server, address) = server().await;
    server.put("a", pod("a", "u-1"));
    server.put("b", pod("b", "u-2"));
    let listed = server.version();
    let mut watched = Watched::new(address);
    let view = watched.until("two pods", |v| v.pods.len() == 2).await;
    assert_eq!((view.version, view.ended_at), (Some(listed), Some(listed)));

    watched.view.borrow_and_update();
    server.bookmark();
    let mut same = pod("a", "u-1");
    same["metadata"]["annotations"] = json!({"n": "1"});
    server.put("a", same);
    let seen = server.version();
    // Nobody is woken for it, so it is looked for.
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while watched.view.borrow().version != Some(seen) {
        assert!(tokio::time::Instant::now() < end, "{:?}", watched.view.borrow());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!watched.view.has_changed().unwrap());
    assert_eq!(watched.view.borrow().ended_at, Some(listed));

    let mut addressed = pod("a", "u-1");
    addressed["status"]["podIPs"] = json!([{"ip": "10.0.0.7"}]);
    server.put("a", addressed.clone());
    let at = Some(server.version());
    watched.until("the address of a", |v| v.addressed_at == at && v.version == at).await;

    let mut ended = addressed;
    ended["status"]["phase"] = json!("Succeeded");
    server.put("a", ended);
    let (shown, at) = (at, Some(server.version()));
    let view = watched.until("the end of a", |v| v.ended_at == at && v.version == at).await;
    assert_eq!(view.addressed_at, shown, "it had its address before");
    server.delete("b");
    let at = Some(server.version());
    watched.until("the deletion of b", |v| v.ended_at == at && v.version == at).await;
}

#[tokio::test]
async fn a_pod_that_ended_unseen_is_accounted_for_by_the_version_of_the_next_list() {
    let (server, address) = server().await;
    server.put("goes", pod("goes", "u-1"));
    let mut watched = Watched::new(address);
    watched.until("one pod", |v| v.pods.len() == 1).await;
    server.delete_unseen("goes");
    server.forget();
    let at = Some(server.version());
    let view = watched.until("none", |v| v.pods.is_empty() && v.error.is_none()).await;
    assert_eq!((view.version, view.ended_at), (at, at));
}

#[tokio::test]
async fn one_pod_that_cannot_be_read_hides_no_other_and_shows() {
    let (server, address) = server().await;
    server.put("bad", pod("bad", ""));
    server.put("good", pod("good", "u-1"));
    let mut watched = Watched::new(address);
    let view = watched.until("the readable pod", |v| v.synced).await;
    assert_eq!(names(&view), ["good"]);
    assert!(view.error.is_some_and(|error| error.contains("pod UID")));
}

/// TLS on top of a TCP listener.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, from) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[tokio::test]
async fn a_server_with_the_clusters_own_certificate_is_believed_and_another_is_not() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let server = ApiServer::serve(TlsListener { tcp, tls: TlsAcceptor::from(Arc::new(tls)) });
    server.put("a", pod("a", "u-1"));

    let dir = tempfile::tempdir().unwrap();
    let (path, ca) = (dir.path().join("kubeconfig"), dir.path().join("ca.pem"));
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let cluster = json!({"server": format!("https://{address}"), "certificate-authority": ca});
    write_kubeconfig(&path, &cluster).unwrap();
    let cancel = CancellationToken::new();
    let kubeconfig = Some(path.to_str().unwrap().to_owned());
    let config = KubeConfig { kubeconfig, node: "node-1".to_owned() };
    let view = watch_pods(config, cancel.clone());
    let mut watched = Watched { view, cancel: cancel.drop_guard(), _dir: dir };
    let view = watched.until("the refused certificate", |v| v.error.is_some()).await;
    assert!(!view.synced && view.error.is_some_and(|error| error.contains("certificate")));
    std::fs::write(&ca, own.cert.pem()).unwrap();
    watched.until("the right certificate", |v| v.error.is_none() && names(v) == ["a"]).await;
}
