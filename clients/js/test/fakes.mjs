// A server that a test plays by hand, over fake sockets and streams.
import assert from 'node:assert/strict';
import { load } from './load.mjs';

export const modules = await load('index', 'backoff', 'choose', 'msgpack', 'legacy/index', 'legacy/display', 'token', 'transport', 'frames');
const { PING, PONG, prefixed, readPrefix, createClient, encode, decode } = modules;

/** Real time, whatever clock a test gives to the client. */
const { setTimeout: realTimeout } = globalThis;
/** Lets what is due happen. */
export const pause = () => new Promise((resolve) => realTimeout(resolve, 5));

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  static made = [];
  sent = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeSocket.made.push(this);
    queueMicrotask(() => this.onopen?.());
  }
  send(bytes) { this.sent.push(decode(new Uint8Array(bytes))); }
  close(code, reason) { this.closedWith = [code, reason]; }
  /** The server says something. */
  say(...frame) { this.onmessage({ data: encode(frame).buffer.slice(0) }); }
  /** The connection is lost. */
  lose(code = 1006) { this.onclose({ code, reason: '' }); }
}

/** One bidirectional stream, whose other end is the test. */
export class FakeStream {
  #controller;
  sent = [];
  readable = new ReadableStream({ start: (controller) => { this.#controller = controller; } });
  writable = new WritableStream({
    write: (bytes) => {
      const frame = decode(bytes.subarray(readPrefix(bytes).width));
      this.sent.push(frame);
      if (frame[0] === PING) this.say(PONG, frame[1]);
    },
  });
  say(...frame) { this.#controller.enqueue(prefixed(encode(frame))); }
  end() { this.#controller.close(); }
  fail() { this.#controller.error(new Error('reset')); }
  reset() { this.#controller.error(new Error('reset')); }
}

/** A WebTransport session; its first stream is the main one. */
export class FakeSession {
  static made = [];
  streams = [];
  ready = Promise.resolve();
  closed = new Promise((resolve) => { this.lose = () => resolve({ closeCode: 0, reason: '' }); });
  constructor() { FakeSession.made.push(this); }
  async createBidirectionalStream() {
    const stream = new FakeStream();
    this.streams.push(stream);
    return stream;
  }
  close() { this.lose(); }
}

export async function until(condition, tries = 400) {
  for (let left = tries; left > 0; left--) {
    const value = condition();
    if (value) return value;
    await pause();
  }
  assert.fail(`never: ${condition}`);
}

export async function connected(options = {}) {
  FakeSocket.made = [];
  const client = createClient({ websocket: { url: 'ws://test/fanfare' }, webtransport: null, WebSocket: FakeSocket, reconnect: { min: 1, max: 2 }, ...options });
  void client.connect().catch(() => {});
  const socket = await until(() => FakeSocket.made.at(-1)?.sent.length && FakeSocket.made.at(-1));
  socket.say(0x11, 1, 's1', { ping: 25_000, user: 'ann' });
  return { client, socket };
}

export const ask = (socket, op) => until(() => socket.sent.findLast((frame) => frame[0] === op));
export const event = (number, offset, id, text) => [0x20, number, offset, id, 0, text];
