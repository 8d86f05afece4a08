// One stream of snapshots that looks after itself: reconnects with back-off, notices silence, wakes with the tab.
// There is never more than one request: every way to a new one goes through open(), which ends the one before.
import { EventParser } from './sse';
import type { Snapshot } from './model';

export type Connection =
  | { state: 'connecting'; since: number }
  | { state: 'live' }
  | { state: 'waiting'; retryAt: number; reason: string }
  | { state: 'unauthorized'; refused: boolean }
  /** None: a page that was taken away, with the data of that time (seconds since the epoch). */
  | { state: 'saved'; at: number };

export interface StreamOptions {
  url: string;
  token: () => string | null;
  onSnapshot: (snapshot: Snapshot, firstOfConnection: boolean) => void;
  onState: (connection: Connection) => void;
  fetch?: typeof fetch;
  now?: () => number;
}

/** Events come every 0.4 s. Seven missed in a row are a dead peer, not jitter. */
export const silenceMs = 3000;
/** A server that accepts and then says nothing (a stopped process) must not hold the page for ever. */
const connectMs = 10_000;
const backoffMs = { first: 500, most: 5000 };

export function nextDelay(previous: number): number {
  return previous === 0 ? backoffMs.first : Math.min(backoffMs.most, previous * 2);
}

export class SnapshotStream {
  /** performance.now() of the last event; null before the first. */
  lastEventAt: number | null = null;
  private abort: AbortController | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private watchdog: ReturnType<typeof setTimeout> | undefined;
  private delay = 0;
  private connection: Connection = { state: 'connecting', since: 0 };
  private readonly now: () => number;
  private readonly fetch: typeof fetch;

  constructor(private readonly options: StreamOptions) {
    this.now = options.now ?? (() => performance.now());
    this.fetch = options.fetch ?? ((...args) => fetch(...args));
  }

  start(): void {
    this.open();
  }

  stop(): void {
    this.abort?.abort();
    this.abort = null;
    clearTimeout(this.retryTimer);
    clearTimeout(this.watchdog);
  }

  /** The tab became visible or the network came back: do not sit out the back-off, do not trust an old connection. */
  wake(): void {
    const { state } = this.connection;
    if (state === 'unauthorized') return;
    const silent = this.lastEventAt === null || this.now() - this.lastEventAt > silenceMs;
    if (state === 'waiting' || (state === 'live' && silent)) {
      this.delay = 0;
      this.open();
    }
  }

  /** With a new token. */
  retry(): void {
    this.delay = 0;
    this.open();
  }

  private set(connection: Connection): void {
    this.connection = connection;
    this.options.onState(connection);
  }

  private fail(reason: string): void {
    this.stop();
    this.delay = nextDelay(this.delay);
    this.set({ state: 'waiting', retryAt: this.now() + this.delay, reason });
    this.retryTimer = setTimeout(() => this.open(), this.delay);
  }

  private expectWithin(ms: number, abort: AbortController, reason: string): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => {
      if (this.abort === abort) this.fail(reason);
    }, ms);
  }

  private open(): void {
    this.stop();
    const abort = new AbortController();
    this.abort = abort;
    if (this.connection.state !== 'connecting') this.set({ state: 'connecting', since: this.now() });
    this.expectWithin(connectMs, abort, 'the server does not answer');
    void this.run(abort);
  }

  private async run(abort: AbortController): Promise<void> {
    // After every await: is this still the connection? An aborted one may yet deliver what it had in hand.
    const mine = () => this.abort === abort;
    let answered = false;
    try {
      const token = this.options.token();
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (token) headers['Authorization'] = `Bearer ${token}`;
      const response = await this.fetch(this.options.url, { headers, cache: 'no-store', signal: abort.signal });
      if (!mine()) return;
      if (response.status === 401) {
        this.stop();
        this.set({ state: 'unauthorized', refused: token !== null });
        return;
      }
      if (!response.ok || !response.body) {
        this.fail(await explain(response));
        return;
      }
      answered = true;
      this.expectWithin(silenceMs, abort, 'no update for 3 s');
      let first = true;
      const parser = new EventParser((event) => {
        if (event.name !== 'snapshot' || !mine()) return;
        const snapshot = JSON.parse(event.data) as Snapshot;
        this.lastEventAt = this.now();
        this.delay = 0;
        if (this.connection.state !== 'live') this.set({ state: 'live' });
        const whole = first;
        first = false;
        try {
          this.options.onSnapshot(snapshot, whole);
        } catch (error) {
          // Not the network's fault, and must not look like it.
          console.error(error);
          this.fail('this page cannot read what the server sends');
        }
      });
      const reader = response.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (!mine()) return;
        if (done) break;
        this.expectWithin(silenceMs, abort, 'no update for 3 s');
        parser.push(decoder.decode(value, { stream: true }));
        if (!mine()) return;
      }
      this.fail('the server closed the connection');
    } catch (error) {
      if (!mine()) return;
      // Tell a bug of ours (or a foreign schema) from a network failure, which fetch reports as TypeError.
      const text = error instanceof SyntaxError ? 'the server sent something that is not JSON' : '';
      if (!(error instanceof TypeError) && !(error instanceof SyntaxError)) console.error(error);
      this.fail(text || (answered ? 'the connection broke' : 'the server cannot be reached'));
    }
  }
}

async function explain(response: Response): Promise<string> {
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    if (body.error?.message) return `HTTP ${response.status}: ${body.error.message}`;
  } catch {
    // not JSON: the status has to do
  }
  return `HTTP ${response.status}`;
}
