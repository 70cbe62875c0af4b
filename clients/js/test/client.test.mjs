// The client against a server that a test plays by hand.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, connected, event, FakeSession, FakeSocket, modules, until } from './fakes.mjs';

const { createClient, Backoff, engineOf, obstacle, legacyObject, displayText, megabytes } = modules;

test('hello says who and why, and the welcome is understood', async () => {
  const { client, socket } = await connected({ token: 't' });
  assert.deepEqual(socket.sent[0], [1, 1, 't', { client: 'fanfare-js/0.1.0', transport: 'unsupported' }]);
  assert.deepEqual([client.state, client.transport, client.user, client.fallbackReason], ['connected', 'websocket', 'ann', 'unsupported']);
  client.disconnect();
});

test('a group is followed once, by however many holders, and left with the last', async () => {
  const { client, socket } = await connected();
  const [first, second] = [client.group('a'), client.group('a')];
  await ask(socket, 2);
  assert.equal(socket.sent.filter(([op]) => op === 2).length, 1);
  first.leave();
  first.leave();
  assert.equal(socket.sent.filter(([op]) => op === 3).length, 0);
  second.leave();
  assert.deepEqual((await ask(socket, 3)).slice(2), ['a']);
  client.disconnect();
});

test('events come once and in order, and a handler that throws hurts nobody', async () => {
  const { client, socket } = await connected();
  const seen = [];
  const errors = [];
  globalThis.reportError = () => {};
  client.on('error', (error) => errors.push(error.message));
  const group = client.group('a');
  group.on('message', () => { throw new Error('oops'); });
  const undo = group.on('message', ({ message }) => seen.push(message));
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'a', 7, 10, null, 0);
  socket.say(...event(3, 11, 1000, 'one'));
  socket.say(...event(3, 11, 1000, 'one'));
  socket.say(...event(9, 11, 1001, 'of nobody'));
  socket.say(...event(3, 12, 1002, 'two'));
  undo();
  socket.say(...event(3, 13, 1003, 'three'));
  assert.deepEqual(seen, ['one', 'two']);
  assert.deepEqual(errors, ['oops', 'oops', 'oops']);
  assert.deepEqual(group.position, [7, 13]);
  client.disconnect();
});

test('after a loss it comes back, resumes, and tells what was missed', async () => {
  const { client, socket } = await connected();
  const group = client.group('a');
  const told = [];
  group.on('joined', (detail) => told.push(detail));
  group.on('gap', ({ from, to, reason }) => told.push({ from, to, reason }));
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'a', 7, 10, null, 0);
  socket.lose();
  assert.equal(client.state, 'reconnecting');
  const again = await until(() => FakeSocket.made.length === 2 && FakeSocket.made[1].sent.length && FakeSocket.made[1]);
  again.say(0x11, 1, 's2', { ping: 25_000 });
  const [, second, , options] = await ask(again, 2);
  assert.deepEqual(options, { since: [7, 10] });
  again.say(0x12, second, 5, 'a', 7, 14, false, 2);
  again.say(0x21, 5, 7, 11, 12, 2, 1);
  const seen = [];
  group.on('message', ({ offset }) => seen.push(offset));
  again.say(...event(5, 13, 2000, 'x'));
  again.say(...event(5, 14, 2001, 'y'));
  assert.deepEqual(told, [{ recovered: true, missed: 0 }, { recovered: false, missed: 2 }, { from: 11, to: 12, reason: 'expired' }]);
  assert.deepEqual(seen, [13, 14]);
  client.disconnect();
});

test('a subscribe that the server has no room for is repeated', async () => {
  const { client, socket } = await connected();
  const group = client.group('a');
  const [, first] = await ask(socket, 2);
  socket.say(0x16, first, 4400, 'try again', 5);
  const [, second] = await until(() => socket.sent.filter(([op]) => op === 2)[1]);
  socket.say(0x12, second, 3, 'a', 7, 10, null, 0);
  assert.equal(group.state, 'joined');
  client.disconnect();
});

