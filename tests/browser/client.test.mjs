// The client in real browsers, on an application's own page: who is there, and a page that is loaded anew.
import assert from 'node:assert/strict';
import { inBrowsers, PATIENCE, serveSite, Server, until } from './harness.mjs';

inBrowsers(async (t, { newPage }) => {
  /** A page that follows `room_a`, keeps its positions, and shows what it is told in `seen`, `here` and `client`. */
  async function site(t, transport) {
    let server;
    const origin = await serveSite(t, () => `<!doctype html><meta charset="utf-8"><title>room</title><script src="${server.url}/fanfare/fanfare.global.js"></script><script>
      const client = fanfare.createClient({ url: '${server.url}', transports: ['${transport}'], persistPositions: true });
      const room = client.group('room_a');
      const seen = [];
      let here = null;
      const look = async () => { here = await room.presence(); };
      room.on('message', ({ message }) => seen.push(message));
      room.on('joined', look);
      room.on('presence', look);
    </script>`);
    server = await Server.start(['--set', 'presence.default=live', '--set', 'presence.grace=50ms', '--set', `auth.origins=["${origin}"]`]);
    t.after(() => server.end());
    return { server, origin };
  }

  const joined = (page) => until(page, () => room.state === 'joined');
  const seen = (page, count) => until(page, (count) => seen.length >= count, count);

  for (const transport of ['webtransport', 'websocket']) {
    await t.test(`a page that is loaded anew over ${transport} gets what it missed, and nothing twice`, async (t) => {
      const { server, origin } = await site(t, transport);
      const page = await newPage();
      await page.goto(origin, { timeout: PATIENCE });
      await joined(page);
      const say = (n) => server.send('message', 'room_a', `number ${n}`);
      for (const n of [1, 2]) await say(n);
      await seen(page, 2);
      await page.goto('about:blank');
      for (const n of [3, 4]) await say(n);
      await page.goto(origin, { timeout: PATIENCE });
      await joined(page);
      await say(5);
      await seen(page, 3);
      assert.deepEqual(await page.evaluate(() => seen), ['number 3', 'number 4', 'number 5']);
      // And with nothing missed.
      await page.reload({ timeout: PATIENCE });
      await joined(page);
      await say(6);
      await seen(page, 1);
      assert.deepEqual(await page.evaluate(() => seen), ['number 6']);
      await page.close();
    });
  }

  await t.test('pages know how many they are, while they come and go', async (t) => {
    const { origin } = await site(t, 'websocket');
    const [first, second] = [await newPage(), await newPage()];
    await first.goto(origin, { timeout: PATIENCE });
    await until(first, () => here?.connections === 1);
    await second.goto(origin, { timeout: PATIENCE });
    for (const page of [first, second]) await until(page, () => here?.connections === 2 && here.anonymous === 2 && here.users === 0);
    await second.close();
    await until(first, () => here?.connections === 1);
  });
});
