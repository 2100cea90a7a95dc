//! The Kubernetes client: its configuration, and the patience of each request.
//!
//! The client's own retries are off (architecture, decision 10: 15 tries, up to 1,000 s,
//! POST too). Ours: few, short, and only where trying again can help. A POST may be tried
//! again: what it makes has a name, so the second one is told `AlreadyExists`.

use std::future::Future;
use std::time::Duration;

use kube::{Client, Config};

use crate::limits::{
    CONNECT_TIMEOUT, READ_TIMEOUT, REQUEST_TIMEOUT, REQUEST_TRIES, RETRY_AFTER_MAX, RETRY_AFTER_MIN,
};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("neither a kubeconfig nor a pod's environment: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("the client cannot be built: {0}")]
    Client(#[from] kube::Error),
}

/// A client by `KUBECONFIG` or by the pod's environment.
///
/// # Errors
/// Neither is there, or its certificates cannot be read. Permanent.
pub async fn connect() -> Result<Client, ConnectError> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(Client::try_from(config)?)
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Somebody else was faster. Transient: read again.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// Transient: look again.
    #[error("the object exists already")]
    AlreadyExists,
    #[error("the object is gone")]
    NotFound,
    /// Permanent until the object, a policy or our rights change.
    #[error("refused with {code}: {message}")]
    Refused { code: u16, message: String },
    /// Transient.
    #[error("the API server cannot be reached or is overloaded: {0}")]
    Unavailable(#[source] Box<kube::Error>),
    /// Transient.
    #[error("no answer within the deadline")]
    TimedOut,
    /// A fault of this program. Permanent.
    #[error("the object cannot be written as JSON: {0}")]
    Encode(#[from] serde_json::Error),
}

impl CallError {
    /// Whether an immediate second look is all it takes.
    #[must_use]
    pub const fn is_race(&self) -> bool {
        matches!(self, Self::Conflict | Self::AlreadyExists | Self::NotFound)
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unavailable(Box::new(error));
        };
        match status.code {
            409 if status.is_already_exists() => Self::AlreadyExists,
            409 => Self::Conflict,
            404 => Self::NotFound,
            code @ (400 | 403 | 405 | 413 | 415 | 422) => Self::Refused {
                code,
                message: status.message,
            },
            _ => Self::Unavailable(Box::new(kube::Error::Api(status))),
        }
    }
}

/// Makes the request until it is answered for good, within the limits.
///
/// # Errors
/// The last failure.
pub async fn patiently<T, F, Fut>(request: F) -> Result<T, CallError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, kube::Error>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, request()).await;
        let (error, wait) = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                let wait = retry_after(&error);
                (CallError::from(error), wait)
            }
            // The deadline is all the time that there is.
            Err(_) => return Err(CallError::TimedOut),
        };
        if !matches!(error, CallError::Unavailable(_)) || tries >= REQUEST_TRIES {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

fn retry_after(error: &kube::Error) -> Duration {
    let seconds = match error {
        kube::Error::Api(status) => status
            .details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds),
        _ => 0,
    };
    Duration::from_secs(u64::from(seconds)).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::core::Status;
    use tokio::time::Instant;

    use super::{CallError, patiently};
    use crate::limits::{REQUEST_TIMEOUT, REQUEST_TRIES};

    fn answer(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
    }

    async fn tries_of(code: u16, reason: &str) -> (u32, CallError) {
        let tries = AtomicU32::new(0);
        let result = patiently(|| async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(answer(code, reason))
        })
        .await;
        (tries.into_inner(), result.unwrap_err())
    }

    /// Decision 10: at most 3 tries, and none for what trying again cannot change.
    #[tokio::test(start_paused = true)]
    async fn only_an_overloaded_server_is_asked_again_and_only_so_often() {
        let (tries, error) = tries_of(503, "ServiceUnavailable").await;
        assert_eq!(tries, REQUEST_TRIES);
        assert!(matches!(error, CallError::Unavailable(_)));

        for (code, reason) in [(409, "Conflict"), (409, "AlreadyExists"), (404, "NotFound")] {
            let (tries, error) = tries_of(code, reason).await;
            assert_eq!(tries, 1);
            assert!(error.is_race(), "{error}");
        }
        let (tries, error) = tries_of(422, "Invalid").await;
        assert_eq!(tries, 1);
        assert!(matches!(error, CallError::Refused { code: 422, .. }));
    }

    /// Decision 10: a request that hangs ends after 5 s.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_ends_at_its_deadline() {
        let start = Instant::now();

        let result = patiently(pending::<Result<(), kube::Error>>).await;

        assert!(matches!(result, Err(CallError::TimedOut)));
        assert_eq!(start.elapsed(), REQUEST_TIMEOUT);
    }
}
