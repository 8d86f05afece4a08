// A stand-in for the C++ server: serves dist/ and a lively, entirely invented set of loops over the real contract
// (docs/http-api.md), with the headers the real one sends. For work on the page, and for trying what is rare in life.
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Descriptors } from './mock-descriptors.mjs';
import { LoadLoop } from './mock-load.mjs';

const usage = `usage: npm run mock -- [options]
  --port N             port on 127.0.0.1 (0: any free one)
  --dir DIR            where index.html, app.js, app.css and report.html are (dist)
  --token T            want "Authorization: Bearer T" for the data
  --watchers N         as many watchers in the first loop (0: seen from outside)
  --descriptors N      the first process has so many descriptors, and a ledger of them
  --loops N            a load instead of a story: N loops, the watchers spread over them, all the same in every run and cheap
                       to make; with --processes P they are spread over P processes.
                       The page's budget: --loops 20 --watchers 500 --fds 10000
  --fds N              the same as --descriptors N
  --one                one process with one loop only
  --processes N        as many more: workers that come and go below the second process
  --calm               no slow turns, no findings
  --empty              no process at all
  --restart-after S    the first process is replaced by a new one after S seconds
  --kill-after S       the first process is killed after S seconds
  --drop-every S       all streams are cut every S seconds
  --silent-after S     streams fall silent after S seconds, connections stay open
`;
let options;
try {
  ({ values: options } = parseArgs({
    options: {
      port: { type: 'string', default: '0' },
      dir: { type: 'string' },
      token: { type: 'string' },
      watchers: { type: 'string', default: '14' },
      descriptors: { type: 'string' },
      loops: { type: 'string' },
      fds: { type: 'string' },
      one: { type: 'boolean' },
      processes: { type: 'string' },
      calm: { type: 'boolean' },
      empty: { type: 'boolean' },
      'restart-after': { type: 'string' },
      'kill-after': { type: 'string' },
      'drop-every': { type: 'string' },
      'silent-after': { type: 'string' },
      help: { type: 'boolean' },
    },
  }));
} catch (error) {
  console.error(`${error.message}\n${usage}`);
  process.exit(2);
}
if (options.help) {
  console.log(usage);
  process.exit(0);
}
const dir = resolve(options.dir ?? join(dirname(fileURLToPath(import.meta.url)), '../dist'));
const began = Date.now() / 1000;
const now = () => Date.now() / 1000;

// --- numbers ---------------------------------------------------------------------------------------------------------

const uniform = (a, b) => a + Math.random() * (b - a);
const gauss = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const around = (median, spread) => median * Math.exp(spread * gauss());

/** Log-linear, 32 steps to an octave: what the recorder keeps. */
class Histogram {
  counts = new Map();
  count = 0;
  sum = 0;
  min = null;
  max = null;
  add(value, n = 1) {
    const units = Math.max(1, Math.round(value / 1e-9));
    const shift = Math.max(0, Math.floor(Math.log2(units)) - 5);
    const bound = (Math.floor(units / 2 ** shift) + 1) * 2 ** shift - (shift === 0 ? 1 : 0);
    const key = bound * 1e-9;
    this.counts.set(key, (this.counts.get(key) ?? 0) + n);
    this.count += n;
    this.sum += value * n;
    this.min = this.min === null ? value : Math.min(this.min, value);
    this.max = this.max === null ? value : Math.max(this.max, value);
  }
  toJSON() {
    const buckets = [...this.counts].sort((a, b) => a[0] - b[0]);
    const at = (q) => {
      let seen = 0;
      for (const [bound, n] of buckets) if ((seen += n) >= q * this.count) return Math.min(bound, this.max);
      return this.max;
    };
    const { count, sum, min, max } = this;
    const quantiles = count ? { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) } : { p50: null, p90: null, p99: null, p999: null };
    return { count, sum, min, max, ...quantiles, buckets };
  }
}
/** Counts use the same class, a unit being 1e-9. */
const plain = (h) => {
  const j = h.toJSON();
  const up = (v) => (v === null ? null : Math.round(v * 1e9));
  return {
    ...j, sum: up(j.sum), min: up(j.min), max: up(j.max), p50: up(j.p50), p90: up(j.p90), p99: up(j.p99), p999: up(j.p999),
    buckets: j.buckets.map(([bound, n]) => [up(bound), n]),
  };
};

