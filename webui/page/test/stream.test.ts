import assert from 'node:assert/strict';
import test from 'node:test';
import { nextDelay, SnapshotStream, type Connection } from '../src/stream';
import { snapshot } from './fixtures';

const event = (seconds: number) => `event: snapshot\ndata: ${JSON.stringify(snapshot(seconds))}\n\n`;
const soon = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A server of the test's making: every request is an object that the test answers. */
function world(token: string | null = null) {
  const requests: { open: boolean; headers: Record<string, string>; url: string; answer: (response: Response) => void; refuse: () => void }[] = [];
  const states: Connection[] = [];
  const firsts: boolean[] = [];
  const stream = new SnapshotStream({
    url: 'api/v1/stream',
    token: () => token,
    onSnapshot: (_, first) => firsts.push(first),
    onState: (state) => states.push(state),
    fetch: ((url: string, init: RequestInit) =>
      new Promise<Response>((resolve, reject) => {
        const request = {
          open: true,
          url,
          headers: init.headers as Record<string, string>,
          answer: resolve,
          refuse: () => reject(new TypeError('refused')),
        };
        requests.push(request);
        init.signal!.addEventListener('abort', () => {
          request.open = false;
          reject(new DOMException('aborted', 'AbortError'));
        });
      })) as typeof fetch,
  });
  return { stream, requests, states, firsts };
}

function body() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const response = new Response(new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) }));
  return { response, send: (text: string) => controller.enqueue(new TextEncoder().encode(text)), end: () => controller.close() };
}

test('back-off doubles from half a second to five', () => {
  const delays = [0];
  for (let i = 0; i < 6; i++) delays.push(nextDelay(delays[i]!));
  assert.deepEqual(delays, [0, 500, 1000, 2000, 4000, 5000, 5000]);
});

test('live with the first event; only the first of a connection is called so', async () => {
  const { stream, requests, states, firsts } = world('secret');
  stream.start();
  assert.equal(requests[0]!.headers['Authorization'], 'Bearer secret');
  assert.ok(!requests[0]!.url.includes('secret'));
  const b = body();
  requests[0]!.answer(b.response);
  b.send(event(1).slice(0, 20));
  await soon();
  assert.equal(firsts.length, 0);
  b.send(event(1).slice(20) + event(2));
  await soon();
  assert.deepEqual(firsts, [true, false]);
  assert.equal(states.at(-1)!.state, 'live');
  stream.stop();
});

test('a closed connection is waited out, and waking skips the wait with one request only', async () => {
  const { stream, requests, states } = world();
  stream.start();
  const b = body();
  requests[0]!.answer(b.response);
  b.send(event(1));
  b.end();
  await soon();
  assert.equal(states.at(-1)!.state, 'waiting');
  stream.wake();
  stream.wake();
  assert.equal(requests.length, 2);
  await soon();
  assert.equal(requests.filter((r) => r.open).length, 1 + 0);
  stream.stop();
});

test('a 401 asks for a token and does not retry by itself', async () => {
  const { stream, requests, states } = world();
  stream.start();
  requests[0]!.answer(new Response('{}', { status: 401 }));
  await soon();
  assert.deepEqual(states.at(-1), { state: 'unauthorized', refused: false });
  stream.wake();
  assert.equal(requests.length, 1);
  stream.retry();
  assert.equal(requests.length, 2);
  stream.stop();
});

test('the server says why', async () => {
  const { stream, requests, states } = world();
  stream.start();
  requests[0]!.answer(new Response('{"error":{"code":"busy","message":"too many connections"}}', { status: 503 }));
  await soon();
  const state = states.at(-1)!;
  assert.ok(state.state === 'waiting' && state.reason === 'HTTP 503: too many connections');
  stream.stop();
});

test('silence for 3 s ends the connection before the next begins', async (t) => {
  const { stream, requests, states } = world();
  stream.start();
  const b = body();
  requests[0]!.answer(b.response);
  b.send(event(1));
  await soon();
  assert.equal(requests[0]!.open, true);
  t.diagnostic('waits for the real 3 s');
  await new Promise((resolve) => setTimeout(resolve, 3100));
  assert.equal(requests[0]!.open, false);
  assert.equal(states.at(-1)!.state, 'waiting');
  await new Promise((resolve) => setTimeout(resolve, 550));
  assert.equal(requests.length, 2);
  assert.equal(requests.filter((r) => r.open).length, 1);
  stream.stop();
});
