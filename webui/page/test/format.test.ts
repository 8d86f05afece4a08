import assert from 'node:assert/strict';
import test from 'node:test';
import * as format from '../src/format';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');
const each = (f: (n: number | null) => string, cases: [number | null, string][]) => {
  for (const [value, text] of cases) assert.equal(plain(f(value)), text, `of ${value}`);
};

test('durations from nanoseconds to days', () =>
  each(format.duration, [
    [null, '—'],
    [NaN, '—'],
    [0, '0 s'],
    [1e-10, '<1 ns'],
    [640e-9, '640 ns'],
    [999.6e-9, '1.00 µs'],
    [1.5e-6, '1.50 µs'],
    [12.34e-6, '12.3 µs'],
    [999.7e-6, '1.00 ms'],
    [0.2031, '203 ms'],
    [0.99996, '1.00 s'],
    [12.34, '12.3 s'],
    [59.97, '1 min 00 s'],
    [65, '1 min 05 s'],
    [3599.7, '1 h 00 min'],
    [3 * 3600 + 12 * 60, '3 h 12 min'],
    [86400 * 4 + 3600 * 6, '4 d 06 h'],
    [-0.002, '−2.00 ms'],
  ]));

test('ages in whole seconds', () =>
  each(format.span, [
    [null, '—'],
    [0.2, '0 s'],
    [-3, '0 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [86399, '1 d 00 h'],
  ]));

test('counts are exact as long as they fit', () =>
  each(format.count, [
    [0, '0'],
    [999, '999'],
    [12345, '12,345'],
    [99999, '99,999'],
    [100000, '100 k'],
    [999_960, '1.00 M'],
    [4_560_000, '4.56 M'],
    [7.2e9, '7.20 G'],
    [null, '—'],
  ]));

test('exact counts', () => each(format.exact, [[1234567, '1,234,567'], [0, '0'], [null, '—']]));

test('rates', () =>
  each(format.rate, [
    [0, '0'],
    [0.001, '<0.01'],
    [0.05, '0.05'],
    [12.34, '12.3'],
    [999.7, '1,000'],
    [1234, '1,234'],
    [56_700, '56.7 k'],
  ]));

test('percentages never round something to nothing or almost all to all', () =>
  each(format.percent, [
    [0, '0 %'],
    [0.0001, '<0.1 %'],
    [0.1234, '12.3 %'],
    [0.9996, '>99.9 %'],
    [1, '100 %'],
    [null, '—'],
  ]));

test('bytes', () => each(format.bytes, [[512, '512 B'], [23_400_000, '22.3 MiB'], [1_073_741_824, '1.00 GiB']]));

test('the timeout given to the kernel', () => {
  assert.equal(format.timeout(-1), 'no limit');
  assert.equal(format.timeout(null), '—');
  assert.equal(plain(format.timeout(0.01)), '10.0 ms');
});

test('time of day, with milliseconds', () => {
  assert.match(format.clock(1700000000.5, true), /^\d\d:\d\d:\d\d\.500$/);
  assert.match(format.clock(1700000000.5), /^\d\d:\d\d:\d\d$/);
});

test('short: a round number where there is little room', () => {
  const short = (n: number | null) => format.short(n).replaceAll('\u00a0', ' ');
  assert.deepEqual([256, 1024, 9999, 10000, 20000, 131072, 1048576].map(short), ['256', '1,024', '9,999', '10 k', '20 k', '131 k', '1.05 M']);
  assert.equal(short(100_000), '100 k', 'zeros that count stay');
  assert.equal(short(null), '—');
});