/** Over WebTransport: followed `a` up to offset 10, lost the session, and has opened a stream to catch up. */
async function catchingUp() {
  FakeSession.made = [];
  const client = createClient({ webtransport: { url: 'https://test' }, websocket: null, transports: ['webtransport'], WebTransport: FakeSession, reconnect: { min: 1, max: 2 } });
  const group = client.group('a');
  const seen = [];
  group.on('message', ({ offset }) => seen.push(offset));
  const opened = async (at) => {
    const session = await until(() => FakeSession.made[at]?.streams[0]?.sent.length && FakeSession.made[at]);
    session.streams[0].say(0x11, 1, `s${at}`, { ping: 25_000 });
    return session;
  };
  const first = await opened(0);
  const [, request] = await ask(first.streams[0], 2);
  first.streams[0].say(0x12, request, 3, 'a', 7, 10, null, 0);
  await until(() => group.state === 'joined');
  first.lose();
  const session = await opened(1);
  const replay = await until(() => session.streams[1]?.sent.length && session.streams[1]);
  assert.deepEqual([replay.sent[0][0], replay.sent[0][3]], [2, { since: [7, 10] }]);
  return { client, group, seen, main: session.streams[0], replay, request: replay.sent[0][1] };
}

test('live events that overtake the catching up wait for it', async () => {
  const { client, group, seen, main, replay, request } = await catchingUp();
  // Its group's number is told on the other stream, later.
  main.say(...event(5, 13, 1003, 'live'));
  await new Promise((resolve) => setTimeout(resolve, 5));
  replay.say(0x12, request, 5, 'a', 7, 12, true, 2);
  main.say(...event(5, 14, 1004, 'live'));
  replay.say(...event(5, 11, 1001, 'missed'));
  await until(() => seen.length === 1);
  replay.say(...event(5, 12, 1002, 'missed'));
  replay.end();
  await until(() => seen.length === 4);
  assert.deepEqual([seen, group.state, group.position], [[11, 12, 13, 14], 'joined', [7, 14]]);
  client.disconnect();
});

test('when the stream to catch up fails, live events wait until the main stream has brought the rest', async () => {
  const { client, group, seen, main, replay, request } = await catchingUp();
  replay.say(0x12, request, 5, 'a', 7, 12, true, 2);
  replay.say(...event(5, 11, 1001, 'missed'));
  await until(() => seen.length === 1);
  replay.fail();
  const [, again, , options] = await ask(main, 2);
  assert.deepEqual(options, { since: [7, 11] });
  main.say(...event(5, 13, 1003, 'live'));
  await received(main, 1);
  assert.deepEqual([seen, group.position], [[11], [7, 11]]);
  main.say(0x12, again, 5, 'a', 7, 13, true, 2);
  for (const offset of [12, 13, 14]) main.say(...event(5, offset, 1000 + offset, 'the rest'));
  await until(() => seen.length === 4);
  assert.deepEqual([seen, group.state, group.position], [[11, 12, 13, 14], 'joined', [7, 14]]);
  client.disconnect();
});

/** What is told, in its order: offsets of events with their epoch, and gaps. */
function listen(group) {
  const told = [];
  group.on('message', ({ epoch, offset }) => told.push(`${epoch}:${offset}`));
  group.on('gap', ({ epoch, from, to, reason }) => told.push(`${epoch}:${from}-${to} ${reason}`));
  return told;
}

/** Says a ping on the stream; when its pong is there, all before it was received. */
async function received(stream, number) {
  stream.say(0x30, number);
  await until(() => stream.sent.some(([op, answered]) => op === 0x31 && answered === number));
}

