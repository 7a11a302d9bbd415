// Numbers, times and contents as people read them.

const whole = new Intl.NumberFormat('en');

/** A count, or one that is known to be no less. */
export function count(rows) {
  if (rows === null || rows === undefined) return '–';
  return typeof rows === 'number' ? whole.format(rows) : whole.format(rows.count) + (rows.exact ? '' : '+');
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A time in its two largest units. */
export function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = units.findIndex(([size]) => seconds >= size);
  const parts = units.slice(first, first + 2).map(([size, name], place) => {
    const amount = Math.floor((place ? seconds % units[first][0] : seconds) / size);
    return amount ? `${amount} ${name}` : null;
  });
  return parts.filter(Boolean).join(' ');
}

// The daemon's clock less this machine's, by its newest answer.
let skew = 0;
export const setClock = (at) => { skew = Date.parse(at) - Date.now(); };
export const now = () => Date.now() + skew;

/** Such as `3 min ago` or `in 12 s`. */
export function away(moment) {
  const ms = Date.parse(moment) - now();
  if (Math.abs(ms) < 1000) return 'now';
  return ms < 0 ? `${span(-ms)} ago` : `in ${span(ms)}`;
}

/** The time of day here, with the day where it is another one. */
export function clock(moment) {
  const at = new Date(moment);
  if (at.getUTCFullYear() > 9000) return 'never';
  const two = (number) => String(number).padStart(2, '0');
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === new Date(now()).toDateString() ? time : `${day} ${time}`;
}

export const short = (hash) => (hash ? hash.slice(0, 12) : '–');

export function bytes(number) {
  if (number < 1024) return `${number} B`;
  return number < 1 << 20 ? `${(number / 1024).toFixed(1)} KiB` : `${(number / (1 << 20)).toFixed(1)} MiB`;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** JSON with line breaks. Its tokens stay as they are: `1.50` is not `1.5`, and no number is rounded. */
export function pretty(json) {
  let text = '', depth = 0, before = '';
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const token of json.match(TOKEN) ?? []) {
    if (token === '}' || token === ']') {
      depth -= 1;
      text += before === '{' || before === '[' ? token : line() + token;
    } else {
      if (before === '{' || before === '[' || before === ',') text += line();
      text += token === ':' ? ': ' : token;
      if (token === '{' || token === '[') depth += 1;
    }
    before = token;
  }
  return text;
}

/** A member of a JSON object as it stands in the text; none where there is none. */
export function member(json, name) {
  let depth = 0, key = null, start = -1, before = '';
  for (const { 0: token, index } of json.matchAll(TOKEN)) {
    if (depth === 1 && start < 0 && token === ':' && key === JSON.stringify(name)) start = index + 1;
    if (token === '{' || token === '[') depth += 1;
    if (token === '}' || token === ']') depth -= 1;
    if (start >= 0 && ((depth === 1 && token === ',') || depth === 0)) return json.slice(start, index).trim();
    if (depth === 1 && (before === ',' || before === '{')) key = token;
    before = token;
  }
  return null;
}

/** Bytes as hexadecimal numbers, sixteen a line, with their characters. */
export function hex(base64) {
  const raw = atob(base64);
  const lines = [];
  for (let at = 0; at < Math.min(raw.length, 16384); at += 16) {
    const part = [...raw.slice(at, at + 16)];
    const codes = part.map((c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join(' ');
    const shown = part.map((c) => (/[ -~]/.test(c) ? c : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${codes.padEnd(48)} ${shown}`);
  }
  if (raw.length > 16384) lines.push(`… ${raw.length - 16384} more bytes`);
  return lines.join('\n');
}

export const link = (view, ...rest) => `#/${[view, ...rest].map(encodeURIComponent).join('/')}`;
