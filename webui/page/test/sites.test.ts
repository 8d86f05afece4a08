import assert from 'node:assert/strict';
import test from 'node:test';
import { loopFacts, loopLabel, registers, waitCall } from '../src/loops';
import { briefName, frameModule, frameText, hasLedger, kindRows, mainFrame, scriptFirst, siteText, sortSites } from '../src/sites';
import { descriptors, loop, site } from './fixtures';

const frame = { function: null, file: null, line: null, module: null, offset: null, inlined: false };
const text = (changes: Partial<Parameters<typeof frameText>[0]>) => {
  const { what, where } = frameText({ ...frame, ...changes });
  return `${what}|${where}`;
};

test('a frame says as much as is known of it', () => {
  assert.equal(text({ function: 'uv_fs_open', file: '/src/unix/fs.c', line: 12, module: '/lib/libuv.so.1' }), 'uv_fs_open|fs.c:12');
  assert.equal(text({ function: 'uv_fs_open', file: '/src/unix/fs.c' }), 'uv_fs_open|fs.c');
  assert.equal(text({ function: 'uv_fs_open', module: '/lib/libuv.so.1', offset: 16 }), 'uv_fs_open|libuv.so.1');
  assert.equal(text({ module: '/usr/bin/node', offset: 255 }), 'node+0xff|');
  assert.equal(text({ offset: 4096 }), '0x1000|generated code');
  assert.equal(text({}), 'unknown|');
});

test('a frame of a script says its file and line, and is no generated code', () => {
  assert.equal(text({ script: true, function: 'connect', file: '/src/client.py', line: 42, offset: 0 }), 'connect|client.py:42');
  assert.equal(text({ script: true, function: '<module>', file: '<string>', line: 1, offset: 0 }), '<module>|<string>:1');
  assert.equal(text({ script: true, file: '/src/app.js', line: 7, offset: 0 }), 'app.js:7|');
  assert.equal(text({ script: true, offset: 0 }), 'script|');
});

test('a site is called by a script’s line, else by the innermost line that is the program’s own', () => {
  const libc = { ...frame, function: 'open64', module: '/lib/libc.so.6', offset: 9 };
  const header = { ...frame, function: 'push', file: '/usr/include/c++/12/deque', line: 3, module: '/bin/app', inlined: true };
  const own = { ...frame, function: 'load', file: '/src/load.cpp', line: 7, module: '/bin/app', offset: 255 };
  const line = { ...frame, function: 'main', file: '/src/app.py', line: 2, script: true };
  assert.equal(mainFrame([libc, header, own]), own);
  assert.equal(mainFrame([libc, own, line]), line);
  assert.equal(mainFrame([{ ...frame, module: '/bin/app', offset: 1 }, libc])?.function, 'open64');
  assert.equal(mainFrame([]), null);
  assert.deepEqual(scriptFirst([libc, line, own]), [line, libc, own]);
  assert.equal(siteText({ stack: [] }).what, 'unknown');
  assert.equal(frameModule(own), 'app+0xff');
  assert.equal(frameModule(line), '');
  assert.equal(frameModule({ ...frame, module: '/bin/app', offset: 1 }), '', 'is its name already');
});

test('a function’s name without what it takes', () => {
  const all: [string, string][] = [
    ['uv_fs_open', 'uv_fs_open'],
    ['demo::Misbehaviour::leak()', 'demo::Misbehaviour::leak'],
    ['demo::(anonymous namespace)::tcp_socket', 'demo::tcp_socket'],
    ['demo::accept_from(demo::UniqueFd const&)', 'demo::accept_from'],
    ['Pool<std::vector<int>, (anonymous namespace)::Key>::open(int) const', 'Pool<…>::open'],
    ['std::function<void (int)>::operator()(int) const', 'std::function<…>::operator()'],
    ['Out& operator<< <char>(Out&, char)', 'Out& operator<< <…>'],
    ['Ptr::operator->()', 'Ptr::operator->'],
    ['cooperate(int)', 'cooperate'],
    ['run()::{lambda()#1}::operator()() const', 'run'],
    ['<anonymous>', '<anonymous>'],
    ['', ''],
  ];
  for (const [name, brief] of all) assert.equal(briefName(name), brief);
});

test('sites: the most open first, in an order that stands still', () => {
  const sites = [site({ id: 1, live: 0, opened: 9 }), site({ id: 2, live: 5 }), site({ id: 4, live: 1, opened: 3 }), site({ id: 3, live: 1, opened: 3 })];
  assert.deepEqual(sortSites(sites).map((s) => s.id), [2, 3, 4, 1]);
  assert.deepEqual(sites.map((s) => s.id), [1, 2, 4, 3]);
});

test('every kind that was ever open has a row', () => {
  const fds = descriptors({
    by_kind: { tcp: 2, pipe: 4 },
    opened_by_kind: { tcp: 100, file: 7 },
    closed_by_kind: { tcp: 98, file: 7 },
  });
  assert.deepEqual(kindRows(fds), [
    { kind: 'pipe', open: 4, opened: 0, closed: 0 },
    { kind: 'tcp', open: 2, opened: 100, closed: 98 },
    { kind: 'file', open: 0, opened: 7, closed: 7 },
  ]);
  const library = descriptors({ by_kind: { tcp: 2 }, opened: null, opened_by_kind: null, closed_by_kind: null });
  assert.deepEqual(kindRows(library), [{ kind: 'tcp', open: 2, opened: null, closed: null }]);
  assert.deepEqual(kindRows(descriptors({ by_kind: null, opened_by_kind: null, closed_by_kind: null })), []);
});

test('a ledger is one that counted, be it nothing', () => {
  assert.equal(hasLedger(descriptors({ opened: 0 })), true);
  assert.equal(hasLedger(descriptors({ opened: null })), false);
});

test('loops of one name are told apart', () => {
  const main = loop({ id: 0, name: 'main', thread_id: 1, epoll_fd: 4 });
  const a = loop({ id: 1, name: 'node', thread_id: 2, epoll_fd: 5 });
  const b = loop({ id: 2, name: 'node', thread_id: 3, epoll_fd: 6 });
  const c = loop({ id: 3, name: 'node', thread_id: 2, epoll_fd: 7 });
  assert.equal(loopLabel(main, [main, a, b]), 'main');
  assert.equal(loopLabel(a, [main, a, b]), 'node · thread 2');
  assert.equal(loopLabel(a, [main, a, b, c]), 'node · epoll 5');
  assert.equal(loopLabel(loop({ id: 8, name: '' }), []), 'loop 8');
});

test('a loop says what it waits in', () => {
  assert.equal(waitCall('epoll'), 'epoll_wait');
  assert.deepEqual(['poll', 'ppoll', 'select', 'pselect'].map(waitCall), ['poll', 'ppoll', 'select', 'pselect']);
  assert.equal(waitCall('linuxaio'), null);
  assert.deepEqual(['epoll', 'pselect'].map(registers), [true, false]);
  assert.equal(loopFacts(loop({ backend: 'epoll', epoll_fd: 9, thread_id: 70 })), 'epoll on descriptor 9 · thread 70');
  assert.equal(loopFacts(loop({ backend: 'select', epoll_fd: null, thread_id: null })), 'select');
});