// --- what was served in a turn -----------------------------------------------------------------------------------------

const mostServed = 12;
/** As the record keeps it: in order, the first few; the loop's own time lies between them. */
function servedIn({ calls, own }) {
  let start = 0;
  const all = calls.map(([w, seconds]) => {
    const part = { watcher: w.name, kind: w.kind, fd: w.fd, start: start + own / (calls.length + 1), seconds };
    start = part.start + seconds;
    return part;
  });
  return { served: all.slice(0, mostServed), served_lost: Math.max(0, all.length - mostServed) };
}
/** The stream sends it for stalls and the longest of an event. */
function withServed(turns, longest) {
  const bar = turns.map((turn) => turn.busy).sort((a, b) => b - a)[longest] ?? 0;
  return turns.map(({ calls, own, ...turn }) => (longest > 0 && (turn.busy > bar || turn.busy > 0.05) ? { ...turn, ...servedIn({ calls, own }) } : turn));
}

// --- a loop ----------------------------------------------------------------------------------------------------------

const names = ['http-accept', 'http-read', 'http-write', 'tls-handshake', 'db-pool', 'redis-sub', 'stats-flush', 'keepalive-reaper',
  'log-rotate', 'sigterm', 'child-reaper', 'config-reload', 'dns-lookup', 'cache-expire'];
const kinds = ['io', 'io', 'io', 'io', 'io', 'io', 'timer', 'timer', 'timer', 'signal', 'child', 'async', 'io', 'timer'];

