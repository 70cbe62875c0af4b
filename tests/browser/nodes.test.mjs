// Two nodes of production on one Redis, and the page of each, as the README starts them.
import { id, inBrowsers, joined, Server, serveRedis, waitFor } from './harness.mjs';

const settings = { FANFARE_API__KEYS: 'secret-key', FANFARE_API_KEY: 'secret-key', FANFARE_AUTH__ANONYMOUS: 'true', FANFARE_PAGE__ENABLED: 'true' };

inBrowsers(async (t, { newPage }) => {
  await t.test('an event sent to one node is seen in the pages of both', async (t) => {
    const redis = await serveRedis(t);
    const nodes = await Promise.all([0, 1].map(() => Server.start(['--redis', redis], 'serve', settings)));
    t.after(() => Promise.all(nodes.map((node) => node.end())));
    const pages = await Promise.all(nodes.map(async (node) => {
      const page = await newPage();
      await page.goto(node.url);
      await waitFor(page, id('transport'), 'WebTransport');
      await joined(page);
      return page;
    }));
    await nodes[1].send('message', 'sales_team', 'comes to members of both');
    await Promise.all(pages.map((page) => waitFor(page, id('toast'), '[sales_team] comes to members of both')));
    await pages[0].click(id('force-websocket'));
    await waitFor(pages[0], id('transport'), 'WebSocket');
    await joined(pages[0]);
    await nodes[1].send('message', 'sales_team', 'crosses again');
    await Promise.all(pages.map((page) => waitFor(page, id('toast'), '[sales_team] crosses again')));
  });
});
