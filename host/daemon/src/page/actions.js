// What a person does: asked first, said afterwards.

import { post, Problem } from './api.js';
import { button, h } from './dom.js';
import { count, plural } from './format.js';

const toast = document.getElementById('toast');
const dialog = document.getElementById('dialog');
let hide;

/** Says what was done, or what went wrong, also to a screen reader. */
export function say(text, kind = 'ok') {
  clearTimeout(hide);
  toast.replaceChildren(h('p', { class: kind }, text));
  hide = setTimeout(() => toast.replaceChildren(), 8000);
}

/** Does something for a person and says what came of it. Answers whether it was done. */
export async function attempt(what, done) {
  try {
    const answer = await what();
    if (done) say(typeof done === 'function' ? done(answer) : done);
    return true;
  } catch (error) {
    say(error instanceof Problem ? error.message : `This page has failed: ${error}`, 'bad');
    return false;
  }
}

/** Asks. Answers false, or the text of the field (empty where there is none). */
export function ask({ title, text, go, danger, field, required }) {
  return new Promise((resolve) => {
    let answer = false;
    const input = field && h('input', { name: 'text', required, maxlength: 200, autocomplete: 'off' });
    const form = h('form', {
      onsubmit: (event) => {
        event.preventDefault();
        answer = input ? input.value.trim() : '';
        if (required && !answer) return;
        dialog.close();
      },
    },
    h('h2', { id: 'dialog-title' }, title),
    text && h('p', null, text),
    input && h('label', null, field, input),
    h('div', { class: 'buttons' },
      button('Leave it', () => dialog.close()),
      h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, go)));
    dialog.replaceChildren(form);
    dialog.onclose = () => resolve(answer);
    dialog.showModal();
    (input ?? form.querySelector('[type=submit]')).focus();
  });
}

// Of one call: small enough to see it go on, and to leave room for what is fresh.
const PACE = 100;

const WORDS = {
  redeliver: { verb: 'Redeliver', done: 'redelivered', text: 'Each gets a fresh budget of attempts and is tried again, behind what is fresh.' },
  drop: { verb: 'Drop', done: 'dropped', text: 'They become cancelled, with their history. They can still be redelivered.', danger: true },
  cancel: { verb: 'Cancel', done: 'cancelled', text: 'They are not tried again.', danger: true },
};

/** Counts, asks, and does it bit by bit. `chosen` is the body of the API's bulk action. */
export async function actOnMany(action, chosen, whose) {
  const path = `/v1/deliveries/${action}`, words = WORDS[action];
  const total = await counted(path, chosen);
  if (total === null) return false;
  if (total === 0) return say(`There is nothing to ${action}: somebody else may have done it.`, 'warn') ?? false;
  const note = await ask({
    title: `${words.verb} ${plural(total, 'delivery', 'deliveries')}${whose ? ` of ${whose}` : ''}?`,
    text: words.text,
    go: words.verb,
    danger: words.danger,
    field: action === 'drop' ? 'Why, for the audit' : null,
    required: action === 'drop',
  });
  if (note === false) return false;
  let done = 0, gone = 0;
  return attempt(async () => {
    for await (const answer of pages(path, { ...chosen, note })) {
      done += answer.done;
      gone += answer.gone;
      say(`${count(done)} of ${count(total)} ${words.done} …`);
    }
  }, () => `${plural(done, 'delivery', 'deliveries')} ${words.done}.${gone ? ` ${count(gone)} have lost their content and stay.` : ''}`);
}

async function counted(path, chosen) {
  let total = 0;
  const well = await attempt(async () => {
    for await (const answer of pages(path, { ...chosen, dry_run: true, limit: 1000 })) total += answer.found;
  });
  return well ? total : null;
}

async function* pages(path, chosen) {
  // Ids come at once, at most a thousand.
  const limit = chosen.ids ? undefined : chosen.limit ?? PACE;
  let after;
  do {
    const answer = await post(path, { ...chosen, limit, after });
    yield answer;
    after = answer.next ?? undefined;
  } while (after);
}

export async function pause(name) {
  const reason = await ask({
    title: `Pause ${name}?`,
    text: 'Its deliveries wait on every host and burn no attempts, until somebody resumes it.',
    go: 'Pause',
    field: 'Why, for those who find it paused',
  });
  return reason !== false && attempt(() => post(`/v1/destinations/${encodeURIComponent(name)}/pause`, { reason }), `${name} is paused.`);
}

export const resume = (name) => attempt(() => post(`/v1/destinations/${encodeURIComponent(name)}/resume`), `${name} is resumed.`);
