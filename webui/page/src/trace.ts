// Turns as a trace: the Trace Event Format that Perfetto, Chrome's own viewer and speedscope read. Pure.
//
// One track per loop: "wait" and "busy" one after the other, what was served inside "busy", instants for slow turns; counters
// of ready events and of utilization beside them. Times are microseconds since the first event, so that no digit is lost in a
// double; otherData.start says when that was. `loopscope report --format trace` writes the same (cli/report_trace.cpp): what
// changes here changes there.
import { loopLabel } from './loops';
import type { Loop, Process, Turn } from './model';
import { isSlow, servedName, type SlowRule } from './turns';

export type TraceArgs = Record<string, string | number | boolean>;

/** `ph` and `ts` come first: readers that look for them stumble over escapes in a name before them. */
export interface TraceEvent {
  ph: 'M' | 'X' | 'C' | 'i';
  ts: number;
  pid: number;
  tid: number;
  dur?: number;
  s?: 't';
  cat?: string;
  name: string;
  args: TraceArgs;
}

export interface Trace {
  traceEvents: TraceEvent[];
  otherData: Record<string, string | number>;
}

export interface TraceLoop {
  loop: Loop;
  /** Oldest first, numbers rising. */
  turns: readonly Turn[];
  rule: SlowRule;
}

export interface TraceInput {
  process: Process;
  /** Seconds since the epoch: when the loops' phases were what they say. */
  taken: number;
  loops: readonly TraceLoop[];
  /** The program that writes it, with its version. */
  writer: string;
}

/** Beyond every thread id that Linux gives out: the track of a loop that shares its thread with another. */
const firstTrack = 2 ** 22;
/** `at` is a double of seconds: a quarter of a microsecond of it is rounding. Less than this apart is the same instant. */
const roundingNs = 1000;
/** Readers cut microseconds to whole nanoseconds: a slice that ends with what holds it would end after it for some of them. */
const insideNs = 4;
const leastBinNs = 1e6;
const mostBins = 200;

interface Slice {
  /** Nanoseconds since the base. */
  start: number;
  end: number;
  event: Omit<TraceEvent, 'ph' | 'ts' | 'dur' | 'pid' | 'tid' | 's'>;
  instant?: true;
}

interface Placed {
  turn: Turn;
  waitFrom: number;
  at: number;
  busyTo: number;
  /** When the turn before was over, if it is not the one with the number before; else null. */
  holeFrom: number | null;
}

/** In microseconds, such that a reader who adds it to `start` in doubles does not come out behind `end`: at times 1 ns less. */
function duration(start: number, end: number): number {
  const length = end - start;
  return (start / 1000 + length / 1000 > end / 1000 ? length - 1 : length) / 1000;
}

const ns = (seconds: number) => Math.round(seconds * 1e9);

/**
 * Turns on one line, in nanoseconds since `base`: the next wait begins where the last turn ended, unless time passed between
 * them, and nothing overlaps whatever the clocks said.
 */
function place(turns: readonly Turn[], base: number): Placed[] {
  const placed: Placed[] = [];
  let number = -2;
  let end = -Infinity;
  for (const turn of turns) {
    const wait = ns(turn.poll_wait);
    let at = ns(turn.at - base);
    if (turn.turn === number + 1 && Math.abs(at - wait - end) < roundingNs) at = end + wait;
    at = Math.max(at, end);
    const waitFrom = Math.max(at - wait, end);
    const holeFrom = Number.isFinite(end) && turn.turn !== number + 1 ? end : null;
    end = at + ns(turn.busy);
    number = turn.turn;
    placed.push({ turn, waitFrom, at, busyTo: end, holeFrom });
  }
  return placed;
}

/** RFC 3339 in UTC, to the microsecond. */
export function instantText(seconds: number): string {
  const micros = Math.round((seconds % 1) * 1e6);
  const whole = Math.floor(seconds) + (micros === 1e6 ? 1 : 0);
  return `${new Date(whole * 1000).toISOString().slice(0, 19)}.${String(micros % 1e6).padStart(6, '0')}Z`;
}

