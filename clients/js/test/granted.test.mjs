// Groups that the server follows for a user without being asked.
import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, connected, event, FakeSocket, until } from './fakes.mjs';

const REVOKED = 4306;

/** The socket after a loss, welcomed. */
async function again(socket) {
  const before = FakeSocket.made.length;
  socket.lose();
  const next = await until(() => FakeSocket.made.length > before && FakeSocket.made.at(-1).sent.length > 0 && FakeSocket.made.at(-1));
  next.say(0x11, 1, 's2', { user: 'ann', ping: 25_000 });
  return next;
}

test('a group that the application grants is heard without asking, until it is revoked', async () => {
  const { client, socket } = await connected();
  const seen = [];
  client.on('message', ({ group, message }) => seen.push([group, message]));
  socket.say(0x12, 0, 3, 'sales', 7, 10, null, 0);
  socket.say(...event(3, 11, 1000, 'one'));
  socket.say(0x13, 0, 'sales', REVOKED);
  assert.deepEqual(seen, [['sales', 'one']]);
  const next = await again(socket);
  await until(() => client.state === 'connected');
  assert.deepEqual(next.sent.filter(([op]) => op === 2), [], 'what was taken away is not asked for again');
  client.disconnect();
});

test('who holds a group that is revoked is told', async () => {
  const { client, socket } = await connected();
  const group = client.group('sales');
  const denied = [];
  group.on('denied', ({ name, code }) => denied.push([name, code]));
  const [, request] = await ask(socket, 2);
  socket.say(0x12, request, 3, 'sales', 7, 10, null, 0);
  socket.say(0x13, 0, 'sales', REVOKED);
  assert.deepEqual([group.state, denied], ['denied', [['revoked', REVOKED]]]);
  socket.say(0x12, 0, 3, 'sales', 7, 12, null, 0);
  assert.deepEqual([group.state, group.position], ['joined', [7, 12]], 'granted again, from now on');
  client.disconnect();
});

test('what the server follows again after a loss is caught up with, and what it does not is not asked for', async () => {
  const { client, socket } = await connected();
  const seen = [];
  client.on('message', ({ group, offset }) => seen.push([group, offset]));
  socket.say(0x12, 0, 3, 'sales', 7, 10, null, 0);
  socket.say(0x12, 0, 4, 'other', 7, 10, null, 0);
  const next = await again(socket);
  await until(() => client.state === 'connected');
  assert.deepEqual(next.sent.filter(([op]) => op === 2), []);
  next.say(0x12, 0, 5, 'sales', 7, 12, null, 0);
  next.say(...event(5, 13, 1003, 'live'));
  const [, request, name, options] = await ask(next, 2);
  assert.deepEqual([name, options], ['sales', { since: [7, 10] }]);
  next.say(0x12, request, 5, 'sales', 7, 13, true, 3);
  for (const offset of [11, 12, 13]) next.say(...event(5, offset, 1000 + offset, 'missed'));
  await until(() => seen.length === 3);
  assert.deepEqual(seen, [['sales', 11], ['sales', 12], ['sales', 13]]);
  assert.equal(next.sent.filter(([op]) => op === 2).length, 1);
  // Whoever wants the other one now asks for it, and for what was missed.
  client.group('other');
  const [, , held, since] = await until(() => next.sent.filter(([op]) => op === 2)[1]);
  assert.deepEqual([held, since], ['other', { since: [7, 10] }]);
  client.disconnect();
});
