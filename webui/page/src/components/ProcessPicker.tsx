// Whom to look at: a button with the process on screen, which opens the tree of all of them.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import type { Process } from '../model';
import { endMark, treeRows, type TreeRow } from '../tree';

/** Fewer than this are found by looking. */
const filterFrom = 12;
const deepest = 12;
/** A directory of others' may hold any number of files that cannot be read. */
const unreadableShown = 3;

export function ProcessPicker({ app, current }: { app: App; current: Process | null }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = (refocus: boolean) => {
    setOpen(false);
    if (refocus) button.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => !box.current?.contains(event.target as Node) && close(false);
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);
  return (
    <div
      class="picker"
      ref={box}
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || !open) return;
        event.preventDefault(); // or the page would go back to the overview as well
        close(true);
      }}
      onFocusOut={(event) => event.relatedTarget && !box.current?.contains(event.relatedTarget as Node) && close(false)}
    >
      <button
        type="button"
        class="picked"
        ref={button}
        aria-haspopup="tree"
        aria-expanded={open}
        aria-label={current ? `Process: ${current.command}, pid ${current.pid}` : 'Process'}
        data-testid="process-picker"
        data-pid={current?.pid}
        onClick={() => setOpen(!open)}
      >
        <b>{current?.command ?? 'choose a process'}</b> <span class="quiet">{current && `pid ${current.pid}`}</span>
        <span aria-hidden="true">▾</span>
      </button>
      {open && (
        <Tree
          app={app}
          current={current}
          onPick={(id) => {
            app.selectProcess(id);
            close(true);
          }}
        />
      )}
    </div>
  );
}

function Tree({ app, current, onPick }: { app: App; current: Process | null; onPick: (id: string) => void }) {
  const [search, setSearch] = useState('');
  const list = useRef<HTMLDivElement>(null);
  const filter = useRef<HTMLInputElement>(null);
  const total = app.store.processes.size;
  const { folded, unreadable } = app.store;
  const rows = useMemo(() => {
    const words = search.trim().toLowerCase().split(/\s+/);
    const text = (p: Process) => `${p.command} ${p.pid} ${(p.argv ?? []).join(' ')} ${endMark(p, null) ?? 'running'}`.toLowerCase();
    const wanted = (p: Process) => words.every((word) => text(p).includes(word));
    return treeRows([...app.store.processes.values()].map((track) => track.latest), wanted);
  }, [app.version, search]);

  const items = () => [...(list.current?.querySelectorAll<HTMLElement>('[role=treeitem]') ?? [])];
  useEffect(() => {
    const selected = items().find((item) => item.getAttribute('aria-selected') === 'true');
    selected?.scrollIntoView({ block: 'nearest' });
    (filter.current ?? selected ?? items()[0])?.focus({ preventScroll: true });
  }, []);
  const move = (event: KeyboardEvent) => {
    const all = items();
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || (at < 0 && event.key !== 'ArrowDown')) return; // Home and End belong to the filter's text
    event.preventDefault();
    if (to < 0) filter.current?.focus();
    else all[Math.min(to, all.length - 1)]?.focus();
  };
  const tabbable = rows.some((row) => row.process.id === current?.id) ? current?.id : rows[0]?.process.id;
  return (
    <div class="tree card" onKeyDown={move}>
      {total >= filterFrom && (
        <input
          type="search"
          ref={filter}
          placeholder="Filter by name, pid, argument, “killed”, …"
          aria-label="Filter processes"
          value={search}
          onInput={(event) => setSearch((event.currentTarget as HTMLInputElement).value)}
        />
      )}
      <div role="tree" aria-label="Processes" ref={list} class="tree-rows" data-testid="process-tree">
        {rows.map((row) => (
          <Row
            key={row.process.id}
            row={row}
            app={app}
            selected={row.process.id === current?.id}
            tabIndex={row.process.id === tabbable ? 0 : -1}
            onPick={() => onPick(row.process.id)}
          />
        ))}
      </div>
      {rows.length === 0 && <p class="quiet note">No process matches.</p>}
      {folded !== null && folded.count > 0 && (
        <p class="quiet note">
          and {format.exact(folded.count)} more that ended: {format.exact(folded.exited)} exited, {format.exact(folded.killed)} killed
        </p>
      )}
      {unreadable.slice(0, unreadableShown).map(({ path, error }) => (
        <p key={path} class="quiet note" data-testid="unreadable">
          {error}
        </p>
      ))}
      {unreadable.length > unreadableShown && <p class="quiet note">and {format.exact(unreadable.length - unreadableShown)} more that cannot be read</p>}
    </div>
  );
}

function Row(props: { row: TreeRow<Process>; app: App; selected: boolean; tabIndex: number; onPick: () => void }) {
  const { row, app, onPick } = props;
  const { process, depth } = row;
  const load = app.store.processes.get(process.id)?.load ?? null;
  const mark = endMark(process, row.became);
  const loops = process.loops.length;
  const bad = process.state === 'killed' || Boolean(process.exit_status);
  return (
    <div
      role="treeitem"
      aria-level={depth + 1}
      aria-selected={props.selected}
      tabIndex={props.tabIndex}
      class={`tree-row ${mark === null ? '' : 'over'}`}
      title={(process.argv ?? []).join(' ')}
      data-pid={process.pid}
      data-depth={depth}
      data-ended={mark ?? ''}
      onClick={onPick}
      onKeyDown={(event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        onPick();
      }}
    >
      <span class="tree-name" style={{ paddingLeft: `${Math.min(depth, deepest) * 18}px` }}>
        <span class={`glyph ${mark === null ? 'runs' : ''}`} aria-hidden="true" />
        <b>{process.command}</b> <span class="quiet">{(process.argv ?? []).slice(1).join(' ')}</span>
      </span>
      <span class="quiet">{process.pid}</span>
      {mark !== null ? (
        <span class="tree-state">
          <span class={`badge ${bad ? 'error' : ''}`}>{mark}</span>
        </span>
      ) : load ? (
        <span class="tree-state">
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${load.utilization * 100}%` }} />
          </span>
          {format.percent(load.utilization)} busy
        </span>
      ) : (
        <span class="tree-state quiet">{loops > 0 ? 'has not turned yet' : 'no loop'}</span>
      )}
    </div>
  );
}
