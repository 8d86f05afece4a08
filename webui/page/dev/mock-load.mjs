// A load instead of a story: many loops and watchers, cheap to make and the same in every run, so that what is measured is
// the page. Counters advance by whole steps of 100 ms since the start; nothing here is random.
const step = 0.1;
const turnsPerStep = 20;

/** Bounds as the recorder's, 16 to an octave, from 1 µs up. */
const bounds = Array.from({ length: 200 }, (_, i) => (16 + (i % 16) + 1) * 2 ** Math.floor(i / 16) * 62.5e-9);

class Histogram {
  constructor(from, width) {
    Object.assign(this, { from, counts: new Array(width).fill(0), count: 0, sum: 0 });
  }
  add(n, spread) {
    const at = (spread * 7919) % this.counts.length;
    // Most of it in the middle, a little everywhere.
    for (let i = 0; i < n; i++) {
      const bucket = (at + i * i) % this.counts.length;
      this.counts[bucket]++;
      this.sum += bounds[this.from + bucket];
    }
    this.count += n;
  }
  get max() {
    const last = this.counts.findLastIndex((n) => n > 0);
    return last < 0 ? null : bounds[this.from + last];
  }
  toJSON() {
    const buckets = [];
    this.counts.forEach((n, i) => n > 0 && buckets.push([bounds[this.from + i], n]));
    const { count, sum, max } = this;
    const middle = buckets[buckets.length >> 1]?.[0] ?? null;
    return { count, sum, min: buckets[0]?.[0] ?? null, max, p50: middle, p90: max, p99: max, p999: max, buckets };
  }
}

/** Looks like the mock's other loops from outside. */
export class LoadLoop {
  constructor(id, name, watchers, now) {
    Object.assign(this, { id, name, now, began: now(), steps: 0, turn: 0, busy: 0, idle: 0, stalls: 0, stalled: 0, ring: [] });
    this.h = { wait: new Histogram(120, 48), busy: new Histogram(90, 60), delay: new Histogram(40, 24), lag: new Histogram(80, 48), ready: new Histogram(0, 1) };
    this.watchers = Array.from({ length: watchers }, (_, i) => ({
      name: `${['conn', 'backend', 'timer'][i % 3]}-${String(id * 1000 + i)}`, kind: i % 3 === 2 ? 'timer' : 'io', fd: i % 3 === 2 ? null : 10 + i,
      invocations: 0, callback: new Histogram(60 + (i % 40), 40), lag: i % 3 === 2 ? new Histogram(70, 30) : null,
    }));
  }
  advance(until) {
    const target = Math.floor((until - this.began) / step);
    // One who was suspended for long does not catch up turn by turn.
    this.steps = Math.max(this.steps, target - 50);
    while (this.steps < target) this.one(this.steps++);
  }
  one(n) {
    const load = 0.35 + 0.3 * Math.sin(n / 90 + this.id) + ((n + this.id * 37) % 300 < 8 ? 0.3 : 0);
    this.busy += step * load;
    this.idle += step * (1 - load);
    this.h.wait.add(turnsPerStep, n + this.id);
    this.h.busy.add(turnsPerStep, n * 3 + this.id);
    this.h.delay.add(2, n);
    this.h.lag.add(3, n + 5);
    this.h.ready.add(turnsPerStep, 0);
    for (let i = 0; i < turnsPerStep; i++) {
      this.turn++;
      const busy = (step * load) / turnsPerStep * (0.5 + ((i * 7 + n) % 11) / 11);
      const watcher = this.watchers[(this.turn * 31) % Math.max(1, this.watchers.length)];
      this.ring.push({
        turn: this.turn, at: this.began + n * step + (i * step) / turnsPerStep, poll_wait: (step * (1 - load)) / turnsPerStep, busy, ready: 1 + (i % 4), timeout: 0.05,
        result: 'events', watcher: watcher?.name ?? null, watcher_seconds: busy * 0.7, calls: [], own: busy * 0.3,
      });
    }
    this.ring.splice(0, Math.max(0, this.ring.length - 1024));
    // A third of the watchers runs in each step.
    for (let i = n % 3; i < this.watchers.length; i += 3) {
      const w = this.watchers[i];
      const calls = 1 + (i % 5);
      w.invocations += calls;
      w.callback.add(calls, n + i);
      w.lag?.add(calls, n + i);
    }
  }
  json(since, recent) {
    const fresh = this.ring.filter((turn) => turn.turn > since);
    const shown = (since === 0 ? fresh.slice(-recent) : fresh).map(({ calls, own, ...turn }) => turn);
    const polls = { blocking: this.turn, nonblocking: 0, events: this.turn, timeout: 0, interrupted: 0, error: 0, saturated: 0, unknown: 0 };
    return {
      id: this.id, name: this.name, backend: 'epoll', state: 'live', thread_id: 4200 + this.id, epoll_fd: 3 + this.id,
      iterations: this.turn, ready_events: this.turn * 2, registered_fds: this.watchers.length, polls,
      busy_seconds: this.busy, idle_seconds: this.idle, utilization: this.busy / (this.busy + this.idle || 1),
      phase: this.steps % 3 === 0 ? 'dispatching' : 'polling', phase_seconds: 0.002, current: null,
      stall_threshold_seconds: 0.05, stalls: 0, stalled_seconds: 0,
      poll_wait_seconds: this.h.wait, busy_turn_seconds: this.h.busy, poll_delay_seconds: this.h.delay, timer_lag_seconds: this.h.lag,
      ready_events_per_poll: { ...this.h.ready.toJSON(), buckets: [[2, this.turn]], max: 2, min: 2, sum: 2 * this.turn, p50: 2, p90: 2, p99: 2, p999: 2 },
      recent: shown, recent_lost: 0, ring_capacity: 1024, skew_turns: 0,
      watchers: this.watchers.map((w) => ({ name: w.name, kind: w.kind, fd: w.fd, active: 1, invocations: w.invocations, callback_seconds: w.callback, lag_seconds: w.lag })),
      unattributed_seconds: this.busy * 0.1,
    };
  }
}
