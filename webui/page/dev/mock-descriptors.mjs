// As many invented descriptors as asked for, that come and go: for the mock's fds and its /api/v1/descriptors.
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const frame = (name, file, line, module = '/usr/bin/gateway', extra = {}) => ({
  function: name, file: file && `/src/gateway/${file}`, line, module, offset: 0x4a10 + (line ?? 0) * 16, inlined: false, script: false, ...extra,
});
const tail = [frame('on_readable', 'loop.cpp', 77), frame('ev_invoke_pending', null, null, '/usr/lib/x86_64-linux-gnu/libev.so.4'), frame('main', 'main.cpp', 31)];
const script = (name, line) => ({ function: name, file: '/src/gateway/plugin.py', line, module: null, offset: 0, inlined: false, script: true });

/** kind, share of all, the frames, and whether it ever closes. */
const places = [
  ['tcp', 0.72, [frame('accept_client', 'server.cpp', 212), frame('Queue<Job>::push', 'queue.h', 31, '/usr/bin/gateway', { inlined: true })], true],
  ['tcp', 0.12, [frame('connect_backend', 'pool.cpp', 88)], true],
  ['file', 0.05, [frame('open_blob', 'cache.cpp', 140)], true],
  ['file', 0, [frame('write_trace', 'trace.cpp', 57)], false],
  ['pipe', 0.03, [frame('spawn_worker', 'workers.cpp', 19)], true],
  ['timerfd', 0.02, [frame('Timer::arm', 'timer.cpp', 9)], true],
  ['eventfd', 0.02, [frame(null, null, null, '/usr/lib/libplugin.so')], true],
  ['unix', 0.02, [frame('_PyEval_EvalFrameDefault', null, null, '/usr/lib/libpython3.so'), script('connect', 42), script('<module>', 7)], true],
  ...Array.from({ length: 22 }, (_, i) => ['file', 0.0009, [frame(`load_part_${i}`, 'parts.cpp', 100 + i)], true]),
];

export class Descriptors {
  constructor(count, now) {
    this.now = now;
    this.rows = [];
    this.sites = places.map(([kind, , stack], id) => ({ id, kind, stack: [...stack, ...tail], opened: 0, closed: 0 }));
    this.next = 3;
    this.free = [];
    places.forEach(([, share], id) => {
      for (let i = 0; i < Math.round(count * share); i++) this.open(id, Math.random() * 3000);
    });
    this.peak = this.rows.length;
    this.grew = now();
  }
  open(site, ago = 0) {
    const fd = this.free.pop() ?? this.next++;
    const { kind } = this.sites[site];
    const busy = kind === 'tcp' || kind === 'unix';
    const row = {
      fd, kind, origin: 'opened', site, born: this.now() - ago, last: this.now() - Math.random() * Math.min(ago, 300),
      target: kind === 'file' ? `/var/cache/gateway/${(fd * 7919).toString(16)}/${pick(['blob', 'index', 'part'])}.${fd}` : null,
      local: kind === 'tcp' ? '10.0.0.4:443' : null,
      peer: kind === 'tcp' ? `10.${fd % 250}.${(fd >> 4) % 250}.${(fd * 13) % 250}:${1024 + ((fd * 31) % 60000)}` : null,
      events: busy ? Math.floor(Math.random() ** 6 * 4e5) : 0, calls: Math.floor(Math.random() * 9000), busy: busy ? Math.random() ** 8 * 40 : 0,
      generation: (this.generation = (this.generation ?? 0) + 1), end: kind === 'pipe' ? pick(['read', 'write']) : null,
    };
    this.rows.push(row);
    this.sites[site].opened++;
    return row;
  }
  advance() {
    const n = Math.ceil(this.rows.length / 20000);
    for (let i = 0; i < n * 3; i++) {
      const row = pick(this.rows);
      if (!row) break;
      row.last = this.now();
      row.events += Math.ceil(Math.random() * 90);
      if (i < n && places[row.site][3] && Math.random() < 0.5) {
        this.rows.splice(this.rows.indexOf(row), 1);
        this.free.push(row.fd);
        this.sites[row.site].closed++;
        this.open(row.site);
      }
    }
    while (this.now() - this.grew > 0.8) {
      this.grew += 0.8;
      this.open(3);
    }
    this.peak = Math.max(this.peak, this.rows.length);
  }
  /** Of the snapshot. */
  json(limit, sites) {
    const by = (of) => this.rows.reduce((counts, row) => ((counts[of(row)] = (counts[of(row)] ?? 0) + 1), counts), {});
    const live = by((row) => row.site);
    const sum = (name) => this.sites.reduce((total, site) => total + site[name], 0);
    const kinds = (name) => this.sites.reduce((counts, site) => ((counts[site.kind] = (counts[site.kind] ?? 0) + site[name]), counts), {});
    const all = this.sites.map((site) => ({ ...site, live: live[site.id] ?? 0, peak: live[site.id] ?? 0, oldest_seconds: live[site.id] ? 2990 : null }));
    all.sort((a, b) => b.live - a.live);
    return {
      open: this.rows.length, limit, peak: this.peak, opened: sum('opened'), closed: sum('closed'), by_kind: by((row) => row.kind),
      opened_by_kind: kinds('opened'), closed_by_kind: kinds('closed'), inherited: 0, unseen: 0, met: 0, closed_unseen: 0, accepts: 0, bad_closes: 0,
      sites: all.slice(0, sites), sites_total: all.length,
    };
  }
  wire(row) {
    const now = this.now();
    const tcp = row.kind === 'tcp';
    return {
      fd: row.fd, kind: row.kind, origin: row.origin, target: row.target, local: row.local, peer: row.peer, age_seconds: now - row.born, idle_seconds: Math.min(now - row.last, now - row.born),
      thread_id: 4201, close_on_exec: row.fd % 9 !== 0, nonblocking: tcp, listening: false, accepted: row.site === 0, end: row.end, pair_fd: null,
      epoll_fd: row.kind === 'file' ? null : 4, interest: row.kind === 'file' ? null : ['in', 'et'], events: row.events, event_share: row.events / 4e6, io_calls: row.calls,
      busy_seconds: row.busy, generation: row.generation, site: row.site,
    };
  }
  /** Of /api/v1/descriptors. */
  page(parameters) {
    const text = (name) => parameters.get(name);
    const q = (text('q') ?? '').toLowerCase();
    const key = {
      fd: (r) => r.fd, kind: (r) => r.kind, target: (r) => r.target ?? r.peer ?? '', age: (r) => -r.born, idle: (r) => -r.last,
      events: (r) => r.events, event_share: (r) => r.events, busy: (r) => r.busy, io_calls: (r) => r.calls, site: (r) => r.site,
    }[text('sort') ?? 'fd'];
    const sign = text('order') === 'desc' ? -1 : 1;
    const rows = this.rows
      .filter(
        (r) =>
          (text('kind') === null || r.kind === text('kind')) &&
          (text('site') === null || r.site === Number(text('site'))) &&
          (text('epoll_fd') === null || (r.kind !== 'file' && text('epoll_fd') === '4')) &&
          (!q || [String(r.fd), r.kind, r.target, r.local, r.peer].some((text) => (text ?? '').toLowerCase().includes(q))),
      )
      .sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) || a.fd - b.fd);
    const offset = Number(text('offset') ?? 0);
    return { total: this.rows.length, matched: rows.length, offset, rows: rows.slice(offset, offset + Math.min(1000, Number(text('limit') ?? 200))).map((r) => this.wire(r)), left_out: 0 };
  }
}
