//! Sockets: listeners, transport security, connections.

pub mod connection;

pub mod tls;

use crate::server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A TLS handshake must be over within so long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts connections until the server drains.
pub async fn listen(server: Arc<Server>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut draining = server.draining.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly too many open files: others end meanwhile.
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let number = server.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        if server.connected.fetch_add(1, Ordering::Relaxed) >= server.config.limits.connections_max {
            server.connected.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%peer, "too many connections");
            continue;
        }
        tokio::spawn(serve(server.clone(), stream, peer, number, tls.clone()));
    }
}

async fn serve(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, number: u64, tls: Option<TlsAcceptor>) {
    // A frame is worth a packet.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        connection::serve(server, stream, peer.ip(), number).await;
        return;
    };
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(server, stream, peer.ip(), number).await,
        failed => {
            let reason = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "it took too long".to_owned(),
            };
            tracing::info!(connection = number, %peer, %reason, "no TLS");
            server.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
