// SPDX-License-Identifier: Apache-2.0
//
// Fails the test that leaves a descriptor open, for node:test and Jest.
//
//   node --require /usr/local/share/loopscope/testing/loopscope-fds.cjs --test
//   Jest: setupFilesAfterEnv: ['/usr/local/share/loopscope/testing/loopscope-fds.cjs']
//
// With node:test a test is judged after all afterEach hooks and its own t.after(); with Jest after
// the hooks of its describe blocks, but before afterEach hooks at the top level of its file. What
// `before` hooks open is no test's. A test with subtests is not blamed for what these leak. Tests
// that run at the same time (concurrency) cannot be told apart: each is given what is open when it
// ends.
//
// Closing often takes a moment: LOOPSCOPE_FDS_PATIENCE_MS (100) is how long a descriptor may take
// to go after the test. Meant to stay: LOOPSCOPE_FDS_ALLOW, KIND:TARGET patterns separated by
// commas, `*` for anything: "socket:*,file:/var/cache/*". With --expose-gc garbage is collected
// first. Linux only.
//
// The line that opened is known for fs.open and what is built on it, sockets, servers, pipes, and
// file handles, not for accepted connections and addons; `loopscope check` knows these too.
'use strict';

const asyncHooks = require('node:async_hooks');
const fs = require('node:fs');
const moduleApi = require('node:module');
const net = require('node:net');

// What node opens at first use and keeps.
const FIRST_USE = [
  'inotify:*', // one for all of fs.watch
  'io_uring:*', // libuv's
  'device:/dev/pts/*', 'device:/dev/tty*', // process.stdin, stdout and stderr open a terminal anew
];
const SHOWN = 20; // descriptors of one test