class Loop {
  constructor(id, name, profile) {
    Object.assign(this, { id, name, profile });
    const n = Math.max(1, profile.watchers);
    this.watchers = Array.from({ length: n }, (_, i) => ({
      name: i < names.length ? names[i] : `conn-${String(i).padStart(4, '0')}`,
      kind: i < kinds.length ? kinds[i] : 'io',
      fd: kinds[i % kinds.length] === 'io' ? 8 + i : null,
      weight: 1 / (i + 1) ** 1.1,
      cost: around(profile.cost, 0.8),
      invocations: 0,
      callback: new Histogram(),
      lag: (kinds[i] ?? 'io') === 'timer' ? new Histogram() : null,
    }));
    this.total = this.watchers.reduce((sum, w) => sum + w.weight, 0);
    this.turn = 0;
    this.ready = 0;
    this.polls = { blocking: 0, nonblocking: 0, events: 0, timeout: 0, interrupted: 0, error: 0, saturated: 0, unknown: 0 };
    Object.assign(this, { busy: 0, idle: 0, unattributed: 0, stalls: 0, stalled: 0 });
    this.h = Object.fromEntries(['wait', 'busy', 'delay', 'lag', 'ready'].map((k) => [k, new Histogram()]));
    this.ring = [];
    this.clock = now();
    this.open = null;
    this.nextStall = this.clock + uniform(4, 8);
  }
  pick() {
    let x = Math.random() * this.total;
    for (const w of this.watchers) if ((x -= w.weight) <= 0) return w;
    return this.watchers[0];
  }
  /** Lives up to the present. A turn that ends later stays open: that is the live phase. */
  advance(until) {
    while (this.clock < until) {
      this.open ??= this.plan();
      const end = this.open.begin + this.open.wait + this.open.busy;
      if (end > until) return;
      this.finish(this.open);
      this.clock = end;
      this.open = null;
    }
  }
  plan() {
    const { profile } = this;
    const tide = 1 + 0.5 * Math.sin(this.clock / 17 + this.id);
    const timedOut = Math.random() < profile.timeouts;
    const limit = 0.01;
    const wait = timedOut ? limit + around(8e-5, 0.7) : Math.min(limit, around(profile.wait / tide, 1.1));
    const ready = timedOut ? 0 : Math.random() < 0.0005 ? 64 : 1 + Math.floor(Math.abs(gauss()) * tide * profile.batch);
    const calls = [];
    let busy = 0;
    for (let i = 0; i < Math.max(1, ready); i++) {
      const w = timedOut ? (this.watchers.find((x) => x.kind === 'timer') ?? this.pick()) : this.pick();
      let seconds = around(w.cost, 0.7);
      if (!options.calm && i === 0 && this.clock > this.nextStall) {
        this.nextStall = this.clock + around(profile.stallEvery, 0.6);
        seconds = around(profile.stall, 0.9);
      }
      calls.push([w, seconds]);
      busy += seconds;
    }
    const own = around(2e-6, 0.4) * (1 + ready);
    return { begin: this.clock, wait, busy: busy + own, own, ready, calls, timedOut, limit };
  }
  finish(t) {
    this.turn++;
    this.ready += t.ready;
    this.polls[t.wait < 2e-6 ? 'nonblocking' : 'blocking']++;
    const result = t.timedOut ? 'timeout' : Math.random() < 0.0004 ? 'interrupted' : 'events';
    this.polls[result]++;
    if (t.ready >= 64) this.polls.saturated++;
    this.busy += t.busy;
    this.idle += t.wait;
    this.unattributed += t.own;
    this.h.wait.add(t.wait);
    this.h.busy.add(t.busy);
    this.h.ready.add(t.ready * 1e-9);
    if (t.timedOut) this.h.delay.add(t.wait - t.limit);
    if (t.busy > 0.05) {
      this.stalls++;
      this.stalled += t.busy;
    }
    let longest = [null, 0];
    let before = t.timedOut ? t.wait - t.limit : 0;
    for (const [w, seconds] of t.calls) {
      w.invocations++;
      w.callback.add(seconds);
      if (w.lag) {
        w.lag.add(before);
        this.h.lag.add(before);
      }
      before += seconds;
      if (seconds > longest[1]) longest = [w, seconds];
    }
    this.ring.push({
      turn: this.turn, at: t.begin + t.wait, poll_wait: t.wait, busy: t.busy, ready: t.ready, timeout: t.limit, result,
      watcher: longest[0]?.name ?? null, watcher_seconds: longest[1], calls: t.calls, own: t.own,
    });
    if (this.ring.length > 1024) this.ring.splice(0, this.ring.length - 1024);
  }
  json(since, recent) {
    const t = this.open;
    const at = now();
    const polling = !t || at < t.begin + t.wait;
    let current = { ready: null, watcher: null, watcher_seconds: null };
    if (t && !polling) {
      let into = at - t.begin - t.wait;
      for (const [w, seconds] of t.calls) {
        if (into < seconds) {
          current = { ready: t.ready, watcher: w.name, watcher_seconds: into };
          break;
        }
        into -= seconds;
      }
    }
    const fresh = this.ring.filter((x) => x.turn > since);
    const shown = withServed(since === 0 ? fresh.slice(-recent) : fresh, since === 0 ? 0 : 16);
    const lost = since === 0 || fresh.length === 0 ? 0 : fresh[0].turn - since - 1;
    return {
      id: this.id, name: this.name, backend: 'epoll', state: 'live', thread_id: 4200 + this.id, epoll_fd: 3 + this.id,
      iterations: this.turn, ready_events: this.ready, registered_fds: this.watchers.filter((w) => w.fd !== null).length,
      polls: this.polls, busy_seconds: this.busy, idle_seconds: this.idle,
      utilization: this.busy / (this.busy + this.idle || 1),
      phase: polling ? 'polling' : 'dispatching',
      phase_seconds: t ? (polling ? at - t.begin : at - t.begin - t.wait) : 0,
      current, stall_threshold_seconds: 0.05, stalls: this.stalls, stalled_seconds: this.stalled,
      poll_wait_seconds: this.h.wait, busy_turn_seconds: this.h.busy, poll_delay_seconds: this.h.delay,
      timer_lag_seconds: this.h.lag, ready_events_per_poll: plain(this.h.ready),
      recent: shown, recent_lost: lost, ring_capacity: 1024, skew_turns: 0,
      watchers: this.profile.watchers === 0 ? [] : this.watchers.map((w) => ({
        name: w.name, kind: w.kind, fd: w.fd, active: 1, invocations: w.invocations, callback_seconds: w.callback, lag_seconds: w.lag,
      })),
      unattributed_seconds: this.unattributed,
    };
  }
}

