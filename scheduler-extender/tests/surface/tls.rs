//! TLS, and who may ask.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::bed::{Bed, Reply, node_network, pod, reply, request};

struct Signed {
    cert: String,
    key: String,
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cert = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), cert)
}

fn signed(by: &Issuer<'_, KeyPair>) -> Signed {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    Signed { cert: params.signed_by(&key, by).unwrap().pem(), key: key.serialize_pem() }
}

async fn ask(bed: &Bed, ca: &str, client: Option<&Signed>) -> Option<Reply> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = vec![CertificateDer::from_pem_slice(client.cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let stream = TcpStream::connect(bed.running.listen).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let args = json!({"Pod": pod("a"), "Nodes": null, "NodeNames": ["n1"]}).to_string();
    drop(stream.write_all(&request("POST", "/filter", &args)).await);
    reply(&mut stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_of_the_authority_are_answered() {
    let (issuer, ca) = authority();
    let (foreign, _) = authority();
    let files = tempfile::TempDir::new().unwrap();
    let server = signed(&issuer);
    for (name, text) in [("ca.pem", &ca), ("cert.pem", &server.cert), ("key.pem", &server.key)] {
        std::fs::write(files.path().join(name), text).unwrap();
    }
    let dir = files.path().display();
    let tls = format!(
        "tls: {{certFile: {dir}/cert.pem, keyFile: {dir}/key.pem, clientCaFile: {dir}/ca.pem}}"
    );
    let bed = Bed::with(&tls, &[node_network("n1", 1, 0)]).await;
    assert!(bed.file("kubeconfig").exists());
    assert!(ask(&bed, &ca, None).await.is_none());
    assert!(ask(&bed, &ca, Some(&signed(&foreign))).await.is_none());
    let answer = ask(&bed, &ca, Some(&signed(&issuer))).await.expect("an answer");
    assert_eq!(answer.json()["NodeNames"], json!(["n1"]));
}
