import type { App } from '../app';
import * as format from '../format';
import { windows } from '../selection';
import { endMark } from '../tree';
import { ProcessPicker } from './ProcessPicker';

export function Header({ app }: { app: App }) {
  const current = app.process?.latest ?? null;
  const tracks = [...app.store.processes.values()];
  const ended = tracks.filter((track) => !track.running).length;
  const { kind, text } = app.connectionText;
  return (
    <header>
      <div class="bar">
        <h1>
          <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
            <path class="logo-ring" d="M26 16a10 10 0 1 1-4-8" />
            <circle class="logo-dot" cx="16" cy="16" r="4" />
          </svg>
          loopscope
        </h1>
        <div class="process">
          {tracks.length > 1 ? (
            <ProcessPicker app={app} current={current} />
          ) : (
            current && (
              <span class="command" title={(current.argv ?? []).join(' ')}>
                <b>{current.command}</b> <span class="quiet">pid {current.pid}</span>
              </span>
            )
          )}
          {current && (
            <span class="quiet facts">
              {endMark(current, null) ?? `up ${format.span(current.uptime_seconds)}`}
              {current.resident_bytes !== null && ` · ${format.bytes(current.resident_bytes)}`}
              {tracks.length > 1 && ` · one of ${format.exact(tracks.length)} processes${ended > 0 ? `, ${format.exact(ended)} ended` : ''}`}
            </span>
          )}
        </div>
        <label class="window">
          <span class="quiet window-word">window</span>
          <select
            data-testid="window-select"
            value={String(app.selection.window)}
            onChange={(event) => app.select({ window: Number((event.currentTarget as HTMLSelectElement).value) })}
          >
            {windows.map(({ seconds, label }) => (
              <option key={label} value={String(seconds)}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <span class={`pill ${kind}`} data-testid="connection-state" data-state={kind}>
          <span class="dot" aria-hidden="true" />
          {text}
        </span>
        {/* Announces changes of kind only: a countdown read aloud every second helps nobody. */}
        <span class="unseen" role="status">{`Connection ${kind}`}</span>
      </div>
    </header>
  );
}
