// Every destination at a glance, and one of them.

import { attempt, pause, resume, say } from './actions.js';
import { get, isAdmin, post, query } from './api.js';
import { hourChart, percent, sums } from './chart.js';
import { button, facts, h, pill, table } from './dom.js';
import { away, clock, count, link, now, plural, setClock, span } from './format.js';

const EVERY = 3000;

export const look = async (signal) => {
  const seen = await get('/v1/overview', signal);
  setClock(seen.at);
  return seen;
};

/** In one word, in a sentence, and since when: why a destination is sent to or not. */
export function standing(d) {
  const { breaker } = d;
  if (d.state === 'refused') return { kind: 'bad', word: 'refused', why: d.reason };
  if (d.state === 'removed') return { kind: 'warn', word: 'removed', why: d.reason };
  if (d.paused) return { kind: 'idle', word: 'paused', why: d.paused.reason || 'no reason was given', since: d.paused.since, next: 'somebody must resume it' };
  if (d.state === 'off') return { kind: 'idle', word: 'off', why: d.reason, since: d.since };
  if (d.state === 'parked') return { kind: 'warn', word: 'parked', why: d.reason, since: d.since };
  if (breaker && breaker.state !== 'closed') {
    const words = {
      open: ['bad', 'breaker open', breaker.next_trial && `a trial ${away(breaker.next_trial)}`],
      probing: ['warn', 'breaker: on trial', 'a trial delivery runs'],
      ramping: ['warn', 'breaker: ramping up', `${plural(breaker.batch, 'delivery', 'deliveries')} at a time`],
      gone: ['bad', 'gone', 'somebody must resume it'],
    };
    const [kind, word, next] = words[breaker.state] ?? ['warn', breaker.state];
    return { kind, word, why: breaker.reason, since: breaker.since, next };
  }
  if (d.held_until) return { kind: 'warn', word: 'rate-limited', why: `it asked not to be sent to until ${clock(d.held_until)}`, next: `goes on ${away(d.held_until)}` };
  if (d.problem) return { kind: 'warn', word: 'ready', why: d.problem };
  return { kind: 'ok', word: 'ready' };
}

function total(seen, of) {
  const rows = seen.destinations.map(of).filter(Boolean);
  return { count: rows.reduce((sum, { count: n }) => sum + n, 0), exact: rows.every(({ exact }) => exact) };
}

const waits = (d) => (d.waiting?.count ?? 0) > 0;

/** What a person should see first. */
function attention(seen) {
  const silent = (seen.hosts ?? []).filter((host) => host.state !== 'live');
  const troubled = seen.destinations
    .map((d) => [d, standing(d)])
    .filter(([d, at]) => at.kind === 'bad' || (at.kind === 'warn' && at.word !== 'ready') || (at.word === 'paused' && waits(d)));
  const dead = total(seen, (d) => d.dead);
  const found = [
    seen.queue.problem && ['bad', 'The queue does not answer: ', seen.queue.problem,
      seen.queue.counted ? `. The numbers are those of ${clock(seen.queue.counted)}.` : ''],
    ...seen.problems.map((problem) => ['bad', problem]),
    ...troubled.map(([d, at]) => [at.kind, named(d), ': ', h('b', null, at.word), at.since && ` since ${clock(at.since)}`, at.why && ` – ${at.why}`,
      waits(d) && ` – ${plural(d.waiting.count, 'delivery waits', 'deliveries wait')}`, at.next && `; ${at.next}`]),
    ...seen.refused.filter(({ name }) => !troubled.some(([d]) => d.name === name || `${d.name}.toml` === name))
      .map(({ name, problem }) => ['warn', h('b', null, name), ' is not in force as it lies there: ', problem]),
    dead.count > 0 && ['warn', h('a', { href: '#/dead' }, `${count(dead)} ${dead.count === 1 ? 'delivery' : 'deliveries'}`), ' gave up and stay so unless somebody redelivers them'],
    ...silent.map((host) => ['warn', 'The host ', h('b', null, host.name), ` was last heard of ${away(host.seen)}`]),
  ].filter(Boolean);
  const order = ['bad', 'warn', 'idle'];
  return found.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
}

const named = (d) => h('a', { href: link('d', d.name), class: 'name' }, d.name);

function state(d) {
  const at = standing(d);
  const more = [at.since && at.kind !== 'ok' && `since ${clock(at.since)}`, at.next].filter(Boolean).join('; ');
  return [pill(at.kind, at.word), at.why && h('p', { class: 'why' }, at.why), more && h('p', { class: 'why muted' }, more)];
}

