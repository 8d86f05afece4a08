// Which colour a cause of busy time has in the turn strip: a handful of colours for the names that take most, the same
// colour for as long as a name matters. The rest is grey. Pure.
import { causeOf, type Cause, type SeenTurn } from './turns';

export const causeColors = 6;

export interface CauseEntry {
  name: string;
  /** Busy time of the turns it gave their colour to. */
  seconds: number;
  turns: number;
  /** 0 … causeColors - 1; null: grey. */
  color: number | null;
}

export class CauseColors {
  private readonly slots: (string | null)[] = new Array<string | null>(causeColors).fill(null);
  private readonly known = new WeakMap<SeenTurn, Cause | null>();

  /** Asked for every bar of every frame: worked out once a turn. */
  cause(turn: SeenTurn): Cause | null {
    let cause = this.known.get(turn);
    if (cause === undefined) this.known.set(turn, (cause = causeOf(turn)));
    return cause;
  }

  colorOf(turn: SeenTurn): number | null {
    const cause = this.cause(turn);
    return cause && this.slotOf(cause.name);
  }

  slotOf(name: string): number | null {
    const slot = this.slots.indexOf(name);
    return slot < 0 ? null : slot;
  }

  /** Names by what they took, most first, and colours for the first of them. */
  rank(turns: readonly SeenTurn[]): CauseEntry[] {
    const sums = new Map<string, { seconds: number; turns: number }>();
    for (const turn of turns) {
      const cause = this.cause(turn);
      if (!cause) continue;
      const sum = sums.get(cause.name) ?? { seconds: 0, turns: 0 };
      sums.set(cause.name, { seconds: sum.seconds + cause.seconds, turns: sum.turns + 1 });
    }
    const ranked = [...sums].sort((a, b) => b[1].seconds - a[1].seconds || (a[0] < b[0] ? -1 : 1));
    this.assign(ranked.map(([name]) => name));
    return ranked.map(([name, sum]) => ({ name, ...sum, color: this.slotOf(name) }));
  }

  private assign(ranked: readonly string[]): void {
    const rank = (name: string | null) => (name === null ? Infinity : ranked.includes(name) ? ranked.indexOf(name) : Infinity);
    ranked.slice(0, causeColors).forEach((name, place) => {
      if (this.slots.includes(name)) return;
      const first = hash(name) % causeColors;
      const order = this.slots.map((_, i) => (first + i) % causeColors);
      let slot = order.find((i) => this.slots[i] === null);
      if (slot === undefined) {
        // The one that matters least gives its colour up: to a name on top at once, to one at the edge only when it is far
        // behind, or the two would change places at every event.
        const last = order.reduce((worst, i) => (rank(this.slots[i]!) > rank(this.slots[worst]!) ? i : worst));
        const far = place < causeColors - 1 ? causeColors - 1 : 2 * causeColors - 1;
        if (rank(this.slots[last]!) <= far) return;
        slot = last;
      }
      this.slots[slot] = name;
    });
  }
}

/** FNV-1a: the same name prefers the same colour in every loop and after every reload. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return h;
}
