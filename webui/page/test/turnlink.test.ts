import assert from 'node:assert/strict';
import test from 'node:test';
import { turnOf } from '../src/turnlink';
import { TurnLog } from '../src/turns';
import { turn } from './fixtures';

const at = { process: 'p', loop: '1' };
const none = new AbortController().signal;

/** A browser's surroundings, as far as a question needs them. */
async function served(turns: unknown[], what: () => Promise<void>): Promise<string[]> {
  const asked: string[] = [];
  const globals = globalThis as { fetch: unknown; sessionStorage?: unknown };
  const before = { fetch: globals.fetch, sessionStorage: globals.sessionStorage };
  globals.sessionStorage = { getItem: () => null };
  globals.fetch = async (url: string) => {
    asked.push(url);
    return { ok: true, json: async () => ({ schema: 'loopscope.turns/1', turns }) };
  };
  try {
    await what();
  } finally {
    Object.assign(globals, before);
  }
  return asked;
}

test('a turn that the page remembers is not asked for', async () => {
  const log = new TurnLog();
  log.add([turn({ turn: 7, busy: 0.3 })], 0, false, { stall: 0.1, outlier: null });
  const asked = await served([], async () => assert.equal((await turnOf(log, '7', at, none))?.busy, 0.3));
  assert.deepEqual(asked, []);
});

test('another is the server’s, judged by the loop’s rule; or gone', async () => {
  const log = new TurnLog();
  log.add([turn({ turn: 7 })], 0, false, { stall: 0.1, outlier: null });
  const asked = await served([turn({ turn: 3, busy: 0.2 })], async () => {
    assert.equal((await turnOf(log, '3', at, none))?.slow, true);
    assert.equal(await turnOf(log, '4', at, none), null);
  });
  assert.deepEqual(asked, ['api/v1/turns?process=p&loop=1&from=3&to=3', 'api/v1/turns?process=p&loop=1&from=4&to=4']);
});