const known = (args: Record<string, string | number | boolean | null | undefined>): TraceArgs =>
  Object.fromEntries(Object.entries(args).filter(([, value]) => value !== null && value !== undefined)) as TraceArgs;

function slicesOf({ turn, waitFrom, at, busyTo }: Placed, rule: SlowRule): Slice[] {
  const slices: Slice[] = [
    {
      start: waitFrom,
      end: at,
      event: { cat: 'wait', name: 'wait', args: known({ turn: turn.turn, timeout: turn.timeout, result: turn.result, ready: turn.ready }) },
    },
    {
      start: at,
      end: busyTo,
      event: {
        cat: 'busy',
        name: 'busy',
        args: known({
          turn: turn.turn,
          at: instantText(turn.at),
          ready: turn.ready,
          watcher: turn.watcher,
          watcher_seconds: turn.watcher === null ? null : turn.watcher_seconds,
          served_lost: turn.served_lost || null,
        }),
      },
    },
  ];
  if (isSlow(turn.busy, rule)) {
    const stall = rule.stall !== null && turn.busy > rule.stall;
    const args = known({ turn: turn.turn, busy: turn.busy, watcher: turn.watcher });
    slices.push({ start: at, end: at, instant: true, event: { cat: 'slow', name: stall ? 'stall' : 'slow turn', args } });
  }
  let from = at;
  for (const served of turn.served ?? []) {
    const start = Math.max(from, at + ns(served.start));
    const end = Math.min(busyTo - insideNs, at + ns(served.start) + ns(served.seconds));
    if (end < start) continue; // not of this turn, whatever the record says
    from = end;
    slices.push({ start, end, event: { cat: 'served', name: servedName(served), args: known({ turn: turn.turn, kind: served.kind, fd: served.fd }) } });
  }
  return slices;
}

/** What the loop was in when it was looked at; of a process that is gone nobody knows since when: an instant. */
function unfinished({ loop }: TraceLoop, process: Process, taken: number, last: number): Slice[] {
  if (loop.state === 'ended' || loop.phase === 'outside') return [];
  const busy = loop.phase === 'dispatching';
  const about = known({ ready: loop.current?.ready, watcher: loop.current?.watcher });
  if (process.state !== 'running') {
    if (!Number.isFinite(last)) return [];
    const name = busy ? (loop.current?.watcher ? `at its end in ${loop.current.watcher}` : 'at its end busy') : 'at its end waiting';
    return [{ start: last, end: last, instant: true, event: { cat: 'end', name, args: about } }];
  }
  if (loop.phase_seconds === null) return [];
  const start = Math.max(last, taken - ns(loop.phase_seconds));
  if (taken <= start) return [];
  const name = busy ? 'busy' : 'wait';
  return [{ start, end: taken, event: { cat: name, name, args: { ...about, in_progress: true } } }];
}

/** A bin is 1, 2 or 5 times a power of ten, so that two traces of one time cut it alike. */
function binWidth(span: number): number {
  for (let power = leastBinNs; ; power *= 10) {
    for (const step of [1, 2, 5]) if (step * power * mostBins >= span) return step * power;
  }
}

/** busy / (busy + wait) of the turns, bin by bin; none where no turn is, or where turns are missing: those kept are the long ones. */
function utilization(placed: readonly Placed[], width: number): [at: number, ratio: number][] {
  const bins = new Map<number, { busy: number; all: number }>();
  const add = (from: number, to: number, busy: boolean) => {
    for (let bin = Math.floor(from / width); bin * width < to; bin++) {
      const part = Math.min(to, (bin + 1) * width) - Math.max(from, bin * width);
      const sums = bins.get(bin) ?? { busy: 0, all: 0 };
      sums.all += part;
      if (busy) sums.busy += part;
      bins.set(bin, sums);
    }
  };
  for (const { waitFrom, at, busyTo } of placed) {
    add(waitFrom, at, false);
    add(at, busyTo, true);
  }
  for (const { waitFrom, holeFrom } of placed) {
    if (holeFrom === null) continue;
    for (let bin = Math.floor(holeFrom / width); bin * width < waitFrom; bin++) bins.delete(bin);
  }
  return [...bins]
    .filter(([, sums]) => sums.all > 0)
    .sort(([a], [b]) => a - b)
    .map(([bin, sums]) => [Math.max(0, bin * width), Math.round((sums.busy / sums.all) * 1000) / 1000]);
}