test('a live gap that overtakes the catching up waits in its place', async () => {
  const { client, group, main, replay, request } = await catchingUp();
  const told = listen(group);
  const atClient = [];
  client.on('gap', ({ group, from, to, count }) => atClient.push([group, from, to, count]));
  replay.say(0x12, request, 5, 'a', 7, 20, false, 8);
  replay.say(0x21, 5, 7, 11, 12, 2, 1);
  replay.say(...event(5, 13, 1013, 'missed'));
  await until(() => told.length === 2);
  for (const offset of [21, 22]) main.say(...event(5, offset, 1000 + offset, 'live'));
  main.say(0x21, 5, 7, 23, 25, 3, 3);
  main.say(...event(5, 26, 1026, 'live'));
  await received(main, 1);
  assert.deepEqual([told, group.position], [['7:11-12 expired', '7:13'], [7, 13]]);
  for (const offset of [14, 15, 16, 17, 18, 19, 20]) replay.say(...event(5, offset, 1000 + offset, 'missed'));
  replay.end();
  await until(() => told.at(-1) === '7:26');
  assert.deepEqual(told.slice(2), ['7:14', '7:15', '7:16', '7:17', '7:18', '7:19', '7:20', '7:21', '7:22', '7:23-25 slow', '7:26']);
  assert.deepEqual([atClient, group.position], [[['a', 11, 12, 2], ['a', 23, 25, 3]], [7, 26]]);
  client.disconnect();
});

test('a new epoch of live events is not that of the catching up', async () => {
  const { client, group, main, replay, request } = await catchingUp();
  const told = listen(group);
  replay.say(0x12, request, 5, 'a', 7, 12, true, 2);
  replay.say(...event(5, 11, 1011, 'missed'));
  await until(() => told.length === 1);
  main.say(...event(5, 13, 1013, 'live'));
  main.say(0x21, 5, 8, 0, 0, null, 2);
  main.say(...event(5, 1, 2001, 'of another life'));
  await received(main, 1);
  replay.say(...event(5, 12, 1012, 'missed'));
  replay.end();
  await until(() => told.at(-1) === '8:1');
  assert.deepEqual([told, group.position], [['7:11', '7:12', '7:13', '8:0-0 epoch', '8:1'], [8, 1]]);
  main.say(...event(5, 2, 2002, 'and on'));
  await until(() => told.at(-1) === '8:2');
  client.disconnect();
});

test('a live gap that overtakes the number of its group is not lost', async () => {
  const { client, group, main, replay, request } = await catchingUp();
  const told = listen(group);
  main.say(...event(5, 13, 1013, 'live'));
  main.say(0x21, 5, 7, 14, 15, 2, 3);
  main.say(...event(5, 16, 1016, 'live'));
  main.say(0x23, 5);
  await received(main, 1);
  replay.say(0x12, request, 5, 'a', 7, 12, true, 2);
  for (const offset of [11, 12]) replay.say(...event(5, offset, 1000 + offset, 'missed'));
  replay.end();
  await until(() => told.at(-1) === '7:16');
  assert.deepEqual([told, group.position], [['7:11', '7:12', '7:13', '7:14-15 slow', '7:16'], [7, 16]]);
  assert.equal(group.interrupted, true, 'that overtook the number, too');
  client.disconnect();
});

test('what there is no room for while a group catches up is told as a gap, be it an event or a gap', async () => {
  const { client, group, main, replay, request } = await catchingUp();
  const told = listen(group);
  replay.say(0x12, request, 5, 'a', 7, 11, true, 1);
  await until(() => group.state === 'joined');
  main.say(...event(5, 12, 1012, 'live'));
  main.say(0x21, 5, 7, 13, 14, 2, 3);
  for (let offset = 15; offset < 1015; offset++) main.say(...event(5, offset, 1000 + offset, 'live'));
  await received(main, 1);
  assert.deepEqual([told.splice(0), group.position], [['7:12-12 slow', '7:13-14 slow'], [7, 10]]);
  replay.say(...event(5, 11, 1011, 'missed'));
  replay.end();
  await until(() => told.at(-1) === '7:1014');
  assert.deepEqual([told.length, told[0], told[1], group.position], [1001, '7:11', '7:15', [7, 1014]]);
  client.disconnect();
});

