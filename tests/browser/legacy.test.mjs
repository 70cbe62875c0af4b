// The drop-in for old pages, in real browsers: a page of an application's own origin, written for the old script and not for this server.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { inBrowsers, Server, serveSite, until } from './harness.mjs';

/** The page of the application; only the address of the script is new. */
const page = (script, more = '') => `<!doctype html><html lang="en"><head><title>An old page</title></head><body>
${script}
<script>
  window.seen = [];
  window.lines = [];
  const log = console.log;
  console.log = (...words) => { window.lines.push(words.join(' ')); log(...words); };
  ${more}
  document.addEventListener('DOMContentLoaded', () => {
    taskNotifications.subscribeToGroup('sales_team');
    taskNotifications.subscribeToGroup('all_users');
  });
  for (const type of ['group_message', 'group_notification', 'group_file', 'user_notification', '*']) {
    taskNotifications.on(type, function (data) { window.seen.push([type, data]); });
  }
  taskNotifications.on('group_message', () => { throw new Error('a callback that throws'); });
</script></body></html>`;

const SECRET = '0123456789abcdef0123456789abcdef';

inBrowsers(async (t, { newPage }) => {
  /** A server, and the application's page at its own origin. */
  async function open(t, more, flags = [], tokenOf = async () => '') {
    let html = '';
    const origin = await serveSite(t, () => html);
    const server = await Server.start(['--set', `auth.origins=["${origin}"]`, ...flags]);
    t.after(() => server.end());
    html = page(`<script src="${server.url}/fanfare/legacy.global.js" ${await tokenOf(server)}></script>`, more);
    const opened = await newPage();
    await opened.goto(origin);
    return { server, page: opened };
  }

  const confirmed = (page, group) => until(page, (line) => window.lines.includes(line), `Group subscription confirmed: ${group}`);
  const seen = (page, type) => page.evaluate((type) => window.seen.filter(([of]) => of === type).map(([, data]) => data), type);

  await t.test('an old page gets the old objects, lines and toasts', async (t) => {
    const { server, page } = await open(t);
    await confirmed(page, 'sales_team');
    await confirmed(page, 'all_users');
    assert.deepEqual(await page.evaluate(() => [taskNotifications.subscribedGroups instanceof Set, ...taskNotifications.subscribedGroups]), [true, 'sales_team', 'all_users']);
    assert.ok(await page.evaluate(() => window.lines.includes('Subscribed to group: sales_team')));

    await server.send('message', 'sales_team', 'Team meeting in 15 minutes!', '--data', '{"room":"4"}');
    await server.send('notification', 'sales_team', 'Monthly target achieved!', '--type', 'success', '--title', 'Great Job!');
    await server.send('file', 'all_users', '--file-url', '/media/reports/weekly_sales.xlsx', '--file-size', '2457600');
    await until(page, () => window.seen.filter(([type]) => type === '*').length === 3);
    const all = await seen(page, '*');
    for (const object of all) {
      assert.match(object.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      delete object.timestamp;
    }
    assert.deepEqual(all, [
      { type: 'group_message', group_name: 'sales_team', message: 'Team meeting in 15 minutes!', data: { room: '4' } },
      { type: 'group_notification', group_name: 'sales_team', notification_type: 'success', title: 'Great Job!', message: 'Monthly target achieved!', data: {} },
      { type: 'group_file', group_name: 'all_users', message: 'File ready for download', file_url: '/media/reports/weekly_sales.xlsx', file_name: 'weekly_sales.xlsx', file_size: 2457600, data: {} },
    ]);
    for (const type of ['group_message', 'group_notification', 'group_file']) assert.equal((await seen(page, type)).length, 1);
    const toasts = await page.$$eval('#fanfare-toasts > *', (toasts) => toasts.map(({ textContent }) => textContent));
    assert.deepEqual(toasts, ['[sales_team] Team meeting in 15 minutes!', '[sales_team] Great Job!: Monthly target achieved!', '[all_users] File ready for download weekly_sales.xlsx 2.34 MB']);

    await page.evaluate(() => taskNotifications.unsubscribeFromGroup('all_users'));
    assert.deepEqual(await page.evaluate(() => [...taskNotifications.subscribedGroups]), ['sales_team']);
    await until(page, () => window.lines.includes('Unsubscribed from group: all_users'));
    let receipt = '';
    while (!receipt.includes(', 0 subscribers here')) receipt = await server.send('message', 'all_users', 'nobody hears it');
    await server.send('message', 'sales_team', 'last');
    await until(page, () => window.seen.at(-1)[1].message === 'last' && window.seen.at(-1)[0] === '*');
  });

  await t.test('a page with a UiB of its own is called and gets no toasts of ours', async (t) => {
    const ui = `window.UiB = {}; window.calls = [];
      for (const name of ['MsgInfo', 'MsgSuccess', 'MsgError', 'MsgWarning', 'MsgSwall']) UiB[name] = (what) => window.calls.push([name, what.text ?? what]);`;
    const { server, page } = await open(t, ui);
    await confirmed(page, 'sales_team');
    for (const type of ['success', 'error', 'warning', 'info']) await server.send('notification', 'sales_team', type, '--type', type, '--title', 'T');
    await server.send('message', 'sales_team', 'hello');
    await server.send('file', 'sales_team', '--file-url', '/media/q4.pdf', '--file-size', '2457600');
    await until(page, () => window.calls.length === 6);
    assert.deepEqual(await page.evaluate(() => window.calls), [
      ['MsgSuccess', '[sales_team] T: success'],
      ['MsgError', '[sales_team] T: error'],
      ['MsgWarning', '[sales_team] T: warning'],
      ['MsgInfo', '[sales_team] T: info'],
      ['MsgInfo', '[sales_team] hello'],
      ['MsgSwall', 'q4.pdf 2.34 MB'],
    ]);
    assert.equal(await page.$('#fanfare-toasts'), null);
  });

  await t.test('a page without a token asks its own site for one, and again when the server has refused it', async (t) => {
    const asked = [];
    let html = '';
    let token = async () => '';
    const site = createServer(async (request, answer) => {
      if (request.url !== '/token/') return answer.setHeader('content-type', 'text/html; charset=utf-8').end(html);
      asked.push(request.headers.cookie);
      answer.setHeader('content-type', 'application/json').end(JSON.stringify({ token: await token() }));
    });
    await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
    t.after(() => site.close());
    const origin = `http://127.0.0.1:${site.address().port}`;
    const server = await Server.start(['--set', `auth.origins=["${origin}"]`, '--set', `auth.hmac_secret=${SECRET}`]);
    t.after(() => server.end());
    // The first one is signed with another secret.
    token = async () => (await server.paste(`fanfare token --user ann --secret ${asked.length > 1 ? SECRET : SECRET.replace('0', 'x')}`)).trim();
    html = page(`<script>document.cookie = 'sessionid=s';</script><script src="${server.url}/fanfare/legacy.global.js" data-token-url="/token/"></script>`);
    const opened = await newPage();
    await opened.goto(origin);
    await confirmed(opened, 'sales_team');
    await server.send('message', 'ann', 'for you alone', '--user');
    await until(opened, () => window.seen.some(([type, data]) => type === '*' && data.message === 'for you alone' && data.username === 'ann'));
    assert.deepEqual(asked, ['sessionid=s', 'sessionid=s']);
  });

  await t.test('a user’s own events come without asking, and groups come back after a restart', async (t) => {
    const token = async (server) => `data-token="${(await server.paste(`fanfare token --user ann --secret ${SECRET}`)).trim()}"`;
    const secret = ['--set', `auth.hmac_secret=${SECRET}`];
    const { server, page } = await open(t, '', secret, token);
    await confirmed(page, 'sales_team');
    await server.send('notification', 'ann', 'for you alone', '--user');
    await until(page, () => window.seen.some(([type]) => type === 'user_notification'));
    const [object] = await seen(page, 'user_notification');
    assert.deepEqual([object.username, object.message, object.notification_type, object.title], ['ann', 'for you alone', 'info', '']);
    await page.evaluate(() => (window.lines.length = 0));
    const origin = new URL(page.url()).origin;
    assert.equal(await server.restart([...secret, '--set', `auth.origins=["${origin}"]`]), 0);
    await confirmed(page, 'sales_team');
    await confirmed(page, 'all_users');
  });
});
