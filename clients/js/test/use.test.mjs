// What an application sees of the client: its fields, loops over a group, handlers that throw, refusals.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, connected, event, FakeSession, FakeSocket, modules, pause, until } from './fakes.mjs';

const { createClient, connect, PING, PONG } = modules;

async function following(t) {
  const { client, socket } = await connected();
  t.after(() => client.disconnect());
  const group = client.group('a');
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'a', 7, 0, null, 0);
  return { client, socket, group };
}

test('a loop gets every event in order, and ends with its group', async (t) => {
  const { socket, group } = await following(t);
  const seen = [];
  const loop = (async () => {
    for await (const { message } of group) seen.push(message);
  })();
  socket.say(...event(3, 1, 1001, 'one'));
  socket.say(...event(3, 2, 1002, 'two'));
  await until(() => seen.length === 2);
  group.leave();
  await loop;
  assert.deepEqual(seen, ['one', 'two']);
  for await (const never of group) assert.fail(`${never}`);
});

test('a loop that is left early leaves no handler, and two loops get the same', async (t) => {
  const { socket, group } = await following(t);
  const first = group[Symbol.asyncIterator]();
  const second = group[Symbol.asyncIterator]();
  const [one, two] = [first.next(), second.next()];
  socket.say(...event(3, 1, 1001, 'one'));
  assert.deepEqual([(await one).value.message, (await two).value.message], ['one', 'one']);
  const waiting = first.next();
  assert.deepEqual(await first.return(), { done: true, value: undefined });
  assert.deepEqual(await waiting, { done: true, value: undefined });
  socket.say(...event(3, 2, 1002, 'two'));
  assert.deepEqual([(await first.next()).done, (await second.next()).value.message], [true, 'two']);
});

test('a loop that falls too far behind fails, and says so', async (t) => {
  const { socket, group } = await following(t);
  const loop = group[Symbol.asyncIterator]();
  for (let offset = 1; offset <= 1001; offset++) socket.say(...event(3, offset, 1000 + offset, 'x'));
  await assert.rejects(loop.next(), /1000 events of a wait/);
  assert.deepEqual(await loop.next(), { done: true, value: undefined });
  assert.equal(group.state, 'joined');
});

test('a handler of errors that throws is reported once and hurts nobody', async (t) => {
  const { client, socket, group } = await following(t);
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  client.on('error', () => {
    throw new Error('from the handler of errors');
  });
  group.on('message', () => {
    throw new Error('from the handler of messages');
  });
  const seen = [];
  group.on('message', ({ offset }) => seen.push(offset));
  socket.say(...event(3, 1, 1001, 'one'));
  socket.say(...event(3, 2, 1002, 'two'));
  assert.deepEqual(seen, [1, 2]);
  assert.deepEqual(reported, ['from the handler of messages', 'from the handler of errors', 'from the handler of messages', 'from the handler of errors']);
});

test('handlers go by their undo and by a signal', async (t) => {
  const { socket, group } = await following(t);
  const seen = [];
  const own = new AbortController();
  const handler = ({ offset }) => seen.push(offset);
  const undo = group.on('message', handler);
  group.on('*', handler, { signal: own.signal });
  socket.say(...event(3, 1, 1001, 'x'));
  undo();
  undo();
  socket.say(...event(3, 2, 1002, 'x'));
  own.abort();
  socket.say(...event(3, 3, 1003, 'x'));
  assert.deepEqual(seen, [1, 1, 2]);
});

test('the round trip is that of the last ping', async (t) => {
  const { client, socket } = await following(t);
  const told = [];
  client.on('rtt', (ms) => told.push(ms));
  assert.equal(client.rtt, null);
  socket.say(PONG, (await ask(socket, PING))[1]);
  await until(() => told.length === 1);
  const asked = client.ping();
  socket.say(PONG, socket.sent.findLast(([op]) => op === PING)[1]);
  assert.equal(await asked, client.rtt);
  assert.ok(client.rtt >= 0);
  const lost = client.ping();
  socket.lose();
  await assert.rejects(lost, { code: 0, reason: 'the connection was lost' });
  await assert.rejects(client.ping(), { reason: 'not connected' });
});

test('retry tells when the next attempt comes, which it is, and why; giving up tells too', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  t.mock.method(Math, 'random', () => 0.5);
  const { client, socket } = await connected({ reconnect: { min: 100, max: 1000, giveUpAfter: 2 } });
  const states = [];
  client.on('state', (state) => states.push(state));
  assert.equal(client.retry, null);
  socket.lose();
  assert.deepEqual(client.retry, { attempt: 1, nextAt: 1_000_050, reason: '' });
  t.mock.timers.tick(50);
  assert.equal(client.retry, null);
  (await until(() => FakeSocket.made[1])).lose();
  await until(() => client.retry);
  assert.deepEqual([client.retry.attempt, client.retry.nextAt], [2, 1_000_150]);
  t.mock.timers.tick(100);
  (await until(() => FakeSocket.made[2])).lose();
  await until(() => client.state === 'failed');
  assert.equal(client.retry.attempt, 2);
  await assert.rejects(client.ready(), { reason: client.retry.reason });
  assert.equal(states.at(-1), 'failed');
});

test('bytes that are no frame end the connection, and it comes back', async (t) => {
  const { client, socket } = await following(t);
  socket.onmessage({ data: new Uint8Array([0xc1]).buffer });
  assert.equal(client.state, 'reconnecting');
  assert.match(client.retry.reason, /no frame/);
  await until(() => FakeSocket.made.length === 2);
});

