// A page that knows nothing of this server (legacy-page/), in real browsers: it connects to /ws/tasks/ of its own host, through a proxy that splits the two.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import path from 'node:path';
import { inBrowsers, Server, until } from './harness.mjs';

const file = (name) => readFileSync(path.join(import.meta.dirname, 'legacy-page', name));
const FILES = { '/': ['text/html; charset=utf-8', file('index.html')], '/notifications.js': ['text/javascript', file('notifications.js')] };

/** The application's site; what is for the WebSocket goes to the server, wherever that is at the moment. */
async function serve(t, server) {
  const site = createServer((asked, answer) => {
    const [type, body] = FILES[asked.url] ?? ['text/plain', ''];
    answer.writeHead(body ? 200 : 404, { 'content-type': type }).end(body);
  });
  const open = new Set();
  site.on('upgrade', (asked, socket) => {
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
    const { hostname, port } = new URL(server().url);
    const onward = request({ hostname, port, path: asked.url, headers: asked.headers });
    onward.on('error', () => socket.destroy());
    onward.on('response', () => socket.destroy());
    onward.on('upgrade', ({ rawHeaders }, other, head) => {
      const lines = rawHeaders.map((word, at) => (at % 2 ? `${word}\r\n` : `${word}: `)).join('');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines}\r\n`);
      other.on('error', () => {}).on('close', () => socket.destroy());
      socket.on('close', () => other.destroy());
      socket.write(head);
      other.pipe(socket).pipe(other);
    });
    onward.end();
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    open.forEach((socket) => socket.destroy());
    site.close();
  });
  return `http://127.0.0.1:${site.address().port}`;
}

inBrowsers(async (t, { newPage }) => {
  async function open(t) {
    let server;
    const origin = await serve(t, () => server);
    const flags = ['--set', `auth.origins=["${origin}"]`];
    server = await Server.start(flags);
    t.after(() => server.end());
    const page = await newPage();
    await page.goto(origin);
    return { server, page, flags };
  }

  const confirmed = (page, group) => until(page, (line) => lines.includes(line), `Group subscription confirmed: ${group}`);
  const shown = (page) => page.$$eval('#shown > li', (items) => items.map((item) => `${item.className}: ${item.textContent}`));

  await t.test('an unchanged page gets every type of its groups, and shows them', async (t) => {
    const { server, page } = await open(t);
    await confirmed(page, 'sales_team');
    await confirmed(page, 'all_users');
    assert.deepEqual(await page.evaluate(() => [...taskNotifications.subscribedGroups]), ['sales_team', 'all_users']);
    await page.evaluate(() => taskNotifications.subscribeToTask('t-9'));
    await until(page, () => seen.some(({ type, task_id }) => type === 'subscription_confirmed' && task_id === 't-9'));
    await page.evaluate(() => (seen.length = 0));

    await server.send('message', 'sales_team', 'Team meeting in 15 minutes!', '--data', '{"room":"4"}');
    await server.send('notification', 'sales_team', 'Monthly target achieved!', '--type', 'success', '--title', 'Great Job!');
    await server.send('file', 'all_users', '--file-url', '/media/reports/weekly_sales.xlsx', '--file-size', '2457600');
    await server.send('event', 'task.t-9', 'task.update', '{"progress":40,"message":"half"}');
    await server.send('event', 'task.t-9', 'task.complete', '{"result":{"rows":7}}');
    await server.send('event', 'task.t-9', 'task.error', '{"error":"disk full"}');
    await server.send('message', 'sales_team', 'last');
    await until(page, () => seen.at(-1)?.message === 'last');
    const all = await page.evaluate(() => seen);
    for (const { timestamp } of all.filter(({ type }) => !type.startsWith('task_'))) assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(all.slice(0, -1).map(({ timestamp, ...fields }) => fields), [
      { type: 'group_message', group_name: 'sales_team', message: 'Team meeting in 15 minutes!', data: { room: '4' } },
      { type: 'group_notification', group_name: 'sales_team', notification_type: 'success', title: 'Great Job!', message: 'Monthly target achieved!', data: {} },
      { type: 'group_file', group_name: 'all_users', message: 'File ready for download', file_url: '/media/reports/weekly_sales.xlsx', file_name: 'weekly_sales.xlsx', file_size: 2457600, data: {} },
      { type: 'task_update', task_id: 't-9', status: 'processing', message: 'half', progress: 40, data: {} },
      { type: 'task_complete', task_id: 't-9', status: 'completed', message: '', result: { rows: 7 } },
      { type: 'task_error', task_id: 't-9', error: 'disk full', message: '' },
    ]);
    assert.deepEqual(await shown(page), [
      'info: [sales_team] Team meeting in 15 minutes!',
      'success: [sales_team] Great Job!: Monthly target achieved!',
      'file: [all_users] File ready for download: weekly_sales.xlsx (2.34 MB) Download',
      'info: [sales_team] last',
    ]);
    assert.equal(await page.$eval('#shown a', (link) => link.getAttribute('href')), '/media/reports/weekly_sales.xlsx');
  });

  await t.test('it comes back by its own rule after a restart, and has its groups again', async (t) => {
    const { server, page, flags } = await open(t);
    await confirmed(page, 'all_users');
    await page.evaluate(() => (lines.length = 0));
    assert.equal(await server.restart(flags), 0);
    await confirmed(page, 'sales_team');
    await confirmed(page, 'all_users');
    await server.send('message', 'all_users', 'after the restart');
    await until(page, () => seen.at(-1)?.message === 'after the restart');
    assert.deepEqual(await shown(page), ['info: [all_users] after the restart']);
  });

  await t.test('nonsense does not end its connection', async (t) => {
    const { server, page } = await open(t);
    await confirmed(page, 'sales_team');
    await page.evaluate(() => {
      taskNotifications.socket.send('no JSON');
      taskNotifications.send({ action: 'dance' });
      taskNotifications.send({ action: 'subscribe_group' });
    });
    await server.send('message', 'sales_team', 'still there');
    await until(page, () => seen.at(-1)?.message === 'still there');
    assert.equal(await page.evaluate(() => lines.filter((line) => line === 'Connected').length), 1);
  });
});
