// What happens on this host, as it happens.

import { get, query } from './api.js';
import { button, h, pill, table } from './dom.js';
import { clock, count, link, plural, span } from './format.js';

// Rows that are kept, and events that are asked for a second: no eye takes more.
const ROWS = 200;
const MOST = 40;
const AGAIN = 2000;

const KINDS = {
  'notification.accepted': ['idle', 'taken in'],
  'delivery.delivered': ['ok', 'delivered'],
  'delivery.retry': ['warn', 'to be tried again'],
  'delivery.dead': ['bad', 'gave up'],
  'destination.paused': ['idle', 'paused'],
  'destination.resumed': ['ok', 'resumed'],
};

export function live(view) {
  const wanted = { event: view.parameters.get('event') ?? '', type: view.parameters.get('type') ?? '', destination: view.parameters.get('destination') ?? '' };
  let rows = [], source = null, stopped = false, state = ['busy', 'connecting'], names = [], number = 0, drawing = false, again;

  const note = (text) => add({ note: text });
  const add = (row) => {
    number += 1;
    rows.unshift({ ...row, number });
    rows.length = Math.min(rows.length, ROWS);
    later();
  };
  // Many events, one picture.
  const later = () => {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      draw();
    });
  };

  function connect() {
    if (source || stopped || view.signal.aborted || document.hidden) return;
    source = new EventSource(`/v1/events${query({ ...wanted, most: MOST })}`);
    source.onopen = () => {
      if (state[1] === 'interrupted') note('Connected again. What happened meanwhile is in the lists, not here.');
      state = ['ok', 'listening'];
      later();
    };
    source.onerror = () => {
      if (state[1] !== 'interrupted') note('The connection was interrupted; this page tries again by itself.');
      state = ['bad', 'interrupted'];
      // The browser tries again by itself only where nobody answered.
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        again = setTimeout(connect, AGAIN);
      }
      later();
    };
    source.addEventListener('missed', (event) => {
      const { missed } = JSON.parse(event.data);
      note(missed === null ? 'This page was too slow or away: some events are missing here. It goes on with the newest.' : `${plural(missed, 'event')} more than a page can show happened here.`);
    });
    for (const name of Object.keys(KINDS)) source.addEventListener(name, (event) => add(JSON.parse(event.data)));
  }

  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  const halt = () => {
    stopped = !stopped;
    if (stopped) close();
    else note('Listening again. What happened meanwhile is in the lists, not here.');
    state = stopped ? ['idle', 'stopped'] : ['busy', 'connecting'];
    connect();
    draw();
  };

  // A hidden page listens to nothing: a browser has few connections to spare.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) close();
    else if (!stopped && !source) {
      note('Listening again: the page was hidden.');
      connect();
    }
  }, { signal: view.signal });
  view.signal.addEventListener('abort', close);

  const filter = (event) => {
    event.preventDefault();
    location.hash = `#/live${query(Object.fromEntries(new FormData(event.currentTarget)))}`;
  };

  function draw() {
    const option = (value, text, chosen) => h('option', { value, selected: value === chosen }, text);
    view.draw('Live',
      h('form', { class: 'filters', onsubmit: filter, onchange: filter },
        h('label', null, 'What', h('select', { name: 'event' }, option('', 'everything', wanted.event), Object.entries(KINDS).map(([name, [, word]]) => option(name, word, wanted.event)))),
        h('label', null, 'Type', h('input', { name: 'type', value: wanted.type, placeholder: 'alert.*', autocomplete: 'off' })),
        h('label', null, 'Destination', h('select', { name: 'destination' }, option('', 'any', wanted.destination), names.map((name) => option(name, name, wanted.destination)))),
        button(stopped ? 'Go on' : 'Stop', halt),
        h('span', { role: 'status' }, pill(...state))),
      rows.length
        ? table('Events, the newest first', [['When', 'time'], ['What'], ['Type'], ['Destination'], ['Attempt', 'number'], ['Took', 'number'], ['Reason', 'wide']], rows.map(shown))
        : h('p', { class: 'empty' }, 'Nothing has happened here since this page listens.'));
  }

  function shown(row) {
    const key = row.number;
    if (row.note) return { key, kind: 'note', cells: [row.note] };
    const [kind, word] = KINDS[row.event] ?? ['idle', row.event];
    const after = row.retry_in_ms !== null && row.retry_in_ms !== undefined && `again in ${span(row.retry_in_ms)}`;
    const to = row.fallback && `${row.fallback} takes over`;
    return {
      key,
      cells: [
        clock(row.time), pill(kind, word), row.notification ? h('a', { href: link('n', row.notification) }, row.type) : '–',
        row.destination ? h('a', { href: link('d', row.destination) }, row.destination) : '–',
        row.attempt ? count(row.attempt) : '–', row.duration_ms === null || row.duration_ms === undefined ? '–' : span(row.duration_ms),
        [row.cause, row.reason || row.subject, after, to].filter(Boolean).join(' · ') || '–',
      ],
    };
  }

  draw();
  connect();
  view.once(async () => {
    names = (await get('/v1/destinations', view.signal)).items.map(({ name }) => name);
    draw();
  });
}
