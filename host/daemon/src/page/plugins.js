// Plugins: what is in force, and why something is not.

import { get } from './api.js';
import { h, pill, table } from './dom.js';
import { away, bytes, clock, link, short } from './format.js';

const EVERY = 5000;
const KINDS = { loaded: 'ok', kept: 'warn', rejected: 'bad' };
const WORDS = { loaded: 'in force', kept: 'the one before is in force', rejected: 'rejected' };

export function plugins(view) {
  view.every(EVERY, async () => {
    const [modules, destinations] = await Promise.all([get('/v1/plugins', view.signal), get('/v1/destinations', view.signal)]);
    const uses = (name) => destinations.items.filter((d) => d.plugin === name);
    const refused = destinations.items.filter((d) => d.problem);
    view.draw('Plugins',
      modules.items.length
        ? table('Plugins', [['Plugin'], ['State', 'wide'], ['Version'], ['SHA-256', 'time'], ['Size', 'number'], ['Since', 'time'], ['Used by', 'wide']], modules.items.map((module) => ({
          key: module.name,
          cells: [
            [h('b', null, module.name), module.summary && h('p', { class: 'why muted' }, module.summary)],
            [pill(KINDS[module.state] ?? 'idle', WORDS[module.state] ?? module.state), module.problem && h('pre', { class: 'problem' }, module.problem),
              (module.warnings ?? []).map((warning) => h('p', { class: 'why' }, warning))],
            module.version ?? '–', h('code', { title: module.sha256 }, short(module.sha256)), module.size ? bytes(module.size) : '–',
            h('span', { title: away(module.since) }, clock(module.since)),
            uses(module.name).map((d, place) => [place ? ', ' : '', h('a', { href: link('d', d.name) }, d.name)]),
          ],
        })))
        : h('p', { class: 'empty' }, 'There is none in the plugins directory.'),
      refused.length > 0 && [h('h2', null, 'Destination files with a problem'),
        refused.map((d) => h('article', { class: 'card', key: d.name }, h('h3', null, `${d.name}.toml`), h('pre', { class: 'problem' }, d.problem)))],
      h('p', { class: 'muted foot' }, `wasmtime ${modules.wasmtime}. A file that is put into the plugins directory is seen at once.`));
  });
}
