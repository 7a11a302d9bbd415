//! The shapes of answers, for the OpenAPI document. The values are made in [`super::view`] and beside the handlers;
//! `schemathesis` holds the two against each other.
#![expect(
    dead_code,
    reason = "these types are only ever read by the macro that makes schemas of them"
)]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What is wrong with a request, or with the daemon (RFC 9457).
#[derive(ToSchema)]
pub(super) struct Problem {
    title: String,
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// The field of the request that is to blame.
    field: Option<String>,
    /// The same as the header `X-Request-Id`.
    request_id: Option<String>,
}

/// One line of text.
#[derive(ToSchema)]
#[schema(max_length = 1000, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
pub(super) struct LabelValue(String);

/// One event of CloudEvents 1.0 in JSON; further attributes are extensions.
#[derive(ToSchema)]
pub(super) struct CloudEvent {
    #[schema(pattern = "^1[.]0$")]
    specversion: String,
    #[schema(min_length = 1, max_length = 1000, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    id: String,
    #[schema(min_length = 1, max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    source: String,
    #[schema(max_length = 200, pattern = "^(?!postrider[.])[^\\s\\x00-\\x1f\\x7f-\\x9f]+$")]
    r#type: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    subject: Option<String>,
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    datacontenttype: Option<String>,
    /// Or `data_base64`, not both.
    data: Option<serde_json::Value>,
}

/// The webhook of Alertmanager (version 4) or Grafana; what else it holds goes with each alert.
#[derive(ToSchema)]
pub(super) struct AlertWebhook {
    alerts: Vec<Alert>,
    receiver: Option<String>,
}

/// One alert; what else it holds is in the notification's content.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Alert {
    /// firing or resolved.
    status: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    fingerprint: Option<String>,
    starts_at: Option<String>,
}

/// A message as the Apprise API takes it: a body, a title, or both.
#[derive(ToSchema)]
pub(super) struct Message {
    #[schema(min_length = 1)]
    body: String,
    #[schema(max_length = 1000, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    title: Option<String>,
    #[schema(pattern = "^(info|success|warning|failure)$")]
    r#type: Option<String>,
    #[schema(pattern = "^(text|markdown|html)$")]
    format: Option<String>,
    #[schema(max_length = 500, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
}

/// What became of a notification that was handed in.
#[derive(ToSchema)]
pub(super) struct Taken {
    id: String,
    /// Destinations that it goes to; null where another of that key is known under this id.
    #[schema(required)]
    deliveries: Option<u32>,
    /// Whether it was not there before.
    new: Option<bool>,
}

/// What became of many.
#[derive(ToSchema)]
pub(super) struct TakenMany {
    items: Vec<Taken>,
}

/// What became of each of a batch, in order.
#[derive(ToSchema)]
pub(super) struct Batch {
    items: Vec<BatchItem>,
}

/// What became of one of a batch.
#[derive(ToSchema)]
pub(super) struct BatchItem {
    /// 201: stored; 200: known before; 409: its key belongs to another.
    status: u16,
    id: String,
    #[schema(required)]
    deliveries: Option<u32>,
    detail: Option<String>,
}

/// A notification without its content.
#[derive(ToSchema)]
pub(super) struct Notification {
    id: String,
    r#type: String,
    source: String,
    #[schema(required)]
    subject: Option<String>,
    labels: BTreeMap<String, String>,
    content_type: String,
    #[schema(format = DateTime)]
    time: String,
    #[schema(required)]
    idempotency_key: Option<String>,
    /// What is wrong with a row that a producer inserted by SQL.
    #[schema(required)]
    malformed: Option<String>,
    /// Whether retention has taken its content.
    pruned: bool,
    /// Deliveries that it became; null until it is fanned out.
    #[schema(required)]
    fan_out: Option<u32>,
    #[schema(required)]
    expires: Option<String>,
    /// W3C trace context of its producer.
    #[schema(required)]
    traceparent: Option<String>,
    #[schema(required)]
    tracestate: Option<String>,
}

