// The descriptors of one process.
import { useEffect, useRef, useState } from 'preact/hooks';
import { getJson } from '../api';
import type { App } from '../app';
import { Sites, spanOf, Summary } from '../components/Descriptors';
import { FdTable } from '../components/FdTable';
import type { OpenSite, Snapshot } from '../model';
import { hasLedger, kindRows } from '../sites';
import type { ProcessTrack } from '../store';

/** The names of sites that an event does not bring: not asked for more often than that. */
const askEveryMs = 5000;
const keepSites = 200;

export function DescriptorsView({ app }: { app: App; version: number }) {
  const { process } = app;
  if (!process) return null;
  if (!process.latest.fds) return <p class="empty">This source tells nothing of the process’ descriptors.</p>;
  return <OfProcess key={process.latest.id} app={app} process={process} />;
}

function OfProcess({ app, process }: { app: App; process: ProcessTrack }) {
  const { latest } = process;
  const fds = latest.fds!;
  const [more, setMore] = useState<readonly OpenSite[] | null>(null);
  const [all, setAll] = useState(false);
  const target = app.recall('site') === null ? null : Number(app.recall('site'));
  const asked = useRef({ at: -Infinity, abort: null as AbortController | null });
  const online = app.connection.state !== 'saved';
  const ask = () => {
    const now = performance.now();
    if (!online || now - asked.current.at < askEveryMs) return;
    asked.current.abort?.abort();
    const abort = new AbortController();
    asked.current = { at: now, abort };
    getJson<Snapshot>('api/v1/snapshot', { pid: String(latest.pid), recent: '1' }, abort.signal).then(
      (snapshot) => {
        const mine = snapshot.processes.find((other) => other.id === latest.id);
        if (mine?.fds?.sites) setMore(mine.fds.sites);
      },
      () => {}, // the table says when the server does not answer; here names are missing, and asked for again
    );
  };
  useEffect(() => () => asked.current.abort?.abort(), []);
  useEffect(() => {
    if (!all || !process.running) return;
    const timer = setInterval(() => {
      if (!document.hidden && app.pause === null) ask();
    }, askEveryMs);
    return () => clearInterval(timer);
  }, [all, process.running]);
  useEffect(() => {
    if (target === null) return;
    if (!(fds.sites ?? []).some((site) => site.id === target)) {
      setAll(true);
      ask();
    }
    document.getElementById(`site-${target}`)?.scrollIntoView({ block: 'center' });
  }, [target, more !== null]);

  const span = spanOf(process, app.selection.window, app.pause?.time ?? null);
  const ledger = hasLedger(fds);
  // An event has the first sites only, and fewer once the process has ended: those that were seen stay known by name.
  const seen = useRef(new Map<number, OpenSite>());
  for (const site of fds.sites ?? []) seen.current.set(site.id, site);
  for (const id of seen.current.keys()) if (seen.current.size > keepSites) seen.current.delete(id);
  const known = new Map([...seen.current, ...(more ?? []).map((site) => [site.id, site] as const), ...(fds.sites ?? []).map((site) => [site.id, site] as const)]);
  const rest = all ? more : process.running ? null : [...seen.current.values()];
  return (
    <div class="fd-view" data-testid="descriptors" data-ledger={ledger}>
      <h2 class="unseen">Descriptors of the process</h2>
      <Summary app={app} process={process} span={span} sites={known} />
      {ledger && (
        <Sites
          app={app}
          process={process}
          span={span}
          more={rest}
          onMore={
            online && !all
              ? () => {
                  setAll(true);
                  ask();
                }
              : null
          }
          target={target}
          onShow={(site) => {
            app.remember('fd-site', String(site.id));
            document.getElementById('fd-title')?.scrollIntoView({ block: 'start' });
          }}
        />
      )}
      <FdTable
        app={app}
        process={process}
        ledger={ledger}
        kinds={kindRows(fds)
          .filter(({ open }) => open > 0)
          .map(({ kind }) => kind)}
        sites={known}
        onUnknownSite={ask}
        onSite={(site) => app.remember('site', String(site))}
      />
    </div>
  );
}
