//! A socket, plain or inside TLS.

use crate::{Connect, Error, is_late};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How to speak TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates in PEM of who signs servers' certificates, or of the server itself.
    pub ca: PathBuf,
    /// The name in the server's certificate; `None`: that of the address.
    pub server_name: Option<String>,
    /// The client's own certificate and key in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// What the system is asked for at once: the TLS layer asks for 4 KiB, an answer is often longer.
const READ_BYTES: usize = 32 << 10;

/// A socket that reads ahead.
pub(crate) struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, some: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(some)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

impl Transport {
    pub(crate) fn connect(to: &Connect) -> Result<Transport, Error> {
        let failed = |source: io::Error| late_or(to, source, || format!("connect to {}", to.address));
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in to.address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, to.patience()) {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(failed)?;
                    stream.set_read_timeout(Some(to.patience())).map_err(failed)?;
                    stream.set_write_timeout(Some(to.timeout)).map_err(failed)?;
                    return match &to.tls {
                        None => Ok(Transport::Plain(stream)),
                        Some(tls) => secure(stream, to, tls),
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }
}

/// What was tried and failed; a wait that came to its end is told as one.
fn late_or(to: &Connect, source: io::Error, doing: impl FnOnce() -> String) -> Error {
    if is_late(&source) {
        return Error::Silent { address: to.address.clone(), waited: to.patience(), welcomed: false };
    }
    Error::Io { doing: doing(), source }
}

/// A file is another than was meant.
fn holds_no(what: &str, path: &Path) -> Error {
    Error::Unusable(format!("{}: it holds no {what} in PEM; is it the right file?", path.display()))
}

fn secure(stream: TcpStream, to: &Connect, tls: &TlsOptions) -> Result<Transport, Error> {
    let failed = |doing: String| move |error: io::Error| Error::Io { doing, source: error };
    let read = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, Error> {
        let of_file = failed(format!("read {}", path.display()));
        let all = CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
        let all = all.map_err(io::Error::other).map_err(of_file)?;
        if all.is_empty() { Err(holds_no("certificate", path)) } else { Ok(all) }
    };
    let mut roots = RootCertStore::empty();
    for certificate in read(&tls.ca)? {
        let of_file = failed(format!("read {}", tls.ca.display()));
        roots.add(certificate).map_err(io::Error::other).map_err(of_file)?;
    }
    let speak = |error: rustls::Error| Error::Io {
        doing: format!("speak TLS with {}", to.address),
        source: io::Error::other(error),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(speak)?
        .with_root_certificates(roots);
    let config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let of_file = failed(format!("read {}", key.display()));
            let secret = match PrivateKeyDer::from_pem_file(key) {
                Err(pem::Error::NoItemsFound) => return Err(holds_no("private key", key)),
                other => other.map_err(io::Error::other).map_err(of_file)?,
            };
            builder.with_client_auth_cert(read(certificate)?, secret).map_err(speak)?
        }
    };
    let host = match &tls.server_name {
        Some(name) => name.clone(),
        None => {
            let host = to.address.rsplit_once(':').map_or(&*to.address, |(host, _)| host);
            host.trim_start_matches('[').trim_end_matches(']').to_owned()
        }
    };
    let name = ServerName::try_from(host.clone())
        .map_err(|error| Error::Io { doing: format!("use the name {host}"), source: io::Error::other(error) })?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(speak)?;
    let mut stream = Socket(BufReader::with_capacity(READ_BYTES, stream));
    while connection.is_handshaking() {
        let doing = || format!("speak TLS with {} (does it, at this address?)", to.address);
        connection.complete_io(&mut stream).map_err(|error| late_or(to, error, doing))?;
    }
    Ok(Transport::Tls(Box::new(StreamOwned::new(connection, stream))))
}

impl Transport {
    /// Waits for what comes next so long.
    pub(crate) fn wait_at_most(&self, wait: Duration) -> io::Result<()> {
        let stream = match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => stream.sock.0.get_ref(),
        };
        // No wait at all would mean to wait for ever.
        stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(stream) => stream.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(stream) => stream.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;
    use std::net::TcpListener;

    fn refused(to: &Connect) -> Error {
        Client::connect(to).err().expect("nobody welcomes it")
    }

    #[test]
    fn a_server_that_says_nothing_is_told_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let to = Connect { greeting: Duration::from_millis(50), ..Connect::to(&address) };
        let text = format!("no answer from {address} within 0.05 s; is an erstwhile server listening there?");
        assert_eq!(refused(&to).to_string(), text);
        // The shorter time counts.
        let to = Connect { timeout: Duration::from_millis(60), ..Connect::to(&address) };
        assert!(refused(&to).to_string().contains("within 0.06 s"));
    }

    #[test]
    fn what_is_no_token_and_no_certificate_is_told_before_anything_is_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Connect::to(&listener.local_addr().unwrap().to_string());
        for token in ["text ".repeat(2000), "two\nlines".to_owned()] {
            let told = refused(&to.clone().token(&token)).to_string();
            assert!(told.contains(&format!("it has {} bytes", token.len())) && told.contains("right file"), "{told}");
        }
        // A file that is there and holds something else.
        let ca = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let tls = Some(TlsOptions { ca: ca.clone(), ..TlsOptions::default() });
        let told = refused(&Connect { tls, ..to.clone() }).to_string();
        assert!(told.contains(ca.to_str().unwrap()) && told.contains("no certificate in PEM"), "{told}");
        let tls = Some(TlsOptions { ca: PathBuf::from("/nonexistent/ca.pem"), ..TlsOptions::default() });
        let told = refused(&Connect { tls, ..to }).to_string();
        assert!(told.contains("/nonexistent/ca.pem"), "{told}");
    }
}
