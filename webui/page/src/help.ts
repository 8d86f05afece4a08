// What each number is, what a high one means and what is normal. Shown at the word it explains.

export const help = {
  utilization:
    'busy / (busy + poll): the share of time the loop spends working instead of waiting for events. High: every new event queues behind others, latency grows steeply. Normal: below 70 %; near 100 % the loop is saturated.',
  turns:
    'Turns (iterations) per second: from one return of the wait call (epoll_wait, poll, select) to the next. High with few ready events: the loop wakes for little, for instance a timer that is too short or a timeout of 0. Normal: follows the load.',
  readyPerTurn:
    'Events that one wait returned, on average. Near 1: light load. Rising: the loop falls behind and collects work while it is busy.',
  registered:
    'Descriptors registered in the epoll set. Growing without bound: descriptors are added and never removed.',
  polls:
    'How the waits ended in the window. events: something was ready. timeout: a timer was due, or nothing came. interrupted: a signal (EINTR). saturated: as many events as the buffer holds, so more may have been waiting; normally 0. unknown: the backend hides how they ended.',
  stalls:
    'Turns whose busy part exceeded the stall threshold (wall clock, so a blocking system call counts). Normal: 0.',
  state:
    'What the loop was doing when this was taken. polling: blocked in the wait call. dispatching: running callbacks. outside: the thread has left the loop. Dispatching for longer than the stall threshold means a callback blocks the loop now.',
  pollWait:
    'Time blocked in the wait call per turn. Long is idle time and harmless; very short all the time means the loop hardly rests.',
  busy: 'The rest of the turn, callbacks included: how long everything else has to wait. Normal: below a few ms; the p99 is what clients feel.',
  pollDelay:
    'Actual minus requested wait, when the wait ended by its timeout. High: the thread was not scheduled in time (CPU contention, throttling). Normal: around 0.1 ms, up to 1 ms.',
  timerLag:
    'From a timer being due to its callback running. High: callbacks before it took too long, or the thread was not scheduled. Normal: about the poll delay.',
  p50: 'Half of all were at most this long. At most 3 % too high (histogram bucket).',
  p99: '99 of 100 were at most this long. At most 3 % too high (histogram bucket).',
  max: 'The longest in the window. Exact when it is the record since start, else at most 3 % too high.',
  count: 'How many there were in the window.',
  spread: 'Distribution on a logarithmic axis from 1 µs (left) to 10 s (right); the ticks below are powers of ten, 1 ms is marked.',
  share:
    'Share of the time the loop was busy in the window. One watcher with most of it is where to look when utilization is high.',
  calls: 'Callback invocations per second in the window.',
  callback: 'Time one callback took. Long callbacks delay every other watcher of the loop.',
  lag: 'Timer lag, 99 of 100: from the timer being due to its callback running.',
  unattributed:
    "Busy time outside any named callback: the library's own work and watchers without a name. Much of it: name more watchers.",
  open: 'Open descriptors of the process against its limit (RLIMIT_NOFILE). At the limit accept, open and socket fail with EMFILE.',
  opened: 'Descriptors opened since the recording began. inherited + opened − closed is what the ledger has as open.',
  closed: 'Descriptors closed since the recording began. Opened growing faster than closed: something is never closed.',
  inherited: 'Open already when the recording began, left over from before a fork or exec. Not among the opened.',
  unseen:
    'Open, says the kernel, but nobody saw them being opened: inside libc, by io_uring, by system calls of their own. Normal: few.',
  closedUnseen: 'Noted as open, but gone, says the kernel: closed where the probe does not look.',
  badCloses:
    'Closes of a number that was not open (EBADF). As a rule a double close, which one day closes a descriptor of somebody else. Normal: 0.',
  openSites:
    'The stacks that opened descriptors, those with the most open ones first. Many open with an old one among them: a leak is likely. A function without a name is shown as file+offset.',
} as const;

export type HelpKey = keyof typeof help;
