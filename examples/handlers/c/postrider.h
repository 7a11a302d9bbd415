// Text, and what an HTTP answer means for a delivery. Yours to change.
#include "postrider/notifier.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef exports_postrider_notifier_handler_receipt_t receipt_t;
typedef exports_postrider_notifier_handler_failure_t failure_t;
typedef struct { char *ptr; size_t len, room; } buffer_t;

#define ARG(s) (int)(s).len, (const char *)(s).ptr  // for "%.*s"

static notifier_string_t view(const char *s) { return (notifier_string_t){(uint8_t *)s, strlen(s)}; }
static bool is(notifier_string_t s, const char *t) { return s.len == strlen(t) && !memcmp(s.ptr, t, s.len); }

static void append(buffer_t *b, notifier_string_t s) {
  if (s.len == 0) return;
  if (b->len + s.len > b->room) {
    b->room = 2 * (b->len + s.len);
    if (!(b->ptr = realloc(b->ptr, b->room))) abort();
  }
  memcpy(b->ptr + b->len, s.ptr, s.len);
  b->len += s.len;
}
static void add(buffer_t *b, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int len = vsnprintf(NULL, 0, format, args);
  char *text = malloc(len + 1);
  if (len < 0 || !text) abort();
  vsnprintf(text, len + 1, format, again);
  append(b, (notifier_string_t){(uint8_t *)text, len});
  free(text);
  va_end(args), va_end(again);
}
static notifier_string_t done(buffer_t *b) { return (notifier_string_t){(uint8_t *)b->ptr, b->len}; }
static notifier_string_t copy(notifier_string_t s) { buffer_t b = {0}; append(&b, s); return done(&b); }
static notifier_option_string_t some(notifier_string_t s) { return (notifier_option_string_t){true, s}; }

static void append_json(buffer_t *b, notifier_string_t s) {
  add(b, "\"");
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.ptr[i];
    if (c < 0x20) add(b, "\\u%04x", c);
    else if (c == '"' || c == '\\') add(b, "\\%c", c);
    else append(b, (notifier_string_t){s.ptr + i, 1});
  }
  add(b, "\"");
}
static bool is_utf8(notifier_string_t s) {
  for (size_t i = 0, n; i < s.len; i += n) {
    uint8_t c = s.ptr[i], d = i + 1 < s.len ? s.ptr[i + 1] : 0;
    n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (!n || i + n > s.len || (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f)) return false;
    if ((c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f)) return false;
    for (size_t k = 1; k < n; k++) if ((s.ptr[i + k] & 0xc0) != 0x80) return false;
  }
  return true;
}
static notifier_list_string_t one(const char *s) {
  notifier_string_t *list = malloc(sizeof *list);
  if (!list) abort();
  *list = copy(view(s));
  return (notifier_list_string_t){list, 1};
}
// One value of [config]; empty where it is missing.
static notifier_string_t setting(const char *name) {
  notifier_string_t path = view(name), value = {0};
  return postrider_notifier_host_setting(&path, &value) ? value : (notifier_string_t){0};
}

// Reads a `Retry-After`, seconds or a date, as milliseconds; 0 where it asks for no wait.
static uint64_t retry_after(notifier_string_t value) {
  char text[64], *end = text;
  snprintf(text, sizeof text, "%.*s", ARG(value));
  double wait = strspn(text, "0123456789. ") == strlen(text) ? strtod(text, &end) : 0;
  struct tm date = {0};
  if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &date)) wait = difftime(timegm(&date), time(NULL)), end = "";
  if (*end && *end != ' ') return 0;
  return wait <= 0 ? 0 : wait > 604800 ? 604800000 : (uint64_t)(wait * 1000);
}
static bool retry(failure_t *f, notifier_string_t reason, uint64_t wait, bool destination) {
  f->tag = EXPORTS_POSTRIDER_NOTIFIER_HANDLER_FAILURE_RETRY;
  f->val.retry = (exports_postrider_notifier_handler_retry_t){reason, {wait > 0, wait}, destination};
  return false;
}
static bool final(failure_t *f, uint8_t tag, notifier_string_t reason) {
  f->tag = tag;
  f->val.rejected = reason;  // the same place as `gone`
  return false;
}
// 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final.
static bool verdict(postrider_notifier_http_response_t *r, receipt_t *receipt, failure_t *failure) {
  int status = r->status;
  notifier_string_t wait = {0};
  for (size_t i = 0; i < r->headers.len; i++)
    if (is(r->headers.ptr[i].f0, "retry-after")) wait = r->headers.ptr[i].f1;
  uint64_t ms = status == 429 || status == 503 ? retry_after(wait) : 0;
  postrider_notifier_http_response_free(r);
  buffer_t b = {0};
  add(&b, "%d", status);
  if (status >= 200 && status < 300) {
    *receipt = (receipt_t){.note = some(done(&b))};
    return true;
  }
  if (status == 410) return final(failure, EXPORTS_POSTRIDER_NOTIFIER_HANDLER_FAILURE_GONE, done(&b));
  bool later = status < 300 || status >= 500 || status == 408 || status == 409 || status == 425 || status == 429;
  if (!later) return final(failure, EXPORTS_POSTRIDER_NOTIFIER_HANDLER_FAILURE_REJECTED, done(&b));
  return retry(failure, done(&b), ms, status == 429 || ms > 0);
}
// No answer at all. Only a malformed request is final.
static bool failure_of(postrider_notifier_http_http_error_t *error, failure_t *failure) {
  static const char *const KINDS[] = {"invalid", "denied", "connect", "timeout", "too large", "broken"};
  uint8_t tag = error->tag;
  bool says = tag != POSTRIDER_NOTIFIER_HTTP_HTTP_ERROR_TIMEOUT && tag != POSTRIDER_NOTIFIER_HTTP_HTTP_ERROR_TOO_LARGE;
  buffer_t b = {0};
  add(&b, "%s", KINDS[tag]);
  if (says) add(&b, ": "), append(&b, error->val.other);
  postrider_notifier_http_http_error_free(error);
  if (tag == POSTRIDER_NOTIFIER_HTTP_HTTP_ERROR_INVALID)
    return final(failure, EXPORTS_POSTRIDER_NOTIFIER_HANDLER_FAILURE_REJECTED, done(&b));
  return retry(failure, done(&b), 0, false);
}
