// A command to run elsewhere, with a button that copies it. Where the browser forbids that (no secure context), it selects it.
import { useEffect, useRef, useState } from 'preact/hooks';

const shownSeconds = 2;

export function Command({ text }: { text: string }) {
  const [done, setDone] = useState<'' | 'copied' | 'selected'>('');
  const code = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(''), shownSeconds * 1000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone('copied');
    } catch {
      if (code.current) getSelection()?.selectAllChildren(code.current);
      setDone('selected');
    }
  };
  return (
    <span class="command-line">
      {/* Scrolls when it is too long: then the keyboard must reach it. */}
      <code ref={code} tabIndex={0} aria-label="command">
        {text}
      </code>
      <button type="button" class="copy" onClick={copy} aria-label={`Copy: ${text}`}>
        {done || 'copy'}
      </button>
      <span class="unseen" role="status">
        {done}
      </span>
    </span>
  );
}
