//! The one HTTP client of API, STS and metadata service: whom it trusts, how long it waits, how much it reads, what it counts.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_ec2::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, SharedHttpClient,
        interceptors::{
            BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
        },
    },
    error::BoxError,
};
use aws_smithy_http_client::{
    Builder,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together. Default 3 s.
    pub connect: Duration,
    /// The whole call, from the first byte out to the last byte in. Default 15 s.
    pub call: Duration,
    /// Largest body that is read, in bytes. Default 16 MiB.
    pub body_limit: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            call: Duration::from_secs(15),
            body_limit: 16 * 1024 * 1024,
        }
    }
}

/// Idle connections are closed after this, before the servers' side does it (a request that meets the close is lost).
const IDLE: Duration = Duration::from_secs(10);

/// Why no trust could be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The CA file cannot be read or is no PEM.
    #[error(
        "certificate authority {path}: {cause}; a PEM file with at least one certificate is expected (cloud.caFile)"
    )]
    File {
        /// File.
        path: String,
        /// Cause.
        cause: String,
    },
    /// Nothing at all is trusted.
    #[error(
        "no certificate authority is known on this machine; install ca-certificates or name a PEM file (cloud.caFile)"
    )]
    Nothing,
}

/// A client that trusts the machine's authorities and those of `ca_file`. TLS with ring; no proxies.
pub(crate) fn client(ca_file: Option<&Path>) -> Result<SharedHttpClient, TrustError> {
    let machine = rustls_native_certs::load_native_certs().certs;
    let trust = trust(machine, ca_file.map(authorities).transpose()?)?;
    // Cannot fail: it only stores the trust.
    let context = TlsContext::builder().with_trust_store(trust).build().unwrap_or_default();
    Ok(Builder::new()
        .pool_idle_timeout(IDLE)
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// Whom to trust, given the machine's authorities and the text of a file. The SDK takes it for a mistake of its caller, or
/// trusts nobody without a word, when it is to take those of a machine that has none.
fn trust(
    machine: Vec<CertificateDer<'_>>,
    file: Option<Vec<u8>>,
) -> Result<TrustStore, TrustError> {
    let (usable, _broken) = RootCertStore::empty().add_parsable_certificates(machine);
    let trust = TrustStore::empty().with_native_roots(usable > 0);
    match file {
        Some(pem) => Ok(trust.with_pem_certificate(pem)),
        None if usable > 0 => Ok(trust),
        None => Err(TrustError::Nothing),
    }
}

/// The file's text, when every certificate in it can be used: the SDK panics at one that cannot.
fn authorities(path: &Path) -> Result<Vec<u8>, TrustError> {
    let fail = |cause: String| TrustError::File { path: path.display().to_string(), cause };
    let pem = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fail(e.to_string()))?;
    if certificates.is_empty() {
        return Err(fail("it holds no certificate".into()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|e| fail(e.to_string()))?;
    }
    Ok(pem)
}

/// Requests that were sent, by action.
#[derive(Debug, Default, Clone)]
pub(crate) struct Calls(Arc<Mutex<BTreeMap<String, u64>>>);

impl Calls {
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, action: &str) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = calls.entry(action.to_owned()).or_default();
        *n = n.saturating_add(1);
    }
}

/// Stands between the SDK and the wire: counts what goes out, and bounds what comes in.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) calls: Calls,
    pub(crate) body_limit: usize,
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The query protocol names the action first.
        let body = context.request().body().bytes().unwrap_or_default();
        let first = body.split(|b| *b == b'&').next().unwrap_or_default();
        if let Some(action) = first.strip_prefix(b"Action=") {
            self.calls.count(&String::from_utf8_lossy(action));
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().take_body();
        let limited = SdkBody::from_body_1_x(Limited::new(body, self.body_limit));
        *context.response_mut().body_mut() = limited;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_authorities_is_told_to_the_user_and_is_no_panic() {
        for machine in [Vec::new(), vec![CertificateDer::from(b"broken".as_slice())]] {
            let none = trust(machine.clone(), None).unwrap_err();
            assert!(matches!(none, TrustError::Nothing), "{none}");
            // The SDK's own type tells no more.
            let file = format!("{:?}", trust(machine, Some(b"PEM".to_vec())).unwrap());
            assert!(file.contains("enable_native_roots: false"), "{file}");
        }
    }
}
