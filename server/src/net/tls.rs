//! Transport security: certificates of files, or one that is made once and signs itself.

use crate::config::Tls;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
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

/// A certificate that signs itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its file.
    pub certificate: PathBuf,
    /// Its key's.
    pub key: PathBuf,
    /// Addresses by which clients connect and that it does not have: it was made before the server listened there.
    pub lacks: Vec<IpAddr>,
}

/// The name that every such certificate has.
pub const OWN_NAME: &str = "localhost";

/// A certificate that signs itself, for this machine's name and for these addresses; it is made if it is not there. One that
/// is there stays, since clients trust it, whatever it lacks.
pub fn own_certificate(directory: &Path, addresses: &[IpAddr]) -> Result<Own, String> {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    // Which addresses clients see where the server listens on all of them is not known here.
    let is_one = |address: &IpAddr| !address.is_unspecified();
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).filter(is_one).collect();
    if certificate.exists() && key.exists() {
        let read = CertificateDer::from_pem_file(&certificate).map_err(|error| at(&certificate, error))?;
        let parsed = ParsedCertificate::try_from(&read).map_err(|error| at(&certificate, error))?;
        let is_lacking = |address: &IpAddr| verify_server_name(&parsed, &ServerName::from(*address)).is_err();
        let lacks = addresses.into_iter().filter(is_lacking).collect();
        return Ok(Own { certificate, key, lacks });
    }
    let mut names = vec![OWN_NAME.to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        names.push(name.trim().to_owned());
    }
    for address in addresses.iter().map(IpAddr::to_string) {
        if !names.contains(&address) {
            names.push(address);
        }
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| at(&certificate, error))?;
    let _ = std::fs::remove_file(&key);
    write_private(&key, &made.signing_key.serialize_pem())?;
    std::fs::write(&certificate, made.cert.pem()).map_err(|error| at(&certificate, error))?;
    Ok(Own { certificate, key, lacks: Vec::new() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_addresses_of_its_time_and_tells_which_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = ["192.0.2.2", "0.0.0.0", "::", "2001:db8::2", "127.0.0.1"].map(address);
        let made = own_certificate(folder.path(), &first).unwrap();
        assert_eq!(made.lacks, Vec::<IpAddr>::new());
        let bytes = std::fs::read(&made.certificate).unwrap();
        let read = CertificateDer::from_pem_file(&made.certificate).unwrap();
        let parsed = ParsedCertificate::try_from(&read).unwrap();
        // As a client does it.
        for name in ["192.0.2.2", "2001:db8::2", "127.0.0.1", "::1", OWN_NAME] {
            assert_eq!(verify_server_name(&parsed, &ServerName::try_from(name).unwrap()), Ok(()), "{name}");
        }
        let later = ["192.0.2.2", "192.0.2.3", "::", "::ffff:192.0.2.2", "2001:db8::3"].map(address);
        let found = own_certificate(folder.path(), &later).unwrap();
        assert_eq!(found.lacks, ["192.0.2.3", "2001:db8::3"].map(address));
        assert_eq!(std::fs::read(&found.certificate).unwrap(), bytes, "clients trust it: it stays");
    }
}
