import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { columnAt, Heat, heatPosition, heatRange, heatRows, heatScale, heatSteps, oklab, rowBounds, rowOf, summarize } from '../src/heat';
import { fromWire } from '../src/histogram';
import { Store } from '../src/store';
import { loop, process, snapshot, wire } from './fixtures';

const h = (...buckets: [number, number][]) => fromWire(wire(buckets))!;
/** As the recorder bounds them: 32 to an octave, exact at 2^k µs. */
const bound = (units: number) => (units / 1024) * 1e-6;
const counts = (heat: Heat, from = 0, to = 1e9, seconds = 0) => {
  const view = heat.view(from, to, seconds);
  return Array.from({ length: view.columns }, (_, i) =>
    Object.fromEntries(Array.from({ length: heatRows }, (_, row) => [row, view.counts[i * heatRows + row]!] as const).filter(([, n]) => n > 0)),
  );
};

test('a row is one power of two of a microsecond, bounds included, whatever JSON did to the last digit', () => {
  assert.equal(rowOf(0), 0);
  assert.equal(rowOf(bound(1)), 0);
  for (let k = 0; k <= 24; k++) {
    const exact = bound(1024 * 2 ** k);
    for (const value of [exact, exact * (1 + 1e-15), exact * (1 - 1e-15), Number(exact.toPrecision(12))]) assert.equal(rowOf(value), k, `2^${k} µs`);
    const [over, upTo] = rowBounds(k);
    assert.ok(Math.abs(upTo / exact - 1) < 1e-12);
    // The bucket just above the bound is the next row's: 32 to an octave.
    assert.equal(rowOf(exact * (1 + 1 / 32)), Math.min(heatRows - 1, k + 1));
    if (k > 0) assert.equal(rowOf(over * (1 + 1 / 32)), k);
  }
  assert.equal(rowOf(1000), heatRows - 1);
  assert.deepEqual(rowBounds(heatRows - 1)[1], Infinity);
});

test('an event is a column, a bucket a count in its row', () => {
  const heat = new Heat();
  heat.add(10, 10.4, h([bound(1000), 5], [bound(1024 * 5), 2], [bound(1024 * 8), 3], [bound(1024 * 9), 1]));
  assert.deepEqual(counts(heat), [{ 0: 5, 3: 5, 4: 1 }]);
  assert.equal(heat.newest, 10.4);
});

test('nothing measured is no column, nothing that happened is an empty one', () => {
  const heat = new Heat();
  heat.add(10, 10.4, null);
  assert.equal(heat.columns, 0);
  heat.add(10.4, 10.8, h());
  assert.deepEqual(counts(heat), [{}]);
  assert.equal(summarize(heat.view(0, 100, 0)), null);
});

test('an instant finds its column, but not in a hole', () => {
  const heat = new Heat();
  heat.add(10, 10.4, h([bound(1024), 1]));
  heat.add(20, 20.4, h([bound(1024), 2]));
  const view = heat.view(0, 100, 0);
  assert.equal(columnAt(view, 10.2), 0);
  assert.equal(columnAt(view, 15), -1);
  assert.equal(columnAt(view, 20.4), 1);
  assert.equal(columnAt(view, 21), -1);
  assert.equal(columnAt(view, 9), -1);
});

test('columns join to a width on the screen without losing a count, never over a hole', () => {
  const heat = new Heat();
  for (let i = 0; i < 50; i++) heat.add(100 + i * 0.4, 100 + (i + 1) * 0.4, h([bound(2048), 3]));
  heat.add(130, 130.4, h([bound(2048), 7]));
  const view = heat.view(0, 1000, 4);
  assert.equal(view.totals.slice(0, view.columns).reduce((a, b) => a + b, 0), 157);
  assert.equal(view.columns, 6);
  assert.equal(view.totals[5], 7);
  assert.ok(view.start[5]! - view.end[4]! > 9);
});

test('joined columns hold still while the window moves', () => {
  const heat = new Heat();
  for (let i = 0; i < 400; i++) heat.add(1000 + i * 0.4, 1000 + (i + 1) * 0.4, h([bound(2048), 1 + (i % 3)]));
  const starts = (from: number, to: number) => {
    const view = heat.view(from, to, 3);
    return [...view.start.slice(1, view.columns - 1)];
  };
  const first = starts(1020, 1100);
  const later = starts(1030, 1110);
  for (const start of later) if (start < first[first.length - 1]!) assert.ok(first.includes(start), String(start));
});

test('a quarter of an hour stays exact in sum, small in store, and no older than that', () => {
  const heat = new Heat();
  const spread = h(...Array.from({ length: 14 }, (_, k): [number, number] => [bound(1024 * 2 ** (k + 3)), 10 + k]));
  let now = 5000;
  for (let i = 0; i < 3000; i++) heat.add(now, (now += 0.4), spread);
  const view = heat.view(0, 1e9, 0);
  assert.ok(view.start[0]! >= now - 901 - 100 * 0.4, 'too old');
  assert.ok(view.start[0]! <= now - 895, 'forgot too early');
  const covered = view.end[view.columns - 1]! - view.start[0]!;
  assert.equal(view.totals.slice(0, view.columns).reduce((a, b) => a + b, 0), Math.round(covered / 0.4) * spread.count);
  for (let i = 1; i < view.columns; i++) assert.ok(Math.abs(view.start[i]! - view.end[i - 1]!) < 1e-6, 'a hole that was not there');
  assert.ok(heat.columns < 900, `${heat.columns} columns`);
  assert.ok(heat.bytes < 150_000, `${heat.bytes} bytes`);
  // The young ones are as they came.
  assert.ok(view.end[view.columns - 1]! - view.start[view.columns - 1]! < 0.5);
});

