// The page's one piece of state and the only place that changes it. Components read it and call its methods.
import { tokenKey } from './api';
import { banners, goneSeconds, staleSeconds, type Banner } from './banners';
import { thaw, type SavedPage } from './frozen';
import type { Process } from './model';
import { busyLoop, changed, chooseProcess, enoughTurns, formatHash, parseHash, settle, successor, type Selection } from './selection';
import { LoopTrack, ProcessTrack, Store } from './store';
import { SnapshotStream, type Connection } from './stream';
import type { SeenTurn } from './turns';

export interface Pause {
  process: string;
  /** Server time at which the lines stop. */
  time: number;
  /** The strips as they were: the live ones move on. */
  turns: Map<string, SeenTurn[]>;
}

export class App {
  readonly store: Store;
  readonly stream: SnapshotStream;
  connection: Connection = { state: 'connecting', since: 0 };
  selection: Selection;
  pause: Pause | null = null;
  /** Counts changes; components that cache compare it. */
  version = 0;
  private last: Process | null = null;
  /** The process that the page has decided to open with. */
  private settled: string | null = null;
  /** The loop that was opened with, as "process loop": it stays, whatever others do later. */
  private opened: { process: string; loop: string } | null = null;
  private restart: { from: number; to: number; at: number; sameCommand: boolean } | null = null;
  private listener: () => void = () => {};
  private frame = 0;