test('a group that is left while it catches up is left again when the server follows it after all', async () => {
  const { client, group, seen, main, replay, request } = await catchingUp();
  const leaves = () => main.sent.filter(([op, , name]) => op === 3 && name === 'a');
  group.leave();
  await until(() => leaves().length === 1);
  // On its way the unsubscribe was faster than the subscribe.
  main.say(0x13, leaves()[0][1], 'a', 0);
  replay.say(0x12, request, 5, 'a', 7, 11, true, 1);
  await until(() => leaves().length === 2);
  replay.say(...event(5, 11, 1011, 'missed'));
  replay.end();
  main.say(0x13, leaves()[1][1], 'a', 0);
  await received(main, 1);
  assert.deepEqual([seen, leaves().length, main.sent.filter(([op]) => op === 2)], [[], 2, []]);
  client.disconnect();
});

test('a stream that ends before it is answered, or in the middle, does not count: the main one is asked', async () => {
  for (const answered of [false, true]) {
    const { client, group, seen, main, replay, request } = await catchingUp();
    if (answered) {
      replay.say(0x12, request, 5, 'a', 7, 12, true, 2);
      replay.say(...event(5, 11, 1001, 'missed'));
      await until(() => seen.length === 1);
      replay.reset();
    } else {
      replay.end();
    }
    const [, again, , options] = await ask(main, 2);
    assert.deepEqual(options, { since: [7, answered ? 11 : 10] });
    main.say(0x12, again, 6, 'a', 7, 12, true, 2 - Number(answered));
    for (const offset of [11, 12].slice(Number(answered))) main.say(...event(6, offset, 1000 + offset, 'missed'));
    main.say(...event(6, 13, 1013, 'live'));
    await until(() => seen.at(-1) === 13);
    assert.deepEqual([seen, group.state], [[11, 12, 13], 'joined']);
    client.disconnect();
  }
});

test('a stream that never answers gives way after a while', async () => {
  const { client, main } = await catchingUp();
  const [, , name] = await until(() => main.sent.find(([op]) => op === 2), 1400);
  assert.equal(name, 'a');
  client.disconnect();
});

test('disconnect is final, and so is a goodbye that says so', async () => {
  const { client, socket } = await connected();
  client.disconnect();
  assert.equal(client.state, 'idle');
  assert.deepEqual(socket.sent.at(-1), [0x32, 4000]);
  const other = await connected();
  other.socket.say(0x32, 4206, 'the application disconnected this user', false, 0);
  assert.equal(other.client.state, 'failed');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(FakeSocket.made.length, 1);
});

test('publishing resolves with the place, and rejects with the reason or when offline', async () => {
  const { client, socket } = await connected();
  const group = client.group('a');
  const publishing = group.publish('notification', { type: 'success', title: 'T', message: 'M' }, { data: { n: 1 }, key: 'k' });
  const frame = await ask(socket, 4);
  assert.deepEqual(frame.slice(2), ['a', 1, ['success', 'T', 'M'], { n: 1 }, { key: 'k' }]);
  socket.say(0x14, frame[1], 4_194_304 * 5 + 9, 7, 3);
  assert.deepEqual(await publishing, { id: '5-9', position: [7, 3] });
  const refused = group.publish('message', 'x');
  const [, request] = await until(() => socket.sent.findLast(([op, , , kind]) => op === 4 && kind === 0));
  socket.say(0x16, request, 4302, 'not allowed', null);
  await assert.rejects(refused, { code: 4302, name: 'not_allowed', retryable: false });
  client.disconnect();
  await assert.rejects(group.publish('message', 'x'), { code: 0, retryable: true });
});

