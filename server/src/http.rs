//! What monitoring asks over HTTP: figures for Prometheus, whether the server lives, whether it takes requests.

use crate::metrics;
use crate::server::Server;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Answers until the server drains.
pub async fn serve(server: Arc<Server>, listener: TcpListener) -> std::io::Result<()> {
    let mut draining = server.draining.subscribe();
    let stopped = async move {
        // Without the server there is nothing to answer either.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    let routes = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(server);
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await
}

async fn figures(State(server): State<Arc<Server>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::page(&server))
}

async fn ready(State(server): State<Arc<Server>>) -> (StatusCode, String) {
    if *server.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    match server.store.takes_appends().and_then(|()| server.store.tick()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
