// What the client does when the page sleeps, wakes, is hidden, or comes online; on a clock that the test moves.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, connected, event, FakeSocket, modules, pause, until } from './fakes.mjs';

const { createClient, isExpired } = modules;
const { PING, PONG, GOODBYE, REFRESH } = modules;

/** A page that the test puts to sleep and wakes. */
function openPage(t) {
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  const frame = new EventTarget();
  Object.assign(globalThis, { document: page, window: frame });
  t.after(() => {
    delete globalThis.document;
    delete globalThis.window;
  });
  return {
    show(state) {
      page.visibilityState = state;
      page.dispatchEvent(new Event('visibilitychange'));
    },
    onPage: (type) => page.dispatchEvent(new Event(type)),
    onWindow: (type, fields = {}) => frame.dispatchEvent(Object.assign(new Event(type), fields)),
  };
}

const clock = (t) => t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
const pings = (socket) => socket.sent.filter(([op]) => op === PING);
const newSocket = (count) => until(() => FakeSocket.made.length === count && FakeSocket.made.at(-1).sent.length && FakeSocket.made.at(-1));

/** Answers the ping of the start. */
async function settled(socket) {
  const [, number] = await ask(socket, PING);
  socket.say(PONG, number);
  await pause();
}

for (const [what, wake] of [
  ['is looked at again', (page) => page.show('visible')],
  ['is resumed', (page) => page.onPage('resume')],
  ['comes back from the cache', (page) => page.onWindow('pageshow', { persisted: true })],
  ['is online again', (page) => page.onWindow('online')],
  ['gets the focus', (page) => page.onWindow('focus')],
]) {
  test(`a page that ${what} keeps a connection that answers, and leaves one that does not`, async (t) => {
    const page = openPage(t);
    clock(t);
    const { client, socket } = await connected();
    await settled(socket);

    wake(page);
    assert.equal(pings(socket).length, 2);
    socket.say(PONG, pings(socket)[1][1]);
    await pause();
    t.mock.timers.tick(2000);
    assert.deepEqual([client.state, FakeSocket.made.length], ['connected', 1]);

    wake(page);
    t.mock.timers.tick(1999);
    assert.equal(client.state, 'connected');
    t.mock.timers.tick(1);
    assert.deepEqual([client.state, client.retry.reason], ['reconnecting', 'a ping was not answered']);
    t.mock.timers.tick(10);
    await newSocket(2);
    client.disconnect();
  });

  test(`a page that ${what} does not wait for its next attempt`, async (t) => {
    const page = openPage(t);
    clock(t);
    const { client, socket } = await connected({ reconnect: { min: 1e6, max: 1e6 } });
    socket.lose();
    assert.equal(client.state, 'reconnecting');
    wake(page);
    t.mock.timers.tick(0);
    await newSocket(2);
    client.disconnect();
  });
}

test('a page that is shown for the first time probes nothing', async (t) => {
  const page = openPage(t);
  const { client, socket } = await connected();
  page.onWindow('pageshow', { persisted: false });
  assert.equal(pings(socket).length, 1);
  client.disconnect();
});

for (const [what, sleep] of [['frozen', (page) => page.onPage('freeze')], ['left', (page) => page.onWindow('pagehide')]]) {
  test(`a page that is ${what} says goodbye, tries nothing, and resumes from its positions when it wakes`, async (t) => {
    const page = openPage(t);
    clock(t);
    const { client, socket } = await connected();
    const group = client.group('a');
    const [, request] = await ask(socket, 2);
    socket.say(0x12, request, 3, 'a', 7, 10, null, 0);
    sleep(page);
    assert.deepEqual([socket.sent.at(-1), socket.closedWith], [[GOODBYE, 4000], [4000, 'going_away']]);
    assert.deepEqual([client.state, client.retry.nextAt, group.state], ['reconnecting', Infinity, 'joining']);
    t.mock.timers.tick(3_600_000);
    await pause();
    assert.equal(FakeSocket.made.length, 1);

    page.onPage('resume');
    t.mock.timers.tick(0);
    const again = await newSocket(2);
    again.say(0x11, 1, 's2', { ping: 25_000 });
    const [, , name, options] = await ask(again, 2);
    assert.deepEqual([name, options], ['a', { since: [7, 10] }]);
    client.disconnect();
  });
}

