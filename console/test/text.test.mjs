// What the page says: events, sizes, times, reasons, cures.
import assert from 'node:assert/strict';
import test from 'node:test';
import { gapReason, notice, publishCure, sentence, transportName, transportReason } from '../explain.js';
import { clock, count, eventParts, json, lastPart, megabytes, milliseconds, position, safeUrl, toastText, whoIsHere } from '../format.js';

const event = (kind, fields = {}) => ({ group: 'sales_team', kind, ...fields });

test('a toast says group, title and text as the users of the old page know it', () => {
  assert.equal(toastText(event('notification', { title: 'Great job!', message: 'Monthly target achieved!' })), '[sales_team] Great job!: Monthly target achieved!');
  assert.equal(toastText(event('notification', { title: '', message: 'Done' })), '[sales_team] Done');
  assert.equal(toastText(event('message', { title: 'no title of messages', message: 'Done' })), '[sales_team] Done');
  assert.equal(toastText(event('file', { message: 'File ready for download' })), '[sales_team] File ready for download');
});

test('every kind has one line in the list, an unknown one its body', () => {
  assert.deepEqual(eventParts(event('notification', { title: 'T', message: 'M' })), { title: 'T:', text: 'M' });
  assert.deepEqual(eventParts(event('file', { message: 'ready' })), { title: '', text: 'ready' });
  assert.deepEqual(eventParts(event('order.shipped', { body: { order: 1 } })), { title: '', text: '{"order":1}' });
  assert.deepEqual([json(undefined), json(10n), json([null])], ['null', '"10"', '[null]']);
});

test('sizes have two decimals of a MB and are empty where nobody knows them', () => {
  assert.deepEqual([2_457_600, 0, 1].map(megabytes), ['2.34 MB', '0.00 MB', '0.00 MB']);
  assert.deepEqual([null, undefined, -1, NaN, '5'].map(megabytes), ['', '', '', '', '']);
});

test('only what a browser fetches becomes a link', () => {
  const base = 'http://localhost:8080/page';
  assert.equal(safeUrl('/media/a b.csv', base), 'http://localhost:8080/media/a%20b.csv');
  assert.equal(safeUrl('https://x.example/y', base), 'https://x.example/y');
  for (const bad of ['javascript:alert(1)', ' JaVaScRiPt:alert(1)', 'data:text/html,x', 'file:///etc/passwd', 'http://[']) assert.equal(safeUrl(bad, base), null, bad);
});

test('a file without a name is called as the end of its address', () => {
  assert.deepEqual(['/media/q4.pdf?x=/y#z', 'https://a/b/', '', null].map(lastPart), ['q4.pdf', 'file', 'file', 'file']);
});

test('times, counts and positions', () => {
  assert.equal(clock(new Date(2026, 0, 2, 9, 5, 7, 42)), '09:05:07.042');
  assert.deepEqual([0.04, 9.96, 10, 1234.5].map(milliseconds), ['0.0 ms', '10.0 ms', '10 ms', '1,235 ms']);
  assert.deepEqual([count(1, 'event'), count(2000, 'event')], ['1 event', '2,000 events']);
  assert.deepEqual([position([7, 3]), position({ epoch: 7, offset: 3 }), position([0, 0]), position(null)], [{ epoch: 7, offset: 3 }, { epoch: 7, offset: 3 }, null, null]);
});

const link = (fields) => ({ state: 'connected', transport: 'websocket', fallbackReason: null, retry: null, forced: false, discovery: { webtransport: { url: 'https://localhost:4433/fanfare' } }, problem: null, ...fields });

test('every reason for a WebSocket is said, with the port where it matters', () => {
  for (const [reason, tone, words] of [
    ['blocked', 'warn', 'UDP port 4433 does not answer'],
    ['timeout', 'warn', 'UDP port 4433 does not answer'],
    ['cold', 'warn', 'did not answer a short while ago'],
    ['unsupported', 'good', 'has no WebTransport'],
    ['gated', 'good', 'The server keeps this browser'],
    ['a later version’s word', 'good', 'Events arrive by WebSocket'],
  ]) {
    const said = notice(link({ fallbackReason: reason }));
    assert.equal(said.tone, tone, reason);
    assert.ok(said.text.includes(words), said.text);
    assert.notEqual(transportReason(link({ fallbackReason: reason })), '');
  }
  assert.match(notice(link({ forced: true, fallbackReason: 'forced' })).text, /the switch says so/);
  assert.match(notice(link({ discovery: { webtransport: null }, fallbackReason: 'unsupported' })).text, /the server has no WebTransport listener/);
  assert.match(notice(link({ transport: 'webtransport' })).text, /WebTransport, over QUIC/);
  assert.deepEqual(['webtransport', 'websocket', null].map(transportName), ['WebTransport', 'WebSocket', 'none yet']);
});

test('every state has a tone and a sentence, and a failure its cure', () => {
  assert.equal(notice(link({ state: 'idle' })).tone, 'idle');
  assert.equal(notice(link({ state: 'connecting' })).tone, 'busy');
  assert.match(notice(link({ state: 'reconnecting', retry: { reason: 'gone' } })).text, /was lost \(gone\)/);
  for (const [code, cure] of [[4100, /Use a token/], [4101, /paste a new one/], [4102, /paste a new one/], [4206, /press Connect/], [0, /See that the server runs/]]) {
    const said = notice(link({ state: 'failed', problem: { code, message: 'no' } }));
    assert.equal(said.tone, 'bad');
    assert.match(said.text, cure);
  }
});

test('who is in a group is one line, however many there are', () => {
  const list = [{ user: 'ann', connections: 1 }, { user: 'bob', connections: 2 }];
  assert.equal(whoIsHere({ users: 2, anonymous: 3, list }), 'here: ann, bob (2 connections), 3 anonymous');
  assert.equal(whoIsHere({ users: 1202, anonymous: 0, list }), 'here: ann, bob (2 connections), 1,200 more');
  assert.equal(whoIsHere({ users: 0, anonymous: 0, list: [] }), 'here: nobody');
});

test('sentences begin and end as sentences, whatever was thrown', () => {
  assert.deepEqual([new Error('no luck'), 'What?', { reason: 'gone!' }, {}, null, ''].map(sentence), ['No luck.', 'What?', 'Gone!', 'Something failed.', 'Something failed.', 'Something failed.']);
});

test('gaps and refusals are explained, unknown ones shown as they are', () => {
  assert.match(gapReason('slow'), /could not keep up/);
  assert.deepEqual([gapReason('new'), gapReason(null)], ['new', 'no reason given']);
  assert.notEqual(publishCure({ code: 4302 }), '');
  assert.equal(publishCure({ code: 1 }), '');
});