test('a gap whose place nobody knows moves no position back', async (t) => {
  const { socket, group } = await following(t);
  socket.say(...event(3, 9, 1001, 'x'));
  socket.say(0x21, 3, 7, 0, 0, null, 3);
  assert.deepEqual(group.position, [7, 9]);
  socket.say(0x21, 3, 8, 0, 0, null, 2);
  assert.deepEqual(group.position, [8, 0]);
});

/** What `connect` chooses, when the transports behave as told: `'welcome'`, `'refuse'` (by a goodbye) or `'fail'`. */
async function choosing(webtransport, websocket, change = {}) {
  const tried = [];
  class Socket extends FakeSocket {
    send(bytes) {
      super.send(bytes);
      tried.push('websocket');
      if (websocket === 'welcome') this.say(0x11, 1, 's', {});
      else if (websocket === 'refuse') this.say(0x32, 4101, 'bad token', false, 0);
      else this.lose();
    }
  }
  class Session extends FakeSession {
    async createBidirectionalStream() {
      const stream = await super.createBidirectionalStream();
      tried.push('webtransport');
      const answer = () => {
        if (webtransport === 'welcome') stream.say(0x11, 1, 's', {});
        else if (webtransport === 'refuse') stream.say(0x32, 4101, 'bad token', false, 0);
        else stream.end();
      };
      void until(() => stream.sent.length).then(answer);
      return stream;
    }
  }
  const choice = { webtransport: { url: 'https://x' }, websocket: { url: 'ws://x' }, rules: [], transports: ['webtransport', 'websocket'], WebTransport: Session, WebSocket: Socket, userAgent: '', cold: false, ...change };
  const listener = { frame() {}, closed() {} };
  const outcome = await connect(choice, () => modules.encode([1]), () => listener, new AbortController().signal).then(({ wire, reason }) => `${wire.name}: ${reason}`, (error) => `${error.code}`);
  return [outcome, tried];
}

test('what fails gives way to the other transport, and the server’s own no does not', async () => {
  assert.deepEqual(await choosing('welcome', 'welcome'), ['webtransport: preferred', ['webtransport']]);
  assert.deepEqual(await choosing('fail', 'welcome'), ['websocket: blocked', ['webtransport', 'websocket']]);
  assert.deepEqual(await choosing('refuse', 'welcome'), ['4101', ['webtransport']]);
  assert.deepEqual(await choosing('fail', 'fail'), ['0', ['webtransport', 'websocket']]);
});

test('where WebTransport is cold it comes last, and is not given up', async () => {
  assert.deepEqual(await choosing('welcome', 'welcome', { cold: true }), ['websocket: cold', ['websocket']]);
  assert.deepEqual(await choosing('welcome', 'fail', { cold: true }), ['webtransport: preferred', ['websocket', 'webtransport']]);
  assert.deepEqual(await choosing('welcome', 'refuse', { cold: true }), ['4101', ['websocket']]);
  assert.deepEqual(await choosing('welcome', 'welcome', { cold: true, transports: ['webtransport'] }), ['webtransport: preferred', ['webtransport']]);
});

test('fallbackReason is a word for each way to a WebSocket, and null on WebTransport', async (t) => {
  const reasons = [];
  for (const [options, reason] of [
    [{ transports: ['websocket'] }, 'forced'],
    [{ webtransport: null }, 'unsupported'],
  ]) {
    const { client } = await connected(options);
    reasons.push([client.fallbackReason, reason]);
    client.disconnect();
  }
  assert.deepEqual(reasons, [['forced', 'forced'], ['unsupported', 'unsupported']]);
  FakeSession.made = [];
  const client = createClient({ webtransport: { url: 'https://test' }, websocket: { url: 'ws://test' }, WebTransport: FakeSession, WebSocket: FakeSocket });
  t.after(() => client.disconnect());
  client.connect().catch(() => {});
  const session = await until(() => FakeSession.made[0]?.streams[0]?.sent.length && FakeSession.made[0]);
  session.streams[0].say(0x11, 1, 's', {});
  await client.ready();
  assert.deepEqual([client.transport, client.fallbackReason], ['webtransport', null]);
});

test('a group that can’t be had ends in a state and not in an unhandled rejection', async (t) => {
  const { client, socket } = await connected();
  t.after(() => client.disconnect());
  const rejections = [];
  const note = (error) => rejections.push(error);
  process.on('unhandledRejection', note);
  t.after(() => process.off('unhandledRejection', note));
  const group = client.group('a');
  const denied = [];
  group.on('denied', ({ name }) => denied.push(name));
  const [, request] = await ask(socket, 2);
  socket.say(0x16, request, 4302, 'not allowed', null);
  await until(() => denied.length === 1);
  const refused = createClient({ websocket: { url: 'ws://test' }, webtransport: null, WebSocket: FakeSocket });
  refused.group('b');
  (await until(() => FakeSocket.made.at(-1) !== socket && FakeSocket.made.at(-1).sent.length && FakeSocket.made.at(-1))).say(0x32, 4206, 'no', false, 0);
  await until(() => refused.state === 'failed');
  await pause();
  assert.deepEqual([group.state, denied, rejections], ['denied', ['not_allowed'], []]);
});
