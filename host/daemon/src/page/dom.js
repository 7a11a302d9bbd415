// Elements out of data. What is given as text stays text.

const NS = 'http://www.w3.org/2000/svg';
const DRAWN = new Set(['svg', 'path', 'line', 'title']);
const HANDLERS = ['onclick', 'onchange', 'oninput', 'onsubmit', 'onkeydown', 'ontoggle'];

// Characters that control a terminal, or hide and reorder what stands beside them.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** The text with whatever controls made visible. */
export function clean(text) {
  return String(text).replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `\\u{${code.toString(16)}}`;
  });
}

/** An element. Children are elements, texts, lists of them, or nothing (null, false). */
export function h(tag, attributes, ...children) {
  const node = DRAWN.has(tag) ? document.createElementNS(NS, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else if (name === 'checked') node.checked = value;
    else if (name === 'key') node.dataset.key = value;
    else if (name === 'href' && !/^(#\/|\/(?!\/))/.test(value)) throw new Error(`a link to elsewhere: ${value}`);
    else node.setAttribute(name, value === true ? '' : clean(value));
  }
  const some = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...some.map((child) => (child instanceof Node ? child : clean(child))));
  return node;
}

/** Makes `live` look like `fresh` and leaves alone what is the same: focus, selection and scrolling stay. */
export function morph(live, fresh) {
  if (live.nodeType === Node.TEXT_NODE) {
    if (live.data !== fresh.data) live.data = fresh.data;
    return;
  }
  for (const { name } of [...live.attributes]) {
    // Whether details are open is the reader's choice.
    if (!fresh.hasAttribute(name) && name !== 'open') live.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  }
  for (const name of HANDLERS) live[name] = fresh[name];
  if (fresh.type === 'checkbox') {
    live.checked = fresh.checked;
    live.indeterminate = fresh.indeterminate;
  }
  morphChildren(live, [...fresh.childNodes]);
}

/** The same for the children of `live`. Those with a key are found again wherever they stand. */
export function morphChildren(live, fresh) {
  const keyed = new Map();
  for (const child of live.children) {
    if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
  }
  let at = live.firstChild;
  for (const next of fresh) {
    const key = next.dataset?.key;
    const match = key === undefined ? (at?.dataset?.key === undefined ? at : null) : keyed.get(key);
    if (match && match.nodeType === next.nodeType && match.nodeName === next.nodeName) {
      if (match === at) at = at.nextSibling;
      else live.insertBefore(match, at);
      morph(match, next);
    } else {
      live.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

/** A table. Columns are `[title, class]`, rows are `{key, cells}`. On a phone each row becomes a card. */
export function table(caption, columns, rows) {
  const head = columns.map(([title, kind]) => h('th', { scope: 'col', class: kind }, title));
  const body = rows.map(({ key, cells, kind }) =>
    h('tr', { key, class: kind, role: 'row' }, cells.map((cell, place) => {
      const [title, of] = columns[place];
      // A row of one cell is as wide as the table.
      const colspan = cells.length === 1 && columns.length > 1 ? columns.length : null;
      return h('td', { class: colspan ? null : of, 'data-label': title, role: 'cell', colspan }, cell);
    })));
  return h('table', { role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, head)),
    h('tbody', { role: 'rowgroup' }, body));
}

/** A word for a state: `ok`, `warn`, `bad`, `busy` or `idle`. A shape tells it, too. */
export function pill(kind, word, title) {
  return h('span', { class: `pill ${kind}`, title }, word);
}

export const button = (label, onclick, attributes) => h('button', { type: 'button', onclick, ...attributes }, label);

/** Names and values. */
export const facts = (...pairs) =>
  h('dl', { class: 'facts' }, pairs.filter(Boolean).map(([name, ...value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
