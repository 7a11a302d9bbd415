// Plugins: what is in force, why something is not, and the versions of each.

import { ask, attempt } from './actions.js';
import { get, isAdmin, post } from './api.js';
import { button, facts, h, pill, table } from './dom.js';
import { away, bytes, clock, link, short } from './format.js';

const EVERY = 5000;
const STATES = {
  active: ['ok', 'in force'], loaded: ['ok', 'in force'], kept: ['warn', 'the one before is in force'], compiling: ['busy', 'being compiled'],
  rejected: ['bad', 'rejected'], quarantined: ['bad', 'quarantined'], past: ['idle', 'past'],
};

const state = (of) => pill(...(STATES[of] ?? ['idle', of]));
const why = (module) => module.reason ?? module.problem;
const since = (at) => (at ? h('span', { title: away(at) }, clock(at)) : '–');
// A daemon that remembers versions tells a reason with each.
const remembers = (module) => 'reason' in module;

export function plugins(view) {
  const [name] = view.args;
  return name ? plugin(view, name) : list(view);
}

function list(view) {
  view.every(EVERY, async () => {
    const [modules, destinations] = await Promise.all([get('/v1/plugins', view.signal), get('/v1/destinations', view.signal)]);
    const uses = (name) => destinations.items.filter((d) => d.plugin === name);
    const refused = destinations.items.filter((d) => d.problem);
    const isModern = modules.items.some(remembers);
    const named = ({ name }) => (isModern ? h('a', { href: link('plugins', name), class: 'name' }, name) : h('b', null, name));
    view.draw('Plugins',
      modules.items.length
        ? table('Plugins', [['Plugin'], ['State', 'wide'], ['Version'], ['SHA-256', 'time'], ['Size', 'number'], ['Since', 'time'], ['Used by', 'wide']], modules.items.map((module) => ({
          key: `${module.name} ${module.state} ${module.sha256}`,
          cells: [
            [named(module), module.summary && h('p', { class: 'why muted' }, module.summary)],
            [state(module.state), why(module) && h('pre', { class: 'problem' }, why(module)), (module.warnings ?? []).map((warning) => h('p', { class: 'why' }, warning))],
            module.version ?? '–', h('code', { title: module.sha256 }, short(module.sha256)), module.size ? bytes(module.size) : '–', since(module.since),
            uses(module.name).map((d, place) => [place ? ', ' : '', h('a', { href: link('d', d.name) }, d.name)]),
          ],
        })))
        : h('p', { class: 'empty' }, 'There is none in the plugins directory.'),
      refused.length > 0 && [h('h2', null, 'Destination files with a problem'),
        refused.map((d) => h('article', { class: 'card', key: d.name }, h('h3', null, `${d.name}.toml`), h('pre', { class: 'problem' }, d.problem)))],
      h('p', { class: 'muted foot' }, `wasmtime ${modules.wasmtime}. A file that is put into the plugins directory is seen at once.`));
  });
}

/** One with its versions, where the daemon remembers them. */
function plugin(view, name) {
  const path = `/v1/plugins/${encodeURIComponent(name)}`;
  const act = (action, body, done) => async () => {
    if (await attempt(() => post(`${path}/${action}`, body()), done)) view.refresh();
  };
  const asked = (action, title, text, body, done) => async () => {
    const reason = await ask({ title, text, go: title.split(' ')[0], danger: true, field: 'Why, for those who find it' });
    if (reason !== false) await act(action, () => ({ ...body, reason: reason || undefined }), done)();
  };
  const hand = (it, version) => {
    const which = `${version.version ?? ''} (${short(version.sha256)})`;
    const body = { sha256: version.sha256 };
    if (version.state === 'quarantined') return button('Release', act('release', () => body, `${which} may be tried again.`), { 'aria-label': `Release ${which}` });
    if (version.state === 'active' || version.state === 'past') {
      return button('Quarantine', asked('quarantine', `Quarantine ${name} ${which}?`, 'No host uses it any more. The version before it that worked takes its place, or its destinations wait.', body, `${which} is quarantined.`), { class: 'quiet', 'aria-label': `Quarantine ${which}` });
    }
    return null;
  };
  view.every(EVERY, async () => {
    const it = await get(path, view.signal);
    const columns = [['Version'], ['State', 'wide'], ['SHA-256', 'time'], ['First seen', 'time'], ['Since', 'time'], ['Has delivered']];
    view.draw(name,
      h('section', { class: `verdict ${STATES[it.state]?.[0] ?? ''}`, 'aria-label': 'In short' }, h('p', null, state(it.state), ` ${it.version ?? ''}`), it.reason && h('p', null, it.reason)),
      isAdmin() && h('div', { class: 'buttons' },
        button('Look again', act('reload', () => undefined, 'The plugins directory was looked at.')),
        it.state === 'active' && button('Roll back', asked('rollback', `Roll back ${name}?`, 'The version in force is quarantined on every host, and the one before it that worked takes its place.', {}, `${name} is rolled back.`))),
      facts(it.summary && ['Summary', it.summary], ['SHA-256', h('code', null, it.sha256 ?? '–')], ['Since', since(it.since)], it.size && ['Size', bytes(it.size)]),
      h('h2', null, 'Versions'),
      table(`Versions of ${name}`, isAdmin() ? [...columns, ['Actions', 'actions']] : columns, it.versions.map((version) => ({
        key: `${version.sha256} ${version.state}`,
        cells: [
          version.version ?? '–', [state(version.state), version.reason && h('pre', { class: 'problem' }, version.reason)], h('code', { title: version.sha256 }, short(version.sha256)),
          since(version.first_seen), since(version.since), version.worked ? 'yes' : 'not yet', ...(isAdmin() ? [hand(it, version)] : []),
        ],
      }))));
  });
}