  /** `saved`: the page was taken away and lives without a server, from what its document holds. */
  constructor(readonly saved: SavedPage | null = null) {
    this.store = saved ? thaw(saved.page) : new Store();
    this.selection = parseHash(location.hash || (saved?.hash ?? ''));
    this.stream = new SnapshotStream({
      url: 'api/v1/stream',
      token: () => sessionStorage.getItem(tokenKey),
      onSnapshot: (snapshot, first) => {
        this.store.ingest(snapshot, first);
        this.follow();
        this.changed();
      },
      onState: (connection) => {
        this.connection = connection;
        this.changed();
      },
    });
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      if (!this.offline) this.stream.wake();
      this.changed();
    });
    addEventListener('online', () => this.offline || this.stream.wake());
    addEventListener('hashchange', () => {
      this.selection = parseHash(location.hash);
      if (this.selection.process !== null) this.last = null; // chosen by hand: not a restart
      this.follow();
      this.changed();
    });
  }

  /** Nothing can be fetched: there is no server behind this page. */
  get offline(): boolean {
    return this.saved !== null;
  }

  start(listener: () => void): void {
    this.listener = listener;
    if (this.saved) {
      this.connection = { state: 'saved', at: this.saved.page.time };
      this.follow();
      this.changed();
      return;
    }
    this.stream.start();
    // Ages and countdowns move without events, but only when there is one to show.
    setInterval(() => {
      if (this.connection.state !== 'live' || this.silent === null || this.silent > staleSeconds) this.changed();
    }, 500);
  }

  /** Something outside of this state has changed what is to be seen. */
  redraw(): void {
    this.changed();
  }

  /** At most one rendering per frame, none while hidden: the data is kept, the pixels can wait. */
  private changed(): void {
    this.version++;
    if (document.hidden || this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.listener();
    });
  }

  private follow(): void {
    const processes = [...this.store.processes.values()].map((track) => track.latest);
    const load = (p: Process) => this.store.processes.get(p.id)?.load ?? null;
    const chosen = chooseProcess(this.selection.process ?? this.last?.id ?? null, this.last, processes, load);
    const { restarted } = chosen;
    let { process } = chosen;
    if (!process) return;
    if (restarted) this.settled = process.id; // whoever takes a place keeps it
    if (this.selection.process === null && this.settled !== process.id) {
      const opening = settle(process, processes, load);
      process = opening.process;
      if (opening.settled) this.settled = process.id;
    }
    if (restarted && this.last) {
      const sameCommand = this.last.command === process.command;
      this.restart = { from: this.last.pid, to: process.pid, at: performance.now(), sameCommand };
      this.pause = null;
      // A loop of the same name in the new process is the one to look at.
      const name = this.last.loops.find((loop) => String(loop.id) === this.selection.loop)?.name;
      const heir = process.loops.find((loop) => loop.name === name);
      this.select({ process: this.selection.process === null ? null : process.id, loop: heir ? String(heir.id) : null });
    }
    if (this.pause && this.pause.process !== process.id) this.pause = null;
    this.last = process;
    this.store.watched = process.id;
    if (this.opened?.process !== process.id) {
      const loop = busyLoop(process.loops);
      this.opened = loop && loop.iterations >= enoughTurns ? { process: process.id, loop: String(loop.id) } : null;
    }
  }

  select(change: Partial<Selection>): void {
    this.put(this.after(change));
  }

  private after(change: Partial<Selection>): Selection {
    return changed(this.selection, change, { process: this.last?.id ?? null, loop: this.loop ? String(this.loop.latest.id) : null });
  }

  private put(selection: Selection): void {
    this.selection = selection;
    history.replaceState(null, '', formatHash(selection) || location.pathname + location.search);
    this.changed();
  }

  /** The address of another view, process or loop: for real links, which the keyboard, a middle click and Back understand. */
  href(change: Partial<Selection>): string {
    return formatHash(this.after(change)) || '#';
  }

  /** A setting of one view's own, kept in the address; null forgets it. Names are the view's: `sort`, `q`, ... prefixed by it. */
  remember(name: string, value: string | null): void {
    const { [name]: _, ...own } = this.selection.own;
    this.put({ ...this.selection, own: value === null ? own : { ...own, [name]: value } });
  }

  recall(name: string): string | null {
    return this.selection.own[name] ?? null;
  }

  selectProcess(id: string): void {
    this.select({ process: id, loop: null });
    this.last = this.store.processes.get(id)?.latest ?? null;
    this.store.watched = id;
    this.restart = null;
    this.pause = null;
  }

  get process(): ProcessTrack | null {
    return this.last ? (this.store.processes.get(this.last.id) ?? null) : null;
  }

  get loop(): LoopTrack | null {
    const process = this.process;
    if (!process) return null;
    const opened = this.opened?.process === process.latest.id ? this.opened.loop : String(busyLoop(process.latest.loops)?.id);
    return process.loops.get(this.selection.loop ?? '') ?? process.loops.get(opened) ?? process.loops.values().next().value ?? null;
  }

  /** Seconds since the last event arrived. */
  get silent(): number | null {
    return this.stream.lastEventAt === null ? null : (performance.now() - this.stream.lastEventAt) / 1000;
  }

  /** The server was part of the process, and has not answered for a while: it went with it, as far as one can tell from here. */
  get gone(): boolean {
    const { state } = this.connection;
    return this.store.server?.mode === 'inspector' && (state === 'waiting' || state === 'connecting') && (this.silent ?? 0) >= goneSeconds;
  }

  /** The server's clock, carried on by ours while no event comes: what ages are counted from. */
  get now(): number {
    return (this.store.time ?? 0) + (this.silent ?? 0);
  }

  get connectionText(): { kind: 'live' | 'stale' | 'lost' | 'connecting' | 'locked' | 'saved'; text: string } {
    const { connection, silent } = this;
    switch (connection.state) {
      case 'saved':
        return { kind: 'saved', text: 'saved page' };
      case 'unauthorized':
        return { kind: 'locked', text: 'token needed' };
      case 'waiting': {
        const seconds = Math.ceil((connection.retryAt - performance.now()) / 1000);
        return { kind: 'lost', text: seconds > 0 ? `reconnecting in ${seconds}\u00a0s` : 'reconnecting' };
      }
      case 'connecting':
        return silent === null ? { kind: 'connecting', text: 'connecting' } : { kind: 'lost', text: 'reconnecting' };
      case 'live':
        return silent !== null && silent > staleSeconds ? { kind: 'stale', text: 'stale' } : { kind: 'live', text: 'live' };
    }
  }

  get banners(): Banner[] {
    const process = this.process;
    const { connection } = this;
    const endedAgo = process?.endedAt == null ? null : Math.max(0, this.now - process.endedAt);
    return banners({
      connection,
      silent: this.silent,
      retryIn: connection.state === 'waiting' ? (connection.retryAt - performance.now()) / 1000 : null,
      process: process?.latest ?? null,
      endedAgo,
      endedAt: process?.endedAt ?? null,
      inProcess: this.store.server?.mode === 'inspector',
      restart: this.restart && { ...this.restart, ago: (performance.now() - this.restart.at) / 1000 },
      foreignSchema: this.store.foreignSchema,
    });
  }

  /** A dead process is on screen and a younger one of its command runs. */
  get heir(): Process | null {
    const process = this.process;
    if (!process || process.running) return null;
    const found = successor(process.latest, [...this.store.processes.values()].map((track) => track.latest));
    return found ? (this.store.processes.get(found.id)?.latest ?? null) : null;
  }

  togglePause(): void {
    const process = this.process;
    if (this.pause || !process) this.pause = null;
    else {
      const turns = new Map([...process.loops].map(([id, loop]) => [id, loop.turns.recent]));
      this.pause = { process: process.latest.id, time: process.time, turns };
    }
    this.changed();
  }

  setToken(token: string): void {
    sessionStorage.setItem(tokenKey, token);
    this.stream.retry();
  }
}