test('a rejected token is asked for again, one at a time', async () => {
  const reasons = [];
  FakeSocket.made = [];
  const getToken = async ({ reason }) => { reasons.push(reason); return `t${reasons.length}`; };
  const client = createClient({ websocket: { url: 'ws://test' }, webtransport: null, WebSocket: FakeSocket, reconnect: { min: 1, max: 2 }, getToken });
  void client.connect().catch(() => {});
  const first = await until(() => FakeSocket.made[0]?.sent.length && FakeSocket.made[0]);
  first.say(0x32, 4101, 'bad', true, 0);
  const second = await until(() => FakeSocket.made[1]?.sent.length && FakeSocket.made[1]);
  assert.deepEqual([first.sent[0][2], second.sent[0][2]], ['t1', 't2']);
  assert.deepEqual(reasons, ['initial', 'rejected']);
  client.disconnect();
});

test('a WebTransport that hangs gives way to a WebSocket whose welcome comes', async () => {
  class Hanging { ready = new Promise(() => {}); closed = new Promise(() => {}); close() { this.gone = true; } }
  FakeSocket.made = [];
  const client = createClient({ websocket: { url: 'ws://test' }, webtransport: { url: 'https://test' }, WebSocket: FakeSocket, WebTransport: Hanging });
  void client.connect().catch(() => {});
  const socket = await until(() => FakeSocket.made[0]?.sent.length && FakeSocket.made[0]);
  assert.equal(socket.sent[0][3].transport, 'timeout');
  socket.say(0x11, 1, 's', {});
  await client.ready();
  assert.deepEqual([client.transport, client.fallbackReason], ['websocket', 'timeout']);
  client.disconnect();
});

test('rules gate engines by data', () => {
  const safari = 'Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.4 Safari/605.1.15';
  const chromeOnIos = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/140.0 Mobile Safari/604.1';
  const chrome = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36';
  assert.deepEqual([safari, chromeOnIos, chrome].map((agent) => engineOf(agent).engine), ['webkit', 'webkit', 'chromium']);
  const choice = { transports: ['webtransport', 'websocket'], WebTransport: class {}, webtransport: { url: 'x' }, cold: false, rules: [{ engine: 'webkit', minVersion: 0, allow: false }, { engine: 'chromium', minVersion: 157, allow: true }] };
  assert.equal(obstacle({ ...choice, userAgent: safari }), 'gated');
  assert.equal(obstacle({ ...choice, userAgent: chrome }), 'gated');
  assert.equal(obstacle({ ...choice, userAgent: 'Firefox/153.0' }), null);
  assert.equal(obstacle({ ...choice, userAgent: 'Firefox/153.0', cold: true }), 'cold');
});

test('waiting grows to its bound, with full jitter, and starts anew only after a good connection', () => {
  const backoff = new Backoff({ min: 100, max: 1000 });
  assert.deepEqual(Array.from({ length: 6 }, () => backoff.next(() => 1)), [100, 200, 400, 800, 1000, 1000]);
  assert.equal(backoff.next(() => 0), 0);
  backoff.lived(10);
  assert.equal(backoff.next(() => 1), 1000);
  backoff.lived(5000);
  assert.equal(backoff.next(() => 1), 100);
});