// --- processes -------------------------------------------------------------------------------------------------------

class Process {
  constructor(pid, command, source, loops, { parent = 1, image = 0 } = {}) {
    Object.assign(this, { pid, command, source, loops, parent, image, started: now(), state: 'running', ended: null, how: null, status: null });
    this.fds = 31;
    this.opened = 31;
  }
  /** how: exit, exec or killed. */
  end(how, status = null) {
    Object.assign(this, { state: how === 'killed' ? 'killed' : 'exited', how, status, ended: now() });
    return this;
  }
  advance() {
    if (this.state !== 'running') return;
    for (const loop of this.loops) loop.advance(now());
    this.table?.advance();
    if (Math.random() < 0.3) {
      this.fds = Math.max(20, this.fds + Math.round(gauss() * 3 + (options.calm ? 0 : 0.4)));
      this.opened += 3;
    }
  }
  json(seen, recent) {
    const end = this.ended ?? now();
    const worst = this.loops.find((l) => l.stalls > 0);
    return {
      id: `${this.pid}-${this.pid * 7}${this.image ? `-${this.image}` : ''}`, pid: this.pid, parent_pid: this.parent, run_pid: null, command: this.command,
      argv: [`/usr/bin/${this.command}`, '--config', '/etc/app.conf'], source: this.source,
      started_at: new Date(this.started * 1000).toISOString(), state: this.state, ended: this.how, uptime_seconds: end - this.started,
      exit_status: this.status, cpu_seconds: this.loops.reduce((s, l) => s + l.busy, 0), resident_bytes: 23_400_000 + this.pid,
      recording: { path: `/run/user/1000/loopscope/${this.pid}`, version: 1, clock: 'tsc', error: null },
      loops: this.loops.map((loop) => loop.json(seen.get(loop) ?? 0, recent)),
      fds: this.descriptors(end - this.started),
      findings: options.calm || !worst ? [] : [
        { rule: 'loop-stall', severity: 'warning', title: `loop "${worst.name}" stalled ${worst.stalls} times, the longest ${(worst.h.busy.max * 1e3).toFixed(0)} ms`, detail: `The threshold is 50 ms of busy time in one turn. The longest: ${(worst.h.busy.max * 1e3).toFixed(0)} ms in turn ${worst.turn - 20}, ${(worst.h.busy.max * 1e3 - 1).toFixed(0)} ms of it in "http-read" (io).`, advice: 'Move the work to a thread, split it over several turns, or replace the blocking call by an asynchronous one: until the callback returns, no other watcher of this loop runs.', count: worst.stalls, since: new Date((this.started + 9) * 1000).toISOString(), subject: worst.name },
        { rule: 'timer-lag', severity: 'warning', title: `timers of loop "${worst.name}" run late: one in ten by 104 ms or more`, detail: 'Of 12345 expirations, half were up to 1.20 ms late, the latest 412 ms. The latest of the named ones is "stats-flush".', advice: 'Compare with the busy time per turn: long turns delay timers, so look for the callbacks that take most of it. If turns are short, the process does not get the processor.', count: 12345, since: new Date((this.started + 14) * 1000).toISOString(), subject: worst.name },
        ...(this.table && end - this.started > 30 ? [
          { rule: 'fd-growth', severity: 'warning', title: `${this.table.sites[3].opened} files opened at write_trace (trace.cpp:57) lie idle, and their number only grows`, detail: `This place has opened ${this.table.sites[3].opened} in 31.2 s, the last one 412 ms ago, and none was ever closed.`, advice: 'Find who should close them: the stack of the opening is in the list of open sites. At this pace the process will reach its limit of descriptors.', count: this.table.sites[3].opened, since: new Date((this.started + 1) * 1000).toISOString(), subject: 'process' },
        ] : []),
      ],
      dropped: { loops: 0, watchers: 0, fds: this.command === 'worker' ? 12 : 0 },
    };
  }
  /** The library has no ledger: it knows what is open, not where from. */
  descriptors(age) {
    if (this.table) return this.table.json(this.table.rows.length < 900 ? 1024 : 131072, 20);
    const ledger = this.source === 'probe';
    const ended = this.state !== 'running';
    const by_kind = { tcp: this.fds - 14, pipe: 4, file: 5, epoll: this.loops.length, timerfd: 2, unix: 2 };
    const count = (value) => (ledger ? value : null);
    const closed = this.opened + 5 - this.fds;
    return {
      open: ended && !ledger ? null : this.fds, limit: ended ? null : 1024, peak: count(this.fds + 6), opened: count(this.opened), closed: count(closed), by_kind,
      opened_by_kind: count({ tcp: this.opened - 20, file: 20 }), closed_by_kind: count({ tcp: closed - 15, file: 15 }),
      inherited: count(5), unseen: count(this.command === 'worker' ? 2 : 0), met: count(0), closed_unseen: count(0), accepts: count(this.opened - 20), bad_closes: count(this.command === 'worker' ? 3 : 0),
      sites: !ledger ? [] : [
        { id: 0, stack: frames('open_log', 'log.cpp', 40), kind: 'file', live: 5, opened: 20, closed: 15, oldest_seconds: age },
        { id: 1, stack: frames('accept_connection_with_a_rather_long_name<std::basic_string<char>, std::vector<int>>', 'server.cpp', 212), kind: 'tcp', live: this.fds - 14, opened: this.opened - 20, closed: closed - 15, oldest_seconds: age },
        { id: 2, stack: [frame(null, null, null, null)], kind: 'pipe', live: 0, opened: 0, closed: 0, oldest_seconds: null },
      ],
      sites_total: ledger ? 24 : 0,
    };
  }
}
const frame = (name, file, line, module = '/usr/bin/app') => ({ function: name, file: file && `/src/app/${file}`, line, module, offset: 4711, inlined: name === 'push' });
const frames = (name, file, line) => [
  frame(name, file, line),
  frame('push', 'queue.h', 31),
  frame('on_readable', 'loop.cpp', 77),
  frame('ev_invoke_pending', null, null, '/usr/lib/libev.so.4'),
  frame(null, null, null),
];

