// Where one is: the process and the loop, the views, the window; how the connection does; light or dark, help.
import { useEffect, useRef } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import { loopLabel } from '../loops';
import { bySeverity } from '../rules';
import { views, windows, type View } from '../selection';
import { setTheme, theme, themes } from '../theme';
import { endMark } from '../tree';
import { ProcessPicker } from './ProcessPicker';

const viewNames: Record<View, string> = {
  overview: 'Overview',
  loop: 'Loop',
  watchers: 'Watchers',
  descriptors: 'Descriptors',
  findings: 'Findings',
  take: 'Take away',
};
/** These are about one loop. */
const loopViews: readonly View[] = ['loop', 'watchers'];

export function Header({ app, onHelp }: { app: App; onHelp: () => void }) {
  const current = app.process?.latest ?? null;
  const tracks = [...app.store.processes.values()];
  const { kind, text } = app.connectionText;
  const header = useRef<HTMLElement>(null);
  const bar = useRef<HTMLDivElement>(null);
  // Sticky heads of tables begin where this one ends; on a narrow screen only the views stay in sight.
  useEffect(() => {
    const measure = () => {
      const { style } = document.documentElement;
      const top = parseFloat(getComputedStyle(header.current!).top) || 0;
      style.setProperty('--bar', `${bar.current!.offsetHeight}px`);
      style.setProperty('--header', `${header.current!.offsetHeight + Math.min(0, top)}px`);
    };
    const observer = new ResizeObserver(measure);
    observer.observe(header.current!);
    measure();
    return () => observer.disconnect();
  }, []);
  return (
    <header ref={header}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById('main')?.focus())}>
        Skip to the content
      </a>
      <div class="bar" ref={bar}>
        <h1>
          <a href={app.href({ view: 'overview' })}>
            <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
              <path class="logo-ring" d="M26 16a10 10 0 1 1-4-8" />
              <circle class="logo-dot" cx="16" cy="16" r="4" />
            </svg>
            loopscope
          </a>
        </h1>
        <div class="process">
          {tracks.length > 1 ? (
            <ProcessPicker app={app} current={current} />
          ) : (
            current && (
              <span class="command" title={(current.argv ?? []).join(' ')}>
                <b>{current.command}</b> <span class="quiet">{current.pid}</span>
              </span>
            )
          )}
          {loopViews.includes(app.selection.view) && <LoopCrumb app={app} />}
          {current && (
            <span class="quiet facts">
              {endMark(current, null) ?? `up ${format.span(current.uptime_seconds)}`}
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
        <div class="tools">
          <ThemeButton app={app} />
          <button type="button" class="tool" onClick={onHelp} aria-label="Help" title="Help  ( ? )" data-testid="help-button">
            ?
          </button>
        </div>
      </div>
      <Views app={app} />
    </header>
  );
}

function LoopCrumb({ app }: { app: App }) {
  const { process, loop } = app;
  if (!process || !loop) return null;
  const all = [...process.loops.values()].map((track) => track.latest);
  return (
    <span class="crumb">
      <span class="quiet" aria-hidden="true">
        ›
      </span>
      {all.length === 1 ? (
        <span class="command">{loopLabel(loop.latest, all)}</span>
      ) : (
        <select
          class="loop-pick"
          aria-label="Loop"
          data-testid="loop-picker"
          value={String(loop.latest.id)}
          onChange={(event) => app.select({ loop: (event.currentTarget as HTMLSelectElement).value })}
        >
          {all.map((one) => (
            <option key={one.id} value={String(one.id)}>
              {loopLabel(one, all)}
            </option>
          ))}
        </select>
      )}
    </span>
  );
}

function Views({ app }: { app: App }) {
  const { view: chosen } = app.selection;
  const list = useRef<HTMLElement>(null);
  useEffect(() => {
    const tab = list.current?.querySelector<HTMLElement>('[aria-current]');
    const box = list.current;
    // Not scrollIntoView(): that would scroll the page, too.
    if (tab && box) box.scrollLeft = tab.offsetLeft - (box.clientWidth - tab.offsetWidth) / 2;
  }, [chosen]);
  const findings = bySeverity(app.process?.latest.findings ?? []);
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const links = [...(list.current?.querySelectorAll('a') ?? [])];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    if (!step || at < 0) return;
    event.preventDefault();
    links[(at + step + links.length) % links.length]!.focus();
  };
  return (
    <nav class="bar views" aria-label="Views" ref={list} onKeyDown={move}>
      {views.map((view, i) => (
        <a
          key={view}
          href={app.href({ view })}
          aria-current={chosen === view ? 'page' : undefined}
          aria-keyshortcuts={String(i + 1)}
          title={`${viewNames[view]}  ( ${i + 1} )`}
          data-testid={`view-${view}`}
        >
          {viewNames[view]}
          {view === 'findings' && findings.length > 0 && (
            <span class={`count ${findings[0]!.severity}`} data-testid="findings-count">
              {format.exact(findings.length)}
            </span>
          )}
        </a>
      ))}
    </nav>
  );
}

const themeMarks = { auto: '◐', light: '☀', dark: '☾' };

function ThemeButton({ app }: { app: App }) {
  const now = theme();
  const next = themes[(themes.indexOf(now) + 1) % themes.length]!;
  return (
    <button
      type="button"
      class="tool"
      data-testid="theme"
      data-theme-choice={now}
      aria-label={`Theme: ${now}; switch to ${next}`}
      title={`Theme: ${now}`}
      onClick={() => {
        setTheme(next);
        app.redraw();
      }}
    >
      <span aria-hidden="true">{themeMarks[now]}</span>
    </button>
  );
}
