//! A server from its start to its end.
//!
//! Invariants:
//! - What makes no sense is refused before anything is opened.
//! - It says that it is ready once it listens, and not before.
//! - When it is told to stop it takes nothing new, finishes what is under way, and closes the store; what is acknowledged
//!   is durable without that.
//! - It ends well only if its store took appends to the end.
//!
//! Steps: tokens and certificates are read, or made → the store is opened → listeners → until a signal, or a client with
//! the role, says stop → drain → close.

use crate::config::Config;
use crate::net;
use crate::net::tls::{OWN_NAME, Own, acceptor, own_certificate, write_private};
use crate::server::Server;
use crate::tokens::{TokenFile, Tokens, make};
use erstwhile_engine::error::Error;
use erstwhile_engine::ingest::producer::Accepted;
use erstwhile_engine::io::{Clock, DiskStorage, Storage, SystemClock};
use erstwhile_engine::store::Store;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

/// How often it is looked whether something that is held back has waited long enough.
const IDLE_POLL: Duration = Duration::from_millis(250);
/// How often it is looked whether all connections are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What is below the store's directory for the server.
const DIRECTORY: &str = "server";
/// The tokens in it.
const TOKENS: &str = "tokens.toml";
/// The certificate that signs itself, and its key.
const OWN_FILES: [&str; 2] = ["certificate.pem", "key.pem"];

/// Tokens that are made for a new store: their names and roles.
const MADE: [(&str, &[&str]); 3] =
    [("ingest", &["ingest"]), ("read", &["read"]), ("admin", &["ingest", "read", "admin"])];

/// What whoever starts a server is told once it listens.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where clients connect, and whether they speak TLS there.
    pub listening: Vec<(SocketAddr, bool)>,
    /// Where metrics are.
    pub http: Option<SocketAddr>,
    /// The certificate that clients must trust, if it signs itself.
    pub certificate: Option<PathBuf>,
    /// Tokens that were made just now: name, token and file.
    pub made: Vec<(String, String, PathBuf)>,
}

/// Runs a server until it is told to stop. `ready` is told once it listens.
pub fn run(config: Config, ready: impl FnOnce(&Ready)) -> Result<(), String> {
    config.check()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(serve(config, ready))
}

