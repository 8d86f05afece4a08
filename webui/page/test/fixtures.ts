import type { Descriptors, Loop, OpenSite, Process, Snapshot, Turn, Watcher, WireHistogram } from '../src/model';

export function wire(buckets: [number, number][], max?: number): WireHistogram {
  const count = buckets.reduce((sum, [, n]) => sum + n, 0);
  const sum = buckets.reduce((total, [bound, n]) => total + bound * n, 0);
  const last = buckets[buckets.length - 1]?.[0] ?? null;
  return { count, sum, min: null, max: max ?? last, p50: null, p90: null, p99: null, p999: null, buckets };
}

export function loop(changes: Partial<Loop> = {}): Loop {
  return {
    id: 1,
    name: 'main',
    backend: 'libev',
    state: 'live',
    thread_id: 7,
    epoll_fd: 3,
    iterations: 0,
    ready_events: 0,
    registered_fds: 4,
    polls: { blocking: 0, nonblocking: 0, events: 0, timeout: 0, interrupted: 0, error: 0, saturated: 0, unknown: 0 },
    busy_seconds: 0,
    idle_seconds: 0,
    utilization: 0,
    phase: 'polling',
    phase_seconds: 0.001,
    current: null,
    stall_threshold_seconds: 0.05,
    stalls: 0,
    stalled_seconds: 0,
    poll_wait_seconds: wire([]),
    busy_turn_seconds: wire([]),
    poll_delay_seconds: wire([]),
    timer_lag_seconds: wire([]),
    ready_events_per_poll: wire([]),
    recent: [],
    recent_lost: 0,
    ring_capacity: 1024,
    skew_turns: 0,
    watchers: [],
    unattributed_seconds: null,
    ...changes,
  };
}

export function watcher(changes: Partial<Watcher> = {}): Watcher {
  return { name: 'w', kind: 'io', fd: 5, active: 1, invocations: 0, callback_seconds: wire([]), lag_seconds: null, ...changes };
}

export function turn(changes: Partial<Turn> = {}): Turn {
  return { turn: 1, at: 1000, poll_wait: 0.001, busy: 0.0001, ready: 1, timeout: -1, result: 'events', watcher: null, watcher_seconds: 0, ...changes };
}

export const epoch = Date.UTC(2026, 0, 1) / 1000;
export const at = (seconds: number) => new Date((epoch + seconds) * 1000).toISOString();

export function process(changes: Partial<Process> = {}): Process {
  return {
    id: '12-1',
    pid: 12,
    parent_pid: 1,
    command: 'app',
    argv: ['app'],
    source: 'library',
    started_at: at(-1000),
    state: 'running',
    ended: null,
    uptime_seconds: null,
    exit_status: null,
    cpu_seconds: 0,
    resident_bytes: 0,
    recording: null,
    loops: [loop()],
    fds: null,
    findings: [],
    dropped: {},
    own_failures: [],
    ...changes,
  };
}

export function snapshot(seconds: number, ...processes: Process[]): Snapshot {
  return { schema: 'loopscope.snapshot/1', taken_at: at(seconds), server: { version: '0', mode: 'inspector' }, processes, processes_folded: null };
}

/** Of a source with a ledger. */
export function descriptors(changes: Partial<Descriptors> = {}): Descriptors {
  return {
    open: 3,
    limit: 1024,
    peak: 4,
    opened: 1,
    closed: 1,
    by_kind: { file: 3 },
    opened_by_kind: { file: 1 },
    closed_by_kind: { file: 1 },
    inherited: 3,
    unseen: 0,
    closed_unseen: 0,
    bad_closes: 0,
    sites: [],
    sites_total: 0,
    ...changes,
  };
}

export function site(changes: Partial<OpenSite> = {}): OpenSite {
  return { id: 0, stack: [], kind: 'file', live: 1, opened: 1, closed: 0, oldest_seconds: 1, ...changes };
}
