// The lines to copy: what stands in the form, for a shell and for curl.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import test from 'node:test';
import { curlLine, sendLine, shellWord } from '../commands.js';

const HERE = 'http://localhost:8080';

/** The words that a shell makes of a line. */
function words(line) {
  const [program, ...rest] = line.split(' ');
  const out = execFileSync('sh', ['-c', `printf '%s\\0' ${program} ${rest.join(' ')}`], { encoding: 'utf8', env: { ...process.env, FANFARE_API_KEY: 'key' } });
  return out.split('\0').slice(0, -1);
}

test('a shell reads each word as it was meant', () => {
  for (const text of ['plain', 'two words', "it's", '$HOME `x` \\ "q" !', '*', '', 'ü', 'a\nb']) assert.deepEqual(words(`x ${shellWord(text)}`), ['x', text]);
  assert.equal(shellWord('sales_team'), 'sales_team');
});

test('every kind becomes the command that sends it', () => {
  const line = (kind, content, more = {}) => sendLine({ group: 'sales_team', kind, content, data: null, ...more }, HERE);
  assert.equal(line('message', 'New leads'), "fanfare send message sales_team 'New leads'");
  assert.equal(
    line('notification', { type: 'success', title: 'Great job!', message: 'Monthly target achieved!' }),
    "fanfare send notification sales_team 'Monthly target achieved!' --type success --title 'Great job!'",
  );
  assert.equal(line('file', { url: '/a.csv', name: 'a.csv', size: 5 }), 'fanfare send file sales_team --file-url /a.csv --file-name a.csv --file-size 5');
  assert.deepEqual(words(line('order.shipped', { order: 1 })), ['fanfare', 'send', 'event', 'sales_team', 'order.shipped', '{"order":1}']);
  assert.deepEqual(words(line('message', 'x', { data: { n: "it's" } })).slice(-2), ['--data', '{"n":"it\'s"}']);
});

test('what begins with a dash is no option, users are named as such, other ports are said', () => {
  assert.equal(sendLine({ group: 'a', kind: 'message', content: '-5 degrees', data: { n: 1 } }, HERE), "fanfare send message --data '{\"n\":1}' -- a '-5 degrees'");
  assert.equal(sendLine({ group: 'a', kind: 'file', content: { url: '/x', message: '-x' }, data: null }, HERE), 'fanfare send file a --file-url /x --message=-x');
  assert.equal(sendLine({ group: 'user.ann@x', kind: 'message', content: 'x', data: null }, HERE), 'fanfare send message ann@x x --user');
  assert.equal(sendLine({ group: 'a', kind: 'message', content: 'x', data: null }, 'http://localhost:9000'), 'fanfare send message a x --url http://localhost:9000');
});

/** Address and body of a curl line. */
function request(draft) {
  const read = words(curlLine(draft, HERE).replaceAll('\\\n', ' '));
  assert.equal(read[0], 'curl');
  assert.ok(read.includes('Authorization: Bearer key') && read.includes('Content-Type: application/json'), read.join(' '));
  return [read[1], JSON.parse(read.at(-1))];
}

test('every kind becomes the request that sends it', () => {
  const group = 'sales_team';
  assert.deepEqual(request({ group, kind: 'message', content: "it's", data: { n: 1 } }), [`${HERE}/v1/groups/sales_team/messages`, { message: "it's", data: { n: 1 } }]);
  assert.deepEqual(request({ group, kind: 'notification', content: { type: 'info', title: '', message: 'x' }, data: null }), [`${HERE}/v1/groups/sales_team/notifications`, { message: 'x', type: 'info' }]);
  assert.deepEqual(request({ group, kind: 'file', content: { url: '/x', size: 5 }, data: null }), [`${HERE}/v1/groups/sales_team/files`, { url: '/x', size: 5 }]);
  assert.deepEqual(request({ group: 'user.ann@x', kind: 'own.kind', content: [1], data: null }), [`${HERE}/v1/users/ann%40x/events`, { kind: 'own.kind', body: [1] }]);
});
