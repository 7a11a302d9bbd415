// The daemon's API.

/** What the daemon says is wrong; status 0 where it says nothing at all. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function send(method, path, body, signal) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const text = body === undefined ? undefined : JSON.stringify(body);
  let answer, json;
  try {
    answer = await fetch(path, { method, headers, body: text, signal, redirect: 'error' });
    json = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, 'the daemon does not answer');
  }
  if (answer.status === 401) location.assign('/login');
  if (answer.ok) return json;
  let detail = `the daemon answered ${answer.status}`;
  try {
    detail = JSON.parse(json).detail ?? detail;
  } catch { /* Something before it answered, such as a proxy. */ }
  // A daemon that starts says so with this.
  throw new Problem(answer.status, detail);
}

export const getText = (path, signal) => send('GET', path, undefined, signal);
export const get = async (path, signal) => JSON.parse(await getText(path, signal));
export const post = async (path, body = {}, signal) => JSON.parse(await send('POST', path, body, signal));

/** A query string of what is set. */
export function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return set.length ? `?${new URLSearchParams(set)}` : '';
}

let caller = { actor: '', scopes: [], session: false };
export const isAdmin = () => caller.scopes.includes('admin');
export const whoami = async () => (caller = await get('/v1/whoami'));
