// The keys that work everywhere on the page. A view's own keys are the view's; what it has dealt with (preventDefault) is
// not looked at here.
import type { View } from './selection';
import { views } from './selection';

export interface KeyActions {
  go: (view: View) => void;
  back: () => void;
  help: () => void;
  search: () => boolean;
}

type Pressed = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'defaultPrevented'>;

/** `typing`: the key goes into a field. Returns whether it was dealt with. */
export function onKey(event: Pressed, typing: boolean, actions: KeyActions): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  if (typing) return false;
  const { key } = event;
  const view = /^[1-9]$/.test(key) ? views[Number(key) - 1] : undefined;
  if (view) actions.go(view);
  else if (key === '?') actions.help();
  else if (key === 'Escape') actions.back();
  else return key === '/' && actions.search();
  return true;
}

/** For the help dialog. */
export const keyHelp: [keys: string, does: string][] = [
  ['1 – 6', 'the views, from left to right'],
  ['/', 'the filter of this view'],
  ['j k, ↓ ↑', 'to the next and the previous row'],
  ['Home End', 'to the first and the last row'],
  ['PgUp PgDn', 'a screenful up and down'],
  ['Enter', 'open the row'],
  ['Esc', 'close what is open; else back to the overview'],
  ['← →', 'along tabs, and from turn to turn'],
  ['Space', 'in the loop: hold the page, and back to live'],
  ['+ −', 'in the loop: zoom the charts; ← → pan them'],
  ['?', 'this help'],
];
