//! TLS: whom the client trusts, and how long a handshake may take.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tideway_cloud::{Cloud, CloudError, ErrorKind};
use tideway_cloud_aliyun::{AliyunCloud, AliyunConfig, system_clock};

use super::{Reply, Server, config, eni, fixed};

async fn tls_server() -> (Server, tempfile::NamedTempFile) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(signed.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    (Server::start_with(|_, _| Reply::ok("{}"), Some(acceptor)).await, pem)
}

fn over_tls(server: &Server, ca_file: Option<PathBuf>) -> AliyunConfig {
    let url = format!("https://localhost:{}", server.port());
    // The metadata service speaks plain HTTP only; it is not used here.
    AliyunConfig { ca_file, metadata_endpoint: None, ..config(&url, fixed()) }
}

async fn delete(config: AliyunConfig) -> Result<(), CloudError> {
    AliyunCloud::new(config, system_clock).unwrap().delete(&eni()).await
}

#[tokio::test]
async fn the_named_authority_is_trusted_and_a_stranger_is_not() {
    let (server, pem) = tls_server().await;
    delete(over_tls(&server, Some(pem.path().to_owned()))).await.unwrap();
    let (_other, strange) = tls_server().await;
    for ca_file in [Some(strange.path().to_owned()), None] {
        match delete(over_tls(&server, ca_file)).await {
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "nothing was sent: {error}");
                assert!(error.message.contains("certificate"), "{error}");
            }
            Ok(()) => panic!("a stranger was trusted"),
        }
    }
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_with_the_connect_limit_and_nothing_was_sent() {
    // Accepts, reads the hello, never answers.
    let server = Server::start(|_, _| Reply::Hang).await;
    let mut config = over_tls(&server, None);
    config.timeouts.connect = Duration::from_millis(300);
    let error = delete(config).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unavailable, "ConnectTimeout"));
}

#[test]
fn a_bad_authority_file_is_named_with_the_remedy() {
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    empty.write_all(b"no certificate here").unwrap();
    for path in [empty.path().to_owned(), PathBuf::from("/nonexistent/ca.pem")] {
        let config = AliyunConfig { ca_file: Some(path.clone()), ..config("https://x", fixed()) };
        let config = AliyunConfig { metadata_endpoint: None, ..config };
        let error = AliyunCloud::new(config, system_clock).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("PEM"), "{error}");
    }
}
