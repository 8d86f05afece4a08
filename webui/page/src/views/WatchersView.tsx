// The watchers of one loop.
import type { App } from '../app';
import { NoLoop } from '../components/Empty';
import { LoopHead, LoopTabs } from '../components/LoopTabs';
import { ServedDescriptors } from '../components/ServedDescriptors';
import { Watchers } from '../components/Watchers';

export function WatchersView({ app }: { app: App; version: number }) {
  const { process, loop, selection } = app;
  if (!process) return null;
  if (!loop) return <NoLoop process={process} />;
  return (
    <>
      {process.loops.size > 1 && <LoopTabs process={process} selected={loop} onSelect={(id) => app.select({ loop: id })} />}
      <div id="loop" role={process.loops.size > 1 ? 'tabpanel' : undefined} aria-label={`Loop ${loop.latest.name}`}>
        <LoopHead process={process} loop={loop} />
        {loop.latest.watchers.length > 0 ? (
          <Watchers key={`${process.latest.id} ${loop.latest.id}`} app={app} process={process} loop={loop} window={selection.window} />
        ) : (
          <ServedDescriptors key={`${process.latest.id} ${loop.latest.id}`} app={app} process={process} loop={loop} />
        )}
      </div>
    </>
  );
}
