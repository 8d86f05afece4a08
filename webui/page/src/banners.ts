// The sentences above the page when something is not as it seems. Pure: what is known in, sentences out.
import * as format from './format';
import type { Process } from './model';
import type { Connection } from './stream';
import { endText } from './tree';

export interface Banner {
  key: string;
  level: 'info' | 'warning' | 'error';
  text: string;
  /** What is kept here may be all that is left: offer it. */
  keep?: boolean;
}

export interface BannerInput {
  connection: Connection;
  /** Seconds since the last snapshot arrived, null before the first. */
  silent: number | null;
  /** Seconds until the next attempt, when one is scheduled. */
  retryIn: number | null;
  process: Pick<Process, 'pid' | 'state' | 'ended' | 'exit_status' | 'signal'> | null;
  /** How long ago the process ended, null unknown. */
  endedAgo: number | null;
  restart: { from: number; to: number; ago: number; sameCommand: boolean } | null;
  foreignSchema: string | null;
  /** When the process ended, seconds since the epoch; null unknown. */
  endedAt: number | null;
  /** The server lives inside of the process: with the one the other is gone. */
  inProcess: boolean;
}

/** A connection that was lost for less than this is not worth a shout: most reconnect at once. */
export const staleSeconds = 1.5;
const restartShownSeconds = 60;
/** After so long without a server what the page holds is worth keeping. */
export const goneSeconds = 5;

export function banners(input: BannerInput): Banner[] {
  const out: Banner[] = [];
  const { connection, process } = input;
  if (connection.state === 'saved') {
    out.push({ key: 'saved', level: 'info', text: `Saved page: what was known on ${format.day(connection.at)} at ${format.clock(connection.at)}; nothing here is live` });
  }
  const lost = connection.state === 'waiting' || (connection.state === 'connecting' && input.silent !== null);
  if (lost && (input.silent === null || input.silent >= staleSeconds)) {
    const reason = connection.state === 'waiting' ? ` (${connection.reason})` : '';
    const when =
      input.retryIn !== null && input.retryIn > 0.05 ? `retrying in ${Math.ceil(input.retryIn)}\u00a0s` : 'retrying';
    const rest = input.silent === null ? '' : ` — showing what was known ${format.span(input.silent)} ago`;
    const head = input.silent === null ? 'No connection to the server' : 'Connection lost';
    const gone = input.inProcess && (input.silent ?? 0) >= goneSeconds ? '. This server is part of the process, which has probably ended.' : '';
    out.push({ key: 'connection', level: 'error', text: `${head}${reason}, ${when}${rest}${gone}`, keep: (input.silent ?? 0) >= goneSeconds });
  } else if (connection.state === 'live' && input.silent !== null && input.silent >= staleSeconds) {
    out.push({ key: 'stale', level: 'warning', text: `No update for ${format.span(input.silent)} — what you see may be old` });
  }
  if (input.foreignSchema !== null) {
    out.push({
      key: 'schema',
      level: 'error',
      text: `The server speaks ${input.foreignSchema}, this page only understands loopscope.snapshot/1: reload the page`,
    });
  }
  if (process && process.state !== 'running') {
    const at = input.endedAt === null ? '' : ` at ${format.clock(input.endedAt)},`;
    const ago = input.endedAgo === null ? '' : `${at} ${format.span(input.endedAgo)} ago`;
    const level = process.state === 'killed' || process.exit_status ? 'error' : 'warning';
    out.push({ key: 'ended', level, text: `Process ${process.pid} ${endText(process)}${ago} — showing its last state`, keep: process.ended !== 'exec' });
  }
  if (input.restart && input.restart.ago < restartShownSeconds) {
    const { from, to, ago, sameCommand } = input.restart;
    const text = sameCommand
      ? `Process ${from} restarted as ${to}, noticed ${format.span(ago)} ago — history begins anew`
      : `Process ${from} is gone — showing process ${to} instead`;
    out.push({ key: 'restart', level: 'info', text });
  }
  return out;
}
