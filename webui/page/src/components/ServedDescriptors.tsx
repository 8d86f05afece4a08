// Where a source sees a loop from outside there are no watchers. What stands in for them: the descriptors that the loop served.
import { useEffect, useState } from 'preact/hooks';
import { ApiError, getJson } from '../api';
import type { App } from '../app';
import * as format from '../format';
import type { Fd, FdPage } from '../model';
import { idleText, targetText } from '../rows';
import type { LoopTrack, ProcessTrack } from '../store';
import { Term } from './Term';

const shown = 20;
const renewEveryMs = 1000;

export function ServedDescriptors({ app, process, loop }: { app: App; process: ProcessTrack; loop: LoopTrack }) {
  const { epoll_fd: epollFd, backend } = loop.latest;
  const [answer, setAnswer] = useState<FdPage | null>(null);
  const [error, setError] = useState<string | null>(null);
  const id = process.latest.id;
  const live = app.connection.state === 'live' && app.pause === null && process.running;
  const online = app.connection.state !== 'saved';
  const asks = online && epollFd !== null;
  useEffect(() => {
    if (!asks) return;
    let flight: AbortController | null = null;
    const ask = () => {
      if (flight || document.hidden) return;
      const mine = (flight = new AbortController());
      getJson<FdPage>('api/v1/descriptors', { process: id, epoll_fd: String(epollFd), sort: 'busy', order: 'desc', limit: String(shown) }, mine.signal).then(
        (page) => {
          if (mine.signal.aborted) return;
          flight = null;
          setError(null);
          setAnswer(page);
        },
        (reason: unknown) => {
          if (mine.signal.aborted) return;
          flight = null;
          setError(reason instanceof ApiError && reason.status !== 0 ? reason.message : 'the server does not answer');
        },
      );
    };
    ask();
    const timer = live ? setInterval(ask, renewEveryMs) : 0;
    return () => {
      clearInterval(timer);
      flight?.abort();
    };
  }, [id, epollFd, asks, live]);
  const rows = answer?.process === id ? answer.rows : [];
  const busiest = Math.max(...rows.map((row) => row.busy_seconds ?? 0), 0);
  const at = { process: id, loop: String(loop.latest.id) };
  return (
    <section class="card" aria-labelledby="served-title" data-testid="no-watchers">
      <div class="card-head">
        <h2 id="served-title">{rows.length > 0 ? 'Descriptors served' : 'No watchers'}</h2>
        <span class="quiet">
          {rows.length > 0 && `the ${rows.length} that took the most time${answer ? ` of ${format.exact(answer.matched)} in the epoll set` : ''}, since each was opened`}
        </span>
      </div>
      <p class="quiet served-note">
        {process.latest.source === 'library'
          ? 'No watcher of this loop has a name. Name them (Loop::name, loopscope_name) to have their calls timed.'
          : 'This process is seen from outside: its waits, not its callbacks. In place of watchers stand the descriptors that its loop serves.'}{' '}
        <a href={app.href({ ...at, view: 'descriptors', own: { 'fd-sort': 'event_share.desc' } })}>All descriptors by share of wake-ups</a>
        {' · '}
        <a href={app.href({ ...at, view: 'loop', own: {} })}>the loop’s turns</a>
      </p>
      {error !== null && <p class="note quiet">Which they are cannot be shown: {error}.</p>}
      {!online && <p class="note quiet">Which they are is asked from the server; this saved page has none.</p>}
      {asks || !online ? null : (
        <p class="note quiet">
          {backend === 'epoll' ? 'Its epoll set is not known.' : `A loop on ${backend} registers nothing: its descriptors are handed over anew with each call.`}
        </p>
      )}
      {rows.length > 0 && (
        <div class="scroll">
          <table class="numbers watchers" data-testid="served-table">
            <thead>
              <tr>
                <th scope="col" class="left">
                  descriptor
                </th>
                <th scope="col" class="left">
                  kind
                </th>
                <th scope="col" class="c-share">
                  <Term about="fdBusy">busy</Term>
                </th>
                <th scope="col">
                  <Term about="fdEvents">events</Term>
                </th>
                <th scope="col">
                  <Term about="fdShare">wake-ups</Term>
                </th>
                <th scope="col">
                  <Term about="fdIdle">idle for</Term>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <Row key={`${row.fd} ${row.generation}`} app={app} row={row} at={at} busiest={busiest} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Row({ app, row, at, busiest }: { app: App; row: Fd; at: { process: string; loop: string }; busiest: number }) {
  return (
    <tr data-fd={row.fd} data-kind={row.kind}>
      <td class="left c-name" title={targetText(row)}>
        <a href={app.href({ ...at, view: 'descriptors', own: { 'fd-q': String(row.fd), fd: String(row.fd) } })}>{row.fd}</a> <span class="quiet">{targetText(row)}</span>
      </td>
      <td class="left quiet">{row.kind}</td>
      <td class="c-share">
        <span class="share">
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${busiest > 0 ? ((row.busy_seconds ?? 0) / busiest) * 100 : 0}%` }} />
          </span>
          <span>{format.duration(row.busy_seconds)}</span>
        </span>
      </td>
      <td>{format.count(row.events)}</td>
      <td>{format.percent(row.event_share)}</td>
      <td>{row.idle_seconds === null ? format.unknown : idleText(row.idle_seconds)}</td>
    </tr>
  );
}
