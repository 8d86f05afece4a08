// Lines to put into a file, with a button that copies them. Where the browser forbids that (no secure context), it selects them.
import { useEffect, useRef, useState } from 'preact/hooks';

const shownMs = 2000;

export function Snippet({ title, text }: { title: string; text: string }) {
  const [done, setDone] = useState<'' | 'copied' | 'selected'>('');
  const lines = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(''), shownMs);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(`${text}\n`);
      setDone('copied');
    } catch {
      if (lines.current) getSelection()?.selectAllChildren(lines.current);
      setDone('selected');
    }
  };
  return (
    <figure class="snippet" data-testid="snippet">
      <figcaption>
        <span>{title}</span>
        <button type="button" onClick={copy} aria-label={`Copy: ${title}`}>
          {done || 'copy'}
        </button>
      </figcaption>
      {/* Scrolls when it is too wide: then the keyboard must reach it. */}
      <pre ref={lines} tabIndex={0} aria-label={title}>
        {text}
      </pre>
      <span class="unseen" role="status">
        {done}
      </span>
    </figure>
  );
}
