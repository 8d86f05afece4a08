// Light or dark: as the system has it, or as chosen. The answer is <html data-theme>; colours live in CSS, canvases ask for
// them here.

export const themes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const storageKey = 'loopscope-theme';
const dark = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();
let chosen: Theme = recall();

/** A saved page may be opened where storage is refused: then the choice lasts as long as the page. */
function recall(): Theme {
  try {
    const text = localStorage.getItem(storageKey) as Theme;
    return themes.includes(text) ? text : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = (): Theme => chosen;

export function setTheme(next: Theme): void {
  chosen = next;
  try {
    if (next === 'auto') localStorage.removeItem(storageKey);
    else localStorage.setItem(storageKey, next);
  } catch {
    // see recall()
  }
  applyTheme();
}

/** Before anything is painted, and again whenever the system or the reader changes their mind. */
export function applyTheme(): void {
  const shown = chosen === 'auto' ? (dark.matches ? 'dark' : 'light') : chosen;
  const { dataset } = document.documentElement;
  if (dataset['theme'] === shown) return;
  dataset['theme'] = shown;
  for (const listener of listeners) listener();
}
dark.addEventListener('change', applyTheme);

export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Calls back when light turns to dark or back. Returns how to stop. */
export function onThemeChange(callback: () => void): () => void {
  listeners.add(callback);
  return () => listeners.delete(callback);
}

export const canvasFont = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
