// A request, and what its answer means for a delivery. Yours to change.
import type { Failure, Receipt, Scope } from 'postrider:notifier/handler@1.0.0';
import { send, type HttpError } from 'postrider:notifier/http@1.0.0';

const WEEK = 7 * 24 * 60 * 60 * 1000;

export type Answer = { status: number; headers: Map<string, string>; body: Uint8Array };

/** Posts a text. The answer's headers are in lower case; throws where there is none. */
export function post(url: string, headers: Record<string, string>, text: string): Answer {
  const utf8 = unescape(encodeURIComponent(text.toWellFormed()));
  const body = Uint8Array.from(utf8, (byte) => byte.charCodeAt(0));
  try {
    const answer = send({ method: 'POST', url, headers: Object.entries(headers), body });
    return { ...answer, headers: new Map(answer.headers) };
  } catch (error) {
    const payload = (error as { payload?: HttpError }).payload;
    if (!payload) throw error;
    throw retry(`no answer: ${'val' in payload ? payload.val : payload.tag}`);
  }
}

/** The text of bytes; undefined where they are no UTF-8. */
export function utf8(bytes: Uint8Array): string | undefined {
  try {
    return decodeURIComponent(escape(latin1(bytes)));
  } catch {
    return undefined;
  }
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return text;
}

/** Delivered, or throws: 429 and 503 may say how long to wait, 410 is for ever, other 4xx are final. */
export function verdict({ status, headers, body }: Answer): Receipt {
  if (status >= 200 && status < 300) return { note: String(status) };
  const said = utf8(body) ?? latin1(body).replace(/[\x80-\xff]+/g, '\ufffd');
  const excerpt = said.replace(/[\s\x00-\x1f\x7f-\x9f]+/g, ' ').trim().slice(0, 200);
  const reason = excerpt ? `${status}: ${excerpt}` : String(status);
  throw failure(status, reason, retryAfter(headers.get('retry-after')));
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
  return { tag: 'retry', val: { reason, afterMs: wait && Math.round(wait), scope } };
}

/** Reads a `Retry-After`, seconds or a date, as milliseconds; undefined where it asks for no wait. */
export function retryAfter(value?: string): number | undefined {
  if (!value) return undefined;
  const seconds = /^\s*(\d+\.?\d*|\.\d+)\s*$/.exec(value);
  const wait = seconds ? Number(seconds[1]) * 1000 : Date.parse(value) - Date.now();
  return wait > 0 ? Math.min(wait, WEEK) : undefined;
}
