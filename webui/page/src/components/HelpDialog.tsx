// The keys and all the words, in one place.
import { useEffect, useRef, useState } from 'preact/hooks';
import { help, helpName, helpText, type HelpKey } from '../help';
import { keyHelp } from '../keys';

export function HelpDialog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [search, setSearch] = useState('');
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open && dialog.current?.open) dialog.current.close();
  }, [open]);
  const words = search.trim().toLowerCase();
  const keys = (Object.keys(help) as HelpKey[]).filter((key) => `${helpName(key)} ${helpText(key)}`.toLowerCase().includes(words));
  keys.sort((a, b) => helpName(a).localeCompare(helpName(b)));
  return (
    <dialog
      ref={dialog}
      class="help-dialog"
      aria-labelledby="help-title"
      data-testid="help-dialog"
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      {open && (
        <div class="help-box">
          <div class="help-head">
            <h2 id="help-title">Help</h2>
            <button type="button" onClick={onClose} aria-label="Close">
              ✕
            </button>
          </div>
          <h3>Keys</h3>
          <dl class="keys">
            {keyHelp.map(([key, does]) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
          <div class="help-head">
            <h3>What each number is</h3>
            <input
              type="search"
              placeholder="Find a word"
              aria-label="Find a word"
              value={search}
              onInput={(event) => setSearch((event.currentTarget as HTMLInputElement).value)}
            />
          </div>
          <dl class="terms">
            {keys.map((key) => (
              <div key={key}>
                <dt>{helpName(key)}</dt>
                <dd>
                  <HelpParts about={key} />
                </dd>
              </div>
            ))}
          </dl>
          {keys.length === 0 && <p class="quiet">No such word.</p>}
        </div>
      )}
    </dialog>
  );
}

function HelpParts({ about }: { about: HelpKey }) {
  const { what, high, normal, unit } = help[about];
  return (
    <>
      {what}
      {high && (
        <span>
          {' '}
          <b>High:</b> {high}
        </span>
      )}
      {normal && (
        <span>
          {' '}
          <b>Normal:</b> {normal}
        </span>
      )}
      {unit && <span class="quiet"> Unit: {unit}.</span>}
    </>
  );
}
