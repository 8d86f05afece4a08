// Drawing only what can be seen: is an element near the viewport?
import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** The reference stays; its `current` is true while the element is in sight or close to it. Calls back when it comes. */
export function useSight(element: RefObject<HTMLElement | null>, onCome: () => void): { current: boolean } {
  const seen = useRef(false);
  const callback = useRef(onCome);
  callback.current = onCome;
  useEffect(() => {
    if (!element.current) return;
    const observer = new IntersectionObserver(
      (entries) => {
        const now = entries[entries.length - 1]!.isIntersecting;
        const came = now && !seen.current;
        seen.current = now;
        if (came) callback.current();
      },
      { rootMargin: '200px' },
    );
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return seen;
}