test('a server that pushes a hundred events a second costs age, not memory', () => {
  const heat = new Heat();
  const all = h(...Array.from({ length: 25 }, (_, k): [number, number] => [bound(1024 * 2 ** k), 1]));
  for (let i = 0; i < 20_000; i++) heat.add(1000 + i * 0.01, 1000 + (i + 1) * 0.01, all);
  assert.ok(heat.bytes < 1_000_000, `${heat.bytes} bytes`);
  assert.ok(heat.columns > 500);
});

test('counts beyond what a cell holds stop at its top', () => {
  const heat = new Heat();
  heat.add(1, 2, h([bound(1024), 2 ** 31]));
  assert.deepEqual(counts(heat), [{ 0: 2 ** 27 - 1 }]);
});

test('packed and unpacked it is the same', () => {
  const heat = new Heat();
  for (let i = 0; i < 300; i++) heat.add(1000 + i * 0.4, 1000 + (i + 1) * 0.4, i % 7 === 0 ? h() : h([bound(2048), i], [bound(4096 * 3), 1]));
  const back = Heat.unpack(JSON.parse(JSON.stringify(heat.pack())));
  assert.equal(back.columns, heat.columns);
  assert.deepEqual(counts(back, 1000, 1060), counts(heat, 1000, 1060));
});

test('the colour range is whole decades, from one in the widest column to the most', () => {
  const heat = new Heat();
  heat.add(10, 10.4, h([bound(1024), 200], [bound(4096), 1]));
  const view = heat.view(0, 100, 0);
  const range = heatRange(view);
  assert.deepEqual(range, { low: 1, high: 1000 });
  assert.equal(heatPosition(1, range), 0);
  assert.equal(heatPosition(1000, range), 1);
  assert.equal(heatPosition(1e9, range), 1);
  assert.ok(Math.abs(heatPosition(31.6, range) - 0.5) < 0.01);
});

test('the sentence: how many, the usual row, the longest and when it was last', () => {
  const heat = new Heat();
  heat.add(10, 10.4, h([bound(1024 * 4), 50], [bound(1024 * 64), 1]));
  heat.add(10.4, 10.8, h([bound(1024 * 4), 20]));
  assert.deepEqual(summarize(heat.view(0, 100, 0)), { total: 71, usual: 2, highest: 6, highestAt: 10.4 });
});

test('the store feeds it: what each event added, nothing across a hole, nothing for what is not measured', () => {
  const store = new Store();
  const event = (time: number, n: number) =>
    store.ingest(snapshot(time, process({ loops: [loop({ iterations: n, busy_turn_seconds: wire([[bound(4096), n]]), timer_lag_seconds: null })] })), false);
  event(0, 1000);
  event(0.4, 1007);
  event(0.8, 1007);
  event(20, 2000);
  event(20.4, 2001);
  const track = [...store.processes.values()][0]!.loops.get('1')!;
  assert.deepEqual(counts(track.heat.busy, 0, 1e12), [{ 2: 7 }, {}, { 2: 1 }]);
  assert.equal(track.heat.lag.columns, 0);
});

// --- colours: those in the style sheet, as the page uses them

const sheet = (name: string) => readFileSync(new URL(`../src/styles/${name}`, import.meta.url), 'utf8');
const css = sheet('loop.css');
const base = sheet('base.css');
const themes = { light: /:root(?:\[data-theme="light"\])?\s*\{([^}]*--[^}]*)\}/, dark: /:root\[data-theme="dark"\]\s*\{([^}]*--[^}]*)\}/ };
const token = (sheet: string, theme: keyof typeof themes, name: string) => {
  const value = new RegExp(`--${name}:\\s*(#[0-9a-f]{6})`).exec(themes[theme].exec(sheet)?.[1] ?? '')?.[1];
  assert.ok(value, `--${name} in ${theme}`);
  return value;
};
const luminance = (hex: string) => {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a: string, b: string) => {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p) as [number, number];
  return (x + 0.05) / (y + 0.05);
};

for (const theme of ['light', 'dark'] as const) {
  test(`heat in ${theme}: lightness goes one way in equal steps`, () => {
    const scale = heatScale([1, 2, 3, 4, 5].map((i) => token(css, theme, `heat-${i}`)));
    assert.equal(scale.length, heatSteps);
    const lightness = scale.map((color) => oklab(color)[0]);
    const step = (lightness[heatSteps - 1]! - lightness[0]!) / (heatSteps - 1);
    assert.ok(Math.sign(step) === (theme === 'light' ? -1 : 1));
    for (let i = 1; i < heatSteps; i++) assert.ok(Math.abs(lightness[i]! - lightness[i - 1]! - step) < Math.abs(step) * 0.6, `step ${i}`);
    assert.ok(Math.abs(lightness[heatSteps - 1]! - lightness[0]!) > 0.4, 'too narrow to be read');
    // A single turn must be seen on the ground of an empty cell.
    assert.ok(contrast(scale[0]!, token(css, theme, 'heat-0')) > 1.6, String(contrast(scale[0]!, token(css, theme, 'heat-0'))));
  });

  test(`causes in ${theme}: 3:1 with the card`, () => {
    const card = token(base, theme, 'card');
    for (const name of ['cause-1', 'cause-2', 'cause-3', 'cause-4', 'cause-5', 'cause-6', 'cause-rest']) {
      const value = contrast(token(css, theme, name), card);
      assert.ok(value >= 3, `${name}: ${value.toFixed(2)}`);
    }
  });
}
