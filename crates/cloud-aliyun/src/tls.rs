//! Whom we trust: the machine's certificate authorities, and one more file when the configuration names it.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

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
    /// rustls refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS settings with ring, chosen here and not by the process-wide default.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    // A broken certificate among the machine's own must not stop the others; what is missing shows at the first call.
    let (_added, _ignored) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let fail = |cause: String| TrustError::File { path: path.display().to_string(), cause };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| fail(e.to_string()))?;
        if certificates.is_empty() {
            return Err(fail("it holds no certificate".into()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| fail(e.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(TrustError::Nothing);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
