// What an HTTP answer means for a delivery. Yours to change.
import type { Failure, Receipt, Scope } from 'postrider:notifier/handler@1.0.0';

const WEEK = 7 * 24 * 60 * 60 * 1000;

/** Delivered, or throws: 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final. */
export function verdict(status: number, retryAfterHeader: string | null, body: string): Receipt {
  if (status >= 200 && status < 300) return { note: String(status) };
  const excerpt = body.replace(/[\s\x00-\x1f\x7f-\x9f]+/g, ' ').trim().slice(0, 200);
  const reason = excerpt ? `${status}: ${excerpt}` : String(status);
  throw failure(status, reason, retryAfter(retryAfterHeader));
}

function failure(status: number, reason: string, wait?: number): Failure {
  if (status === 410) return { tag: 'gone', val: reason };
  if (status === 429) return retry(reason, wait, 'destination');
  if (status === 503 && wait !== undefined) return retry(reason, wait, 'destination');
  if ([408, 409, 425].includes(status) || status < 300 || status >= 500) return retry(reason);
  return { tag: 'rejected', val: reason };
}

/** Try again, after `wait` milliseconds at the earliest. */
export function retry(reason: string, wait?: number, scope: Scope = 'delivery'): Failure {
  const afterMs = wait === undefined ? undefined : BigInt(Math.round(wait));
  return { tag: 'retry', val: { reason, afterMs, scope } };
}

/** Reads a `Retry-After`, seconds or a date, as milliseconds; undefined where it asks for no wait. */
export function retryAfter(value: string | null): number | undefined {
  if (!value) return undefined;
  const seconds = /^\s*(\d+\.?\d*|\.\d+)\s*$/.exec(value);
  const wait = seconds ? Number(seconds[1]) * 1000 : Date.parse(value) - Date.now();
  return wait > 0 ? Math.min(wait, WEEK) : undefined;
}
