// Which loop of the process: one tab each, with how busy it is now.
import { useRef } from 'preact/hooks';
import * as format from '../format';
import { loopFacts, loopLabel } from '../loops';
import { nowSeconds, type LoopTrack, type ProcessTrack } from '../store';
import { isStalled } from '../stalled';

export function LoopTabs(props: { process: ProcessTrack; selected: LoopTrack | null; onSelect: (id: string) => void }) {
  const { process, selected, onSelect } = props;
  const list = useRef<HTMLDivElement>(null);
  const base = process.base(nowSeconds);
  const loops = [...process.loops.values()];
  const all = loops.map((loop) => loop.latest);
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
        const utilization = base ? process.rates(loop, base).utilization : loop.latest.utilization;
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
            title={loopFacts(loop.latest)}
          >
            <span class="tab-name">{loopLabel(loop.latest, all)}</span>
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

/** Which loop the page below is about: its name, the backend it waits with, the thread that runs it. */
export function LoopHead({ process, loop }: { process: ProcessTrack; loop: LoopTrack }) {
  const all = [...process.loops.values()].map((track) => track.latest);
  return (
    <div class="section-head loop-head">
      <h2>{loopLabel(loop.latest, all)}</h2>
      <span class="quiet" data-testid="loop-facts" data-backend={loop.latest.backend}>
        {loopFacts(loop.latest)}
      </span>
    </div>
  );
}