const oldest = (d) => (d.oldest_due_ms === null || d.oldest_due_ms === undefined ? '–' : span(d.oldest_due_ms));

function rate(d) {
  const { share, all } = sums(d.hour.minutes);
  const failing = all > 0 && share > 0;
  return h('span', { class: 'rate' }, `${d.hour.rate.toFixed(d.hour.rate < 10 ? 1 : 0)}/s`,
    h('span', { class: failing ? 'bad' : 'muted' }, all ? `${percent(share)} failed` : 'quiet'));
}

/** The buttons of a destination, for those who may. */
function buttons(d, view) {
  if (!isAdmin() || d.state === 'refused' || d.state === 'removed') return null;
  const then = (what) => async () => (await what()) && view.refresh();
  const held = d.paused || d.held_until || (d.breaker && d.breaker.state !== 'closed');
  const label = (verb) => ({ 'aria-label': `${verb} ${d.name}` });
  return h('div', { class: 'buttons' },
    held && button('Resume', then(() => resume(d.name)), label('Resume')),
    !d.paused && button('Pause', then(() => pause(d.name)), label('Pause')),
    button('Test', then(() => test(d.name)), label('Test')));
}

async function test(name) {
  return attempt(async () => {
    const sent = await post(`/v1/destinations/${encodeURIComponent(name)}/test`);
    location.hash = link('n', sent.id);
  }, `A test is on its way to ${name}.`);
}

const COLUMNS = [['Destination'], ['State', 'wide'], ['Waiting', 'number'], ['Due', 'number'], ['Retrying', 'number'], ['Dead', 'number'],
  ['Oldest due', 'number'], ['Last hour', 'hour'], ['Now', 'number']];

function destinations(seen, view) {
  if (!seen.destinations.length) {
    return h('p', { class: 'empty' }, 'There is no destination yet. Put a ', h('code', null, '.wasm'), ' and a ', h('code', null, '.toml'), ' into the plugins directory.');
  }
  const columns = isAdmin() ? [...COLUMNS, ['Actions', 'actions']] : COLUMNS;
  const dead = (d) => (d.dead?.count ? h('a', { href: `#/dead${query({ destination: d.name })}`, class: 'bad' }, count(d.dead)) : count(d.dead));
  return table('Destinations', columns, seen.destinations.map((d) => ({
    key: d.name,
    cells: [
      [named(d), d.plugin && d.plugin !== d.name && h('p', { class: 'why muted' }, d.plugin)],
      state(d), count(d.waiting), count(d.due), count(d.retrying), dead(d), oldest(d), hourChart(d.hour.minutes), rate(d),
      ...(isAdmin() ? [buttons(d, view)] : []),
    ],
  })));
}

function hosts(seen) {
  if (!seen.hosts) return null;
  return table('Hosts', [['Host'], ['State'], ['Version'], ['Started', 'time'], ['Last heard of', 'time'], ['Listens at', 'wide'], ['Destinations', 'number']],
    seen.hosts.map((host) => ({
      key: host.id,
      cells: [
        [host.name, host.id === seen.host && h('span', { class: 'muted' }, ' (this one)')],
        pill(host.state === 'live' ? 'ok' : 'bad', host.state), host.version, clock(host.started), away(host.seen), host.listen, count(host.destinations.length),
      ],
    })));
}

const loops = (seen) => h('ul', { class: 'loops', 'aria-label': 'Loops of this host' }, seen.loops.map((loop) =>
  h('li', { key: loop.name }, loop.late ? pill('bad', 'late') : pill(loop.last_ms === null ? 'idle' : 'ok', loop.last_ms === null ? 'not begun' : 'on time'), ` ${loop.name}`)));