test('old objects are exactly the old ones', () => {
  const base = { id: '1-1', group: 'sales_team', offset: 1, epoch: 1, timestamp: new Date(0), data: null, sender: null, body: null };
  const timestamp = '1970-01-01T00:00:00.000Z';
  assert.deepEqual(legacyObject({ ...base, kind: 'message', message: 'hi' }), { type: 'group_message', group_name: 'sales_team', message: 'hi', data: {}, timestamp });
  const notification = legacyObject({ ...base, kind: 'notification', type: 'success', title: 'Great job!', message: 'Monthly target achieved!' });
  assert.deepEqual(notification, { type: 'group_notification', group_name: 'sales_team', notification_type: 'success', title: 'Great job!', message: 'Monthly target achieved!', data: {}, timestamp });
  assert.equal(displayText(notification), '[sales_team] Great job!: Monthly target achieved!');
  assert.deepEqual(legacyObject({ ...base, group: 'user.ann', kind: 'file', url: '/a/b', name: 'b', message: 'ready', size: null, data: { a: 1 } }), { type: 'user_file', username: 'ann', message: 'ready', file_url: '/a/b', file_name: 'b', file_size: null, data: { a: 1 }, timestamp });
  assert.deepEqual(legacyObject({ ...base, kind: 'task.update', body: { task_id: 't', progress: 5 } }), { type: 'task_update', task_id: 't', progress: 5 });
  assert.equal(legacyObject({ ...base, kind: 'chat.typing' }), null);
  assert.equal(megabytes(2_457_600), '2.34 MB');
});

/** Follows `a`, as group number 3. */
async function following(client, socket, position = [7, 10]) {
  const group = client.group('a');
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'a', ...position, null, 0);
  return group;
}

test('who is in a group is asked for in parts', async () => {
  const { client, socket } = await connected();
  const group = await following(client, socket);
  const asked = group.presence({ after: 'bob', limit: 2 });
  const [, request, name, options] = await ask(socket, 6);
  assert.deepEqual([name, options], ['a', { after: 'bob', limit: 2 }]);
  socket.say(0x17, request, 'a', 5, 9, 4, 1, 7, [['cy', 2], ['dan', 1]], 'dan');
  assert.deepEqual(await asked, { users: 4, anonymous: 1, connections: 7, list: [{ user: 'cy', connections: 2 }, { user: 'dan', connections: 1 }], next: 'dan' });
  const refused = group.presence();
  const [, second] = await until(() => socket.sent.filter(([op]) => op === 6)[1]);
  socket.say(0x16, second, 4302, 'the policy of the group does not allow this', null);
  await assert.rejects(refused, { code: 4302 });
  client.disconnect();
});

test('who comes and goes is told once, and what was missed is not hidden', async () => {
  const { client, socket } = await connected();
  const group = await following(client, socket);
  const told = [];
  group.on('presence', ({ joined, left, users, missed }) => told.push([joined.join(), left.join(), users, missed].join(' ')));
  socket.say(0x22, 3, 5, 8, ['ann'], [], 1, 0, 1);
  socket.say(0x22, 3, 5, 9, ['bob'], ['ann'], 1, 0, 1);
  socket.say(0x22, 3, 5, 9, ['bob'], ['ann'], 1, 0, 1);
  socket.say(0x22, 3, 5, 12, ['cy'], [], 3, 0, 3);
  socket.say(0x22, 3, 6, 1, ['dan'], [], 4, 0, 4);
  socket.say(0x22, 99, 6, 2, ['eve'], [], 5, 0, 5);
  assert.deepEqual(told.splice(0), ['ann  1 false', 'bob ann 1 false', 'cy  3 true', 'dan  4 true']);
  // Changes may have been lost: it looks, and tells only if there is news.
  socket.say(0x22, 3, 0, 0, [], [], 0, 0, 0);
  const [, request] = await ask(socket, 6);
  socket.say(0x17, request, 'a', 6, 1, 4, 0, 4, [], null);
  socket.say(0x22, 3, 0, 0, [], [], 0, 0, 0);
  const [, second] = await until(() => socket.sent.filter(([op]) => op === 6)[1]);
  socket.say(0x17, second, 'a', 6, 3, 2, 0, 2, [], null);
  await until(() => told.length > 0);
  assert.deepEqual(told, ['  2 true']);
  client.disconnect();
});

