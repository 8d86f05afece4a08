import assert from 'node:assert/strict';
import test from 'node:test';
import { EventParser, type ServerEvent } from '../src/sse';

function parse(...chunks: string[]): ServerEvent[] {
  const events: ServerEvent[] = [];
  const parser = new EventParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

test('one event', () => {
  assert.deepEqual(parse('event: snapshot\ndata: {"a":1}\n\n'), [{ name: 'snapshot', data: '{"a":1}' }]);
});

test('any way of cutting the bytes gives the same events', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = [': hello', 'event: snapshot', 'data: one', 'data: two', '', 'data:three', '', 'id: 7', '', ''].join(end);
    const expected = [
      { name: 'snapshot', data: 'one\ntwo' },
      { name: 'message', data: 'three' },
    ];
    assert.deepEqual(parse(text), expected);
    assert.deepEqual(parse(...text), expected, `single characters, line end ${JSON.stringify(end)}`);
    for (let i = 1; i < text.length; i++) assert.deepEqual(parse(text.slice(0, i), '', text.slice(i)), expected);
  }
});

test('an unfinished event is not delivered', () => {
  assert.deepEqual(parse('event: snapshot\ndata: 1\n'), []);
  assert.deepEqual(parse('data: 1\n', '\n').length, 1);
});

test('an event without data is none, and its name does not leak into the next', () => {
  assert.deepEqual(parse('event: x\n\ndata: 1\n\n'), [{ name: 'message', data: '1' }]);
});

test('a byte order mark and colons in the data', () => {
  assert.deepEqual(parse('\ufeffdata: a: b\n\n'), [{ name: 'message', data: 'a: b' }]);
});
