// What an HTTP answer means for a delivery. Yours to change.

const WEEK = 7 * 24 * 60 * 60 * 1000;

/** Delivered, or throws: 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final. */
export function verdict(status, retryAfterHeader, body) {
  if (status >= 200 && status < 300) return { id: undefined, note: String(status) };
  const excerpt = body.replace(/[\s\x00-\x1f\x7f-\x9f]+/g, ' ').trim().slice(0, 200);
  const reason = excerpt ? `${status}: ${excerpt}` : String(status);
  if (status === 410) throw { tag: 'gone', val: reason };
  if (status === 429 || status === 503) {
    const wait = retryAfter(retryAfterHeader);
    throw retry(reason, wait, status === 429 || wait !== undefined ? 'destination' : 'delivery');
  }
  if (status >= 300 && status < 500 && ![408, 409, 425].includes(status)) throw { tag: 'rejected', val: reason };
  throw retry(reason);
}

/** Try again, after `wait` milliseconds at the earliest. */
export function retry(reason, wait, scope = 'delivery') {
  const afterMs = wait === undefined ? undefined : BigInt(Math.round(wait));
  return { tag: 'retry', val: { reason, afterMs, scope } };
}

/** Reads a `Retry-After`, seconds or a date, as milliseconds; undefined where it asks for no wait. */
export function retryAfter(value) {
  if (!value) return undefined;
  const seconds = /^\s*(\d+\.?\d*|\.\d+)\s*$/.exec(value);
  const wait = seconds ? Number(seconds[1]) * 1000 : Date.parse(value) - Date.now();
  return wait > 0 ? Math.min(wait, WEEK) : undefined;
}
