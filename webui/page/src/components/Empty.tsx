// What stands where nothing can be shown, and why.
import type { App } from '../app';
import { Command } from './Copy';
import type { ProcessTrack } from '../store';

/** A view about a loop, of a process that has none. */
export function NoLoop({ process }: { process: ProcessTrack }) {
  return (
    <p class="empty">
      {process.running
        ? 'This process has waited on nothing so far: it has no loop on epoll, poll or select. This page shows one as soon as there is one.'
        : 'This process waited on nothing: it had no loop on epoll, poll or select.'}
    </p>
  );
}

/** Before there is any process. */
export function emptyText(app: App): string | null {
  if (app.store.snapshots === 0) return app.connection.state === 'waiting' ? 'Nothing to show yet.' : 'Waiting for the first snapshot…';
  if (!app.process) return 'No process is being recorded. This page shows one as soon as it appears.';
  return null;
}

/** What to do about it: a page without a process is where most people begin. */
export function HowToBegin({ app }: { app: App }) {
  if (app.store.snapshots === 0 || app.process || app.offline) return null;
  return (
    <div class="begin" data-testid="how-to-begin">
      <p>
        Start a program, and it is here: <Command text="loopscope run --no-http -- PROGRAM ARGS..." />
      </p>
      <p class="quiet">A program that uses the library is here without it. Both must write where this server reads (--dir), and run as the same user.</p>
    </div>
  );
}
