// A page of another site, in real browsers: what it may not do to a server that its visitor can reach, beside a page of the application that may.
import assert from 'node:assert/strict';
import { inBrowsers, PATIENCE, serveSite, Server } from './harness.mjs';

/** What a page gets when it tries all ways in. */
async function tryAll({ url, discovery, key }) {
  const outcome = (promise) => Promise.race([promise, new Promise((resolve) => setTimeout(() => resolve('silence'), 10_000))]);
  const websocket = () =>
    new Promise((resolve) => {
      const socket = new WebSocket(discovery.websocket.url, 'fanfare.v1.json');
      socket.onopen = () => resolve('open');
      socket.onerror = () => resolve('refused');
    });
  const webtransport = () => {
    const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => Number.parseInt(pair, 16));
    const serverCertificateHashes = discovery.webtransport.certificateHashes.map((hash) => ({ algorithm: 'sha-256', value: bytes(hash) }));
    const session = new WebTransport(discovery.webtransport.url, { serverCertificateHashes });
    session.closed.catch(() => {});
    return session.ready.then(() => 'open', () => 'refused');
  };
  const post = (contentType, headers = {}) =>
    fetch(`${url}/v1/groups/room_a/messages`, { method: 'POST', mode: 'cors', headers: { 'content-type': contentType, ...headers }, body: '{"message":"evil"}' }).then(
      () => 'read',
      () => 'refused',
    );
  const read = (path) => fetch(url + path).then((answer) => `read ${answer.status}`, () => 'refused');
  // A form asks nobody before it is sent; its answer goes into a frame.
  const form = () => {
    document.body.innerHTML = `<iframe name="into"></iframe><form target="into" method="post" enctype="text/plain" action="${url}/v1/groups/room_a/messages"><input name='{"message":"evil","x":"' value='"}'></form>`;
    document.querySelector('form').submit();
  };
  form();
  return {
    websocket: await outcome(websocket()),
    webtransport: await outcome(webtransport()),
    plain: await outcome(post('text/plain')),
    json: await outcome(post('application/json')),
    withKey: await outcome(post('text/plain', { authorization: `Bearer ${key}` })),
    metrics: await outcome(read('/metrics')),
  };
}

inBrowsers(async (t, { newPage }) => {
  await t.test('a page of another site gets in on no way', async (t) => {
    const html = () => '<!doctype html><meta charset="utf-8"><title>somebody</title><body></body>';
    const [ours, evil] = [await serveSite(t, html), await serveSite(t, html)];
    const server = await Server.start(['--set', `auth.origins=["${ours}"]`]);
    t.after(() => server.end());
    const discovery = await (await fetch(`${server.url}/.well-known/fanfare`)).json();
    const visit = async (origin) => {
      const page = await newPage();
      await page.goto(origin, { timeout: PATIENCE });
      return [await page.evaluate(tryAll, { url: server.url, discovery, key: 'guessed' }), page];
    };
    const count = async (series) => {
      const lines = (await (await fetch(`${server.url}/metrics`)).text()).split('\n').filter((line) => line.startsWith(series));
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    const refused = { websocket: 'refused', webtransport: 'refused', plain: 'refused', json: 'refused', withKey: 'refused', metrics: 'refused' };
    const [stranger, page] = await visit(evil);
    assert.deepEqual(stranger, refused);
    // What browsers send without asking has arrived: the form and the plain text.
    const arrived = () => count('fanfare_http_requests_total{route="/v1/groups/{group}/messages"');
    while ((await arrived()) < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    await page.close();
    const [{ websocket, webtransport }, own] = await visit(ours);
    await own.close();
    assert.deepEqual({ websocket, webtransport }, { websocket: 'open', webtransport: 'open' });
    assert.equal(await count('fanfare_events_published_total'), 0, 'nothing was published, neither by a script nor by a form');
  });
});
