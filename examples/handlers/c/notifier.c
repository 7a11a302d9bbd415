// Posts each notification as a message to a chat room.
#include "postrider.h"

typedef exports_postrider_notifier_handler_notification_t notification_t;
typedef exports_postrider_notifier_handler_description_t description_t;
typedef notifier_tuple2_string_string_t header_t;

static const char SCHEMA[] =
    "{\"type\":\"object\",\"required\":[\"url\"],\"additionalProperties\":false,\"properties\":{"
    "\"url\":{\"type\":\"string\"},\"channel\":{\"type\":\"string\"},\"token\":{\"type\":\"string\"}}}";

void exports_postrider_notifier_handler_describe(description_t *d) {
  *d = (description_t){.max_content = {true, 16384}};
  notifier_string_dup(&d->name, "chatline");
  notifier_string_dup(&d->version, "0.1.0");
  notifier_string_dup(&d->summary, "Posts each notification as a message to a chat room.");
  d->config_schema = some(copy(view(SCHEMA)));
  d->origins = one("https://chat.example.com");
  d->secrets = one("token");
}

bool exports_postrider_notifier_handler_configure(notifier_string_t *config, bool *enabled, notifier_string_t *error) {
  notifier_string_free(config);  // JSON; setting() reads single values
  notifier_string_t url = setting("url");
  *enabled = true;
  if (url.len == 0) notifier_string_dup(error, "config.url: missing; expected the URL of the chat's webhook");
  bool fine = url.len > 0;
  notifier_string_free(&url);
  return fine;
}

// One message, such as `[critical] alert.firing db1: disk 91 % full`.
static notifier_string_t text(const notification_t *n) {
  buffer_t b = {0};
  for (size_t i = 0; i < n->labels.len; i++) {
    header_t label = n->labels.ptr[i];
    if (is(label.f0, "severity")) add(&b, "[%.*s] ", ARG(label.f1));
  }
  add(&b, "%.*s", ARG(n->kind));
  if (n->subject.is_some) add(&b, " %.*s", ARG(n->subject.val));
  notifier_string_t content = {n->content.ptr, n->content.len};
  if (!is_utf8(content)) add(&b, ": %zu bytes of %.*s", content.len, ARG(n->content_type));
  else if (content.len > 0) add(&b, ": "), append(&b, content);
  if (n->part.is_some) add(&b, " (part %u of %u)", n->part.val.index + 1, n->part.val.count);
  return done(&b);
}

static notifier_string_t message(const notification_t *n) {
  buffer_t b = {0};
  notifier_string_t line = text(n), channel = setting("channel");
  add(&b, "{\"text\":");
  append_json(&b, line);
  if (channel.len > 0) add(&b, ",\"channel\":"), append_json(&b, channel);
  add(&b, "}");
  notifier_string_free(&line);
  notifier_string_free(&channel);
  return done(&b);
}

bool exports_postrider_notifier_handler_send(notification_t *n, receipt_t *receipt, failure_t *failure) {
  char line[128];
  snprintf(line, sizeof line, "posting %.*s, attempt %u", ARG(n->id), n->attempt);
  notifier_string_t said = view(line);
  postrider_notifier_host_log(POSTRIDER_NOTIFIER_HOST_LEVEL_INFO, &said);

  notifier_string_t url = setting("url"), token = setting("token"), body = message(n);
  buffer_t bearer = {0};
  add(&bearer, "Bearer %.*s", ARG(token));
  header_t headers[] = {
      {view("content-type"), view("application/json")},
      {view("idempotency-key"), n->id},
      {view("authorization"), {(uint8_t *)bearer.ptr, bearer.len}},
  };
  postrider_notifier_http_request_t request = {
      view("POST"), url, {headers, token.len > 0 ? 3 : 2}, {body.ptr, body.len}};
  postrider_notifier_http_response_t response;
  postrider_notifier_http_http_error_t error;
  bool answered = postrider_notifier_http_send(&request, &response, &error);
  bool delivered = answered ? verdict(&response, receipt, failure) : failure_of(&error, failure);

  free(bearer.ptr);
  notifier_string_free(&url);
  notifier_string_free(&token);
  notifier_string_free(&body);
  exports_postrider_notifier_handler_notification_free(n);
  return delivered;
}
