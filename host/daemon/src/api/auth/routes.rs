//! Tokens and the audit in the API, and the page that takes a token once.

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postrider_core::{suggest, units};
use postrider_queue::{AuditRecord, NewToken, TokenRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::caller::Caller;
use super::scope::Scopes;
use super::session;
use super::token::Token;
use crate::api::extract::{Named, Parameters};
use crate::api::notifications::read;
use crate::api::problem::Problem;
use crate::api::{Api, Paging, list, next_of, schema};
use crate::listen::peer::Peer;

/// Longest name of a token, in characters.
const LONGEST_NAME: usize = 100;
/// Largest body that has a token in it, in bytes.
const LARGEST_LOGIN: usize = 4 << 10;
/// What a page may load: all of ours, nothing of others, and for [`login_page`] its own style.
const LOGIN_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

/// A token that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct WantedToken {
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// One or more of ingest, read and admin.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// How long it is valid, such as 90d; without it until it is revoked.
    #[serde(default)]
    expires_after: Option<String>,
}

/// Lists tokens, without their secrets.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "access",
    responses(
        (status = 200, body = schema::Tokens),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn tokens(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let tokens = api.access.tokens().await?;
    Ok(Json(json!({"items": tokens.iter().map(token_value).collect::<Vec<_>>(), "next": null})))
}

/// Makes a token. The answer is the only place where its secret is.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "access",
    request_body = WantedToken,
    responses(
        (status = 201, body = schema::MadeToken),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted: WantedToken =
        serde_json::from_slice(&read(body, api.max_body).await?).map_err(|e| {
            let detail = format!("the body: {}", suggest::reword(&e.to_string()));
            Problem::new(StatusCode::BAD_REQUEST, detail)
        })?;
    let (token, new) = make(&wanted.name, &wanted.scopes, wanted.expires_after.as_deref())
        .map_err(|(field, problem)| Problem::field(field, &problem))?;
    if !api.access.create_token(&new).await? {
        return Err(Problem::new(StatusCode::CONFLICT, taken(&new.name)));
    }
    let details =
        json!({"id": new.id, "scopes": new.scopes, "expires_after": wanted.expires_after});
    api.audit.record(&caller.actor, "token.create", &new.name, details).await?;
    let answer = json!({"id": new.id, "name": new.name, "scopes": scopes_of(&new.scopes), "token": token.reveal()});
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revokes a token.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "access",
    params(("id" = String, Path, description = "Its id, or its name.")),
    responses(
        (status = 200, body = schema::Token),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(wanted): Named,
) -> Result<Json<Value>, Problem> {
    let tokens = api.access.tokens().await?;
    let found = find(&tokens, &wanted).ok_or_else(|| Problem::not_found(unknown(&wanted)))?;
    api.access.revoke_token(&found.id).await?;
    api.doorman.forget(&found.id);
    let details = json!({"id": found.id});
    api.audit.record(&caller.actor, "token.revoke", &found.name, details).await?;
    Ok(Json(token_value(found)))
}

/// Says who calls, and what that caller may do.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "access",
    responses(
        (status = 200, body = schema::Whoami),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn whoami(caller: Caller, headers: HeaderMap) -> Json<Value> {
    let session = session::cookie(&headers).is_some() && caller.actor.starts_with("token ");
    Json(json!({"actor": caller.actor, "scopes": caller.scopes.names(), "session": session}))
}

/// Lists who changed what, the newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access",
    params(
        ("limit" = Option<u32>, Query, description = "Most rows, 1 to 1000; by default 100."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses(
        (status = 200, body = schema::AuditEntries),
        (status = "default", body = schema::Problem, content_type = "application/problem+json", description = "What is wrong.")
    )
)]
pub async fn audit(
    State(api): State<Api>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<Value>, Problem> {
    let page = paging.page()?;
    let records = api.access.audit(&page).await?;
    let next = next_of(&records, page.limit, |record| record.id);
    Ok(list(records.iter().map(audit_value).collect(), next))
}

/// `GET /login`: takes a token.
pub async fn login_page() -> Response {
    login_text(StatusCode::OK, "")
}

/// `POST /login`: a token as a form has it, or as JSON. Sets the cookie.
pub async fn login(
    State(api): State<Api>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read(body, LARGEST_LOGIN).await?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let shown = match is_form {
        true => form_urlencoded::parse(&body)
            .find_map(|(name, value)| (name == "token").then(|| value.into_owned())),
        false => serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|body| body.get("token").and_then(Value::as_str).map(str::to_owned)),
    };
    let token = shown.unwrap_or_default();
    let token = token.trim();
    let caller = api.doorman.by_token(token).await?;
    let Some((caller, token)) = caller.zip(Token::parse(token)) else {
        return match is_form {
            true => Ok(login_text(StatusCode::UNAUTHORIZED, "The token is not valid.")),
            false => Err(Problem::unauthorized()),
        };
    };
    let tls = peer.is_some_and(|Extension(peer)| peer.tls);
    let cookie = session::set_cookie(Some(&api.doorman.sessions().open(&token.id)), tls);
    let cookie = [(header::SET_COOKIE, cookie)];
    Ok(match is_form {
        true => (StatusCode::SEE_OTHER, cookie, [(header::LOCATION, "/")]).into_response(),
        false => (cookie, Json(json!({"actor": caller.actor, "scopes": caller.scopes.names()})))
            .into_response(),
    })
}

/// `POST /logout`: ends the session of this browser.
pub async fn logout(peer: Option<Extension<Peer>>) -> Response {
    let tls = peer.is_some_and(|Extension(peer)| peer.tls);
    let cookie = [(header::SET_COOKIE, session::set_cookie(None, tls))];
    (StatusCode::SEE_OTHER, cookie, [(header::LOCATION, "/login")]).into_response()
}

/// A token and what is kept of it, or the field that is wrong and why.
pub fn make(
    name: &str,
    scopes: &[String],
    expires_after: Option<&str>,
) -> Result<(Token, NewToken), (&'static str, String)> {
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) {
        let problem = format!("must be 1 to {LONGEST_NAME} characters, and none that controls");
        return Err(("name", problem));
    }
    let scopes = Scopes::parse(scopes.iter().map(String::as_str)).map_err(|e| ("scopes", e))?;
    let expires_after = expires_after.map(units::parse_span).transpose();
    let expires_after = expires_after.map_err(|problem| ("expires_after", problem))?;
    if expires_after.is_some_and(|span| span.is_zero()) {
        return Err(("expires_after", "must be longer than 0, such as 90d".to_owned()));
    }
    let token = Token::new(rand::random(), rand::random());
    let new = NewToken {
        id: token.id.clone(),
        name: name.to_owned(),
        scopes: scopes.to_string(),
        hash: token.hash(),
        expires_after,
    };
    Ok((token, new))
}

/// The token of this id or this name.
pub fn find<'a>(tokens: &'a [TokenRecord], wanted: &str) -> Option<&'a TokenRecord> {
    tokens.iter().find(|token| token.id == wanted || token.name == wanted)
}

pub fn taken(name: &str) -> String {
    format!("there is a token \"{}\"; revoke it, or choose another name", name.escape_debug())
}

pub fn unknown(wanted: &str) -> String {
    format!("there is no token \"{}\"; `postrider token list` has them all", wanted.escape_debug())
}

pub fn token_value(token: &TokenRecord) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": scopes_of(&token.scopes),
        "state": if token.expired { "expired" } else { "valid" },
        "created": token.created,
        "expires": token.expires,
        "last_used": token.last_used,
    })
}

pub fn audit_value(record: &AuditRecord) -> Value {
    let details = serde_json::from_str::<Value>(&record.entry.details);
    json!({
        "id": record.id,
        "at": record.at,
        "actor": record.entry.actor,
        "action": record.entry.action,
        "subject": record.entry.subject,
        "details": details.unwrap_or_else(|_foreign| Value::from(record.entry.details.clone())),
    })
}

fn scopes_of(kept: &str) -> Vec<&str> {
    kept.split_whitespace().collect()
}

fn login_text(status: StatusCode, problem: &'static str) -> Response {
    let page = include_str!("login.html").replace("{problem}", problem);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, LOGIN_POLICY),
    ];
    (status, headers, page).into_response()
}
