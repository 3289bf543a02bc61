//! What monitoring asks over HTTP: figures for Prometheus, whether the server lives, whether it takes requests.

use crate::server::Server;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::fmt::Write;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Shared {
    server: Arc<Server>,
    recorder: PrometheusHandle,
}

/// Answers until the server drains.
pub async fn serve(server: Arc<Server>, listener: TcpListener, recorder: PrometheusHandle) -> std::io::Result<()> {
    let mut draining = server.draining.subscribe();
    let stopped = async move {
        // Without the server there is nothing to answer either.
        let _ = draining.wait_for(|draining| *draining).await;
    };
    let routes = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(Shared { server, recorder });
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await
}

async fn figures(State(Shared { server, recorder }): State<Shared>) -> impl IntoResponse {
    let mut text = recorder.render();
    for (name, value) in server.stats().all() {
        let kind = if name.ends_with("_appended") || name.starts_with("requests") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE erstwhile_{name} {kind}\nerstwhile_{name} {value}");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn ready(State(Shared { server, .. }): State<Shared>) -> (StatusCode, String) {
    if *server.draining.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    match server.store.tick() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
