// Notifications by what is known of them.

import { get, query } from './api.js';
import { button, h, table } from './dom.js';
import { away, clock, count, link } from './format.js';

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const STATES = ['arrived', 'malformed', 'unrouted', 'live', 'delivered', 'dead', 'cancelled'];
const FIELDS = ['type', 'label', 'state', 'since'];

export function find(view) {
  const wanted = Object.fromEntries(FIELDS.map((name) => [name, view.parameters.get(name) ?? '']));
  let items = [], next = null, asked = false;

  const more = async () => {
    const answer = await get(`/v1/notifications${query({ ...wanted, limit: 50, after: next })}`, view.signal);
    items = items.concat(answer.items);
    next = answer.next;
    asked = true;
    draw();
  };

  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const type = form.get('type').trim();
    if (ID.test(type)) return void (location.hash = link('n', type.toLowerCase()));
    const hash = `#/find${query(Object.fromEntries(FIELDS.map((name) => [name, form.get(name).trim()])))}`;
    if (location.hash === hash) {
      items = [];
      next = null;
      view.once(more);
    } else location.hash = hash;
  };

  const field = (label, input, hint) => h('label', null, label, input, h('small', { class: 'muted' }, hint));
  const draw = () => view.draw('Find',
    h('form', { class: 'filters', role: 'search', onsubmit: submit },
      field('Type or id', h('input', { name: 'type', value: wanted.type, autocomplete: 'off' }), 'such as alert.*'),
      field('Labels', h('input', { name: 'label', value: wanted.label, autocomplete: 'off' }), 'severity=high,team=db'),
      field('State', h('select', { name: 'state' }, h('option', { value: '' }, 'any'), STATES.map((state) => h('option', { selected: state === wanted.state }, state))), 'of its deliveries'),
      field('Since', h('input', { name: 'since', value: wanted.since, autocomplete: 'off' }), '2h, or a moment'),
      h('button', { type: 'submit', class: 'primary' }, 'Find')),
    items.length > 0 && table('Notifications', [['When', 'time'], ['Type'], ['Subject', 'wide'], ['Labels', 'wide'], ['Destinations', 'number']], items.map((it) => ({
      key: it.id,
      cells: [
        h('span', { title: away(it.time) }, clock(it.time)), h('a', { href: link('n', it.id) }, it.type), it.subject || it.source || '–',
        Object.entries(it.labels).map(([name, value]) => h('span', { class: 'label' }, `${name}=${value}`)), it.malformed ? 'malformed' : count(it.fan_out),
      ],
    }))),
    asked && !items.length && h('p', { class: 'empty' }, next ? 'None among the newest; older ones were not looked at yet.' : 'There is none.'),
    next && button(items.length ? 'Show more' : 'Look further back', () => view.once(more)));
  draw();
  view.once(more);
}
