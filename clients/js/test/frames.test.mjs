// The vectors that the server and every client share, and what is done with a frame.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { load, root } from './load.mjs';

const { encode, decode, eventFromWire, eventId, kindToWire, prefixed, readPrefix } = await load('msgpack', 'frames', 'transport');
const vectors = JSON.parse(readFileSync(path.join(root, '../../tests/vectors/frames.json'), 'utf8'));
const OPS = { hello: 1, subscribe: 2, unsubscribe: 3, publish: 4, refresh: 5, who: 6, welcome: 0x11, subscribed: 0x12, unsubscribed: 0x13, published: 0x14, refreshed: 0x15, error: 0x16, present: 0x17, event: 0x20, gap: 0x21, presence: 0x22, interrupted: 0x23, resumed: 0x24, ping: 0x30, pong: 0x31, goodbye: 0x32 };

/** The JSON form of a frame as this codec sees the MessagePack form. */
function plain(json) {
  const frame = JSON.parse(json);
  const op = frame[0];
  frame[0] = OPS[op];
  if (op === 'publish') frame[3] = kindToWire(frame[3]);
  if (op === 'event') frame[4] = kindToWire(frame[4]);
  return frame;
}

for (const { name, from, msgpack, json } of vectors) {
  test(`vector: ${name}`, () => {
    const bytes = new Uint8Array(Buffer.from(msgpack, 'hex'));
    const decoded = decode(bytes);
    const ids = { event: 3, published: 2 };
    const at = ids[JSON.parse(json)[0]];
    if (at !== undefined) decoded[at] = eventId(decoded[at]);
    assert.deepEqual(decoded, plain(json));
    if (from === 'client') assert.equal(Buffer.from(encode(plain(json))).toString('hex'), msgpack);
  });
}

test('values survive', () => {
  for (const value of [0, 127, 128, 65_535, 65_536, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -129, -40_000, -(2 ** 40), 1.5, true, null, '', 'ä'.repeat(40), 'x'.repeat(70_000), [], [[1]], { a: { b: [null] } }]) {
    assert.deepEqual(decode(encode(value)), value);
  }
  assert.throws(() => decode(new Uint8Array([0xc1])));
  assert.throws(() => decode(new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff])));
  assert.throws(() => decode(new Uint8Array([0xc0, 0xc0])));
  assert.throws(() => decode(new Uint8Array(40).fill(0x91)));
});

test('length prefixes are those of RFC 9000', () => {
  for (const length of [0, 63, 64, 16_383, 16_384, 100_000]) {
    const wire = prefixed(new Uint8Array(length));
    assert.deepEqual(readPrefix(wire), { width: wire.length - length, length });
  }
  assert.deepEqual(readPrefix(new Uint8Array([0x7b, 0xbd])), { width: 2, length: 15_293 });
  assert.equal(readPrefix(new Uint8Array([0x7b])), null);
});

test('a file has its fields', () => {
  const { msgpack } = vectors.find(({ name }) => name === 'event file');
  const event = eventFromWire(decode(new Uint8Array(Buffer.from(msgpack, 'hex'))), 'managers', 7);
  assert.equal(event.id, '1764042123456-77');
  assert.equal(event.timestamp.toISOString(), '2025-11-25T03:42:03.456Z');
  assert.deepEqual([event.url, event.name, event.message, event.size], ['/media/q4.pdf', 'q4.pdf', 'File ready for download', 2_457_600]);
});
