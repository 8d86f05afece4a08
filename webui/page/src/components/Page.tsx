import { useMemo } from 'preact/hooks';
import type { App } from '../app';
import { staleSeconds } from '../banners';
import { Banners } from './Banners';
import { Charts } from './Charts';
import { Descriptors } from './Descriptors';
import { Findings } from './Findings';
import { Footer } from './Footer';
import { Header } from './Header';
import { Latencies } from './Latencies';
import { LiveState } from './LiveState';
import { LoopHead, LoopTabs } from './LoopTabs';
import { HelpTexts } from './Term';
import { SlowTurns } from './SlowTurns';
import { TokenForm } from './TokenForm';
import { TurnStrip } from './TurnStrip';
import { Watchers } from './Watchers';

/** `version` only makes the properties differ: the state itself is one mutable object. */
export function Page({ app }: { app: App; version: number }) {
  const process = app.process;
  const loop = app.loop;
  const { selection, pause } = app;
  const nothing = useMemo(() => emptyText(app), [app.version]);
  return (
    <>
      <Header app={app} />
      <main class={app.silent !== null && app.silent > staleSeconds ? 'faded' : ''}>
        <Banners app={app} />
        {app.connection.state === 'unauthorized' && <TokenForm refused={app.connection.refused} onToken={(t) => app.setToken(t)} />}
        {nothing && app.connection.state !== 'unauthorized' && <p class="empty">{nothing}</p>}
        {process && process.loops.size > 1 && <LoopTabs process={process} selected={loop} onSelect={(id) => app.select({ loop: id })} />}
        {process && loop && (
          <div id="loop" role={process.loops.size > 1 ? 'tabpanel' : undefined} aria-label={`Loop ${loop.latest.name}`}>
            <LoopHead process={process} loop={loop} />
            <LiveState process={process} loop={loop} window={selection.window} />
            <TurnStrip loop={loop} held={pause?.turns.get(String(loop.latest.id)) ?? null} />
            <SlowTurns loop={loop} now={app.now} running={process.running} />
            <div class="pair">
              <Latencies process={process} loop={loop} window={selection.window} />
              <Findings process={process} now={app.now} />
            </div>
            <Charts
              process={process}
              loop={loop}
              window={selection.window}
              pausedAt={pause?.time ?? null}
              onPause={() => app.togglePause()}
            />
            <Watchers process={process} loop={loop} window={selection.window} />
          </div>
        )}
        {process && !loop && <Findings process={process} now={app.now} />}
        {process && <Descriptors key={process.latest.id} process={process} pausedAt={pause?.time ?? null} window={selection.window} />}
      </main>
      <Footer app={app} />
      <HelpTexts />
    </>
  );
}

function emptyText(app: App): string | null {
  if (app.store.snapshots === 0) return app.connection.state === 'waiting' ? 'Nothing to show yet.' : 'Waiting for the first snapshot…';
  if (!app.process) return 'No process is being recorded. This page shows one as soon as it appears.';
  if (app.process.loops.size === 0) {
    return app.process.running
      ? 'This process has waited on nothing so far: it has no loop on epoll, poll or select. This page shows one as soon as there is one.'
      : 'This process waited on nothing: it had no loop on epoll, poll or select.';
  }
  return null;
}
