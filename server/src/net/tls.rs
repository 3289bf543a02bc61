//! Transport security: certificates of files, or one that is made once and signs itself.

use crate::config::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

fn at(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| at(path, error))
}

/// The files of a certificate that signs itself, which are made if they are not there.
pub fn own_certificate(directory: &Path) -> Result<(PathBuf, PathBuf), String> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        names.push(name.trim().to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| at(&certificate, error))?;
    let _ = std::fs::remove_file(&key);
    write_private(&key, &made.signing_key.serialize_pem())?;
    std::fs::write(&certificate, made.cert.pem()).map_err(|error| at(&certificate, error))?;
    Ok((certificate, key))
}

/// Speaks TLS with a certificate, and wants one of clients if an authority for them is named.
pub fn acceptor(tls: &Tls, certificate: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let read = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let all = CertificateDer::pem_file_iter(path).map_err(|error| at(path, error))?;
        all.collect::<Result<Vec<_>, _>>().map_err(|error| at(path, error))
    };
    let chain = read(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read(path)? {
                roots.add(certificate).map_err(|error| at(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| at(path, error))?)
        }
    };
    let config = builder.with_single_cert(chain, secret).map_err(|error| at(certificate, error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
