import { useRef } from 'preact/hooks';
import * as format from '../format';
import type { LoopTrack, ProcessTrack } from '../store';
import { isStalled } from '../stalled';

/** What the bars show: long enough to be calm, short enough to be now. */
export const nowSeconds = 2;

export function LoopTabs(props: { process: ProcessTrack; selected: LoopTrack | null; onSelect: (id: string) => void }) {
  const { process, selected, onSelect } = props;
  const list = useRef<HTMLDivElement>(null);
  const base = process.base(nowSeconds);
  const loops = [...process.loops.values()];
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || !selected) return;
    event.preventDefault();
    const next = (loops.indexOf(selected) + step + loops.length) % loops.length;
    onSelect(String(loops[next]!.latest.id));
    (list.current?.children[next] as HTMLElement | undefined)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Loops" ref={list} onKeyDown={move}>
      {loops.map((loop) => {
        const { id, name, state } = loop.latest;
        const utilization = base ? process.window(loop, base).utilization : loop.latest.utilization;
        const stalled = process.running && isStalled(loop.latest);
        return (
          <button
            key={id}
            type="button"
            role="tab"
            class={stalled ? 'tab stalled' : 'tab'}
            aria-selected={loop === selected}
            aria-controls="loop"
            tabIndex={loop === selected ? 0 : -1}
            onClick={() => onSelect(String(id))}
            data-loop={name}
          >
            <span class="tab-name">{name || `loop ${id}`}</span>
            <span class="tab-value">{stalled ? 'stalled' : state === 'ended' ? 'ended' : format.percent(utilization)}</span>
            <span class="meter" aria-hidden="true">
              <span style={{ width: `${(utilization ?? 0) * 100}%` }} />
            </span>
          </button>
        );
      })}
    </div>
  );
}
