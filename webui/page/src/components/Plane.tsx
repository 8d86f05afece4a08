// The area of a chart with time on its x axis: the pointer reads an instant (in all charts at once), a drag zooms, a drag with
// shift and the wheel with ctrl pan, a double click goes back to live, a click on a mark opens it.
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { plotLeft, plotRight, type TimeAxis, type TimeMark } from '../timeaxis';
import { between, nearest, pan, type Stretch } from '../zoom';

const dragPixels = 5;
const markPixels = 8;

export function Plane(props: { axis: TimeAxis; children: ComponentChildren; onPointer?: (y: number | null) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const line = useRef<HTMLDivElement>(null);
  const selection = useRef<HTMLDivElement>(null);
  const label = useRef<HTMLDivElement>(null);
  const latest = useRef(props);
  latest.current = props;
  const place = useRef<() => void>(() => {});

  useEffect(() => {
    const element = box.current!;
    let width = 0;
    let hover: number | null = null;
    let drag: { x: number; moved: boolean; shift: boolean; stretch: Stretch } | null = null;
    const axis = () => latest.current.axis;
    const area = () => Math.max(1, width - plotLeft - plotRight);
    const timeAt = (x: number, stretch = axis().stretch) => stretch.from + ((x - plotLeft) / area()) * (stretch.to - stretch.from);
    const pixelOf = (time: number) => plotLeft + ((time - axis().stretch.from) / (axis().stretch.to - axis().stretch.from)) * area();
    const inArea = (x: number) => Math.min(width - plotRight, Math.max(plotLeft, x));
    const markAt = (x: number): TimeMark | null => {
      const { stretch, marks } = axis();
      return nearest(marks, timeAt(x), (markPixels / area()) * (stretch.to - stretch.from));
    };

    const drawCursor = () => {
      if (!line.current) return; // on its way out
      const { time } = axis().cursor;
      const x = time === null ? -1 : pixelOf(time);
      const shown = x >= plotLeft - 0.5 && x <= width - plotRight + 0.5;
      line.current.hidden = !shown;
      if (!shown) return;
      // As wide as the interval that the values under it stand for; seldom more than a line.
      const interval = axis().interval(time!);
      const [from, to] = interval ? [inArea(pixelOf(interval.from)), inArea(pixelOf(interval.to))] : [x, x];
      line.current.style.transform = `translateX(${Math.round(from)}px)`;
      line.current.style.width = `${Math.max(1, Math.round(to) - Math.round(from))}px`;
    };
    const showMark = (x: number | null) => {
      const mark = x === null || drag?.moved ? null : markAt(x);
      element.classList.toggle('on-mark', mark !== null);
      label.current!.hidden = mark === null;
      if (!mark) return;
      const at = pixelOf(mark.time);
      label.current!.textContent = mark.text;
      const right = at > width / 2;
      label.current!.style.transform = `translateX(${Math.round(at)}px)${right ? ' translateX(-100%)' : ''}`;
    };
    let listened = axis().cursor;
    let stop = listened.listen(drawCursor);
    /** After a rendering the same pixel is another instant, and the axis may be another loop's. */
    place.current = () => {
      if (listened !== axis().cursor) {
        stop();
        listened = axis().cursor;
        stop = listened.listen(drawCursor);
      }
      if (hover !== null && !drag) listened.set(timeAt(hover));
      drawCursor();
    };

    const localX = (event: MouseEvent) => event.clientX - element.getBoundingClientRect().left;
    const onMove = (event: PointerEvent) => {
      const x = localX(event);
      if (drag) {
        if (Math.abs(x - drag.x) > dragPixels) drag.moved = true;
        if (drag.moved && drag.shift) {
          const seconds = ((drag.x - x) / area()) * (drag.stretch.to - drag.stretch.from);
          axis().move(pan(drag.stretch, seconds, axis().known));
        } else if (drag.moved) {
          const [a, b] = [inArea(Math.min(drag.x, x)), inArea(Math.max(drag.x, x))];
          selection.current!.hidden = false;
          selection.current!.style.transform = `translateX(${a}px)`;
          selection.current!.style.width = `${b - a}px`;
        }
      }
      const inside = x >= plotLeft && x <= width - plotRight;
      hover = inside ? x : null;
      axis().cursor.set(inside ? timeAt(x) : null);
      showMark(inside ? x : null);
      latest.current.onPointer?.(inside ? event.clientY - element.getBoundingClientRect().top : null);
    };
    const onLeave = () => {
      if (drag) return;
      hover = null;
      axis().cursor.set(null);
      showMark(null);
      latest.current.onPointer?.(null);
    };
    const endDrag = () => {
      drag = null;
      selection.current!.hidden = true;
      element.classList.remove('panning');
    };
    const onDown = (event: PointerEvent) => {
      const x = localX(event);
      if (axis().fixed || event.button !== 0 || x < plotLeft || x > width - plotRight) return;
      drag = { x, moved: false, shift: event.shiftKey, stretch: axis().stretch };
      if (drag.shift) element.classList.add('panning');
      element.setPointerCapture(event.pointerId);
      if (event.pointerType === 'mouse') event.preventDefault(); // no text selection
    };
    const onUp = (event: PointerEvent) => {
      const was = drag;
      endDrag();
      if (!was) return;
      const x = localX(event);
      if (!was.moved) markAt(x)?.open();
      else if (!was.shift) {
        const { known } = axis();
        // What was under the pointer when it went down: time has moved on since, if the page is live.
        axis().move(between(timeAt(inArea(was.x), was.stretch), timeAt(inArea(x), was.stretch), known));
      }
    };
    const onWheel = (event: WheelEvent) => {
      if (axis().fixed || !event.ctrlKey) return;
      event.preventDefault();
      const { stretch, known } = axis();
      const delta = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
      axis().move(pan(stretch, (Math.sign(delta) * (stretch.to - stretch.from)) / 12, known));
    };
    const onDouble = () => axis().held && axis().live();

    element.addEventListener('pointermove', onMove);
    element.addEventListener('pointerleave', onLeave);
    element.addEventListener('pointerdown', onDown);
    element.addEventListener('pointerup', onUp);
    element.addEventListener('pointercancel', endDrag);
    element.addEventListener('dblclick', onDouble);
    element.addEventListener('wheel', onWheel, { passive: false });
    const observer = new ResizeObserver(() => {
      if (!line.current) return; // it has left the page, and this is told so first
      width = element.clientWidth;
      drawCursor();
    });
    observer.observe(element);
    width = element.clientWidth;
    return () => {
      stop();
      observer.disconnect();
      if (hover !== null) axis().cursor.set(null);
    };
  }, []);

  useEffect(() => place.current());

  return (
    <div class={`plane ${props.axis.fixed ? 'fixed' : ''}`} ref={box}>
      {props.children}
      <div class="plane-selection" ref={selection} hidden />
      <div class="plane-cursor" ref={line} hidden />
      <div class="plane-mark" ref={label} hidden />
    </div>
  );
}
