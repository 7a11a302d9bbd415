// One notification: what it is, where it went and why, and what happens next.

import { actOnMany } from './actions.js';
import { get, getText, isAdmin, post } from './api.js';
import { button, facts, h, pill, table } from './dom.js';
import { away, bytes, clock, count, hex, link, member, now, plural, pretty, short, span } from './format.js';
import { deliveryPill, look, standing } from './overview.js';

const EVERY = 2000;
// What is in trouble comes first.
const ORDER = ['dead', 'pending', 'leased', 'cancelled', 'delivered'];
const OUTCOMES = { delivered: 'ok', retry: 'warn', rejected: 'bad', gone: 'bad' };

export function notification(view) {
  const [id] = view.args;
  let fixed = null;
  view.every(EVERY, async () => {
    const [text, seen, modules] = await Promise.all([
      getText(`/v1/notifications/${encodeURIComponent(id)}`, view.signal), look(view.signal), get('/v1/plugins', view.signal)]);
    const it = JSON.parse(text);
    // What never changes is asked for once.
    fixed ??= { content: content(it, text), explained: await explain(it, view.signal) };
    const known = { seen, modules: modules.items, all: it.deliveries };
    view.draw(it.type,
      verdict(it, known),
      facts(
        ['Id', h('code', null, it.id)],
        ['Taken in', `${clock(it.time)} (${away(it.time)})`],
        it.source && ['Source', it.source],
        it.subject && ['Subject', it.subject],
        Object.keys(it.labels).length > 0 && ['Labels', Object.entries(it.labels).map(([name, value]) => h('span', { class: 'label' }, `${name}=${value}`))],
        it.idempotency_key && ['Idempotency key', h('code', null, it.idempotency_key)],
        it.expires && ['Expires', `${clock(it.expires)} (${away(it.expires)})`],
        it.malformed && ['Malformed', h('span', { class: 'bad' }, it.malformed)]),
      h('h2', null, 'Deliveries'),
      [...it.deliveries].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state)).map((delivery) => card(delivery, known, view)),
      h('h2', null, 'Every destination, and why'),
      fanOut(fixed.explained, known),
      h('h2', null, 'Content'),
      fixed.content);
  });
}

/** What a person wants to know first. */
function verdict(it, known) {
  const all = it.deliveries;
  const say = (kind, word, text, ...more) => h('section', { class: `verdict ${kind}`, 'aria-label': 'In short' }, h('p', null, pill(kind, word), ` ${text}`), more);
  if (it.malformed) return say('bad', 'not sent', `It is malformed: ${it.malformed}`);
  if (it.fan_out === null || it.fan_out === undefined) return say('busy', 'arrived', 'It waits to be fanned out to its destinations.');
  if (!all.length) return say('warn', 'unrouted', 'No destination’s match let it through when it came, so nobody got it. Below is why, destination by destination.');
  const of = (...states) => all.filter((one) => states.includes(one.state));
  const [delivered, live, dead] = [of('delivered'), of('pending', 'leased'), of('dead')];
  // One whose fallback has delivered it is no loss.
  const lost = dead.filter((one) => all.find(({ id }) => id === one.fallback_to)?.state !== 'delivered');
  const [kind, word] = lost.length ? ['bad', 'gave up'] : live.length ? ['busy', 'under way'] : dead.length ? ['warn', 'done by a fallback'] : ['ok', 'done'];
  return say(kind, word, `Delivered to ${count(delivered.length)} of ${plural(all.length, 'destination')}.`,
    [...dead, ...live].map((one) => h('p', { key: one.id }, h('b', null, one.destination), ': ', next(one, known))));
}

/** What happens next with a delivery, and when. */
function next(one, { seen, all }) {
  const d = seen.destinations.find(({ name }) => name === one.destination);
  const at = d && standing(d);
  switch (one.state) {
    case 'delivered': return 'nothing more: the receiver has it.';
    case 'cancelled': return 'nothing more: somebody cancelled it.';
    case 'leased': return `it is being sent now; if its host dies, another takes it over ${away(one.due)}.`;
    case 'dead': {
      const to = all.find(({ id }) => id === one.fallback_to);
      const over = to ? ` Its fallback ${to.destination} took over.` : '';
      return `it gave up (${one.cause}): ${one.reason || 'no reason'}.${over} It stays so unless somebody redelivers it.`;
    }
    default: break;
  }
  if (one.waiting) return `it waits for those before it with the order key “${one.order_key}”.`;
  if (at && at.kind !== 'ok' && at.word !== 'ready') {
    return `it waits for its destination: ${at.word}${at.why ? ` (${at.why})` : ''}${at.next ? `; ${at.next}` : ''}.`;
  }
  if (!d || d.state === 'removed') return 'it waits for a destination that no file names any more, and dies after orphan_after.';
  const nth = `attempt ${one.attempts + 1}`;
  return Date.parse(one.due) <= now() ? `${nth} is due, as soon as a host has a free slot.` : `${nth} ${away(one.due)}, at ${clock(one.due)}.`;
}

