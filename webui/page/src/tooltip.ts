// One tooltip for the whole page, in the top layer of our own: inside tables and scrolling boxes it would be clipped.

let box: HTMLElement | null = null;
let owner: Element | null = null;

function element(): HTMLElement {
  if (!box) {
    box = document.createElement('div');
    box.className = 'tooltip';
    box.setAttribute('aria-hidden', 'true'); // screen readers get the text by aria-describedby
    document.body.append(box);
    addEventListener('keydown', (event) => event.key === 'Escape' && hideTooltip());
    addEventListener('scroll', () => hideTooltip(), { capture: true, passive: true });
  }
  return box;
}

export function showTooltip(at: Element, text: string): void {
  const tip = element();
  owner = at;
  tip.textContent = text;
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