test('a page that falls asleep while it waits for its next attempt makes none', async (t) => {
  const page = openPage(t);
  clock(t);
  const { client, socket } = await connected();
  socket.lose();
  page.onPage('freeze');
  t.mock.timers.tick(60_000);
  await pause();
  assert.deepEqual([client.state, FakeSocket.made.length], ['reconnecting', 1]);
  client.disconnect();
});

test('a page that nobody sees comes back once by itself, and does not loop', async (t) => {
  const page = openPage(t);
  clock(t);
  const { client, socket } = await connected();
  page.show('hidden');
  socket.lose();
  t.mock.timers.tick(10);
  (await newSocket(2)).lose();
  await until(() => client.retry?.nextAt === Infinity);
  t.mock.timers.tick(60_000);
  await pause();
  assert.equal(FakeSocket.made.length, 2);
  page.show('visible');
  t.mock.timers.tick(0);
  await newSocket(3);
  client.disconnect();
});

test('a page that wakes comes back no earlier than the server asked for', async (t) => {
  const page = openPage(t);
  clock(t);
  const { client, socket } = await connected();
  socket.say(GOODBYE, 4000, 'leaving', true, 5000);
  page.onWindow('online');
  t.mock.timers.tick(4999);
  await pause();
  assert.equal(FakeSocket.made.length, 1);
  t.mock.timers.tick(1);
  await newSocket(2);
  client.disconnect();
});

test('whoever asks to connect does not wait', async (t) => {
  clock(t);
  const { client, socket } = await connected({ reconnect: { min: 1e6, max: 1e6 } });
  socket.lose();
  client.connect().catch(() => {});
  await newSocket(2);
  client.disconnect();
});

/** A token that is over at `exp`, in s. */
const jwt = (exp) => `h.${Buffer.from(JSON.stringify({ exp, sub: 'ÿ' })).toString('base64url')}.s`;

test('a token tells when it is over; what is no JWT tells nothing', () => {
  assert.deepEqual([isExpired(jwt(10), 9999), isExpired(jwt(10), 10_000)], [false, true]);
  for (const token of ['', 'x', 'a.b.c', `a.${btoa('{"exp":"soon"}')}.c`, `a.${btoa('null')}.c`]) assert.equal(isExpired(token, 1e15), false);
});

test('a page that wakes with a token whose time is over gets a new one first', async (t) => {
  const page = openPage(t);
  clock(t);
  const reasons = [];
  const getToken = async ({ reason }) => {
    reasons.push(reason);
    return jwt(2000);
  };
  const { client, socket } = await connected({ token: jwt(1001), getToken });
  await settled(socket);
  page.onPage('resume');
  assert.deepEqual(reasons, []);
  t.mock.timers.tick(1000);
  page.onPage('resume');
  page.onWindow('focus');
  assert.deepEqual((await ask(socket, REFRESH)).slice(2), [jwt(2000)]);
  assert.deepEqual(reasons, ['expiring']);

  t.mock.timers.setTime(2_000_000);
  client.disconnect();
  client.connect().catch(() => {});
  const again = await newSocket(2);
  assert.deepEqual([again.sent[0][2], reasons], [jwt(2000), ['expiring', 'expiring']]);
  client.disconnect();
});

test('after disconnect the page may do what it likes, and so may groups', async (t) => {
  const page = openPage(t);
  const { client } = await connected();
  client.disconnect();
  page.show('visible');
  page.onWindow('online');
  client.group('b');
  await pause();
  assert.deepEqual([client.state, FakeSocket.made.length], ['idle', 1]);
});

test('positions survive a page that sleeps in the middle of a burst', async (t) => {
  const page = openPage(t);
  const { client, socket } = await connected();
  const group = client.group('a');
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'a', 7, 10, null, 0);
  socket.say(...event(3, 11, 1000, 'one'));
  page.onPage('freeze');
  socket.say(...event(3, 12, 1001, 'said to nobody'));
  assert.deepEqual(group.position, [7, 11]);
  client.disconnect();
});
