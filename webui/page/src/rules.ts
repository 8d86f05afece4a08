// The rules as docs/findings.md has them, seen from the reader of a finding: what it does to the program, what to run next,
// where to look on this page; and, where a rule is silent, what it has looked at or what it lacks. The evidence and the advice
// come with the finding itself. Pure.
import * as format from './format';
import type { Finding, Loop, OpenSite, Process } from './model';
import { siteText } from './sites';

export interface Command {
  text: string;
  /** What it tells. */
  why: string;
}

export interface Context {
  finding: Finding;
  process: Process;
  /** The subject, where it is one loop: null for the process, or if several loops share the name. */
  loop: Loop | null;
  /** Of fd-growth, where it can be told. */
  site: OpenSite | null;
}

/** found: it has a finding. clear: it looked. waiting: it needs more data. blind: it cannot tell here. */
export interface Look {
  state: 'found' | 'clear' | 'waiting' | 'blind';
  text: string;
}

interface Rule {
  /** In one line: what it looks for. */
  about: string;
  /** The conclusion in a few words, without figures. */
  headline: (context: Context) => string;
  consequence: (context: Context) => string;
  /** The figures that the conclusion rests on. */
  numbers: (context: Context) => [string, string][];
  commands: (context: Context) => Command[];
  look: (process: Process, now: number) => Look;
}

