//! The admin port: `/healthz` (the process lives), `/readyz` (the caches are filled),
//! `/metrics`. Serves nothing else and knows nothing of the cluster.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::{ADMIN_ACCEPT_DELAY, ADMIN_CONNECTIONS, ADMIN_HEADER_TIMEOUT};
use crate::metrics::Metrics;

/// Whether the operator can do its work.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the port answers from.
#[derive(Clone)]
pub struct Admin {
    pub metrics: Metrics,
    pub ready: Ready,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Serves until told to stop.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => return,
                next = next => next,
            };
            let Ok(place) = place else {
                return;
            };
            match accepted {
                Ok((stream, _)) => {
                    let (admin, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        admin.connection(stream, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin connection not accepted");
                    // Without file descriptors the next try fails at once, too.
                    let _ = timeout(ADMIN_ACCEPT_DELAY, stop.cancelled()).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, stop: CancellationToken) {
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(ADMIN_HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            () = stop.cancelled() => {}
            ended = serving => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "admin connection ended");
                }
            }
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if (self.ready)() => text(StatusCode::OK, "ok\n"),
            "/readyz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "caches are not filled yet\n",
            ),
            "/metrics" => match self.metrics.text() {
                Ok(body) => text(StatusCode::OK, body),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "metrics failed\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use hyper::{Method, StatusCode};

    use super::Admin;
    use crate::metrics::Metrics;

    /// Build 4, admin endpoints.
    #[test]
    fn the_admin_port_answers_for_life_readiness_and_metrics_and_nothing_else() {
        let filled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&filled);
        let admin = Admin {
            metrics: Metrics::new().unwrap(),
            ready: Arc::new(move || flag.load(Ordering::Relaxed)),
        };
        let status = |method: Method, path| admin.answer(&method, path).status();

        assert_eq!(status(Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(
            status(Method::GET, "/readyz"),
            StatusCode::SERVICE_UNAVAILABLE
        );
        filled.store(true, Ordering::Relaxed);
        assert_eq!(status(Method::GET, "/readyz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/metrics"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/secrets"), StatusCode::NOT_FOUND);
        assert_eq!(
            status(Method::POST, "/healthz"),
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}