/// Reads all that a start reads before it listens, and makes and changes nothing: whether a server of this configuration
/// would start, as far as files can tell.
pub fn check(config: &Config) -> Result<(), String> {
    config.check()?;
    let directory = config.store.join(DIRECTORY);
    if config.store.exists() && !config.store.is_dir() {
        return Err(format!("{}: it is no directory; name the store's", config.store.display()));
    }
    let tokens = config.tokens.clone().or_else(|| Some(directory.join(TOKENS)).filter(|path| path.exists()));
    if let Some(path) = tokens {
        Tokens::read(&path)?;
    }
    if !config.listen.iter().any(|address| is_tls(config, address)) {
        return Ok(());
    }
    match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => acceptor(&config.tls, certificate, key).map(drop),
        _ => {
            let [certificate, key] = OWN_FILES.map(|file| directory.join(file));
            // What is not there yet is made at the start.
            if certificate.exists() && key.exists() {
                return acceptor(&config.tls, &certificate, &key).map(drop);
            }
            let Some(path) = &config.tls.client_ca else { return Ok(()) };
            std::fs::read(path).map(drop).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

/// Whether clients speak TLS at an address.
fn is_tls(config: &Config, address: &SocketAddr) -> bool {
    config.tls.loopback || !address.ip().is_loopback()
}

/// The tokens that are known; made if there is no file of them. Tells what was made.
type Found = (Tokens, Vec<(String, String, PathBuf)>);

fn tokens(config: &Config, directory: &Path) -> Result<Found, String> {
    if let Some(path) = &config.tokens {
        return Ok((Tokens::read(path)?, Vec::new()));
    }
    let path = directory.join(TOKENS);
    let mut made = Vec::new();
    if !path.exists() {
        let mut file = TokenFile::default();
        for (name, roles) in MADE {
            let (secret, token) = make(name, roles).map_err(|error| format!("no token could be made: {error}"))?;
            let secret_path = directory.join(format!("{name}.token"));
            let _ = std::fs::remove_file(&secret_path);
            write_private(&secret_path, &format!("{secret}\n"))?;
            made.push((name.to_owned(), secret, secret_path));
            file.tokens.push(token);
        }
        let text = toml::to_string(&file).map_err(|error| error.to_string())?;
        write_private(&path, &text)?;
    }
    Ok((Tokens::read(&path)?, made))
}

async fn serve(config: Config, ready: impl FnOnce(&Ready)) -> Result<(), String> {
    let store = &config.store;
    let at = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let storage = DiskStorage::open(store, true).map_err(|error| at(store, &error))?;
    let directory = store.join(DIRECTORY);
    std::fs::create_dir_all(&directory).map_err(|error| at(&directory, &error))?;
    let (known, made) = tokens(&config, &directory)?;
    let mut own = None;
    let is_tls = |address: &&SocketAddr| is_tls(&config, address);
    let tls = if config.listen.iter().any(|address| is_tls(&address)) {
        let (certificate, key) = match (&config.tls.certificate, &config.tls.key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            _ => {
                let addresses: Vec<IpAddr> = config.listen.iter().filter(is_tls).map(SocketAddr::ip).collect();
                let Own { certificate, key, lacks } = own_certificate(&directory, &addresses)?;
                if !lacks.is_empty() {
                    let lacks: Vec<String> = lacks.iter().map(IpAddr::to_string).collect();
                    tracing::warn!(
                        "{} is not for {}: clients that connect there need --server-name {OWN_NAME}, or a new certificate; \
                         it is made at the next start if this file is removed, and clients must be given it then",
                        certificate.display(),
                        lacks.join(", ")
                    );
                }
                own = Some(certificate.clone());
                (certificate, key)
            }
        };
        Some(acceptor(&config.tls, &certificate, &key)?)
    } else {
        None
    };
    // Addresses before the store: a mistake there costs nothing yet.
    let mut listeners: Vec<(TcpListener, Option<TlsAcceptor>)> = Vec::new();
    for address in &config.listen {
        let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
        listeners.push((listener, tls.clone().filter(|_| is_tls(&address))));
    }
    let http = match config.http {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?),
        None => None,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let holder = format!("process {} (erstwhile serve)", std::process::id());
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let options = config.options();
    let pace = options.pace.clone();
    let opened = Store::open(storage, clock.clone(), options, &holder).map_err(|error| at(store, &error))?;
    let server = Arc::new(Server::new(config, opened, clock, known));
    let mut told = Ready { listening: Vec::new(), http: None, certificate: own, made };
    for (listener, tls) in &listeners {
        told.listening.push((listener.local_addr().map_err(|error| error.to_string())?, tls.is_some()));
    }
    for (listener, tls) in listeners {
        tokio::spawn(net::listen(server.clone(), listener, tls));
    }
    if let Some(listener) = http {
        told.http = listener.local_addr().ok();
        tokio::spawn(crate::http::serve(server.clone(), listener));
    }
    tokio::spawn(hand_on(server.clone()));
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    for (address, tls) in &told.listening {
        tracing::info!(%address, tls, "listening");
    }
    ready(&told);
    tokio::select! {
        _ = terminated.recv() => tracing::info!("told to stop by SIGTERM"),
        _ = interrupted.recv() => tracing::info!("told to stop by SIGINT"),
        () = server.stop.notified() => {}
    }
    drain(&server).await;
    // A merge takes as long as its limit wants; the next server begins it anew.
    pace.stop();
    tokio::task::spawn_blocking(move || close(server)).await.map_err(|error| error.to_string())?
}

/// Hands on what was held back long enough, by this server or by one before it, and does what an interval of syncs asks for.
async fn hand_on(server: Arc<Server>) {
    let after = server.config.limits.hold_millis.saturating_mul(1_000_000);
    let mut draining = server.draining.subscribe();
    let shared = server.clone();
    let take_up = move || {
        if let Err(failure) = shared.producers.take_up(&shared.store, shared.now_nanos()) {
            tracing::error!(
                %failure,
                "what a server before this one held back could not be looked up; it is handed on once its producers come back"
            );
        }
    };
    let _ = tokio::task::spawn_blocking(take_up).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(IDLE_POLL) => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
        let shared = server.clone();
        let work = move || {
            let noted = &mut |accepted: &Accepted| shared.counts.note_looks(accepted);
            if let Err(failure) = shared.producers.idle(&shared.store, shared.now_nanos(), after, noted) {
                tracing::error!(%failure, "what was held back could not be handed on");
            }
            if let Err(error) = shared.store.tick() {
                tracing::error!(%error, "the log could not be synced");
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

/// Waits until all connections are gone, for so long as they may take.
async fn drain(server: &Server) {
    let _ = server.draining.send_replace(true);
    let most = Duration::from_millis(server.config.limits.drain_millis_max);
    let gone = async {
        while server.connected.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(most, gone).await.is_err() {
        let left = server.connected.load(Ordering::Relaxed);
        tracing::warn!(connections = left, "connections were cut off");
    }
}

/// Closes the store, unless somebody is still at work with it; then what is in its log is read by the next server. A store
/// that took no more appends is told of in either case: whoever started the server must not take it for well.
fn close(server: Arc<Server>) -> Result<(), String> {
    let path = server.config.store.display().to_string();
    let failed = |error: Error| format!("store {path}: {error}");
    let takes = server.store.takes_appends().map_err(failed);
    let store = Arc::try_unwrap(server).ok().and_then(|server| Arc::into_inner(server.store));
    let closed = store.map_or(Ok(()), |store| store.close().map_err(failed));
    takes.and(closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
    use erstwhile_engine::io::{FaultyStorage, ManualClock, Plan};
    use erstwhile_engine::row::RowBuilder;

    fn look(second: i64) -> Batch {
        let name = |text: &str| Name::from(text.as_bytes());
        let (host, table, name) = (name("web-1"), name("users"), name("pack/fleet/users"));
        let stream = StreamKey { host, table, name, kind: Kind::Snapshot, sightings: false }.into();
        let mut row = RowBuilder::new();
        row.column(b"uid", second.to_string().as_bytes());
        let (removed, added, inferred) = (Vec::new(), vec![(row.row(), 1)], Inferred::V5_7);
        let delivery = Delivery { stream, epoch: 0, counter: None, second, whole: true, inferred, removed, added };
        Batch { deliveries: vec![delivery], ..Batch::default() }
    }

    /// How a server ends whose store met this at its second append, while somebody is still at work with it or not.
    fn end(plan: impl Fn(&FaultyStorage) -> Plan, is_held: bool) -> Result<(), String> {
        let (storage, clock) = (FaultyStorage::new(Plan::default()), ManualClock::new(1_000_000_000));
        let on = Arc::new(storage.clone());
        let config = Config::default();
        let store = Store::open(on, Arc::new(clock.clone()), config.options(), "a test").unwrap();
        let server = Arc::new(Server::new(config, store, Arc::new(clock), Tokens::default()));
        server.store.append(look(1), None).unwrap();
        storage.set_plan(plan(&storage));
        let _ = server.store.append(look(2), None);
        let held = is_held.then(|| server.clone());
        let ended = close(server);
        drop(held);
        ended
    }

    #[test]
    fn what_a_start_would_refuse_is_told_without_making_anything() {
        let folder = tempfile::tempdir().unwrap();
        let (store, file) = (folder.path().join("store"), |name: &str| folder.path().join(name));
        let mut config = Config { store: store.clone(), ..Config::default() };
        assert_eq!(check(&config), Ok(()));
        let told = |config: &Config, words: &[&str]| {
            let told = check(config).unwrap_err();
            assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
        };
        config.tokens = Some(file("tokens"));
        told(&config, &["tokens", "No such file"]);
        std::fs::write(file("tokens"), "[[token]]\nname = \"x\"\n").unwrap();
        told(&config, &["tokens", "roles"]);
        config.tokens = None;
        // Loopback alone speaks no TLS, and reads no certificate.
        (config.tls.certificate, config.tls.key) = (Some(file("certificate.pem")), Some(file("key.pem")));
        assert_eq!(check(&config), Ok(()));
        config.listen = vec![SocketAddr::from(([0, 0, 0, 0], 7787))];
        told(&config, &["certificate.pem", "No such file"]);
        std::fs::write(file("certificate.pem"), "no certificate").unwrap();
        std::fs::write(file("key.pem"), "no key").unwrap();
        told(&config, &["key.pem"]);
        for made in ["one", "other"] {
            std::fs::create_dir(file(made)).unwrap();
            own_certificate(&file(made), &[]).unwrap();
        }
        (config.tls.certificate, config.tls.key) = (Some(file("one/certificate.pem")), Some(file("one/key.pem")));
        assert_eq!(check(&config), Ok(()));
        config.tls.key = Some(file("other/key.pem"));
        told(&config, &["one/certificate.pem"]);
        (config.tls.certificate, config.tls.key) = (None, None);
        assert_eq!(check(&config), Ok(()), "one is made at the start");
        config.tls.client_ca = Some(file("clients.pem"));
        told(&config, &["clients.pem", "No such file"]);
        config.tls.client_ca = None;
        assert!(!store.exists());
        std::fs::create_dir_all(store.join(DIRECTORY)).unwrap();
        own_certificate(&store.join(DIRECTORY), &[]).unwrap();
        assert_eq!(check(&config), Ok(()));
        std::fs::write(store.join(DIRECTORY).join("key.pem"), "no key").unwrap();
        told(&config, &["server/key.pem"]);
        config.store = file("tokens");
        told(&config, &["tokens", "no directory"]);
    }

    #[test]
    fn a_server_whose_store_failed_does_not_end_well() {
        for is_held in [false, true] {
            assert_eq!(end(|_| Plan::default(), is_held), Ok(()));
            let fail_sync = |storage: &FaultyStorage| Plan { fail_sync: Some(storage.sync_count()), ..Plan::default() };
            let told = end(fail_sync, is_held).unwrap_err();
            assert!(told.contains("erstwhile-store") && told.contains("sync"), "held: {is_held}: {told}");
        }
    }
}