export function trace({ process, taken, loops, writer }: TraceInput): Trace {
  const all = loops.map(({ loop }) => loop);
  const starts = loops.flatMap(({ turns }) => (turns.length > 0 ? [turns[0]!.at - turns[0]!.poll_wait] : []));
  const base = starts.length > 0 ? Math.min(...starts) : taken;
  const { pid } = process;
  const meta = (tid: number, name: string, args: TraceArgs): TraceEvent => ({ ph: 'M', ts: 0, pid, tid, name, args });
  const head: TraceEvent[] = [meta(pid, 'process_name', { name: process.command })];
  const found: { start: number; make: (ts: number) => TraceEvent }[] = [];
  /** Of the first event, which is what is in progress if that began before the first turn that is kept: there time begins. */
  let begin = 0;
  const lanes = loops.map((of) => place(of.turns, base));
  const bounds = lanes.flatMap((placed) => (placed.length > 0 ? [placed[placed.length - 1]!.busyTo] : []));
  const width = binWidth(Math.max(0, ...bounds));

  loops.forEach((of, index) => {
    const { loop } = of;
    const shared = loop.thread_id === null || all.some((other, i) => i < index && other.thread_id === loop.thread_id);
    const tid = shared ? firstTrack + index : loop.thread_id!;
    const label = loopLabel(loop, all);
    head.push(meta(tid, 'thread_name', { name: label }), meta(tid, 'thread_sort_index', { sort_index: index }));
    const placed = lanes[index]!;
    const last = placed.length > 0 ? placed[placed.length - 1]!.busyTo : -Infinity;
    const slices = placed.flatMap((turn) => slicesOf(turn, of.rule)).concat(unfinished(of, process, ns(taken - base), last));
    for (const { start, end, event, instant } of slices) {
      const make = (ts: number): TraceEvent =>
        instant ? { ph: 'i', ts, pid, tid, s: 't', ...event } : { ph: 'X', ts, pid, tid, dur: duration(start - begin, end - begin), ...event };
      found.push({ start, make });
    }
    const counter = (start: number, name: string, args: TraceArgs) =>
      found.push({ start, make: (ts) => ({ ph: 'C', ts, pid, tid, name: `${label}: ${name}`, args }) });
    for (const { turn, at } of placed) if (turn.ready !== null) counter(at, 'ready events', { events: turn.ready });
    for (const [at, ratio] of utilization(placed, width)) counter(at, 'utilization', { ratio });
  });

  // Of one track they are in order already, what holds before what is held; sort() keeps that where times are equal.
  found.sort((a, b) => a.start - b.start);
  begin = found[0]?.start ?? 0;
  const events = found.map(({ start, make }) => make((start - begin) / 1000));
  return {
    traceEvents: [...head, ...events],
    otherData: {
      writer,
      process: process.id,
      command: process.command,
      start: instantText(base + begin / 1e9),
      taken_at: instantText(taken),
      turns: loops.reduce((sum, { turns }) => sum + turns.length, 0),
    },
  };
}

/** One event a line: a trace is something that people grep. */
export function traceText({ traceEvents, otherData }: Trace): string {
  return `{"otherData":${JSON.stringify(otherData)},\n"traceEvents":[\n${traceEvents.map((event) => JSON.stringify(event)).join(',\n')}\n]}\n`;
}
