// A turn that another view links to, by its number: one that the page remembers, else one that the server's ring still holds.
import { getJson } from './api';
import type { Turns } from './model';
import { isSlow, merged, type SeenTurn, type TurnLog } from './turns';

/** null: nobody has it any more. Throws as getJson() does. */
export async function turnOf(log: TurnLog, number: string, at: { process: string; loop: string }, signal: AbortSignal): Promise<SeenTurn | null> {
  const known = merged(log.notable, log.recent).find((turn) => String(turn.turn) === number);
  if (known) return known;
  const answer = await getJson<Turns>('api/v1/turns', { ...at, from: number, to: number }, signal);
  const turn = answer.turns.find((each) => String(each.turn) === number);
  return turn ? { ...turn, slow: isSlow(turn.busy, log.rule) } : null;
}
