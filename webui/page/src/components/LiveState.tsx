// What the loop does now, and its figures beside those of the window.
import type { ComponentChildren } from 'preact';
import type { LoopWindow } from '../cuts';
import * as format from '../format';
import type { HelpKey } from '../help';
import { isStalled } from '../stalled';
import { registers, waitCall } from '../loops';
import { nowSeconds, type LoopTrack, type ProcessTrack } from '../store';
import { shortCoverage } from './windowLabel';
import { Term } from './Term';

export function LiveState({ process, loop, window }: { process: ProcessTrack; loop: LoopTrack; window: number }) {
  const { latest } = loop;
  const whole = process.base(Infinity);
  const nowBase = process.base(nowSeconds) ?? (process.running ? undefined : whole);
  const now = nowBase ? process.window(loop, nowBase) : null;
  const longBase = process.base(window) ?? (process.running ? undefined : whole);
  const long = longBase ? process.window(loop, longBase) : null;
  const label = shortCoverage(process, longBase, window);
  const ready = long?.readyPerTurn;
  return (
    <section class="figures" aria-label="Live state">
      <State process={process} loop={loop} />
      <Figure title="utilization" about="utilization" testid="utilization" value={format.percent(now?.utilization)} side={`${label}: ${format.percent(long?.utilization)}`}>
        <div class="meter large" aria-hidden="true">
          <span style={{ width: `${(now?.utilization ?? 0) * 100}%` }} />
        </div>
      </Figure>
      <Figure title="turns / s" about="turns" testid="turns-per-second" value={format.rate(now?.turnsPerSecond)} side={`${label}: ${format.rate(long?.turnsPerSecond)}`}>
        <div class="under">{format.count(latest.iterations)} since start</div>
      </Figure>
      <Figure title="ready / turn" about="readyPerTurn" testid="ready-per-turn" value={format.rate(now?.readyPerTurn)} side={`${label}: ${format.rate(ready)}`}>
        <div class="under">{latest.ready_events === null ? 'not visible here' : `${format.count(latest.ready_events)} since start`}</div>
      </Figure>
      <Figure title="registered fds" about="registered" testid="registered-fds" value={format.count(latest.registered_fds)} side="">
        <div class="under">
          {!registers(latest.backend) ? `${latest.backend} is told them at each call` : latest.registered_fds === null ? 'not known' : 'watched by this loop'}
        </div>
      </Figure>
      <PollResults loop={loop} view={long} label={label} />
    </section>
  );
}

function Figure(props: {
  title: string;
  about: HelpKey;
  testid: string;
  value: string;
  side: string;
  children?: ComponentChildren;
}) {
  return (
    <div class="card figure">
      <h3>
        <Term about={props.about}>{props.title}</Term>
      </h3>
      <div class="value" data-testid={props.testid}>
        {props.value}
      </div>
      {props.side && <div class="for">{props.side}</div>}
      {props.children}
    </div>
  );
}

function State({ process, loop }: { process: ProcessTrack; loop: LoopTrack }) {
  const { latest } = loop;
  const live = process.running && latest.state !== 'ended';
  const stalled = live && isStalled(latest);
  const watcher = latest.phase === 'dispatching' ? (latest.current?.watcher ?? null) : null;
  const watcherSeconds = latest.current?.watcher_seconds ?? null;
  return (
    <div class={`card figure state ${live ? latest.phase : 'over'} ${stalled ? 'stalled' : ''}`}>
      <h3>
        <Term about="state">{live ? 'state' : 'last state'}</Term>
        {stalled && (
          <span class="badge slow" role="alert">
            stalled
          </span>
        )}
      </h3>
      <div class="value">
        <span data-testid="loop-phase" data-phase={latest.phase} data-stalled={stalled ? 'true' : 'false'}>
          {latest.phase}
        </span>
      </div>
      <div class="for">{live && latest.phase_seconds !== null && `for ${format.duration(latest.phase_seconds)}`}</div>
      <div class="under">
        {latest.state === 'ended' && process.running ? (
          'this loop has ended'
        ) : watcher !== null ? (
          <>
            in <code data-testid="current-watcher">{watcher}</code>
            {live && watcherSeconds !== null && `, ${format.duration(watcherSeconds)}`}
          </>
        ) : latest.phase === 'dispatching' ? (
          stalled ? 'outside any named callback' : 'running callbacks'
        ) : latest.phase === 'polling' ? (
          `waiting in ${waitCall(latest.backend) ?? 'the kernel'}`
        ) : (
          'the thread is not in the loop'
        )}
      </div>
    </div>
  );
}

function PollResults({ loop, view, label }: { loop: LoopTrack; view: LoopWindow | null; label: string }) {
  const polls = view?.polls ?? null;
  const stalls = view?.stalls ?? null;
  const parts = [
    ['events', polls?.events ?? null],
    ['timeout', polls?.timeout ?? null],
    ['interrupted', polls?.interrupted ?? null],
    ['error', polls?.error ?? null],
    // Only where a backend hides what its waits return.
    ...(polls?.unknown ? [['unknown', polls.unknown] as const] : []),
  ] as const;
  const total = parts.reduce((sum, [, n]) => sum + (n ?? 0), 0);
  const { stall_threshold_seconds: threshold } = loop.latest;
  return (
    <div class="card figure polls">
      <h3>
        <Term about="polls">poll results</Term>
        <span class="side">{label}</span>
      </h3>
      <div class="stack" aria-hidden="true">
        {parts.map(([name, n]) => (
          <span key={name} class={`part ${name}`} style={{ flexGrow: String(total > 0 ? (n ?? 0) / total : 0) }} />
        ))}
      </div>
      <ul class="parts">
        {parts.map(([name, n]) => (
          <li key={name} title={format.exact(n)}>
            <span class={`key ${name}`} aria-hidden="true" />
            {name} <b>{format.count(n)}</b>
          </li>
        ))}
        <li class={total > 0 && (polls?.saturated ?? 0) / total > 0.01 ? 'bad' : ''} title={format.exact(polls?.saturated)}>
          saturated <b>{format.count(polls?.saturated)}</b>
        </li>
        <li class={stalls ? 'bad' : ''}>
          <Term about="stalls">stalls</Term> <b>{format.count(stalls)}</b>
          {threshold !== null && <span class="quiet"> over {format.duration(threshold)}</span>}
        </li>
      </ul>
    </div>
  );
}
