// A word with its explanation: on hover, focus and tap, and for screen readers. `plain`: around something that has focus itself.
import { Component, type ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { help, helpText, type HelpKey } from '../help';
import { hideTooltip, isShownAt, showHelp } from '../tooltip';

export function Term(props: { about: HelpKey; plain?: boolean; children: ComponentChildren }) {
  const { about, plain, children } = props;
  const ref = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    const element = ref.current;
    return () => {
      if (element) hideTooltip(element);
    };
  }, []);
  const show = () => ref.current && showHelp(ref.current, help[about]);
  const hide = () => ref.current && hideTooltip(ref.current);
  // A finger has no hover. A mouse has been over the word before it clicks: then the text stays.
  const tap = (event: PointerEvent) => {
    if (event.pointerType === 'mouse' || !ref.current) return;
    if (isShownAt(ref.current)) hide();
    else show();
  };
  return (
    <span
      class={plain ? '' : 'term'}
      {...(plain ? {} : { tabIndex: 0, onPointerUp: tap })}
      ref={ref}
      aria-describedby={`help-${about}`}
      onPointerEnter={(event) => event.pointerType === 'mouse' && show()}
      onPointerLeave={(event) => event.pointerType === 'mouse' && hide()}
      onFocusIn={(event) => (event.target as Element).matches(':focus-visible') && show()}
      onFocusOut={hide}
    >
      {children}
    </span>
  );
}

/** The texts, once and apart from the words: what is read out of a table's cell is then the cell's own. They never change. */
export class HelpTexts extends Component {
  override shouldComponentUpdate(): boolean {
    return false;
  }
  render() {
    return (
      <div hidden>
        {(Object.keys(help) as HelpKey[]).map((key) => (
          <p key={key} id={`help-${key}`}>
            {helpText(key)}
          </p>
        ))}
      </div>
    );
  }
}