test('an interruption is told once, ends with what the server says, and is not carried over to another connection', async () => {
  const { client, socket } = await connected();
  const group = await following(client, socket);
  const told = [];
  for (const type of ['interrupted', 'resumed']) {
    group.on(type, () => told.push(type));
    client.on(type, ({ group: name }) => told.push(`${name} ${type}`));
  }
  socket.say(0x23, 3);
  socket.say(0x23, 3);
  socket.say(0x23, 99);
  assert.deepEqual([told.splice(0), group.interrupted], [['interrupted', 'a interrupted'], true]);
  socket.say(0x24, 3);
  assert.deepEqual([told.splice(0), group.interrupted], [['resumed', 'a resumed'], false]);
  socket.say(0x23, 3);
  socket.lose();
  const again = await until(() => FakeSocket.made[1]?.sent.length && FakeSocket.made[1]);
  again.say(0x11, 1, 's2', { ping: 25_000 });
  const [, request] = await ask(again, 2);
  assert.equal(group.interrupted, true, 'nobody has said otherwise yet');
  again.say(0x12, request, 3, 'a', 7, 10, true, 0);
  assert.equal(group.interrupted, false);
  again.say(0x23, 3);
  again.say(0x12, 0, 3, 'a', 7, 10, null, 0);
  assert.equal(group.interrupted, true, 'the group was followed already');
  again.say(0x13, 0, 'a', 4306);
  assert.equal(group.interrupted, false);
  client.disconnect();
});

test('a list that is older than a change does not undo it, and a change that is older than a list is skipped', async () => {
  const { client, socket } = await connected();
  const group = await following(client, socket);
  const told = [];
  group.on('presence', ({ joined, missed }) => told.push([joined.join(), missed]));
  const asked = group.presence();
  const [, request] = await ask(socket, 6);
  socket.say(0x22, 3, 5, 9, ['ann'], [], 1, 0, 1);
  socket.say(0x17, request, 'a', 5, 8, 0, 0, 0, [], null);
  assert.equal((await asked).users, 0);
  socket.say(0x22, 3, 5, 10, ['bob'], [], 2, 0, 2);
  const again = group.presence();
  const [, second] = await until(() => socket.sent.filter(([op]) => op === 6)[1]);
  socket.say(0x17, second, 'a', 5, 12, 4, 0, 4, [], null);
  assert.equal((await again).users, 4);
  socket.say(0x22, 3, 5, 11, ['cy'], [], 3, 0, 3);
  socket.say(0x22, 3, 5, 13, ['eve'], [], 5, 0, 5);
  assert.deepEqual(told, [['ann', false], ['bob', false], ['eve', false]]);
  client.disconnect();
});

test('whoever was away looks who is there when somebody wants to know', async () => {
  const { client, socket } = await connected();
  const group = await following(client, socket);
  const told = [];
  group.on('presence', ({ users, missed }) => told.push([users, missed]));
  socket.say(0x22, 3, 5, 8, ['ann'], [], 1, 0, 1);
  socket.lose();
  const again = await until(() => FakeSocket.made[1]?.sent.length && FakeSocket.made[1]);
  again.say(0x11, 1, 's2', { ping: 25_000 });
  const [, second] = await ask(again, 2);
  again.say(0x12, second, 3, 'a', 7, 10, true, 0);
  const [, request, , options] = await ask(again, 6);
  assert.deepEqual(options, { limit: 0 });
  again.say(0x17, request, 'a', 5, 11, 6, 0, 6, [], null);
  await until(() => told.length === 2);
  assert.deepEqual(told, [[1, false], [6, true]]);
  client.disconnect();
});

test("a user's own group, which the server follows by itself, resumes as well", async () => {
  const { client, socket } = await connected();
  const seen = [];
  client.on('message', ({ offset }) => seen.push(offset));
  socket.say(0x12, 0, 1, 'user.ann', 7, 10, null, 0);
  socket.say(...event(1, 11, 1001, 'live'));
  socket.lose();
  const again = await until(() => FakeSocket.made[1]?.sent.length && FakeSocket.made[1]);
  again.say(0x11, 1, 's2', { ping: 25_000, user: 'ann' });
  again.say(0x12, 0, 1, 'user.ann', 7, 13, null, 0);
  const [, request, name, options] = await ask(again, 2);
  assert.deepEqual([name, options], ['user.ann', { since: [7, 11] }]);
  again.say(...event(1, 14, 1004, 'comes before the answer, and is in it'));
  again.say(0x12, request, 1, 'user.ann', 7, 14, true, 3);
  for (const offset of [12, 13, 14, 15]) again.say(...event(1, offset, 990 + offset, 'x'));
  assert.deepEqual(seen, [11, 12, 13, 14, 15]);
  client.disconnect();
});