/// A page of notifications.
#[derive(ToSchema)]
pub(super) struct Notifications {
    items: Vec<Notification>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// A notification with its content, under the name that a producer would send it by, and its deliveries.
#[derive(ToSchema)]
pub(super) struct WholeNotification {
    #[serde(flatten)]
    notification: Notification,
    deliveries: Vec<WholeDelivery>,
    content: Option<serde_json::Value>,
    content_text: Option<String>,
    content_base64: Option<String>,
}

/// A notification to a destination.
#[derive(ToSchema)]
pub(super) struct Delivery {
    id: i64,
    notification: String,
    r#type: String,
    destination: String,
    /// pending, leased, delivered, dead or cancelled.
    state: String,
    attempts: u32,
    created: String,
    #[schema(required)]
    due: Option<String>,
    #[schema(required)]
    expires: Option<String>,
    #[schema(required)]
    order_key: Option<String>,
    waiting: bool,
    #[schema(required)]
    finished: Option<String>,
    reason: String,
    #[schema(required)]
    cause: Option<String>,
    #[schema(required)]
    fallback_of: Option<i64>,
    #[schema(required)]
    fallback_to: Option<i64>,
}

/// A page of deliveries.
#[derive(ToSchema)]
pub(super) struct Deliveries {
    items: Vec<Delivery>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// A delivery with its attempts.
#[derive(ToSchema)]
pub(super) struct WholeDelivery {
    #[serde(flatten)]
    delivery: Delivery,
    history: Vec<Attempt>,
}

/// One try of a delivery.
#[derive(ToSchema)]
pub(super) struct Attempt {
    number: u32,
    started: String,
    duration_ms: f64,
    outcome: String,
    reason: String,
    /// SHA-256 of the module.
    plugin: String,
    host: String,
}

/// Dead letters by what they died of.
#[derive(ToSchema)]
pub(super) struct DeadLetters {
    items: Vec<DeadGroup>,
    /// Whether these are all there are.
    complete: bool,
    #[schema(required)]
    next: Option<String>,
}

/// Dead letters of one destination that gave up for one reason.
#[derive(ToSchema)]
pub(super) struct DeadGroup {
    destination: String,
    cause: String,
    reason: String,
    count: u64,
    first: String,
    last: String,
    /// The number of the newest delivery.
    newest: i64,
}

/// Everything at a glance; destinations have more fields, as in their own list.
#[derive(ToSchema)]
pub(super) struct Overview {
    at: String,
    /// Whose loops and hours these are.
    host: String,
    version: String,
    generation: u64,
    queue: OverviewQueue,
    /// What is wrong with the loops.
    problems: Vec<String>,
    loops: Vec<OverviewLoop>,
    refused: Vec<Refused>,
    destinations: Vec<OverviewDestination>,
    /// Null while the queue was never asked.
    #[schema(required)]
    hosts: Option<Vec<Host>>,
}

/// Whether the queue answers, and when it last did.
#[derive(ToSchema)]
pub(super) struct OverviewQueue {
    #[schema(required)]
    problem: Option<String>,
    #[schema(required)]
    counted: Option<String>,
}

/// Whether a loop is on time.
#[derive(ToSchema)]
pub(super) struct OverviewLoop {
    name: String,
    late: bool,
    #[schema(required)]
    last_ms: Option<u64>,
}

/// What lies in the plugins directory and is not in force, and why.
#[derive(ToSchema)]
pub(super) struct Refused {
    name: String,
    problem: String,
}

/// What waits for a destination. Numbers are left out while the queue was never asked.
#[derive(ToSchema)]
pub(super) struct OverviewDestination {
    name: String,
    /// ready, parked, off, refused or removed.
    state: String,
    waiting: Option<Rows>,
    due: Option<Rows>,
    retrying: Option<Rows>,
    dead: Option<Rows>,
    oldest_due_ms: Option<u64>,
    hour: OverviewHour,
}

/// The last hour of this host: a second, over the last minute; and by minute, the oldest first, what was delivered, to be
/// tried again, dead.
#[derive(ToSchema)]
pub(super) struct OverviewHour {
    rate: f64,
    minutes: Vec<Vec<u32>>,
}

/// What an action did to many deliveries.
#[derive(ToSchema)]
pub(super) struct Acted {
    found: u64,
    done: u64,
    /// Those whose content is pruned.
    gone: u64,
    /// `after` of the next call; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Where a notification would go.
#[derive(ToSchema)]
pub(super) struct Explained {
    r#type: String,
    items: Vec<ExplainedDestination>,
}

/// Whether it would go to a destination.
#[derive(ToSchema)]
pub(super) struct ExplainedDestination {
    destination: String,
    goes: bool,
    /// Why not.
    #[schema(required)]
    reason: Option<String>,
    state: String,
    paused: bool,
}

/// A destination; it may have more fields.
#[derive(ToSchema)]
pub(super) struct Destination {
    name: String,
    #[schema(required)]
    plugin: Option<String>,
    /// ready, parked, off or refused.
    state: String,
    #[schema(required)]
    reason: Option<String>,
    #[schema(required)]
    problem: Option<String>,
    /// Set while somebody has paused it.
    #[schema(required)]
    paused: Option<Paused>,
    /// Until when it asked not to be sent to.
    #[schema(required)]
    held_until: Option<String>,
    allow: Option<Vec<String>>,
    fallback: Option<Vec<String>>,
    since: Option<String>,
}

/// A person's pause.
#[derive(ToSchema)]
pub(super) struct Paused {
    since: String,
    reason: String,
}

/// All destinations.
#[derive(ToSchema)]
pub(super) struct Destinations {
    items: Vec<Destination>,
    #[schema(required)]
    next: Option<String>,
}

/// A test notification that was sent.
#[derive(ToSchema)]
pub(super) struct Tested {
    /// The notification's.
    id: String,
    /// The delivery's number.
    delivery: i64,
}

/// One version of a plugin, as the list has it; it may have more fields.
#[derive(ToSchema)]
pub(super) struct Plugin {
    name: String,
    #[schema(required)]
    version: Option<String>,
    /// SHA-256 of the module.
    #[schema(required)]
    sha256: Option<String>,
    /// active, compiling, rejected or quarantined.
    state: String,
    since: String,
    /// Why it is not active; of an active one, why the file that lies there is not in force.
    #[schema(required)]
    reason: Option<String>,
    /// Of an active one: what its module says of itself.
    summary: Option<String>,
    size: Option<u64>,
    warnings: Option<Vec<String>>,
}

/// A plugin: its version in force, or the file that lies there, and all versions that are remembered.
#[derive(ToSchema)]
pub(super) struct PluginHistory {
    name: String,
    #[schema(required)]
    version: Option<String>,
    #[schema(required)]
    sha256: Option<String>,
    state: String,
    since: String,
    #[schema(required)]
    reason: Option<String>,
    /// The newest first.
    versions: Vec<PluginVersion>,
}

/// A version of a plugin.
#[derive(ToSchema)]
pub(super) struct PluginVersion {
    #[schema(required)]
    version: Option<String>,
    #[schema(required)]
    sha256: Option<String>,
    /// active, past, compiling, rejected or quarantined.
    state: String,
    /// When any host first used it; null where none ever did.
    #[schema(required)]
    first_seen: Option<String>,
    /// Since when it is in that state; null for a past one.
    #[schema(required)]
    since: Option<String>,
    #[schema(required)]
    reason: Option<String>,
    /// Whether it delivered anything.
    worked: bool,
    /// The version before it that worked.
    #[schema(required)]
    predecessor: Option<String>,
}

/// All plugins.
#[derive(ToSchema)]
pub(super) struct Plugins {
    items: Vec<Plugin>,
    #[schema(required)]
    next: Option<String>,
    /// The version in use.
    wasmtime: String,
}

/// A host on this queue.
#[derive(ToSchema)]
pub(super) struct Host {
    id: String,
    name: String,
    version: String,
    listen: String,
    /// live or silent.
    state: String,
    started: String,
    seen: String,
    destinations: Vec<String>,
}

/// All hosts.
#[derive(ToSchema)]
pub(super) struct Hosts {
    items: Vec<Host>,
    #[schema(required)]
    next: Option<String>,
}

/// Which database this daemon works on.
#[derive(ToSchema)]
pub(super) struct Database {
    database: String,
}

/// A number of rows.
#[derive(ToSchema)]
pub(super) struct Rows {
    count: u64,
    /// An estimate otherwise.
    exact: bool,
}

/// Numbers about the store; it may have more fields.
#[derive(ToSchema)]
pub(super) struct Stats {
    notifications: Rows,
    deliveries: Rows,
    arrived: Rows,
    live: Rows,
    dead: Rows,
    cancelled: Rows,
    #[schema(required)]
    oldest_due_ms: Option<u64>,
}

/// What retention removed.
#[derive(ToSchema)]
pub(super) struct Pruned {
    notifications: u64,
    deliveries: u64,
    attempts: u64,
    contents: u64,
    /// `after` of the next call; null at the end.
    #[schema(required)]
    next: Option<i64>,
}

/// The health of the 2015 notifier.
#[derive(ToSchema)]
pub(super) struct Health {
    essential: bool,
    healthy: bool,
    details: HealthDetails,
}

/// What it says of itself.
#[derive(ToSchema)]
pub(super) struct HealthDetails {
    queue_size: u64,
}

/// A token, without its secret.
#[derive(ToSchema)]
pub(super) struct Token {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// valid or expired.
    state: String,
    created: String,
    #[schema(required)]
    expires: Option<String>,
    /// To the minute.
    #[schema(required)]
    last_used: Option<String>,
}

/// All tokens.
#[derive(ToSchema)]
pub(super) struct Tokens {
    items: Vec<Token>,
    #[schema(required)]
    next: Option<String>,
}

/// A token that was made.
#[derive(ToSchema)]
pub(super) struct MadeToken {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// The secret, this once.
    token: String,
}

/// Who calls.
#[derive(ToSchema)]
pub(super) struct Whoami {
    actor: String,
    scopes: Vec<String>,
    /// Whether by the cookie of a page.
    session: bool,
}

/// A page of the audit.
#[derive(ToSchema)]
pub(super) struct AuditEntries {
    items: Vec<AuditEntry>,
    /// `after` of the next page; null at the end.
    #[schema(required)]
    next: Option<String>,
}

/// Who changed what.
#[derive(ToSchema)]
pub(super) struct AuditEntry {
    id: i64,
    at: String,
    actor: String,
    action: String,
    subject: String,
    /// What the action has to say.
    details: serde_json::Value,
}