const steady = { wait: 2.2e-3, timeouts: 0.12, batch: 2, cost: 1.6e-4, stall: 0.11, stallEvery: 6 };
const profile = (changes) => ({ ...steady, watchers: 8, ...changes });
const firstProcess = (pid) =>
  new Process(pid, 'gateway', 'library', [
    new Loop(1, 'main', profile({ watchers: Number(options.watchers) })),
    ...(options.one ? [] : [
      new Loop(2, 'io-1', profile({ wait: 3e-4, cost: 9e-5, timeouts: 0.01, batch: 4, stallEvery: 60 })),
      new Loop(3, 'io-2', profile({ wait: 6e-5, cost: 2e-5, timeouts: 0.01, stall: 0.02, stallEvery: 20 })),
      new Loop(4, 'slow-db', profile({ wait: 5e-3, cost: 1e-3, timeouts: 0.3, stall: 1.8, stallEvery: 12 })),
    ]),
  ]);
/** As many as asked for, and what is asked for spread over them. */
function loaded() {
  const [loops, watchers, count] = [Number(options.loops), Number(options.watchers), Number(options.processes ?? 1)];
  return Array.from({ length: count }, (_, p) => {
    const mine = Array.from({ length: loops }, (_, i) => i).filter((i) => i % count === p);
    const share = (i) => Math.floor(watchers / loops) + (i < watchers % loops ? 1 : 0);
    return new Process(4242 + p, p === 0 ? 'gateway' : 'worker', 'library', mine.map((i) => new LoadLoop(i + 1, `io-${i + 1}`, share(i), now)));
  });
}
let processes = options.empty ? [] : options.loops ? loaded() : [firstProcess(4242)];
options.descriptors ??= options.fds;
if (options.descriptors && processes[0]) Object.assign(processes[0], { table: new Descriptors(Number(options.descriptors), now), source: 'probe' });
if (!options.one && !options.empty && !options.loops) {
  processes.push(
    new Process(4299, 'sh', 'probe', []),
    new Process(4300, 'sh', 'probe', [], { parent: 4299 }).end('exec'),
    new Process(4300, 'worker', 'probe', [new Loop(1, 'epoll 5', profile({ watchers: 0 + 3, wait: 8e-3 }))], { parent: 4299, image: 1 }),
  );
  const more = Number(options.processes ?? 3);
  for (let i = 0; i < more; i++) {
    const child = new Process(4301 + i, 'child', 'probe', [], { parent: 4300 });
    processes.push(i % 3 === 0 ? child.end('killed') : i % 3 === 1 ? child.end('exit', i % 2) : child);
  }
}
if (options['restart-after']) {
  setTimeout(() => (processes = [firstProcess(5151), ...processes.slice(1)]), Number(options['restart-after']) * 1000);
}
if (options['kill-after']) {
  setTimeout(() => processes[0].end('killed'), Number(options['kill-after']) * 1000);
}