/** The storage of a tab. */
function storage(t) {
  const kept = new Map();
  globalThis.sessionStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value), removeItem: (key) => void kept.delete(key) };
  t.after(() => delete globalThis.sessionStorage);
  return kept;
}

test('a page that is loaded anew resumes where its handlers were, if it is asked to', async (t) => {
  const kept = storage(t);
  const first = await connected({ persistPositions: true });
  await following(first.client, first.socket);
  first.socket.say(0x12, 0, 1, 'user.ann', 9, 20, null, 0);
  first.socket.say(...event(3, 11, 1001, 'seen'));
  first.client.group('b').leave();
  first.client.disconnect();
  const { client, socket } = await connected({ persistPositions: true });
  const seen = [];
  client.on('message', ({ group, offset }) => seen.push([group, offset]));
  const group = client.group('a');
  const [, request, , options] = await ask(socket, 2);
  assert.deepEqual(options, { since: [7, 11] });
  socket.say(0x12, request, 3, 'a', 7, 12, true, 1);
  socket.say(...event(3, 12, 1002, 'missed'));
  socket.say(0x12, 0, 1, 'user.ann', 9, 21, null, 0);
  const [, own, name, since] = await until(() => socket.sent.filter(([op, , name]) => op === 2 && name === 'user.ann')[0]);
  assert.deepEqual([name, since], ['user.ann', { since: [9, 20] }]);
  socket.say(0x12, own, 1, 'user.ann', 9, 21, true, 1);
  socket.say(...event(1, 21, 1003, 'missed'));
  assert.deepEqual(seen, [['a', 12], ['user.ann', 21]]);
  group.leave();
  client.disconnect();
  assert.deepEqual(JSON.parse(kept.get('fanfare.positions ')), { 'user.ann': [9, 21] });
  // Another page that does not ask for it begins now, and so does one whose storage holds nonsense.
  for (const [stored, persistPositions] of [['{"a":[7,11]}', false], ['{"a":[7]', true], ['{"a":["x",1],"b":null}', true]]) {
    kept.set('fanfare.positions ', stored);
    const other = await connected({ persistPositions });
    other.client.group('a');
    assert.deepEqual((await ask(other.socket, 2)).slice(2), ['a']);
    other.client.disconnect();
  }
});

test('positions are stored soon after they move, and no more groups than a thousand', async (t) => {
  const kept = storage(t);
  const { client, socket } = await connected({ persistPositions: true });
  await following(client, socket);
  await until(() => kept.get('fanfare.positions ') === '{"a":[7,10]}');
  for (let n = 0; n < 1000; n++) socket.say(0x12, 0, 100 + n, `user.${n}`, 1, n, null, 0);
  client.disconnect();
  const stored = Object.keys(JSON.parse(kept.get('fanfare.positions ')));
  assert.deepEqual([stored.length, stored[0], stored.at(-1)], [1000, 'user.0', 'user.999']);
});

test('positions do without a storage that may not be used', async (t) => {
  globalThis.sessionStorage = { getItem: () => { throw new Error('forbidden'); }, setItem: () => { throw new Error('forbidden'); } };
  t.after(() => delete globalThis.sessionStorage);
  const { client, socket } = await connected({ persistPositions: true });
  const group = await following(client, socket);
  assert.deepEqual(group.position, [7, 10]);
  client.disconnect();
});
