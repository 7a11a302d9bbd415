//! The API described: `/openapi.json`, made of the code, and a page that shows it without anything from elsewhere.

use std::sync::Arc;

use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::{Api, docs_page, schema};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "postrider",
        description = "A notifier daemon: notifications in, durable deliveries out. Every error is an application/problem+json, every answer names its request in X-Request-Id.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(schema::Problem)),
    tags(
        (name = "notifications", description = "What producers hand in."),
        (name = "ingest", description = "Formats that other systems speak."),
        (name = "deliveries", description = "One notification to one destination."),
        (name = "destinations", description = "Named, configured uses of plugins."),
        (name = "plugins", description = "Notifier modules."),
        (name = "access", description = "Who may call, and who changed what."),
        (name = "hosts", description = "Hosts on this queue, and the database itself."),
    )
)]
struct Document;

/// A router that collects the description of what is routed by it.
pub(super) fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
}

/// The routes, and those of their description.
pub(super) fn with_description(router: OpenApiRouter<Api>) -> Router<Api> {
    let (router, document) = router.split_for_parts();
    let document = serde_json::to_value(&document).unwrap_or(Value::Null);
    let page: Arc<str> = docs_page::render(&document).into();
    let document = Arc::new(document);
    router
        .route("/openapi.json", get(async move || Json((*document).clone())))
        .route("/docs", get(async move || show(page)))
}

fn show(page: Arc<str>) -> impl IntoResponse {
    let policy =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page.to_string()))
}
