// Where the numbers come from, and what could not be recorded.
import type { App } from '../app';
import * as format from '../format';

export function Footer({ app }: { app: App }) {
  const process = app.process?.latest ?? null;
  const dropped = Object.entries(process?.dropped ?? {}).filter(([, n]) => n > 0);
  const failed = (process?.own_failures ?? []).filter((one) => one.failed > 0);
  const recording = process?.recording ?? null;
  const facts = [
    app.store.server && `loopscope ${app.store.server.version}, ${app.store.server.mode}`,
    process && `source: ${process.source}`,
    recording?.clock && `clock: ${recording.clock}`,
    recording?.path && `recording: ${recording.path}`,
    app.store.time !== null && `taken at ${format.clock(app.store.time)}`,
  ].filter((fact): fact is string => Boolean(fact));
  return (
    <footer>
      {dropped.length > 0 && (
        <span class="badge warn" data-testid="dropped">
          dropped: {dropped.map(([kind, n]) => `${format.count(n)} ${kind}`).join(', ')}
        </span>
      )}
      {failed.length > 0 && (
        <span class="badge warn" data-testid="own-failures">
          loopscope's own calls failed: {failed.map((one) => `${[one.call, one.errno].filter(Boolean).join(' ')} ${format.count(one.failed)}×`).join(', ')}
        </span>
      )}
      {recording?.error && <span class="badge warn">not in a file: {recording.error}</span>}
      {facts.map((fact) => (
        <span key={fact.split(':')[0]}>{fact}</span>
      ))}
    </footer>
  );
}
