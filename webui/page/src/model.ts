// The snapshot as the server sends it: docs/http-api.md is the contract, this is its shape in TypeScript.
// A value that a source cannot know is null. Fields this page does not use are left out.

export interface WireHistogram {
  count: number;
  sum: number;
  min: number | null;
  max: number | null;
  p50: number | null;
  p90: number | null;
  p99: number | null;
  p999: number | null;
  buckets: [number, number][];
}

export type Phase = 'polling' | 'dispatching' | 'outside';

export interface Turn {
  turn: number;
  at: number;
  poll_wait: number;
  busy: number;
  ready: number | null;
  timeout: number | null;
  /** null: it could not be seen how the wait returned. */
  result: string | null;
  watcher: string | null;
  watcher_seconds: number | null;
  /** In the order of time. Absent: not sent with this turn, /api/v1/turns may have it. Empty: nothing was served. */
  served?: Served[];
  /** How many more there were. */
  served_lost?: number;
}

/** One watcher's or descriptor's part of a turn. */
export interface Served {
  watcher: string | null;
  /** Of the watcher, or of the descriptor. */
  kind: string | null;
  fd: number | null;
  /** Seconds after the wait's return. */
  start: number;
  seconds: number;
}

export const turnsSchema = 'loopscope.turns/1';

/** What /api/v1/turns answers: turns that the ring still holds. */
export interface Turns {
  schema: string;
  taken_at: string;
  process: string;
  loop: string | number;
  turns: Turn[];
  lost: number;
}

export interface Watcher {
  name: string;
  kind: string;
  fd: number | null;
  active: number | boolean | null;
  invocations: number;
  callback_seconds: WireHistogram;
  lag_seconds: WireHistogram | null;
}

export interface Polls {
  blocking: number | null;
  nonblocking: number | null;
  events: number | null;
  timeout: number | null;
  interrupted: number | null;
  error: number | null;
  saturated: number | null;
  /** Waits of which it could not be seen how they returned; in none of the above. */
  unknown: number | null;
}

export interface Loop {
  id: string | number;
  name: string;
  backend: string;
  state: 'live' | 'ended';
  thread_id: number | null;
  epoll_fd: number | null;
  iterations: number;
  ready_events: number | null;
  registered_fds: number | null;
  polls: Polls;
  busy_seconds: number;
  idle_seconds: number;
  utilization: number | null;
  phase: Phase;
  phase_seconds: number | null;
  current: { ready: number | null; watcher: string | null; watcher_seconds: number | null } | null;
  stall_threshold_seconds: number | null;
  stalls: number | null;
  stalled_seconds: number | null;
  poll_wait_seconds: WireHistogram | null;
  busy_turn_seconds: WireHistogram | null;
  poll_delay_seconds: WireHistogram | null;
  timer_lag_seconds: WireHistogram | null;
  ready_events_per_poll: WireHistogram | null;
  recent: Turn[];
  recent_lost: number | null;
  ring_capacity: number | null;
  skew_turns: number | null;
  watchers: Watcher[];
  unattributed_seconds: number | null;
}

export interface Frame {
  function: string | null;
  file: string | null;
  line: number | null;
  module: string | null;
  /** In the module's file; without a module, an address. */
  offset: number | null;
  /** Inlined into the next frame. */
  inlined: boolean;
  /** A line of a script, whose interpreter's frames follow: module is null, offset 0. */
  script?: boolean;
}

export interface OpenSite {
  id: number;
  /** Innermost first. */
  stack: Frame[];
  kind: string;
  live: number;
  opened: number;
  closed: number;
  oldest_seconds: number | null;
}

export interface Descriptors {
  open: number | null;
  limit: number | null;
  peak: number | null;
  opened: number | null;
  closed: number | null;
  by_kind: Record<string, number> | null;
  // What only a source with a ledger knows; null without.
  opened_by_kind: Record<string, number> | null;
  closed_by_kind: Record<string, number> | null;
  /** Open when the recording began; not among the opened. */
  inherited: number | null;
  /** Open, says the kernel, and nobody saw it being opened. */
  unseen: number | null;
  /** Noted as open, and gone, says the kernel. */
  closed_unseen: number | null;
  /** Closes of numbers that were not open. */
  bad_closes: number | null;
  sites: OpenSite[] | null;
  sites_total: number | null;
}

export interface Finding {
  rule: string;
  severity: 'info' | 'warning' | 'error';
  title: string;
  detail: string | null;
  advice: string | null;
  count: number | null;
  since: string | number | null;
  subject: string | null;
}

export interface Process {
  id: string;
  pid: number;
  parent_pid: number | null;
  command: string;
  argv: string[] | null;
  source: string;
  started_at: string;
  state: 'running' | 'exited' | 'killed';
  ended: null | 'exit' | 'exec' | 'killed';
  uptime_seconds: number | null;
  exit_status: number | null;
  /** That killed it; null also if nobody who is recorded was told. */
  signal?: number | null;
  cpu_seconds: number | null;
  resident_bytes: number | null;
  recording: { path: string | null; version: number | null; clock: string | null; error: string | null } | null;
  loops: Loop[];
  fds: Descriptors | null;
  findings: Finding[] | null;
  dropped: Record<string, number> | null;
  /** Since loopscope counts them: system calls of its own that failed. */
  own_failures?: { call: string; errno: string | null; failed: number; retried: number }[] | null;
}

export interface Snapshot {
  schema: string;
  taken_at: string;
  server: { version: string; mode: string } | null;
  processes: Process[];
  /** Ended ones that are not shown one by one. */
  processes_folded: { count: number; exited: number; killed: number } | null;
  /** Recordings, or directories of them, that cannot be read, or not all of them. */
  unreadable?: { path: string; error: string }[];
}

export const schema = 'loopscope.snapshot/1';

/** RFC 3339 to seconds. Date.parse alone would cut to milliseconds, which shows in rates over 0.4 s. */
export function instant(text: string): number {
  const match = /^(.*?)(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (!match) return Date.parse(text) / 1000;
  return Date.parse(`${match[1]}${match[3]}`) / 1000 + Number(match[2] ?? 0);
}

/** One descriptor: of fds.list, and a row of /api/v1/descriptors. null: this source does not know. */
export interface Fd {
  fd: number;
  kind: string;
  origin: string;
  target: string | null;
  local: string | null;
  peer: string | null;
  age_seconds: number | null;
  idle_seconds: number | null;
  thread_id: number | null;
  close_on_exec: boolean | null;
  nonblocking: boolean | null;
  listening: boolean | null;
  accepted: boolean | null;
  end: 'read' | 'write' | null;
  pair_fd: number | null;
  epoll_fd: number | null;
  interest: string[] | null;
  events: number | null;
  event_share: number | null;
  io_calls: number | null;
  busy_seconds: number | null;
  generation: number;
  /** The number of its open site, in fds.sites. */
  site: number | null;
}

/** What /api/v1/descriptors answers. */
export interface FdPage {
  schema: string;
  taken_at: string;
  process: string;
  /** Open descriptors that are known. */
  total: number;
  /** Of them, those that the filters let through. */
  matched: number;
  offset: number;
  rows: Fd[];
  /** Not among `total`: beyond what the server lists. */
  left_out: number;
}