const plain = /^[\w@%+=:,./-]+$/;
/** For a POSIX shell. */
export const quote = (word: string) => (plain.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/** As the options of `loopscope check` want it: 500us, 20ms, 1.5s. */
export function checkDuration(seconds: number): string {
  const [value, unit] = seconds < 1e-3 ? [seconds * 1e6, 'us'] : seconds < 1 ? [seconds * 1e3, 'ms'] : [seconds, 's'];
  return `${Number(value.toPrecision(3))}${unit}`;
}

const program = (process: Process) => (process.argv?.length ? process.argv.map(quote).join(' ') : 'PROGRAM ARGS...');
const check = (process: Process, options: string, why: string): Command => ({
  text: `loopscope check ${options}${options && ' '}-- ${program(process)}`,
  why: `${why} Starts the program anew and speaks when it ends; Ctrl-C ends it.`,
});
const runs = (process: Process) => process.state === 'running';
const perf = ({ process, loop }: Context, seconds: number, why: string): Command[] =>
  runs(process)
    ? [{ text: `perf record --call-graph dwarf ${loop?.thread_id ? `-t ${loop.thread_id}` : `-p ${process.pid}`} -- sleep ${seconds} && perf report`, why }]
    : [];

/** What `loopscope report` is to be called with; null: nothing it could read. */
export function recordingOf(process: Process): string | null {
  if (process.recording?.error) return null;
  const path = process.recording?.path;
  return path ? quote(path) : runs(process) ? String(process.pid) : null;
}
const report = (process: Process, options: string, why: string): Command[] => {
  const recording = recordingOf(process);
  return recording === null ? [] : [{ text: `loopscope report ${options}${options && ' '}${recording}`, why }];
};

const sum = (loops: readonly Loop[], of: (loop: Loop) => number | null | undefined) => loops.reduce((total, loop) => total + (of(loop) ?? 0), 0);
const most = (loops: readonly Loop[], of: (loop: Loop) => number | null | undefined) => Math.max(0, ...loops.map((loop) => of(loop) ?? 0));
const turns = (n: number) => `${format.exact(n)} turn${n === 1 ? '' : 's'}`;
const named = (loop: Loop | null, word = 'Loop') => (loop ? `${word} “${loop.name || loop.id}”` : word === 'Loop' ? 'A loop' : 'a loop');
const noLoop: Look = { state: 'blind', text: 'There is no loop.' };
/** A loop of libev that has loopscope inside: under `loopscope run` the rest of such a process is seen by the probe. */
const inside = ({ source, loops }: Process) => source === 'library' || loops.some((loop) => loop.watchers.length > 0);
const libraryOnly: Look = { state: 'blind', text: 'Only a loop of libev with loopscope inside tells; here is none with named watchers.' };
const ended: Look = { state: 'blind', text: 'Judges only what still runs.' };

export const rules: Readonly<Record<string, Rule>> = {
  'loop-stall': {
    about: 'a turn busy for longer than the stall threshold',
    headline: ({ finding, process, loop }) =>
      finding.severity === 'error' && runs(process) ? `${named(loop)} is stuck right now` : `${named(loop)} gets held up`,
    consequence: () =>
      'While such a turn lasts nothing else of this loop runs: what came in waits, timers are late by as much, and clients see it as their slowest answers.',
    numbers: ({ loop }) =>
      loop
        ? [
            ['stalls', `${format.exact(loop.stalls)} in ${turns(loop.iterations)}`],
            ['longest', format.duration(loop.busy_turn_seconds?.max)],
            ['busy p99', format.duration(loop.busy_turn_seconds?.p99)],
            ['threshold', format.duration(loop.stall_threshold_seconds)],
          ]
        : [],
    commands: (context) => {
      const { finding, process, loop } = context;
      const threshold = checkDuration(loop?.stall_threshold_seconds ?? 0.1);
      const now = finding.severity === 'error' && runs(process);
      return [
        ...(now
          ? [{ text: `gdb -p ${process.pid} -batch -ex 'thread apply all bt'`, why: 'The stack it is in now. Stops the program for a moment.' }]
          : []),
        check(process, `--max-stall ${threshold}`, 'Catches each stall in the middle: the system call or the computing, and the line.'),
        ...(now ? [] : perf(context, 10, 'Where the thread computes, if it computes. A call that blocks does not show.')),
      ];
    },
    look: ({ loops }) => {
      const all = sum(loops, (loop) => loop.iterations);
      if (loops.length === 0) return noLoop;
      if (all === 0) return { state: 'waiting', text: 'No turn yet.' };
      const thresholds = new Set(loops.map((loop) => loop.stall_threshold_seconds));
      const [only] = thresholds;
      const limit = thresholds.size === 1 && only ? format.duration(only) : 'the threshold';
      const longest = most(loops, (loop) => loop.busy_turn_seconds?.max);
      const stalls = sum(loops, (loop) => loop.stalls);
      const reached = stalls === 0 ? `No turn of ${format.exact(all)}` : `${format.exact(stalls)} of ${turns(all)}`;
      return { state: 'clear', text: `${reached} reached ${limit}; the longest was busy for ${format.duration(longest)}.` };
    },
  },
  'fork-without-loop-fork': {
    about: 'a forked child that runs its parent’s loop',
    headline: ({ loop }) => `${named(loop)} is shared by two processes`,
    consequence: ({ loop }) =>
      loop?.backend === 'epoll'
        ? 'Events of one process are taken by the other: connections that hang for no visible reason, and watchers that go silent when the other removes them.'
        : 'A wake-up meant for one process can be swallowed by the other: a signal, or work handed over by another thread, is then noticed late or never.',
    numbers: ({ process, loop }) => [
      ['this process', String(process.pid)],
      ['its parent', process.parent_pid === null ? format.unknown : String(process.parent_pid)],
      ...(loop ? ([['turns in the child', format.exact(loop.iterations)]] as [string, string][]) : []),
    ],
    commands: ({ process }) => [
      { text: `strace -f -k -e trace=clone,clone3,fork,vfork -- ${program(process)}`, why: 'The stack of every fork: the place after which ev_loop_fork() is missing.' },
    ],
    look: (process) =>
      process.loops.length === 0 ? noLoop : !inside(process) ? libraryOnly : { state: 'clear', text: 'No loop was run in a forked child that libev had not been told of.' },
  },
  'busy-spin': {
    about: 'polling without waiting, and getting nothing',
    headline: ({ loop }) => `${named(loop)} burns a processor for nothing`,
    consequence: () =>
      'One processor is used up for nothing. Whatever shares the machine, or the container’s processor quota, pays for it; throttling then shows as late timers.',
    numbers: ({ loop }) =>
      loop
        ? [
            ['polls that did not wait', `${format.percent(loop.iterations > 0 ? (loop.polls.nonblocking ?? 0) / loop.iterations : null)} of all`],
            ['ready events', format.count(loop.ready_events)],
            ['turns', format.count(loop.iterations)],
          ]
        : [],
    commands: (context) => {
      const { process, loop } = context;
      return runs(process)
        ? [
            { text: `timeout 1 strace -p ${loop?.thread_id ?? process.pid}`, why: 'What it calls between two waits. Slows the thread down while it is attached.' },
            ...perf(context, 2, 'The callback that runs in each turn.'),
          ]
        : [];
    },
    look: (process) => {
      const { loops } = process;
      if (loops.length === 0) return noLoop;
      if (!runs(process)) return ended;
      const best = most(loops, (loop) => loop.iterations);
      if (best < 200) return { state: 'waiting', text: `Needs 200 turns of a loop; there are ${format.exact(best)}.` };
      const all = sum(loops, (loop) => loop.iterations);
      return { state: 'clear', text: `No loop spins; ${format.percent(sum(loops, (loop) => loop.polls.nonblocking) / all)} of all polls did not wait.` };
    },
  },
  'fd-limit': {
    about: 'close to the limit of open descriptors',
    headline: () => 'The process runs out of descriptors',
    consequence: ({ process }) => {
      const { open, limit } = process.fds ?? {};
      const room = open != null && limit != null ? limit - open : null;
      return room === null
        ? 'Nothing yet. At the limit, every call that makes a descriptor fails.'
        : room <= 0
          ? 'There is no room left: every call that makes a descriptor fails now.'
          : `Nothing yet: there is room for ${format.exact(room)} more. Then every call that makes a descriptor fails, also those of libraries (name look-ups, logs).`;
    },
    numbers: ({ process: { fds } }) =>
      fds
        ? [
            ['open', format.exact(fds.open)],
            ['limit', format.exact(fds.limit)],
            ...(fds.peak === null ? [] : ([['peak', format.exact(fds.peak)]] as [string, string][])),
          ]
        : [],
    commands: ({ process }) => [
      ...report(process, '--descriptors', 'Every open descriptor, as text.'),
      ...(runs(process)
        ? [{ text: `prlimit --pid ${process.pid} --nofile`, why: `Its soft and hard limit. \`prlimit --pid ${process.pid} --nofile=N:\` raises the soft one while it runs.` }]
        : []),
    ],
    look: (process) => {
      const { fds } = process;
      if (!runs(process)) return ended;
      if (!fds || fds.open === null || !fds.limit) return { state: 'blind', text: 'The count or the limit cannot be had.' };
      return { state: 'clear', text: `${format.exact(fds.open)} of ${format.exact(fds.limit)} descriptors are open (${format.percent(fds.open / fds.limit)}); it speaks from 80 % on.` };
    },
  },
  'fd-growth': {
    about: 'a place that opens ever more descriptors and closes none',
    headline: () => 'Descriptors pile up',
    consequence: ({ process }) => {
      const limit = process.fds?.limit;
      return `What they refer to is not released: files keep their space, peers wait for an end that does not come. ${limit ? `At the limit of ${format.exact(limit)}` : 'At the limit'} accept, open and socket fail.`;
    },
    numbers: ({ site, process }) => [
      ...(site
        ? ([
            ['open of this place', format.exact(site.live)],
            ['opened', format.exact(site.opened)],
            ['closed', format.exact(site.closed)],
            ['oldest', format.span(site.oldest_seconds)],
          ] as [string, string][])
        : []),
      ['open in all', `${format.exact(process.fds?.open)}${process.fds?.limit ? ` of ${format.exact(process.fds.limit)}` : ''}`],
    ],
    commands: ({ process }) => [
      check(process, '', 'Judges each open site at the end: the line that opened, what stayed open, whether others were closed.'),
      ...report(process, '--descriptors', 'Every open descriptor with its target, as text.'),
    ],
    look: (process, now) => {
      const { fds } = process;
      if (!runs(process)) return ended;
      if (!fds || fds.opened === null) return { state: 'blind', text: 'The library does not know who opens what; `loopscope run` does.' };
      if (fds.opened > 0 && !fds.sites_total) return { state: 'blind', text: 'No stacks are recorded (stacks=off).' };
      if (now < 30) return { state: 'waiting', text: `Needs 30 s of life: ${format.span(30 - now)} to go.` };
      // The rule also knows which are idle, in use or accepted, and when each was opened: so what is nearest may be rightly so.
      const nearest = (fds.sites ?? []).filter((site) => site.closed === 0 && site.live >= 32).sort((a, b) => b.live - a.live)[0];
      const but = nearest ? ` Nearest: ${siteText(nearest).what}, ${format.exact(nearest.live)} open and none closed, but in use or no longer growing.` : '';
      return { state: 'clear', text: `No place goes on opening, closes none and leaves 32 or more idle.${but}` };
    },
  },
  'backend-rebuilt': {
    about: 'libev making its epoll set anew',
    headline: ({ loop }) => `${named(loop)} is told of descriptors that are closed`,
    consequence: ({ loop }) => {
      const n = loop?.registered_fds;
      return `Each time costs a system call for every watched descriptor${n ? `, ${format.exact(n)} now` : ''}, and it goes on as long as the stale registration lives.`;
    },
    numbers: ({ finding, loop }) => [
      ['rebuilt', `${format.exact(finding.count)} times`],
      ...(loop ? ([['registered', format.exact(loop.registered_fds)], ['turns', format.count(loop.iterations)]] as [string, string][]) : []),
    ],
    commands: ({ process }) => [check(process, '', 'Its rule event-after-close names the close after which events still came.')],
    look: (process) => {
      const { loops } = process;
      if (loops.length === 0) return noLoop;
      if (!inside(process)) return libraryOnly;
      if (!loops.some((loop) => loop.backend === 'epoll')) return { state: 'blind', text: 'Only with epoll is there a set to rebuild.' };
      return { state: 'clear', text: 'Fewer than three rebuilds in any loop.' };
    },
  },
  'timer-lag': {
    about: 'timers that run late',
    headline: ({ loop }) => `Timers of ${named(loop, 'loop')} run late`,
    consequence: () => 'What the timers drive is late by as much: time-outs strike late, heartbeats are missed, periodic work bunches up.',
    numbers: ({ loop }) =>
      loop
        ? [
            ['lag p50', format.duration(loop.timer_lag_seconds?.p50)],
            ['lag p90', format.duration(loop.timer_lag_seconds?.p90)],
            ['longest lag', format.duration(loop.timer_lag_seconds?.max)],
            ['expirations', format.exact(loop.timer_lag_seconds?.count)],
            ['busy p99', format.duration(loop.busy_turn_seconds?.p99)],
          ]
        : [],
    commands: ({ process, loop }) => [
      check(process, '--max-timer-lag 100ms', 'Names each late timer and the turn that held it up.'),
      ...(runs(process) && loop?.thread_id
        ? [{ text: `cat /proc/${process.pid}/task/${loop.thread_id}/schedstat`, why: 'Nanoseconds: on a processor, waiting for one. If the second grows fast, it does not get the processor.' }]
        : []),
    ],
    look: ({ loops }) => {
      if (loops.length === 0) return noLoop;
      const count = most(loops, (loop) => loop.timer_lag_seconds?.count);
      if (count === 0) return { state: 'blind', text: 'No timer was measured: none is named, or none was due.' };
      if (count < 1000) return { state: 'waiting', text: `Needs 1,000 expirations of a loop; there are ${format.exact(count)}.` };
      const worst = most(loops, (loop) => ((loop.timer_lag_seconds?.count ?? 0) >= 1000 ? loop.timer_lag_seconds?.p90 : 0));
      return { state: 'clear', text: `Nine in ten of ${format.count(sum(loops, (l) => l.timer_lag_seconds?.count))} expirations were at most ${format.duration(worst)} late; it speaks above 100 ms.` };
    },
  },
  'batch-saturated': {
    about: 'polls that return as many events as there is room for',
    headline: ({ loop }) => `${named(loop)} gets more events than it has room for`,
    consequence: () => 'What was left behind waited a turn longer. Alone that is little; together with rising busy time it is how overload begins.',
    numbers: ({ loop }) =>
      loop
        ? [
            ['full polls', `${format.exact(loop.polls.saturated)} of ${format.exact(loop.iterations)}`],
            ['largest batch', format.exact(loop.ready_events_per_poll?.max)],
            ['registered', format.exact(loop.registered_fds)],
            ['busy p99', format.duration(loop.busy_turn_seconds?.p99)],
          ]
        : [],
    commands: (context) => perf(context, 10, 'What the turns are busy with.'),
    look: ({ loops }) => {
      if (loops.length === 0) return noLoop;
      const bounded = loops.filter((loop) => loop.backend === 'epoll' && loop.polls.saturated !== null);
      if (bounded.length === 0) return { state: 'blind', text: 'Only epoll_wait has room for a limited number.' };
      const [full, all] = [sum(bounded, (loop) => loop.polls.saturated), sum(bounded, (loop) => loop.iterations)];
      if (all === 0) return { state: 'waiting', text: 'No turn yet.' };
      return { state: 'clear', text: full === 0 ? `None of ${format.count(all)} polls was full.` : `${format.exact(full)} of ${format.count(all)} polls were full: too few to matter, or nothing was left behind.` };
    },
  },
  'records-dropped': {
    about: 'something that could not be recorded',
    headline: () => 'The record has gaps',
    consequence: () => 'The program itself is not harmed. What this page counts is a lower bound from then on.',
    numbers: ({ process }) =>
      Object.entries(process.dropped ?? {})
        .filter(([, n]) => n > 0)
        .map(([kind, n]) => [kind, format.exact(n)]),
    commands: ({ process }) => {
      const path = process.recording?.path;
      return [
        ...(path ? [{ text: `df -h ${quote(path.replace(/\/[^/]*$/, '') || '/')}`, why: 'Whether the directory of the recordings has room.' }] : []),
        ...report(process, '', 'What the recording says of itself, and of the rest.'),
      ];
    },
    look: ({ dropped }) => (dropped === null ? { state: 'blind', text: 'Not told by this source.' } : { state: 'clear', text: 'Nothing was dropped.' }),
  },
  'own-failures': {
    about: 'system calls of loopscope’s own that failed',
    headline: () => 'Calls of loopscope’s own failed',
    consequence: () => 'The program did not notice. What loopscope wanted to know or to write down by them may be missing here.',
    numbers: ({ process }) =>
      (process.own_failures ?? []).filter(({ failed }) => failed > 0).map(({ call, errno, failed }) => [[call, errno].filter(Boolean).join(' '), format.exact(failed)]),
    commands: ({ process }) => report(process, '', 'What the recording says of itself, and of the rest.'),
    look: ({ own_failures }) => {
      if (!own_failures) return { state: 'blind', text: 'Not told by this source.' };
      const retried = own_failures.reduce((total, one) => total + one.retried, 0);
      return { state: 'clear', text: retried === 0 ? 'None failed.' : `None was given up; ${format.exact(retried)} had to be made again.` };
    },
  },
};

/** The rules in their order, with what each has to say of a process of this age; `found` where it has a finding. */
export function looks(process: Process, age: number): { rule: string; about: string; look: Look }[] {
  const found = new Set((process.findings ?? []).map((finding) => finding.rule));
  return Object.entries(rules).map(([rule, { about, look }]) => {
    const its = look(process, age);
    return { rule, about, look: found.has(rule) ? { state: 'found', text: 'See above.' } : its };
  });
}

/** The loop a finding is about; null if it is not one, or one of several by that name. */
export function loopOf(finding: Finding, loops: readonly Loop[]): Loop | null {
  const named = loops.filter((loop) => (loop.name || `loop ${loop.id}`) === finding.subject || loop.name === finding.subject);
  return named.length === 1 ? named[0]! : null;
}

/** A finding of fd-growth does not carry its site's number, but how many it has opened, and no other site never closed one. */
export function siteOf(finding: Finding, sites: readonly OpenSite[]): OpenSite | null {
  if (finding.rule !== 'fd-growth') return null;
  const opened = /has opened (\d+) in/.exec(finding.detail ?? '')?.[1];
  const candidates = sites.filter((site) => site.closed === 0 && String(site.opened) === opened);
  if (candidates.length <= 1) return candidates[0] ?? null;
  const named = candidates.filter((site) => site.stack.some((frame) => frame.function !== null && finding.title.includes(`at ${frame.function} `)));
  return named.length === 1 ? named[0]! : null;
}

export interface Mention {
  turns: number[];
  watchers: { name: string; kind: string }[];
}

/** The turns and watchers that a finding's texts name, as far as the loop has them. */
export function mentions(finding: Finding, loop: Loop | null): Mention {
  const text = finding.detail ?? '';
  const turns = [...text.matchAll(/\bin turn (\d+)/g)].map((match) => Number(match[1]));
  const watchers = (loop?.watchers ?? []).filter(
    ({ name, kind }) => text.includes(`"${name}" (${kind})`) || text.includes(`named ones is "${name}".`),
  );
  return { turns: [...new Set(turns)], watchers: watchers.map(({ name, kind }) => ({ name, kind })) };
}

const rank = { error: 0, warning: 1, info: 2 };
export const bySeverity = (findings: readonly Finding[]) =>
  findings.slice().sort((a, b) => (rank[a.severity] ?? 3) - (rank[b.severity] ?? 3));

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (n: number, word: string) => `${n} ${word}${n === 1 ? '' : 's'}`;

/** The rules look at behaviour: before this, silence is no verdict. */
export const enoughSeconds = 10;

export interface Verdict {
  kind: 'findings' | 'young' | 'none' | 'mute';
  severity: Finding['severity'] | 'good' | 'unknown';
  headline: string;
  text: string;
}

/** One headline for all of it. `age`: seconds that the process has been watched; `end`: how it ended, if it did. */
export function verdict(process: Process, age: number, end: string | null): Verdict {
  const findings = bySeverity(process.findings ?? []);
  const [worst] = findings;
  if (worst) {
    const counts = (['error', 'warning', 'info'] as const)
      .map((severity) => [findings.filter((finding) => finding.severity === severity).length, severity] as const)
      .filter(([n]) => n > 0)
      .map(([n, severity]) => (severity === 'info' ? `${n} to know` : plural(n, severity)));
    const names = [...new Set(findings.map((finding) => finding.rule))];
    const rule = Object.hasOwn(rules, worst.rule) ? rules[worst.rule] : undefined;
    const headline = rule?.headline({ finding: worst, process, loop: loopOf(worst, process.loops), site: null }) ?? capital(worst.title);
    return { kind: 'findings', severity: worst.severity, headline, text: `${counts.join(', ')}: ${names.join(', ')}` };
  }
  if (process.findings === null) {
    return { kind: 'mute', severity: 'unknown', headline: 'No verdict', text: 'This source draws no conclusions.' };
  }
  const all = sum(process.loops, (loop) => loop.iterations);
  if (end === null && (age < enoughSeconds || (process.loops.length > 0 && all === 0))) {
    const lacks =
      age < enoughSeconds
        ? `The process started ${format.span(age)} ago; the rules are given ${enoughSeconds} s before their silence counts.`
        : 'No loop has made a turn yet.';
    return { kind: 'young', severity: 'unknown', headline: 'Not enough data yet', text: lacks };
  }
  const states = looks(process, age).map(({ look }) => look.state);
  const n = (state: Look['state']) => states.filter((other) => other === state).length;
  const looked = `${plural(n('clear'), 'rule')} looked at ${turns(all)} in ${format.span(age)} and found nothing`;
  const rest = [
    n('waiting') > 0 ? `${n('waiting')} need${n('waiting') === 1 ? 's' : ''} more data` : '',
    n('blind') > 0 ? `${n('blind')} cannot tell here` : '',
  ].filter(Boolean);
  return {
    kind: 'none',
    severity: end === null ? 'good' : 'unknown',
    headline: end === null ? 'Healthy' : `No findings; it ${end}`,
    text: `${looked}${rest.length > 0 ? `; ${rest.join(', ')}` : ''}.`,
  };
}
