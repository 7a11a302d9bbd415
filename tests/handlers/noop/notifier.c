// Takes each notification and does nothing: what is left is what an instance costs.
#include "postrider.h"

void exports_postrider_notifier_handler_describe(exports_postrider_notifier_handler_description_t *d) {
  *d = (exports_postrider_notifier_handler_description_t){0};
  notifier_string_dup(&d->name, "noop");
  notifier_string_dup(&d->version, "1");
  notifier_string_dup(&d->summary, "Does nothing.");
}

bool exports_postrider_notifier_handler_configure(notifier_string_t *config, bool *enabled, notifier_string_t *error) {
  notifier_string_free(config);
  return *enabled = true;
}

bool exports_postrider_notifier_handler_send(exports_postrider_notifier_handler_notification_t *n, receipt_t *receipt,
                                             failure_t *failure) {
  exports_postrider_notifier_handler_notification_free(n);
  *receipt = (receipt_t){0};
  return true;
}