const patience = Number(process.env.LOOPSCOPE_FDS_PATIENCE_MS ?? 100);
const allowed = [...FIRST_USE, ...(process.env.LOOPSCOPE_FDS_ALLOW ?? '').split(',')]
  .map((each) => each.trim())
  .filter((each) => each !== '')
  .map((each) => new RegExp('^' + each.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*') + '$', 's'));

// --- what is open ---

const TYPES = new Map([[fs.constants.S_IFSOCK, 'socket'], [fs.constants.S_IFIFO, 'pipe'],
  [fs.constants.S_IFDIR, 'directory'], [fs.constants.S_IFCHR, 'device'], [fs.constants.S_IFREG, 'file']]);
// Tests put false ones in their place.
const real = {
  readdirSync: fs.readdirSync,
  readlinkSync: fs.readlinkSync,
  fstatSync: fs.fstatSync,
  setTimeout: globalThis.setTimeout,
  now: performance.now.bind(performance),
};

function look(number) {
  try {
    const { dev, ino, mode } = real.fstatSync(number);
    const target = real.readlinkSync(`/proc/self/fd/${number}`);
    const anonymous = /^anon_inode:\[?([^\]]*)/.exec(target);
    const type = mode & fs.constants.S_IFMT;
    const kind = anonymous ? anonymous[1] : TYPES.get(type) ?? 'other';
    return { number, identity: `${number}:${dev}:${ino}:${type}`, kind, target };
  } catch {
    return null; // closed meanwhile, as the one that listed the directory
  }
}

function openNow() {
  const found = new Map();
  for (const name of real.readdirSync('/proc/self/fd')) {
    const descriptor = look(Number(name));
    if (descriptor) found.set(descriptor.identity, descriptor);
  }
  return found;
}

// --- who opened it ---

// Jest loads this anew for every test file, and node's own modules once for all of them.
const SHARED = Symbol.for('loopscope-fds');
const isFirst = fs[SHARED] === undefined;
if (isFirst) {
  Object.defineProperty(fs, SHARED, { value: { numbers: new Map(), handles: [], owners: [] } });
}
// numbers: descriptor number -> where fs gave it out. handles: { handle: WeakRef, where }, known as
// soon as there is one. owners: { owner: WeakRef of a net.Server or net.Socket, where }: its handle
// may come later.
const { numbers, handles, owners } = fs[SHARED];
const HANDLES = /^(TCP|TCPSERVER|PIPE|PIPESERVER|UDP|TTY)WRAP$|^FILEHANDLE$/;

function here() {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 30;
  const stack = new Error().stack.split('\n').slice(1);
  Error.stackTraceLimit = limit;
  const lines = stack.filter((line) => !line.includes(__filename) && !/\(?node:|\(<anonymous>\)/.test(line));
  const own = lines.find((line) => !line.includes('/node_modules/')) ?? lines[0];
  return own?.replace(/^\s*at (async )?/, '');
}

fs[SHARED].here = here; // the newest one's: its Error knows the source map of the file that runs

function watchOpenings() {
  const { open, openSync } = fs;
  fs.openSync = function (...args) {
    const number = Reflect.apply(openSync, this, args);
    numbers.set(number, fs[SHARED].here());
    return number;
  };
  fs.open = function (...args) {
    const callback = args.at(-1);
    if (typeof callback === 'function') {
      const where = fs[SHARED].here();
      args[args.length - 1] = function (error, number) {
        if (!error) numbers.set(number, where);
        return Reflect.apply(callback, this, [error, number]);
      };
    }
    return Reflect.apply(open, this, args);
  };
  // util.promisify(fs.open) must stay what it was.
  for (const [wrapped, original] of [[fs.open, open], [fs.openSync, openSync]]) {
    for (const key of Reflect.ownKeys(original)) {
      const property = Object.getOwnPropertyDescriptor(original, key);
      if (key !== 'prototype' && Object.getOwnPropertyDescriptor(wrapped, key)?.configurable !== false) {
        Object.defineProperty(wrapped, key, property);
      }
    }
  }
  const promised = fs.promises.open;
  fs.promises.open = async function open(...args) {
    const where = fs[SHARED].here();
    const handle = await Reflect.apply(promised, this, args);
    numbers.set(handle.fd, where);
    return handle;
  };
  // With a host name to look up, the handle is made when nobody of the program is on the stack.
  for (const [prototype, name] of [[net.Server.prototype, 'listen'], [net.Socket.prototype, 'connect']]) {
    const original = prototype[name];
    prototype[name] = function (...args) {
      owners.push({ owner: new WeakRef(this), where: fs[SHARED].here() });
      return Reflect.apply(original, this, args);
    };
  }
  moduleApi.syncBuiltinESMExports(); // for `import { openSync } from 'node:fs'`
  asyncHooks.createHook({
    init(id, type, trigger, resource) {
      if (HANDLES.test(type)) handles.push({ handle: new WeakRef(resource), where: fs[SHARED].here() });
    },
  }).enable();
}

/** Forgets what is closed, so that a number's next owner is not given its line. */
function forgetClosed(open) {
  const still = new Set([...open.values()].map((each) => each.number));
  for (const number of numbers.keys()) if (!still.has(number)) numbers.delete(number);
  const prune = (list, isClosed) => {
    for (let i = list.length; i-- > 0;) if (isClosed(list[i])) list.splice(i, 1);
  };
  prune(handles, ({ handle }) => !handle.deref());
  prune(owners, ({ owner }) => !owner.deref() || owner.deref().destroyed);
}

function describe(leaks) {
  const lines = [leaks.length === 1 ? '1 descriptor was opened and is still open'
    : `${leaks.length} descriptors were opened and are still open`];
  let unknown = false;
  for (const leak of leaks.slice(0, SHOWN)) {
    const known = handles.find(({ handle }) => handle.deref()?.fd === leak.number);
    const owned = owners.find(({ owner }) => owner.deref()?._handle?.fd === leak.number);
    const where = owned?.where ?? known?.where ?? (leak.kind === 'socket' ? undefined : numbers.get(leak.number));
    const address = known && addresses(known.handle.deref());
    lines.push(`  fd ${leak.number}  ${leak.kind}  ${address || leak.target}`);
    if (where) lines.push(`    opened at ${where}`);
    unknown ||= !where;
  }
  if (leaks.length > SHOWN) lines.push(`  and ${leaks.length - SHOWN} more`);
  if (unknown) lines.push('For lines that node does not know: loopscope check -- node --test ...');
  return lines.join('\n');
}

function addresses(handle) {
  const text = (method) => {
    const out = {};
    try {
      return handle?.[method]?.(out) === 0 && out.address ? `${out.address}:${out.port}` : '';
    } catch {
      return '';
    }
  };
  const peer = text('getpeername');
  return text('getsockname') + (peer && ` -> ${peer}`);
}

// --- judging ---

const reported = new Set(); // identities: a parent test is not blamed for its subtests

function leaksSince(before) {
  const isAllowed = (each) => allowed.some((pattern) => pattern.test(`${each.kind}:${each.target}`));
  return [...openNow().values()]
    .filter((each) => !before.has(each.identity) && !reported.has(each.identity) && !isAllowed(each));
}

async function judge(before) {
  const end = real.now() + patience;
  let leaks = leaksSince(before);
  while (leaks.length > 0 && real.now() < end) {
    globalThis.gc?.();
    await new Promise((resolve) => real.setTimeout(resolve, 5));
    leaks = leaksSince(before);
  }
  if (leaks.length === 0) return;
  for (const leak of leaks) reported.add(leak.identity);
  const failure = new Error(describe(leaks));
  failure.name = 'DescriptorLeak';
  failure.stack = `${failure.name}: ${failure.message}`; // ours says nothing
  throw failure;
}

function start() {
  const open = openNow();
  forgetClosed(open);
  for (const identity of reported) if (!open.has(identity)) reported.delete(identity);
  return new Set(open.keys());
}

function installInNodeTest() {
  const { beforeEach, afterEach } = require('node:test');
  const started = new WeakMap();
  beforeEach((test) => {
    started.set(test, start());
  });
  afterEach((test) => {
    const before = started.get(test);
    // The test's own `after` hooks run when all afterEach hooks are done; this will be the last.
    if (before) test.after(() => judge(before));
  });
}

function installInJest() {
  let before;
  globalThis.beforeEach(() => {
    before = start();
  });
  globalThis.afterEach(() => judge(before));
}

/** `node --test` runs every file in a process of its own, which loads this too. */
function isOnlyTheRunner() {
  const separate = !process.execArgv.some((each) => /^--(experimental-)?test-isolation=none$/.test(each));
  return process.execArgv.includes('--test') && !process.env.NODE_TEST_CONTEXT && separate;
}

if (!isOnlyTheRunner()) {
  if (!fs.existsSync('/proc/self/fd')) {
    throw new Error('loopscope-fds: there is no /proc/self/fd here, so leaks cannot be seen');
  }
  void process.stdout; // made at first use, not by a test
  void process.stderr;
  if (isFirst) watchOpenings();
  if (typeof globalThis.afterEach === 'function' && process.env.JEST_WORKER_ID) {
    installInJest();
  } else {
    installInNodeTest();
  }
}