function card(one, known, view) {
  const { modules, all, seen } = known;
  const linked = (id) => all.find((other) => other.id === id)?.destination ?? `delivery ${id}`;
  const act = (action) => async () => (await actOnMany(action, { ids: [one.id], state: one.state })) && view.refresh();
  const label = (verb) => ({ 'aria-label': `${verb} to ${one.destination}` });
  const actions = isAdmin() && [
    (one.state === 'dead' || one.state === 'cancelled') && button('Redeliver', act('redeliver'), label('Redeliver')),
    one.state === 'pending' && !one.waiting && button('Try now', act('redeliver'), label('Try now')),
    (one.state === 'pending' || one.state === 'leased') && button('Cancel', act('cancel'), label('Cancel')),
    one.state === 'dead' && button('Drop', act('drop'), label('Drop')),
  ];
  return h('article', { class: 'card', key: one.id, 'aria-label': `Delivery to ${one.destination}` },
    h('div', { class: 'head' }, h('h3', null, h('a', { href: link('d', one.destination) }, one.destination)), deliveryPill(one),
      h('div', { class: 'buttons' }, actions)),
    one.state !== 'delivered' && h('p', null, h('b', null, 'Next: '), next(one, known)),
    one.fallback_of && h('p', { class: 'muted' }, `It was taken over from ${linked(one.fallback_of)}.`),
    one.expires && h('p', { class: 'muted' }, `It expires ${away(one.expires)}.`),
    timeLine(one, modules, seen));
}

function timeLine(one, modules, seen) {
  if (!one.history.length) return h('p', { class: 'empty' }, 'There was no attempt yet.');
  let before = Date.parse(one.created);
  return h('ol', { class: 'line', 'aria-label': `Attempts to ${one.destination}` }, one.history.map((attempt) => {
    const began = Date.parse(attempt.started), waited = began - before;
    before = began + attempt.duration_ms;
    const module = modules.find(({ sha256 }) => sha256 === attempt.plugin);
    const host = seen.hosts?.find(({ id }) => id === attempt.host);
    const version = module ? `${module.name} ${module.version}` : 'an earlier module';
    return h('li', { key: attempt.number, class: OUTCOMES[attempt.outcome] ?? 'bad' },
      h('span', { class: 'when' }, clock(attempt.started), waited > 1000 && h('span', { class: 'muted' }, ` after ${span(waited)}`)),
      h('span', null, h('b', null, `${attempt.number}. ${attempt.outcome}`), attempt.reason && ` – ${attempt.reason}`),
      h('span', { class: 'muted' }, `took ${span(attempt.duration_ms)} · ${version} `, h('code', { title: attempt.plugin }, short(attempt.plugin)),
        ` · ${host ? host.name : `host ${attempt.host.slice(0, 8)}`}`));
  }));
}

async function explain(it, signal) {
  const { type, source, subject, labels } = it;
  try {
    return await post('/v1/explain', { type, source, subject, labels }, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    return { items: [], problem: error.message };
  }
}

function fanOut({ items, problem }, { all }) {
  if (problem) return h('p', { class: 'muted' }, `It cannot be explained: ${problem}`);
  const rows = items.map(({ destination, goes, reason }) => {
    const got = all.find((one) => one.destination === destination);
    const why = got?.fallback_of ? 'as the fallback of another' : got ? 'its match let it through' : goes ? 'it would go there by the files of now; it came before' : reason;
    return { key: destination, cells: [h('a', { href: link('d', destination) }, destination), got ? pill('ok', 'goes') : pill('idle', 'does not go'), why] };
  });
  return [table('Destinations and why', [['Destination'], ['Goes there'], ['Why', 'wide']], rows), h('p', { class: 'muted' }, 'Why not: by the files in force now.')];
}

function content(it, text) {
  if (it.pruned) return h('p', { class: 'empty' }, 'Retention has taken it.');
  const shown = (words, kind, size) => [h('p', { class: 'muted' }, `${it.content_type} · ${kind} · ${bytes(size)}`), h('pre', { tabindex: 0, 'aria-label': 'Content' }, words)];
  const raw = member(text, 'content');
  if (raw !== null) return shown(pretty(raw), 'JSON', new TextEncoder().encode(raw).length);
  if (it.content_text !== undefined) return it.content_text ? shown(it.content_text, 'text', new TextEncoder().encode(it.content_text).length) : h('p', { class: 'empty' }, 'It has none.');
  return shown(hex(it.content_base64), 'bytes', atob(it.content_base64).length);
}
