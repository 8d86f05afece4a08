import type { App } from '../app';
import * as format from '../format';
import { windows } from '../selection';

export function Header({ app }: { app: App }) {
  const current = app.process?.latest ?? null;
  const processes = [...app.store.processes.values()].map((track) => track.latest);
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
          {processes.length > 1 ? (
            <select
              aria-label="Process"
              value={current?.id ?? ''}
              onChange={(event) => app.selectProcess((event.currentTarget as HTMLSelectElement).value)}
            >
              {processes.map((p) => (
                <option key={p.id} value={p.id}>
                  {`${p.command} · ${p.pid}${p.state === 'running' ? '' : ` (${p.state})`}`}
                </option>
              ))}
            </select>
          ) : (
            current && (
              <span class="command" title={(current.argv ?? []).join(' ')}>
                <b>{current.command}</b> <span class="quiet">pid {current.pid}</span>
              </span>
            )
          )}
          {current && (
            <span class="quiet facts">
              {processes.length > 1 && `pid ${current.pid} · `}
              {current.state === 'running' ? `up ${format.span(current.uptime_seconds)}` : current.state}
              {current.resident_bytes !== null && ` · ${format.bytes(current.resident_bytes)}`}
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
