import type { Loop } from './model';

/** A turn in progress that has been busy for longer than the loop's threshold. */
export function isStalled(loop: Loop): boolean {
  const { phase, phase_seconds, stall_threshold_seconds, state } = loop;
  return (
    state !== 'ended' &&
    phase === 'dispatching' &&
    phase_seconds !== null &&
    stall_threshold_seconds !== null &&
    phase_seconds > stall_threshold_seconds
  );
}