function snapshot(seen, recent) {
  for (const process of processes) process.advance();
  return JSON.stringify({
    schema: 'loopscope.snapshot/1',
    taken_at: new Date().toISOString(),
    server: { version: '0.1.0', mode: options.one ? 'inspector' : 'serve' },
    processes: processes.map((process) => process.json(seen, recent)),
    unreadable: [],
    processes_folded: { count: 1234, exited: 1200, killed: 34, fds: { opened: 5000, closed: 4800, open_at_end: 200 } },
  });
}
// The rings must not overrun because nobody looks.
setInterval(() => processes.forEach((process) => process.advance()), 100);

// --- serving ---------------------------------------------------------------------------------------------------------

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";
const types = { 'index.html': 'text/html; charset=utf-8', 'report.html': 'text/html; charset=utf-8', 'app.js': 'text/javascript; charset=utf-8', 'app.css': 'text/css; charset=utf-8' };
const streams = new Set();
let mostStreams = 0;

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const common = { 'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'Cache-Control': 'no-store' };
  const fail = (status, code, message) => {
    response.writeHead(status, { ...common, 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ error: { code, message } }));
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return fail(405, 'method', 'only GET and HEAD');
  const api = url.pathname.startsWith('/api/');
  if (api && options.token && request.headers.authorization !== `Bearer ${options.token}`) return fail(401, 'token', 'token missing or wrong');
  if (url.pathname === '/api/v1/snapshot') {
    response.writeHead(200, { ...common, 'Content-Type': 'application/json' });
    return response.end(snapshot(new Map(), Number(url.searchParams.get('recent') ?? 256)));
  }
  if (url.pathname === '/api/v1/turns') {
    const json = processes.find((process) => process.json(new Map(), 0).id === url.searchParams.get('process'));
    const loop = json?.loops.find((each) => String(each.id) === url.searchParams.get('loop'));
    if (!loop) return fail(404, 'not_found', 'no such loop');
    const [from, to] = [Number(url.searchParams.get('from') ?? 0), Number(url.searchParams.get('to') ?? Infinity)];
    const turns = loop.ring.filter(({ turn }) => turn >= from && turn <= to).map(({ calls, own, ...turn }) => ({ ...turn, ...servedIn({ calls, own }) }));
    response.writeHead(200, { ...common, 'Content-Type': 'application/json' });
    const lost = Math.max(0, Math.min(to, loop.turn) - from + 1 - turns.length);
    return response.end(JSON.stringify({ schema: 'loopscope.turns/1', taken_at: new Date().toISOString(), process: url.searchParams.get('process'), loop: loop.id, turns, lost }));
  }
  if (url.pathname === '/api/v1/descriptors') {
    const wanted = processes.map((process) => [process, process.json(new Map(), 0)]).find(([, json]) => json.id === url.searchParams.get('process'));
    if (!wanted) return fail(404, 'not_found', 'no such process');
    const [process, json] = wanted;
    // Without a ledger: what /proc tells.
    const bare = Object.entries(json.fds.by_kind).flatMap(([kind, n]) => Array.from({ length: n }, () => kind)).map((kind, i) => ({
      ...Object.fromEntries(['target', 'local', 'peer', 'age_seconds', 'idle_seconds', 'thread_id', 'close_on_exec', 'nonblocking', 'listening', 'accepted', 'end', 'pair_fd', 'epoll_fd', 'interest', 'events', 'event_share', 'io_calls', 'busy_seconds', 'site'].map((name) => [name, null])),
      fd: i, kind, origin: 'unknown', target: `${kind}:[${4000 + i}]`, generation: 0,
    }));
    const q = (url.searchParams.get('q') ?? '').toLowerCase();
    const kind = url.searchParams.get('kind');
    const matching = bare.filter((row) => (!kind || row.kind === kind) && (!q || [String(row.fd), row.kind, row.target].some((text) => text.includes(q))));
    const offset = Number(url.searchParams.get('offset') ?? 0);
    const page = process.table?.page(url.searchParams) ?? { total: bare.length, matched: matching.length, offset, rows: matching.slice(offset, offset + 200), left_out: 0 };
    response.writeHead(200, { ...common, 'Content-Type': 'application/json' });
    return response.end(JSON.stringify({ schema: 'loopscope.descriptors/1', taken_at: new Date().toISOString(), process: json.id, ...page }));
  }
  if (url.pathname === '/api/v1/stream') {
    response.writeHead(200, { ...common, 'Content-Type': 'text/event-stream' });
    const seen = new Map();
    const opened = now();
    const send = () => {
      if (options['silent-after'] && now() - opened > Number(options['silent-after'])) return;
      response.write(`event: snapshot\ndata: ${snapshot(seen, 256)}\n\n`);
      for (const process of processes) for (const loop of process.loops) seen.set(loop, loop.turn);
    };
    send();
    const timer = setInterval(send, 400);
    streams.add(response);
    if (streams.size > mostStreams) console.log(`${(mostStreams = streams.size)} streams at once`);
    response.on('close', () => {
      clearInterval(timer);
      streams.delete(response);
    });
    return;
  }
  const name = url.pathname === '/' ? 'index.html' : url.pathname.slice(1);
  const file = join(dir, name);
  if (!Object.hasOwn(types, name) || !existsSync(file)) return fail(404, 'not_found', `no ${url.pathname}`);
  response.writeHead(200, { ...common, 'Content-Type': types[name] });
  createReadStream(file).pipe(response);
});
if (options['drop-every']) {
  setInterval(() => streams.forEach((response) => response.destroy()), Number(options['drop-every']) * 1000);
}
server.listen(Number(options.port), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/   (mock, up since ${new Date(began * 1000).toISOString()})`);
  if (!existsSync(join(dir, 'index.html'))) console.log(`nothing in ${dir} yet: npm run build`);
});
