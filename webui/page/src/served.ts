// What was served in one turn: from the turn itself, or asked for at /api/v1/turns.
import { getJson } from './api';
import { turnsSchema, type Served, type Turn, type Turns } from './model';

export type Detail =
  | { state: 'known'; served: readonly Served[]; more: number }
  | { state: 'asking' }
  /** The ring has overwritten it. */
  | { state: 'gone' }
  /** This source does not write it down. */
  | { state: 'blind' }
  | { state: 'failed'; why: string };

/** null: it has to be asked for. */
export const detailOf = (turn: Turn): Detail | null => (turn.served ? { state: 'known', served: turn.served, more: turn.served_lost ?? 0 } : null);

export function detailFrom(answer: Turns, number: number): Detail {
  if (answer.schema !== turnsSchema) return { state: 'failed', why: `the server speaks ${String(answer.schema)}, this page ${turnsSchema}` };
  const turn = answer.turns.find((each) => each.turn === number);
  if (!turn) return { state: 'gone' };
  return detailOf(turn) ?? { state: 'blind' };
}

/** From what a saved page carries: there is nobody to ask. */
export function savedDetail(turns: readonly Turn[], number: number): Detail {
  const turn = turns.find((each) => each.turn === number);
  return (turn && detailOf(turn)) ?? { state: 'failed', why: 'this saved page does not carry it' };
}

/** Never throws; `signal` ends it. */
export async function ask(process: string, loop: string, number: number, signal: AbortSignal): Promise<Detail> {
  try {
    return detailFrom(await getJson<Turns>('api/v1/turns', { process, loop, from: String(number), to: String(number) }, signal), number);
  } catch (error) {
    return { state: 'failed', why: error instanceof Error ? error.message : String(error) };
  }
}

export interface Rows {
  /** In the order of time. */
  rows: (Served & { share: number })[];
  /** Busy time that none of them took. */
  rest: number;
  restShare: number;
}

/** Shares of the turn's busy time. Two clocks are read per part: sums may exceed the whole by nanoseconds. */
export function rowsOf(turn: Turn, served: readonly Served[]): Rows {
  const whole = Math.max(turn.busy, 1e-9);
  const rows = served.slice().sort((a, b) => a.start - b.start).map((part) => ({ ...part, share: part.seconds / whole }));
  const rest = Math.max(0, turn.busy - served.reduce((sum, part) => sum + part.seconds, 0));
  return { rows, rest, restShare: rest / whole };
}

/** "48× the median": how a duration compares; null where nothing is usual yet. */
export function times(value: number, usual: number | null | undefined): string | null {
  if (!usual || !(usual > 0)) return null;
  const factor = value / usual;
  if (factor >= 99.5) return `${Math.round(factor).toString().replace(/\B(?=(\d{3})+$)/g, ',')}×`;
  return `${factor >= 9.95 ? factor.toFixed(0) : factor >= 0.095 ? factor.toFixed(1) : factor.toFixed(2)}×`;
}
