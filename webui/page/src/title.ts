// The document's title: among twenty tabs it says which process this is about, and whether somebody has to look.
import { visible } from './format';
import type { Headline } from './overview';

const marks: Record<Headline['level'], string> = { error: '✖ ', warning: '▲ ', info: '', unknown: '', good: '' };

/** `subject`: the process, or how many there are. `lost`: there is no server to tell, so nothing is claimed about now. */
export function titleOf(said: Headline | null, subject: string | null, lost: boolean): string {
  const state = lost ? 'no connection' : said ? marks[said.level] + said.short : '';
  return [state.trim(), subject && visible(subject), 'loopscope'].filter(Boolean).join(' · ');
}
