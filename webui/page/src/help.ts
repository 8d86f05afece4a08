// What each number is, what a high one means and what is normal. Shown at the word it explains, and all of them in the
// help dialog. A text alone will do for a word that has no high and low.

export interface Help {
  /** As the dialog calls it; else the words of the key. */
  name?: string;
  what: string;
  high?: string;
  normal?: string;
  unit?: string;
}

const texts = {
  utilization: {
    what: 'The share of time the loop spends working instead of waiting for events: busy / (busy + poll).',
    high: 'every new event queues behind others, and latency grows steeply. Near 100 % the loop is saturated.',
    normal: 'below 70 %.',
    unit: '% of wall-clock time',
  },
  turns: {
    name: 'turns per second',
    what: 'Turns (iterations): from one return of the wait call (epoll_wait, poll, select) to the next.',
    high: 'with few ready events the loop wakes for little: a timer that is too short, or a timeout of 0.',
    normal: 'follows the load.',
    unit: 'turns per second',
  },
  readyPerTurn: {
    name: 'ready events a turn',
    what: 'Events that one wait returned, on average.',
    high: 'the loop falls behind and collects work while it is busy.',
    normal: 'near 1 under light load; a burst may bring dozens.',
    unit: 'events per turn',
  },
  registered: {
    name: 'registered descriptors',
    what: 'Descriptors registered in the epoll set.',
    high: 'growing without bound means that descriptors are added and never removed.',
    normal: 'about the number of connections, plus a few.',
    unit: 'descriptors',
  },
  polls: {
    name: 'poll results',
    what: 'How the waits ended in the window. events: something was ready. timeout: a timer was due, or nothing came. interrupted: a signal (EINTR). saturated: as many events as the buffer holds, so more may have been waiting. unknown: the backend hides how they ended.',
    high: 'many saturated: the event buffer is too small for the load, or the loop too slow. Many interrupted: signals come often.',
    normal: 'mostly events and timeouts; saturated and error 0.',
    unit: 'waits',
  },
  stalls: {
    what: 'Turns whose busy part exceeded the stall threshold (wall clock, so a blocking system call counts).',
    high: 'callbacks block the loop: everything else it serves waits for as long.',
    normal: '0.',
    unit: 'turns',
  },
  state: {
    what: 'What the loop was doing when this was taken. polling: blocked in the wait call. dispatching: running callbacks. outside: the thread has left the loop. stalled: dispatching for longer than the stall threshold, so a callback blocks the loop now.',
    normal: 'polling most of the time; never stalled.',
  },
  pollWait: {
    name: 'poll wait',
    what: 'Time blocked in the wait call per turn.',
    high: 'idle time, harmless. Very short all the time means that the loop hardly rests.',
    normal: 'any; it mirrors the load.',
    unit: 'seconds per turn',
  },
  busy: {
    what: 'The part of a turn that is not the wait, callbacks included: for that long everything else has to wait.',
    high: 'a callback computes or blocks for long. The p99 is what clients feel.',
    normal: 'below a few ms.',
    unit: 'seconds per turn',
  },
  pollDelay: {
    name: 'poll delay',
    what: 'Actual minus requested wait, when the wait ended by its timeout.',
    high: 'the thread was not scheduled in time: CPU contention, throttling.',
    normal: 'around 0.1 ms, up to 1 ms.',
    unit: 'seconds',
  },
  timerLag: {
    name: 'timer lag',
    what: 'From a timer being due to its callback running.',
    high: 'callbacks before it took too long, or the thread was not scheduled.',
    normal: 'about the poll delay: 0.1 to 1 ms.',
    unit: 'seconds',
  },
  p50: 'Half of all were at most this long; read from a histogram, within 1.6 %.',
  p99: '99 of 100 were at most this long; read from a histogram, within 1.6 %.',
  max: 'The longest in the window. Exact when it is the record since start, else at most 3 % too high.',
  count: 'How many there were in the window.',
  spread: 'Distribution on a logarithmic axis from 1 µs (left) to 10 s (right); the ticks below are powers of ten, 1 ms is marked.',
  share: {
    name: 'share of busy time',
    what: 'Share of the time the loop was busy in the window.',
    high: 'one watcher with most of it is where to look when utilization is high.',
    normal: 'spread over several.',
    unit: '% of busy time',
  },
  calls: {
    name: 'calls per second',
    what: 'Callback invocations in the window.',
    high: 'with little busy time each: many small events; fine until the turns get long.',
    normal: 'follows the load.',
    unit: 'calls per second',
  },
  callback: {
    what: 'Time one callback took.',
    high: 'it delays every other watcher of the loop.',
    normal: 'well below a ms.',
    unit: 'seconds per call',
  },
  lag: {
    name: 'timer lag, p99',
    what: 'From the timer being due to its callback running; 99 of 100 were at most this late.',
    high: 'the loop was busy with something else when it was due.',
    normal: 'below 1 ms.',
    unit: 'seconds',
  },
  unattributed: {
    what: "Busy time outside any named callback: the library's own work and watchers without a name.",
    high: 'name more watchers, or nobody can tell what the time went to.',
    normal: 'a few percent.',
    unit: 'seconds',
  },
  open: {
    name: 'open descriptors',
    what: 'Open descriptors of the process against its limit (RLIMIT_NOFILE).',
    high: 'at the limit accept, open and socket fail with EMFILE. Rising without end: a leak.',
    normal: 'well below 80 % of the limit, and level under level load.',
    unit: 'descriptors',
  },
  opened: {
    what: 'Descriptors opened since the recording began. inherited + opened − closed is what the ledger has as open.',
    high: 'much is opened and closed again: connections that do not stay.',
    normal: 'grows together with closed.',
    unit: 'descriptors',
  },
  closed: {
    what: 'Descriptors closed since the recording began.',
    high: 'fine, as long as it keeps up with opened.',
    normal: 'grows together with opened.',
    unit: 'descriptors',
  },
  inherited: 'Open already when the recording began, left over from before a fork or exec. Not among the opened.',
  unseen: {
    what: 'Open, says the kernel, but nobody saw them being opened: inside libc, by io_uring, by system calls of their own.',
    high: 'the ledger misses what this program does; its findings are about the rest.',
    normal: 'few.',
    unit: 'descriptors',
  },
  closedUnseen: {
    name: 'closed unseen',
    what: 'Noted as open, but gone, says the kernel: closed where the probe does not look.',
    high: 'the ledger misses closes of this program.',
    normal: 'few.',
    unit: 'descriptors',
  },
  badCloses: {
    name: 'bad closes',
    what: 'Closes of a number that was not open (EBADF).',
    high: 'as a rule a double close, which one day closes a descriptor of somebody else.',
    normal: '0.',
    unit: 'calls',
  },
  openSites: {
    name: 'open sites',
    what: 'The stacks that opened descriptors, those with the most open ones first. A function without a name is shown as file+offset.',
    high: 'many open at one place, with an old one among them: a leak is likely.',
    normal: 'what is opened for a request is closed after it.',
    unit: 'descriptors open',
  },
  windows: {
    name: 'windows of 10, 100 and 1000 s',
    what: 'The same figure over the last 10, 100 and 1000 seconds, up to now. A grey one covers less: the page has not looked for so long yet. · stands where it has seen no more than for the shorter window.',
    high: '▲ or ▼ before the first: the last 10 s differ from the longest window by a factor of 3 and at least 1 ms (utilization: 1.5 and 10 points). All three high: a trend. The first alone: a spike.',
    normal: 'all three alike.',
  },
  stalledNow: { name: 'stalled now', what: 'Loops whose turn in progress has been busy for longer than their stall threshold.', high: 'what these loops serve gets no attention at this moment.', normal: '0.', unit: 'loops' },
  memory: { what: 'Resident memory of the process (RSS), as the kernel counts it.', high: 'rising without end under level load: memory is leaked.', normal: 'levels off.', unit: 'bytes' },
  findings: { what: 'What the rules concluded from what was recorded, with evidence and advice. Octagon: error, triangle: warning, circle: to know.', high: 'start with the error; others often follow from it.', normal: 'none.', unit: 'findings' },
  // --- watchers, descriptors ---
  watcherFd: 'The descriptor the watcher is for, where exactly one of that name is active.',
  calledMost: { name: 'slow turns it caused', what: 'Of the turns that this page remembers as slow, those in which this watcher took the most time.' },
  opening: { name: 'opening and closing', what: 'Descriptors opened and closed per second in the window. Apart for long: something is never closed.' },
  untilLimit: {
    name: 'time until the limit',
    what: 'When the limit is reached if the number of open descriptors goes on rising as in the time shown. Said only while it rises along a line; a burst or a sawtooth is no trend.',
  },
  peak: 'The most that were open at once.',
  change: {
    name: 'change of an open site',
    what: 'Open descriptors of this place in the time shown, on a scale of its own from 0, and how many more or fewer there are now. “only grows”: more and more through all of that time, and none was closed. Caches and pools do that too, for a while.',
  },
  siteOpen: 'Opened at this place and open now.',
  oldest: 'How long ago the oldest of those that are open was opened.',
  fdTarget: 'What it refers to: the path or name as the program gave it; of a connection the peer, then its own end. The arrow points from who connected to whom.',
  fdAge: 'Since it was opened.',
  fdIdle: 'Since its last event or I/O call. A long time, and not in an epoll set: perhaps forgotten.',
  fdEvents: 'Waits that returned it.',
  fdShare: 'Its share of all waits of its loop that returned anything. Near 100 %: this descriptor is what wakes the loop.',
  fdIo: 'Calls that read, wrote, sent, received or accepted on it. Counted modulo 2³².',
  fdBusy: 'Busy time of turns that is attributed to it.',
  fdEpoll: 'The epoll set it is registered in, and what for (et: edge-triggered).',
  fdFlags:
    'cloexec: closed by exec. nonblock: calls on it do not wait. listen, accepted: sockets. inherited: open when the recording began. unseen, met: opened where the probe does not look.',
  fdSite: 'The place that opened it: the innermost line of the program in its stack.',
  // --- the loop over time, its turns ---
  heatBusy: {
    name: 'busy heatmap',
    what: 'Every turn, counted: time to the right, busy time upwards, each row twice as long as the one below. The stronger the colour, the more turns a second. One long turn among thousands is one cell far above the rest, which no average shows. The dashed line is the stall threshold.',
    high: 'a second band above the first is work that comes now and then and takes far longer; a band that rises is a loop that gets slower.',
    normal: 'one band, low and narrow.',
    unit: 'turns per second in each cell',
  },
  heatLag: {
    name: 'timer lag heatmap',
    what: 'Every timer that ran, counted by how late it was.',
    high: 'timers are held up by busy turns, or the thread does not get the processor.',
    normal: 'below 1 ms.',
    unit: 'timers per second in each cell',
  },
  turnStrip: {
    name: 'turn strip',
    what: 'One bar for each turn, newest at the right: its busy time up, the wait before it down, on a logarithmic scale. The colour names what took longest in it; grey where nothing with a name took a quarter of it. ▼ marks turns that are slow for this loop.',
    high: 'bars that reach the dashed line are stalls.',
    normal: 'bars of about one height.',
  },
  slowRule: {
    name: 'slow turn',
    what: 'A turn whose busy time exceeds the stall threshold, or ten times the usual p99 of this loop in the two minutes before (and at least 1 ms): what is usual for one loop is an outage for another. The usual p99 is that of all those turns or the median over its updates, whichever is longer. With fewer than 200 turns to compare with, only the threshold counts.',
    normal: 'none.',
  },
  served: {
    name: 'served in a turn',
    what: 'What ran in the turn, in order: a bar begins where it began after the wait returned, and is as long as it took.',
  },
  turnRest: {
    name: 'unattributed in a turn',
    what: "The turn's busy time that none of the above took: the library's own work, callbacks and descriptors without a name, and parts that the record has no room for.",
    high: 'name more watchers to see what it is.',
    normal: 'a few percent of the turn, where the watchers have names.',
  },
} as const satisfies Record<string, string | Help>;

export type HelpKey = keyof typeof texts;

const whole = (entry: string | Help): Help => (typeof entry === 'string' ? { what: entry } : entry);
export const help = Object.fromEntries(Object.entries<string | Help>(texts).map(([key, entry]) => [key, whole(entry)])) as Readonly<Record<HelpKey, Help>>;

/** For the list of all: its own name, or "poll wait" for pollWait. */
export const helpName = (key: HelpKey): string => help[key].name ?? key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** In one string, as a screen reader gets it. */
export function helpText(key: HelpKey): string {
  const { what, high, normal, unit } = help[key];
  return [what, high && `High: ${high}`, normal && `Normal: ${normal}`, unit && `Unit: ${unit}`].filter(Boolean).join(' ');
}
