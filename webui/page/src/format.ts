// Numbers as people read them. Three significant digits (the histograms are exact to 3 %), and a width that does not
// jump from one update to the next. Units are joined by a no-break space.

const nbsp = '\u00a0';
export const unknown = '—';

/** Three significant digits, trailing zeros kept: 1.00, 12.3, 456. */
function three(value: number): string {
  if (value >= 99.95) return String(Math.round(value));
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

const small: [number, string][] = [
  [1e-9, 'ns'],
  [1e-6, 'µs'],
  [1e-3, 'ms'],
  [1, 's'],
];

export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return unknown;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return `0${nbsp}s`;
  if (seconds < 0.5e-9) return `<1${nbsp}ns`;
  for (const [unit, name] of small) {
    const limit = unit === 1 ? 60 : 1000;
    const value = seconds / unit;
    // Compare what would be printed: 999.7 µs must become 1.00 ms, not 1000 µs.
    if (unit === 1e-9 ? Math.round(value) < limit : Number(three(value)) < limit) {
      return `${unit === 1e-9 ? Math.round(value) : three(value)}${nbsp}${name}`;
    }
  }
  return span(seconds);
}

/** Whole seconds and up, two units: 42 s, 2 min 05 s, 3 h 12 min, 4 d 6 h. For ages and uptimes. */
export function span(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return unknown;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}${nbsp}s`;
  const pair = (big: number, bigName: string, rest: number, restName: string) =>
    `${big}${nbsp}${bigName}${nbsp}${String(rest).padStart(2, '0')}${nbsp}${restName}`;
  if (whole < 3600) return pair(Math.floor(whole / 60), 'min', whole % 60, 's');
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(seconds / 3600);
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** A whole number: exact with separators up to 99,999, then 123 k, 4.56 M. */
export function count(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return unknown;
  if (Math.abs(n) < 99999.5) return exact(n);
  return scaled(n);
}

/** A name in a sentence: characters that turn the direction of what follows, or cannot be seen, are shown as unknown ones. */
export const visible = (text: string) => text.replace(/[\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');

/** Of a round number that has little room: exact below 10,000, then without zeros that say nothing: 20 k, 131 k, 1.05 M. */
export function short(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return unknown;
  return Math.abs(n) < 9999.5 ? exact(n) : scaled(n).replace(/(\.\d*?)0+(?=\D)/, '$1').replace(/\.(?=\D)/, '');
}

export function exact(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return unknown;
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',');
}

function scaled(n: number): string {
  let value = n;
  for (const name of ['', 'k', 'M', 'G', 'T', 'P']) {
    if (Number(three(Math.abs(value))) < 1000 || name === 'P') {
      return `${value < 0 ? '−' : ''}${three(Math.abs(value))}${name ? nbsp + name : ''}`;
    }
    value /= 1000;
  }
  return String(n);
}

/** A rate or a mean: 0, 0.05, 12.3, 1,234, 56.7 k. */
export function rate(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return unknown;
  if (n === 0) return '0';
  if (n > 0 && n < 0.005) return '<0.01';
  if (Math.abs(n) < 999.5) return three(n);
  return Math.abs(n) < 9999.5 ? exact(n) : scaled(n);
}

/** A ratio 0..1. Never rounds a little to nothing, nor almost all to everything. */
export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return unknown;
  const value = ratio * 100;
  if (value === 0) return `0${nbsp}%`;
  if (value < 0.05) return `<0.1${nbsp}%`;
  if (value >= 100) return `${Math.round(value)}${nbsp}%`;
  if (value >= 99.95) return `>99.9${nbsp}%`;
  return `${value.toFixed(1)}${nbsp}%`;
}

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return unknown;
  let value = n;
  for (const name of ['B', 'KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1023.5 || name === 'TiB') {
      return `${name === 'B' ? Math.round(value) : three(value)}${nbsp}${name}`;
    }
    value /= 1024;
  }
  return String(n);
}

/** Seconds since the epoch as the reader's local time of day. */
export function clock(epochSeconds: number | null | undefined, milliseconds = false): string {
  if (epochSeconds === null || epochSeconds === undefined || !Number.isFinite(epochSeconds)) return unknown;
  const date = new Date(Math.floor(epochSeconds * 1000 + 1e-3));
  const two = (n: number) => String(n).padStart(2, '0');
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return milliseconds ? `${text}.${String(date.getMilliseconds()).padStart(3, '0')}` : text;
}

/** The day, as year-month-day in the reader's time zone. */
export function day(epochSeconds: number | null | undefined): string {
  if (epochSeconds === null || epochSeconds === undefined || !Number.isFinite(epochSeconds)) return unknown;
  const date = new Date(epochSeconds * 1000);
  const two = (n: number) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** The timeout handed to the kernel: seconds, -1 for none. */
export function timeout(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return unknown;
  return seconds < 0 ? 'no limit' : seconds === 0 ? '0 (only looked)' : duration(seconds);
}
