// A canvas that is crisp on every screen: as many pixels as the display has, drawn in CSS pixels.

/** The context, scaled; null while there is no room. Resizes only when it must: that clears. */
export function crisp(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  if (width <= 0 || height <= 0) return null;
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d')!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** To whole device pixels. */
export function snap(x: number): number {
  const ratio = devicePixelRatio || 1;
  return Math.round(x * ratio) / ratio;
}

/** A mark on a time axis, its tip at (x, y): a triangle for a slow turn, a diamond for a finding. */
export function paintMark(context: CanvasRenderingContext2D, kind: 'slow' | 'finding', x: number, y: number, size: number): void {
  context.beginPath();
  if (kind === 'slow') {
    context.moveTo(x - size, y);
    context.lineTo(x + size, y);
    context.lineTo(x, y - size * 1.6);
  } else {
    context.moveTo(x, y + size * 0.2);
    context.lineTo(x + size, y - size * 0.9);
    context.lineTo(x, y - size * 2);
    context.lineTo(x - size, y - size * 0.9);
  }
  context.fill();
}
