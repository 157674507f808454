//! The gate that every request passes first: the rate limit and the password.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::access::{Access, Terms};
use super::answer::Refusal;
use super::pace::Pace;
use super::passwords::{Passwords, Verdict};
use crate::config::HttpConfig;
use crate::net;

/// `router` behind a gate, and the same with health checks only, for clients that find no room.
pub(super) fn behind(access: Arc<Access>, router: Router) -> [Router; 2] {
    let (pace, passwords) = (Mutex::default(), Passwords::default());
    let gate = Arc::new(Gate { access, pace, passwords });
    let health = router.clone().layer(from_fn(only_health));
    [router, health].map(|router| router.layer(from_fn_with_state(gate.clone(), pass)))
}

/// Refuses requests other than health checks, and closes the connection.
async fn only_health(request: Request, next: Next) -> Response {
    let is_health = ["/-/healthy", "/-/ready"].contains(&request.uri().path());
    let mut response =
        if is_health { next.run(request).await } else { Refusal::Full.into_response() };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[derive(Debug)]
struct Gate {
    access: Arc<Access>,
    pace: Mutex<Pace>,
    passwords: Passwords,
}

impl Gate {
    async fn check(&self, config: &HttpConfig, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(limit) = config.rate_limit {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.admit(limit, net::now().mono).map_err(Refusal::TooMany)?;
        }
        if config.users.is_empty() {
            return Ok(());
        }
        match self.passwords.check(&config.users, headers).await {
            Verdict::Right => Ok(()),
            Verdict::Wrong => Err(Refusal::Password),
            Verdict::Busy => Err(Refusal::Busy),
        }
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let Terms { config, valid } = gate.access.terms().await;
    if !valid {
        return Refusal::InvalidFile.into_response();
    }
    let mut response = match gate.check(&config, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = refusal.clone().into_response();
            if refusal == Refusal::Password {
                let basic = HeaderValue::from_static("Basic");
                response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            }
            response
        }
    };
    for (name, value) in &config.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}