export function overview(view) {
  view.every(EVERY, async () => {
    const seen = await look(view.signal);
    const wrong = attention(seen);
    const rates = seen.destinations.reduce((sum, d) => sum + d.hour.rate, 0);
    const late = seen.loops.filter((loop) => loop.late).length;
    view.draw('Overview',
      h('section', { class: wrong.length ? 'attention' : 'attention well', 'aria-label': 'What needs attention' }, wrong.length
        ? h('ul', null, wrong.map(([kind, ...text]) => h('li', { class: kind }, text)))
        : h('p', null, pill('ok', 'Nothing needs attention'))),
      h('p', { class: 'sums' },
        h('span', null, h('b', null, count(total(seen, (d) => d.waiting))), ' waiting'),
        h('span', null, h('b', null, count(total(seen, (d) => d.due))), ' due'),
        h('span', null, h('b', null, count(total(seen, (d) => d.retrying))), ' retrying'),
        h('span', null, h('b', null, count(total(seen, (d) => d.dead))), ' dead'),
        h('span', null, h('b', null, rates.toFixed(1)), ' delivered a second, by this host'),
        h('span', null, late ? h('b', { class: 'bad' }, plural(late, 'loop is late', 'loops are late')) : 'every loop is on time')),
      h('h2', null, 'Destinations'),
      destinations(seen, view),
      h('h2', null, 'Hosts'),
      hosts(seen),
      loops(seen),
      h('p', { class: 'muted foot' }, `postrider ${seen.version}. Counts end at 10,000 and are some seconds old; charts and rates are this host's own. `,
        h('a', { href: '/docs' }, 'The API')));
  });
}

/** What waits for a destination, or failed last. */
export function deliveries(caption, items, empty) {
  if (!items.length) return h('p', { class: 'empty' }, empty);
  return table(caption, [['Notification'], ['State'], ['Attempts', 'number'], ['Made', 'time'], ['Next', 'time'], ['Last reason', 'wide']], items.map((one) => ({
    key: one.id,
    cells: [
      h('a', { href: link('n', one.notification) }, one.type), deliveryPill(one), count(one.attempts), clock(one.created), next(one), one.reason || '–',
    ],
  })));
}

export function deliveryPill({ state: of, cause }) {
  const kinds = { pending: 'busy', leased: 'busy', delivered: 'ok', dead: 'bad', cancelled: 'idle' };
  const words = { pending: 'waiting', leased: 'being sent' };
  return pill(kinds[of] ?? 'idle', [words[of] ?? of, cause && `: ${cause}`]);
}

function next(one) {
  if (one.waiting) return `after those of “${one.order_key}”`;
  if (!one.due) return '–';
  return Date.parse(one.due) <= now() ? 'due' : away(one.due);
}

export function destination(view) {
  const [name] = view.args;
  view.every(EVERY, async () => {
    const list = (of) => get(`/v1/deliveries${query({ destination: name, limit: 25, ...of })}`, view.signal);
    const [seen, all] = await Promise.all([look(view.signal), list({})]);
    const d = seen.destinations.find((one) => one.name === name);
    if (!d) return view.draw(name, h('p', null, 'No file names such a destination, and nothing waits for it.'));
    const at = standing(d);
    const { share, delivered, failed } = sums(d.hour.minutes);
    const live = all.items.filter((one) => one.state === 'pending' || one.state === 'leased');
    const ended = all.items.filter((one) => !live.includes(one));
    view.draw(name,
      h('section', { class: `verdict ${at.kind}` }, h('p', null, pill(at.kind, at.word), at.why && ` ${at.why}`),
        (at.since || at.next) && h('p', { class: 'muted' }, [at.since && `Since ${clock(at.since)} (${away(at.since)}).`, at.next && ` Next: ${at.next}.`])),
      buttons(d, view),
      facts(
        d.plugin && ['Plugin', h('a', { href: '#/plugins' }, d.plugin)],
        ['Waiting', `${count(d.waiting)}, of them ${count(d.due)} due and ${count(d.retrying)} to be tried again`],
        ['Oldest due', oldest(d) === '–' ? 'nothing is due' : `for ${oldest(d)}`],
        ['Dead', d.dead?.count ? h('a', { href: `#/dead${query({ destination: name })}` }, count(d.dead)) : '0'],
        d.allow?.length && ['May reach', d.allow.join(', ')],
        d.fallback?.length && ['Falls back to', d.fallback.map((to, place) => [place ? ', then ' : '', h('a', { href: link('d', to) }, to)])]),
      h('h2', null, 'Last hour'),
      h('div', { class: 'large' }, hourChart(d.hour.minutes, { width: 720, height: 96 })),
      h('p', { class: 'muted' }, `${count(delivered)} delivered, ${count(failed)} attempts failed (${percent(share)}), on this host.`),
      h('h2', null, 'Not ended yet, the newest'),
      deliveries(`Deliveries of ${name} that have not ended`, live, 'None among the newest.'),
      h('h2', null, 'Ended, the newest'),
      deliveries(`Deliveries of ${name} that have ended`, ended, 'None among the newest.'));
  });
}
