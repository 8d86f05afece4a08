// One tooltip for the whole page, in the top layer of our own: inside tables and scrolling boxes it would be clipped.
// Escape closes it, and does nothing else then.
import type { Help } from './help';

let box: HTMLElement | null = null;
let owner: Element | null = null;

function element(): HTMLElement {
  if (!box) {
    box = document.createElement('div');
    box.className = 'tooltip';
    box.setAttribute('aria-hidden', 'true'); // screen readers get the text by aria-describedby
    document.body.append(box);
    // In the capture phase: before anybody else makes something of the key.
    document.addEventListener(
      'keydown',
      (event) => {
        if (event.key !== 'Escape' || owner === null) return;
        hideTooltip();
        event.preventDefault();
        event.stopPropagation();
      },
      { capture: true },
    );
    document.addEventListener('pointerdown', (event) => owner && !owner.contains(event.target as Node) && hideTooltip());
    addEventListener('scroll', () => hideTooltip(), { capture: true, passive: true });
  }
  return box;
}

export function showTooltip(at: Element, text: string): void {
  element().replaceChildren(text);
  place(at);
}

const line = (name: string, text: string) => {
  const p = document.createElement('p');
  const b = document.createElement('b');
  b.textContent = `${name} `;
  p.append(b, text);
  return p;
};

/** What it is, what a high one means, what is normal, the unit. */
export function showHelp(at: Element, { what, high, normal, unit }: Help): void {
  const parts: (string | Node)[] = [what];
  if (high) parts.push(line('High:', high));
  if (normal) parts.push(line('Normal:', normal));
  if (unit) parts.push(line('Unit:', unit));
  element().replaceChildren(...parts);
  place(at);
}

export const isShownAt = (at: Element) => owner === at;

function place(at: Element): void {
  const tip = element();
  owner = at;
  tip.classList.add('shown');
  const anchor = at.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(anchor.left, document.documentElement.clientWidth - size.width - 8));
  const below = anchor.bottom + 6;
  const top = below + size.height > innerHeight && anchor.top > size.height + 6 ? anchor.top - size.height - 6 : below;
  tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}

export function hideTooltip(at?: Element): void {
  if (at && at !== owner) return;
  box?.classList.remove('shown');
  owner = null;
}
