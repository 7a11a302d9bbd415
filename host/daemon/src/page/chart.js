// The last hour of a destination as bars, one a minute.

import { h } from './dom.js';
import { count } from './format.js';

const MINUTES = 60;

export function sums(minutes) {
  const sum = [0, 0, 0];
  for (const minute of minutes) minute.forEach((number, place) => { sum[place] += number; });
  const [delivered, retried, dead] = sum;
  const all = delivered + retried + dead;
  return { delivered, failed: retried + dead, all, share: all ? (retried + dead) / all : 0 };
}

export function percent(share) {
  if (share === 0) return '0 %';
  return share < 0.01 ? '<1 %' : `${Math.round(share * 100)} %`;
}

/** Delivered from the ground up, failed attempts on top of them. */
export function hourChart(minutes, { width = 180, height = 28 } = {}) {
  const { delivered, failed, share } = sums(minutes);
  const most = Math.max(1, ...minutes.map((minute) => minute[0] + minute[1] + minute[2]));
  const step = width / MINUTES, first = MINUTES - minutes.length;
  const bar = (place, from, to) => {
    const x = ((first + place) * step).toFixed(2), w = (step * 0.8).toFixed(2);
    const y = (number) => (height - (number / most) * (height - 1)).toFixed(2);
    return `M${x} ${y(from)}h${w}V${y(to)}h-${w}z`;
  };
  const path = (name, of) => h('path', { class: name, d: minutes.map(of).join('') });
  const label = minutes.length
    ? `Last hour on this host: ${count(delivered)} delivered, ${count(failed)} failed (${percent(share)}); most in a minute ${count(most)}`
    : 'Last hour on this host: nothing';
  return h('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label },
    h('title', null, label),
    h('line', { x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }),
    path('good', ([ok], place) => (ok ? bar(place, 0, ok) : '')),
    path('failed', ([ok, retried, dead], place) => (retried + dead ? bar(place, ok, ok + retried + dead) : '')));
}
