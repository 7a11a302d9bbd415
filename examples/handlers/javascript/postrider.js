// A request, and what its answer means for a delivery. Yours to change.
import { send } from 'postrider:notifier/http@1.0.0';

const WEEK = 7 * 24 * 60 * 60 * 1000;

/** Posts a text. The answer's headers are in lower case; throws where there is none. */
export function post(url, headers, text) {
  const utf8 = unescape(encodeURIComponent(text.toWellFormed()));
  const body = Uint8Array.from(utf8, (byte) => byte.charCodeAt(0));
  try {
    const answer = send({ method: 'POST', url, headers: Object.entries(headers), body });
    return { ...answer, headers: new Map(answer.headers) };
  } catch (error) {
    if (!error.payload) throw error;
    throw retry(`no answer: ${error.payload.val ?? error.payload.tag}`);
  }
}

/** The text of bytes; undefined where they are no UTF-8. */
export function utf8(bytes) {
  try {
    return decodeURIComponent(escape(latin1(bytes)));
  } catch {
    return undefined;
  }
}

function latin1(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

/** Delivered, or throws: 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final. */
export function verdict({ status, headers, body }) {
  if (status >= 200 && status < 300) return { note: String(status) };
  const said = utf8(body) ?? latin1(body).replace(/[\x80-\xff]+/g, '\ufffd');
  const excerpt = said.replace(/[\s\x00-\x1f\x7f-\x9f]+/g, ' ').trim().slice(0, 200);
  const reason = excerpt ? `${status}: ${excerpt}` : String(status);
  if (status === 410) throw { tag: 'gone', val: reason };
  if (status === 429 || status === 503) {
    const wait = retryAfter(headers.get('retry-after'));
    throw retry(reason, wait, status === 429 || wait !== undefined ? 'destination' : 'delivery');
  }
  if (status >= 300 && status < 500 && ![408, 409, 425].includes(status)) throw { tag: 'rejected', val: reason };
  throw retry(reason);
}

/** Try again, after `wait` milliseconds at the earliest. */
export function retry(reason, wait, scope = 'delivery') {
  return { tag: 'retry', val: { reason, afterMs: wait && Math.round(wait), scope } };
}

/** Reads a `Retry-After`, seconds or a date, as milliseconds; undefined where it asks for no wait. */
export function retryAfter(value) {
  if (!value) return undefined;
  const seconds = /^\s*(\d+\.?\d*|\.\d+)\s*$/.exec(value);
  const wait = seconds ? Number(seconds[1]) * 1000 : Date.parse(value) - Date.now();
  return wait > 0 ? Math.min(wait, WEEK) : undefined;
}
