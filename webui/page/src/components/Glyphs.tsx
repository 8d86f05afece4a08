// Shapes that say what colours say: a state or a severity is told by its outline alone.
import type { StateKind } from '../overview';

export function StateGlyph({ kind }: { kind: StateKind }) {
  return (
    <svg class={`state-glyph ${kind}`} viewBox="0 0 14 14" width="13" height="13" aria-hidden="true">
      {kind === 'polling' && <circle class="outline" cx="7" cy="7" r="4.5" />}
      {(kind === 'dispatching' || kind === 'runs') && <circle class="solid" cx="7" cy="7" r="5" />}
      {kind === 'stalled' && <path class="solid" d="M4.4.8h5.2l3.6 3.6v5.2l-3.6 3.6H4.4L.8 9.6V4.4zM6.1 3.3v4.4h1.8V3.3zm0 5.6v1.8h1.8V8.9z" fill-rule="evenodd" />}
      {kind === 'outside' && <path class="outline" d="M2 7h10" />}
      {kind === 'ended' && <path class="outline" d="M2.5 2.5h9v9h-9z" />}
      {kind === 'killed' && <path class="outline" d="M2.5 2.5l9 9m0-9l-9 9" />}
    </svg>
  );
}

export type Level = 'good' | 'unknown' | 'info' | 'warning' | 'error';

const shapes: Record<Level, string> = {
  good: 'M7 .5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13zM6 9.9l4.6-4.6-1.1-1.1L6 7.7 4.5 6.2 3.4 7.3z',
  unknown: 'M7 .5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13zM3 6.2v1.6h1.7V6.2zm3.1 0v1.6h1.7V6.2zm3.2 0v1.6H11V6.2z',
  info: 'M7 .5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13zM6.2 6v4.6h1.6V6zm0-2.6v1.7h1.6V3.4z',
  warning: 'M7 .8l6.6 12H.4zM6.2 5v4h1.6V5zm0 5v1.6h1.6V10z',
  error: 'M4.4.8h5.2l3.6 3.6v5.2l-3.6 3.6H4.4L.8 9.6V4.4zM6.1 3.3v4.4h1.8V3.3zm0 5.6v1.8h1.8V8.9z',
};

export function LevelGlyph({ level, size = 14 }: { level: Level; size?: number }) {
  return (
    <svg class={`level-glyph ${level}`} viewBox="0 0 14 14" width={size} height={size} aria-hidden="true">
      <path d={shapes[level]} fill-rule="evenodd" />
    </svg>
  );
}
