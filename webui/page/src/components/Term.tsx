// A word with its explanation: on hover, on focus, and for screen readers. `plain`: around something that has focus itself.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { help, type HelpKey } from '../help';
import { hideTooltip, showTooltip } from '../tooltip';

export function Term(props: { about: HelpKey; plain?: boolean; children: ComponentChildren }) {
  const { about, plain, children } = props;
  const ref = useRef<HTMLSpanElement>(null);
  const text = help[about];
  useEffect(() => {
    const element = ref.current;
    return () => {
      if (element) hideTooltip(element);
    };
  }, []);
  const show = () => ref.current && showTooltip(ref.current, text);
  const hide = () => ref.current && hideTooltip(ref.current);
  return (
    <span
      class={plain ? '' : 'term'}
      {...(plain ? {} : { tabIndex: 0 })}
      ref={ref}
      aria-describedby={`help-${about}`}
      onMouseEnter={show}
      onMouseLeave={hide}
      onFocusIn={show}
      onFocusOut={hide}
    >
      {children}
    </span>
  );
}

/** The texts, once and apart from the words: what is read out of a table's cell is then the cell's own. */
export function HelpTexts() {
  return (
    <div hidden>
      {Object.entries(help).map(([key, text]) => (
        <p key={key} id={`help-${key}`}>
          {text}
        </p>
      ))}
    </div>
  );
}
