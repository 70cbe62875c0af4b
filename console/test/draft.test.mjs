// The form: fields in, draft or complaints out.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { groupNameProblem, readDraft } from '../draft.js';

const FIELDS = { group: 'a', kind: 'message', own: 'order.shipped', type: 'success', title: 'T', text: 'M', url: '/x.csv', name: '', size: '', body: '{"n":1}', data: '' };
const read = (fields) => readDraft({ ...FIELDS, ...fields });
const complaints = (fields) => read(fields).problems.map(({ field }) => field);

test('every kind becomes what the client publishes', () => {
  assert.deepEqual(read({}), { draft: { group: 'a', kind: 'message', content: 'M', data: null }, problems: [] });
  assert.deepEqual(read({ kind: 'notification' }).draft.content, { type: 'success', title: 'T', message: 'M' });
  assert.deepEqual(read({ kind: 'file', name: ' n ', size: '2,457 600', text: '' }).draft.content, { url: '/x.csv', name: 'n', size: 2_457_600 });
  assert.deepEqual(read({ kind: 'own', data: '{"d":1}' }).draft, { group: 'a', kind: 'order.shipped', content: { n: 1 }, data: { d: 1 } });
});

test('each mistake names its field, and the draft is there all the same', () => {
  assert.deepEqual(complaints({ group: '', text: '' }), ['group', 'text']);
  assert.deepEqual(complaints({ kind: 'file', url: ' ', size: '1.5' }), ['url', 'size']);
  assert.deepEqual(complaints({ kind: 'own', own: 'message' }), ['own']);
  assert.deepEqual(complaints({ kind: 'own', own: 'a b', body: '{' }), ['body', 'own']);
  for (const data of ['{', '[]', '5', '"x"']) assert.deepEqual(complaints({ data }), ['data'], data);
  assert.equal(read({ kind: 'own', body: '{' }).draft.content, null);
});

test('names of groups follow the rule of the protocol', () => {
  for (const name of ['a', 'x'.repeat(99), 'A-Z_a.z-9', 'user.ann@example.org+x', `user.${'x'.repeat(150)}`]) assert.equal(groupNameProblem(name), null, name);
  for (const name of ['', 'a b', 'x'.repeat(100), 'grüße', 'a/b', `user.${'x'.repeat(151)}`]) assert.notEqual(groupNameProblem(name), null, name);
});

test('every element that a script asks for is in the page, and every control has a label', () => {
  const page = readFileSync(new URL('../index.html', import.meta.url), 'utf8');
  const ids = new Set([...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
  for (const script of ['app', 'view-commands', 'view-connection', 'view-events', 'view-groups', 'view-send', 'view-theme', 'view-toasts']) {
    const text = readFileSync(new URL(`../${script}.js`, import.meta.url), 'utf8');
    for (const [, id] of text.matchAll(/byId\('([^']+)'\)/g)) assert.ok(ids.has(id), `${script}.js: ${id}`);
  }
  for (const [, id] of page.matchAll(/<(?:input|select|textarea) [^>]*?id="([^"]+)"/g)) {
    assert.ok(page.includes(`for="${id}"`) || new RegExp(`<label[^>]*>\\s*<input[^>]*id="${id}"`).test(page), id);
  }
});
