// The page in real browsers: headless Chromium and Firefox against the release binary on ports of its own.
//
// Method: each test starts `fanfare dev` with port 0, opens the page, and sends by `fanfare send`, as a person would. Screenshots go to artefacts/.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import puppeteer from 'puppeteer-core';

const root = path.resolve(import.meta.dirname, '../..');
const binary = path.join(root, 'target/release/fanfare');
const artefacts = path.join(import.meta.dirname, 'artefacts');
mkdirSync(artefacts, { recursive: true });

const BROWSERS = {
  chromium: {
    browser: 'chrome',
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  },
  firefox: { browser: 'firefox', executablePath: '/usr/bin/firefox-esr' },
};

/** A development server with state of its own. */
class Server {
  static async start() {
    const server = new Server();
    server.dir = mkdtempSync(path.join(tmpdir(), 'fanfare-'));
    await server.run(['--http', '127.0.0.1:0', '--secure', 'off', '--quic', '127.0.0.1:0']);
    return server;
  }

  async run(flags) {
    this.env = { ...process.env, XDG_STATE_HOME: this.dir };
    this.process = spawn(binary, ['dev', '--set', `tls.development=${this.dir}`, ...flags], { env: this.env, stdio: ['ignore', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    let text = '';
    this.url = await new Promise((resolve, reject) => {
      this.process.stdout.on('data', (part) => {
        text += part;
        const url = /^ {2}HTTP +(http:\S+)/m.exec(text)?.[1];
        if (url && text.includes(' send notification ')) resolve(url);
      });
      this.ended.then((code) => reject(new Error(`the server ended with ${code}: ${text}`)));
    });
  }

  async send(...line) {
    const { stdout } = await promisify(execFile)(binary, ['send', ...line, '--url', this.url], { env: this.env });
    return stdout;
  }

  /** Ends it as an operator would; its exit code. */
  async stop() {
    this.process.kill('SIGTERM');
    return await this.ended;
  }

  async end() {
    if (this.process.exitCode === null) await this.stop();
    rmSync(this.dir, { recursive: true });
  }
}

const id = (name) => `[data-testid="${name}"]`;

async function waitFor(page, selector, words) {
  const found = (selector, words) => [...document.querySelectorAll(selector)].some((element) => element.textContent.includes(words));
  await page.waitForFunction(found, { timeout: 30_000 }, selector, words);
}

for (const [name, launch] of Object.entries(BROWSERS)) {
  test(name, async (t) => {
    const browser = await puppeteer.launch({ headless: true, ...launch });
    t.after(() => browser.close());

    async function open(server, change) {
      const context = await browser.createBrowserContext();
      const page = await context.newPage();
      if (change !== undefined) {
        const discovery = await (await fetch(`${server.url}/.well-known/fanfare`)).json();
        change(discovery);
        await page.evaluateOnNewDocument((answer) => {
          const real = globalThis.fetch;
          globalThis.fetch = (url, options) => (String(url).endsWith('/.well-known/fanfare') ? Promise.resolve(Response.json(answer)) : real(url, options));
        }, discovery);
      }
      await page.setViewport({ width: 1280, height: 900 });
      await page.goto(server.url);
      return page;
    }

    const joined = (page) => page.waitForSelector(`${id('group-item-sales_team')}[data-state="joined"]`, { timeout: 30_000 });

    await t.test('shows every kind of event over WebTransport, and over WebSocket when forced', async (t) => {
      const server = await Server.start();
      t.after(() => server.end());
      const page = await open(server);
      for (const transport of ['WebTransport', 'WebSocket']) {
        if (transport === 'WebSocket') await page.click(id('force-websocket'));
        await waitFor(page, id('transport'), transport);
        await joined(page);
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
        await page.screenshot({ path: path.join(artefacts, `${name}-${transport.toLowerCase()}.png`) });
        await waitFor(page, id('events'), `New leads over ${transport}`);
      }
    });

    await t.test('falls back to WebSocket where UDP does not answer', async (t) => {
      const server = await Server.start();
      t.after(() => server.end());
      // The page is told a port at which a socket takes packets and never answers, as behind a firewall that drops them.
      const silent = createSocket('udp4');
      t.after(() => silent.close());
      await new Promise((resolve) => silent.bind(0, '127.0.0.1', resolve));
      const page = await open(server, (discovery) => (discovery.webtransport.url = `https://127.0.0.1:${silent.address().port}/fanfare`));
      await waitFor(page, id('transport'), 'WebSocket');
      await joined(page);
      await server.send('message', 'sales_team', 'hello');
      await waitFor(page, id('toast'), '[sales_team] hello');
    });

    await t.test('comes back by itself after the server has been restarted', async (t) => {
      const server = await Server.start();
      t.after(() => server.end());
      const page = await open(server);
      await joined(page);
      const port = new URL(server.url).port;
      assert.equal(await server.stop(), 0);
      await server.run(['--http', `127.0.0.1:${port}`, '--secure', 'off', '--quic', '127.0.0.1:0']);
      await joined(page);
      await waitFor(page, id('state'), 'onnected');
      await server.send('message', 'sales_team', 'after the restart');
      await waitFor(page, id('toast'), '[sales_team] after the restart');
    });
  });
}
