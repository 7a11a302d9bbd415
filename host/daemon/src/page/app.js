// The frame of the page: which view is shown, and whether the daemon answers.

import { get, isAdmin, Problem, whoami } from './api.js';
import { clean, h, morphChildren } from './dom.js';
import { dead } from './dead.js';
import { find } from './find.js';
import { clock } from './format.js';
import { live } from './live.js';
import { notification } from './notification.js';
import { destination, overview } from './overview.js';
import { plugins } from './plugins.js';
import { say } from './actions.js';

const VIEWS = { '': overview, d: destination, dead, find, live, n: notification, plugins };
// The view that the navigation shows for those that it does not name.
const WITHIN = { d: '', n: 'find' };

const main = document.getElementById('main');
const banner = document.getElementById('banner');
let closing = new AbortController();
let silentSince = null;

/** What a view works with. It ends with its signal. */
class View {
  constructor(args, parameters, signal) {
    Object.assign(this, { args, parameters, signal });
  }

  /** Shows this, with as little change as can be. */
  draw(title, ...nodes) {
    if (this.signal.aborted) return;
    document.title = `${clean(title)} · postrider`;
    main.removeAttribute('aria-busy');
    morphChildren(main, [h('h1', null, title), ...nodes.flat(Infinity).filter(Boolean)]);
  }

  /** Does it now and again and again while somebody looks. Answers what does it at once. */
  every(ms, what) {
    let timer, running = false, again = false;
    const round = async () => {
      clearTimeout(timer);
      if (running) return void (again = true);
      running = true;
      const well = await this.once(what);
      running = false;
      if (this.signal.aborted) return;
      if (again) {
        again = false;
        return round();
      }
      if (!document.hidden) timer = setTimeout(round, well ? ms : 2000);
    };
    document.addEventListener('visibilitychange', () => document.hidden || round(), { signal: this.signal });
    this.signal.addEventListener('abort', () => clearTimeout(timer));
    this.refresh = round;
    return round();
  }

  /** Does it once. Answers whether the daemon did its part. */
  async once(what) {
    try {
      await what(this);
      answered();
      return true;
    } catch (error) {
      if (this.signal.aborted) return true;
      const status = error instanceof Problem ? error.status : null;
      if (status === 0 || status >= 500) silent(error.message);
      else this.draw('This did not work', h('p', { class: 'bad' }, String(error.message)), h('p', null, h('a', { href: '#/' }, 'To the overview')));
      return false;
    }
  }
}

function answered() {
  if (silentSince === null) return;
  silentSince = null;
  banner.hidden = true;
  say('The daemon answers again.');
}

function silent(why) {
  silentSince ??= new Date();
  banner.hidden = false;
  const text = clean(`Since ${clock(silentSince)}: ${why}. What you see is from before; this page tries again by itself.`);
  if (banner.textContent !== text) banner.replaceChildren(text);
}

function route() {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...args] = path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  closing.abort();
  closing = new AbortController();
  const shown = WITHIN[name] ?? name;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === shown) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const view = new View(args, new URLSearchParams(search), closing.signal);
  main.setAttribute('aria-busy', 'true');
  const show = Object.hasOwn(VIEWS, name) ? VIEWS[name] : null;
  if (!show) return view.draw('There is no such view', h('p', null, h('a', { href: '#/' }, 'To the overview')));
  show(view);
}

/** Who this is, and the way out. */
function greet({ actor, session }) {
  const out = h('form', { method: 'post', action: '/logout' }, h('button', null, 'Log out'));
  const name = actor.replace(/ \([0-9a-f]+\)$/, '');
  document.getElementById('who').replaceChildren(
    h('span', { class: 'muted', title: actor }, isAdmin() ? name : `${name}, may only look`), session ? out : '');
}

document.getElementById('skip').onclick = (event) => {
  event.preventDefault();
  main.focus();
};
addEventListener('hashchange', () => {
  route();
  scrollTo(0, 0);
  // A screen reader begins to read there.
  main.focus({ preventScroll: true });
});

async function start() {
  const me = new View([], null, closing.signal);
  while (!(await me.once(async () => greet(await whoami())))) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  route();
}

start();
