// Dead letters by destination and reason: look, redeliver, drop.

import { actOnMany } from './actions.js';
import { get, isAdmin, query } from './api.js';
import { button, h, pill, table } from './dom.js';
import { away, clock, count, link, plural } from './format.js';

const EVERY = 5000;
// Of one group.
const SHOWN = 50;

export function dead(view) {
  const only = view.parameters.get('destination');
  // The group that is open, and which of its letters are chosen.
  let open = null, letters = null;
  const chosen = new Set();
  const same = (a, b) => a !== null && b !== null && a.destination === b.destination && a.reason === b.reason && a.cause === b.cause;

  const toggle = (group) => async () => {
    open = same(open, group) ? null : group;
    letters = null;
    chosen.clear();
    await view.refresh();
  };
  const act = (action, body, whose) => async () => {
    if (await actOnMany(action, body, whose)) {
      chosen.clear();
      view.refresh();
    }
  };

  view.every(EVERY, async () => {
    const answer = await get('/v1/dead', view.signal);
    const groups = answer.items.filter((group) => !only || group.destination === only);
    open = groups.find((group) => same(group, open)) ?? null;
    if (open) letters = await lettersOf(open, view.signal);
    const draw = () => view.draw('Dead letters', body(groups, answer.complete, draw));
    draw();
  });

  function body(groups, complete, draw) {
    const total = groups.reduce((sum, group) => sum + group.count, 0);
    const all = only ? { destination: only } : {};
    const whose = only ?? '';
    return [
      h('p', null, only && [`Those of `, h('b', null, only), '. ', h('a', { href: '#/dead' }, 'Show all'), ' · '],
        total ? `${count(total)}${complete ? '' : ' among the newest 10,000'} ${total === 1 ? 'delivery' : 'deliveries'} gave up.` : 'None. Nothing has given up.'),
      isAdmin() && total > 0 && h('div', { class: 'buttons' },
        button(only ? `Redeliver all of ${only}` : 'Redeliver all', act('redeliver', { state: 'dead', ...all }, whose)),
        button(only ? `Drop all of ${only}` : 'Drop all', act('drop', { state: 'dead', ...all }, whose), { class: 'quiet' })),
      total > 0 && table('Dead letters by destination and reason',
        [['Destination'], ['Cause'], ['Reason', 'wide'], ['How many', 'number'], ['First', 'time'], ['Last', 'time'], ...(isAdmin() ? [['Actions', 'actions']] : [])],
        groups.flatMap((group) => row(group, draw))),
    ];
  }

  function row(group, draw) {
    const key = JSON.stringify([group.destination, group.cause, group.reason]);
    const body = { state: 'dead', destination: group.destination, reason: group.reason };
    const isOpen = same(open, group);
    const about = `${group.destination}: ${group.reason}`;
    return [{
      key,
      cells: [
        h('a', { href: link('d', group.destination), class: 'name' }, group.destination), pill('bad', group.cause),
        h('button', { type: 'button', class: 'plain', 'aria-expanded': String(isOpen), onclick: toggle(group) }, group.reason || 'no reason was given'),
        count(group.count), clock(group.first), h('span', { title: clock(group.last) }, away(group.last)),
        ...(isAdmin() ? [h('div', { class: 'buttons' },
          button('Redeliver', act('redeliver', body, group.destination), { 'aria-label': `Redeliver ${about}` }),
          button('Drop', act('drop', body, group.destination), { class: 'quiet', 'aria-label': `Drop ${about}` }))] : []),
      ],
    }, isOpen && { key: `${key} letters`, kind: 'within', cells: [h('div', null, lettersTable(draw))] }].filter(Boolean);
  }

  function lettersTable(draw) {
    if (!letters) return h('p', { class: 'muted' }, 'Loading …');
    const choose = (id) => (event) => {
      if (event.target.checked) chosen.add(id);
      else chosen.delete(id);
      draw();
    };
    const ids = [...chosen].filter((id) => letters.items.some((one) => one.id === id));
    return [
      isAdmin() && h('div', { class: 'buttons' },
        button(`Redeliver ${plural(ids.length, 'chosen one')}`, act('redeliver', { state: 'dead', ids }, open.destination), { disabled: !ids.length }),
        button(`Drop ${plural(ids.length, 'chosen one')}`, act('drop', { state: 'dead', ids }, open.destination), { class: 'quiet', disabled: !ids.length })),
      h('ul', { class: 'letters' }, letters.items.map((one) => h('li', { key: one.id },
        isAdmin() && h('input', { type: 'checkbox', checked: chosen.has(one.id), 'aria-label': `Choose delivery ${one.id}`, onchange: choose(one.id) }),
        h('a', { href: link('n', one.notification) }, one.type), h('span', { class: 'muted' }, ` made ${clock(one.created)}, gave up ${clock(one.finished)} after ${plural(one.attempts, 'attempt')}`)))),
      letters.more && h('p', { class: 'muted' }, `The newest ${count(letters.items.length)}.`),
    ];
  }
}

/** The newest of a group. Pages may be short. */
async function lettersOf({ destination, reason, cause }, signal) {
  const items = [];
  let after = null;
  for (let page = 0; page < 5 && items.length < SHOWN; page += 1) {
    const answer = await get(`/v1/deliveries${query({ state: 'dead', destination, limit: 200, after })}`, signal);
    items.push(...answer.items.filter((one) => one.reason === reason && one.cause === cause));
    after = answer.next;
    if (!after) break;
  }
  return { items: items.slice(0, SHOWN), more: after !== null || items.length > SHOWN };
}
