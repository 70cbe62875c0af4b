// The page in real browsers: headless Chromium and Firefox against the release binary (or FANFARE_BIN) on ports of its own.
//
// Method: each test starts `fanfare dev` with port 0, opens the page, and sends by `fanfare send`, as a person would. Screenshots go to artefacts/.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import axe from 'axe-core';
import { id, inBrowsers, joined, PATIENCE, picture, Server, still, until, waitFor } from './harness.mjs';

inBrowsers(async (t, { name, newPage }) => {
  async function open(server, change) {
    const page = await newPage();
    if (change !== undefined) {
      const discovery = await (await fetch(`${server.url}/.well-known/fanfare`)).json();
      change(discovery);
      await page.evaluateOnNewDocument((answer) => {
        const real = globalThis.fetch;
        globalThis.fetch = (url, options) => (String(url).endsWith('/.well-known/fanfare') ? Promise.resolve(Response.json(answer)) : real(url, options));
      }, discovery);
    }
    await page.goto(server.url);
    return page;
  }

  async function serve(t) {
    const server = await Server.start();
    t.after(() => server.end());
    return server;
  }

  /** A page that has changed its transport leaves the other connection; the server may learn of that a little later. */
  async function heardOnce(server) {
    let receipt;
    for (const end = Date.now() + PATIENCE; Date.now() < end; ) {
      receipt = await server.send('event', 'sales_team', 'anyone.there', 'null');
      if (/, 1 subscriber here/.test(receipt)) return;
    }
    assert.fail(`not one connection of the page follows the group: ${receipt}`);
  }

  await t.test('shows every kind of event over WebTransport, and over WebSocket when forced', async (t) => {
    const server = await serve(t);
    const page = await open(server);
    for (const transport of ['WebTransport', 'WebSocket']) {
      if (transport === 'WebSocket') await page.click(id('force-websocket'));
      await waitFor(page, id('transport'), transport);
      await joined(page);
      await waitFor(page, id('rtt'), ' ms');
      if (transport === 'WebSocket') await heardOnce(server);
      const receipt = await server.send('notification', 'sales_team', 'Monthly target achieved!', '--type', 'success', '--title', 'Great job!');
      assert.match(receipt, /^sent \d+-\d+ to sales_team at offset \d+, 1 subscriber here/);
      await waitFor(page, `${id('toast')}[data-type="success"]`, '[sales_team] Great job!: Monthly target achieved!');
      for (const type of ['error', 'info', 'warning']) {
        await server.send('notification', 'sales_team', `${type} over ${transport}`, '--type', type);
        await waitFor(page, `${id('toast')}[data-type="${type}"]`, `[sales_team] ${type} over ${transport}`);
      }
      await server.send('message', 'sales_team', `New leads over ${transport}`);
      await waitFor(page, id('toast'), `[sales_team] New leads over ${transport}`);
      await server.send('file', 'sales_team', '--file-url', '/sample/sales-2025.csv', '--file-name', 'sales.csv', '--file-size', '2457600');
      await waitFor(page, id('file-card'), '2.34 MB');
      const link = await page.$eval(`${id('file-card')} a`, ({ href, download }) => [new URL(href).pathname, download]);
      assert.deepEqual(link, ['/sample/sales-2025.csv', 'sales.csv']);
      await server.send('event', 'sales_team', 'order.shipped', '{"order":4711}');
      await picture(page, `${name}-${transport.toLowerCase()}`);
      await waitFor(page, id('events'), `New leads over ${transport}`);
      await waitFor(page, id('events'), '{"order":4711}');
    }
  });

  await t.test('sends every kind by its form, and shows lines that do the same when they are pasted', async (t) => {
    const server = await serve(t);
    const page = await open(server);
    await joined(page);
    for (const kind of ['notification', 'message', 'file', 'own']) {
      await page.select(id('send-kind'), kind);
      const before = await page.$$eval(id('event-item'), (items) => items.length);
      await page.click(id('send-submit'));
      await waitFor(page, id('receipt'), 'acknowledged');
      await until(page, (selector, count) => document.querySelectorAll(selector).length === count, id('event-item'), before + 1);
      const line = await page.$eval(id('command-send'), (code) => code.textContent);
      assert.match(await server.paste(line), /^sent /, line);
      await until(page, (selector, count) => document.querySelectorAll(selector).length === count, id('event-item'), before + 2);
      const shown = await page.$$eval(id('event-item'), (items) => items.slice(0, 2).map((item) => [item.dataset.kind, item.querySelector('.event-text').textContent]));
      // The order of keys in an object means nothing.
      const [pasted, sent] = shown.map(([kind, text]) => [kind, text.startsWith('{') ? JSON.parse(text) : text]);
      assert.deepEqual(pasted, sent, line);
    }
  });

  await t.test('follows and leaves groups, with the keyboard alone', async (t) => {
    const server = await serve(t);
    const page = await open(server);
    await joined(page);
    await page.focus(id('group-input'));
    await page.keyboard.type('no group');
    await page.keyboard.press('Enter');
    await waitFor(page, '#group-hint', '1 to 99 characters');
    await page.$eval(id('group-input'), (input) => input.select());
    await page.keyboard.type('support_team');
    await page.keyboard.press('Enter');
    await joined(page, 'support_team');
    await server.send('message', 'support_team', 'a question');
    await waitFor(page, id('toast'), '[support_team] a question');
    await page.focus(`${id('toast')} button`);
    await page.keyboard.press('Escape');
    await until(page, (selector) => document.querySelector(selector) === null, id('toast'));
    await page.focus(id('group-leave-support_team'));
    await page.keyboard.press('Enter');
    await until(page, (selector) => document.querySelector(selector) === null, id('group-item-support_team'));
    assert.equal(await page.evaluate(() => document.activeElement.id), 'group-input');
    assert.match(await server.send('message', 'support_team', 'nobody hears it'), /, 0 subscribers here/);
  });

  await t.test('has labels, roles and contrast that hold, light and dark, on a desk and on a phone', async (t) => {
    const server = await serve(t);
    for (const [device, width, height] of [['desktop', 1280, 900], ['phone', 375, 812]]) {
      for (const theme of ['light', 'dark']) {
        const page = await newPage();
        await page.setViewport({ width, height });
        await page.evaluateOnNewDocument((theme) => localStorage.setItem('fanfare.theme', theme), theme);
        await page.goto(server.url);
        await joined(page);
        for (const type of ['success', 'error', 'warning']) await server.send('notification', 'sales_team', `of type ${type}`, '--type', type, '--data', '{"n":1}');
        await server.send('file', 'sales_team', '--file-url', '/sample/sales-2025.csv', '--file-size', '20421');
        await waitFor(page, id('file-card'), '0.02 MB');
        await still(page);
        await page.evaluate(axe.source);
        const violations = await page.evaluate(async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`));
        assert.deepEqual(violations, [], `${device}, ${theme}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${device} scrolls sideways by ${wide}`);
        const live = await page.$eval(id('toasts'), (list) => list.getAttribute('aria-live'));
        assert.equal(live, 'polite');
        await picture(page, `${name}-${device}-${theme}`);
        await page.close();
      }
    }
  });

  await t.test('falls back to WebSocket where UDP does not answer', async (t) => {
    const server = await serve(t);
    // The page is told a port at which a socket takes packets and never answers, as behind a firewall that drops them.
    const silent = createSocket('udp4');
    t.after(() => silent.close());
    await new Promise((resolve) => silent.bind(0, '127.0.0.1', resolve));
    const page = await open(server, (discovery) => (discovery.webtransport.url = `https://127.0.0.1:${silent.address().port}/fanfare`));
    await waitFor(page, id('transport'), 'WebSocket');
    await joined(page);
    await waitFor(page, id('notice'), 'does not answer: on WebSocket instead');
    await server.send('message', 'sales_team', 'hello');
    await waitFor(page, id('toast'), '[sales_team] hello');
  });

  for (const transport of ['WebTransport', 'WebSocket']) {
    await t.test(`resumes over ${transport} what was sent while it was away, once and in order`, async (t) => {
      const server = await serve(t);
      const page = await open(server);
      if (transport === 'WebSocket') await page.click(id('force-websocket'));
      await waitFor(page, id('transport'), transport);
      await joined(page);
      const say = (n) => server.send('message', 'sales_team', `number ${n}`);
      for (const n of [1, 2]) await say(n);
      await waitFor(page, id('events'), 'number 2');
      await page.click(id('link-toggle'));
      await waitFor(page, id('state'), 'idle');
      for (const n of [3, 4, 5]) await say(n);
      await page.click(id('link-toggle'));
      await waitFor(page, id('events'), 'all 3 missed events recovered');
      await say(6);
      await waitFor(page, id('events'), 'number 6');
      const seen = await page.$$eval(`${id('event-item')} .event-text`, (texts) => texts.map(({ textContent }) => textContent).reverse());
      assert.deepEqual(seen, [1, 2, 3, 4, 5, 6].map((n) => `number ${n}`));
    });
  }

  await t.test('comes back by itself after the server has been restarted, and tells that the past is gone', async (t) => {
    const server = await serve(t);
    const page = await open(server);
    await joined(page);
    await server.send('message', 'sales_team', 'before the restart');
    await waitFor(page, id('events'), 'before the restart');
    assert.equal(await server.restart(), 0);
    await joined(page);
    await waitFor(page, id('state'), 'connected');
    // The memory broker begins anew, so the position means nothing in it.
    await waitFor(page, id('gap-item'), 'the group has started anew');
    await server.send('message', 'sales_team', 'after the restart');
    await waitFor(page, id('toast'), '[sales_team] after the restart');
  });
});
