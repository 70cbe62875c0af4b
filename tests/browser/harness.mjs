// What the tests in browsers have in common: the browsers, a server of its own for each test, and ways to wait.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import puppeteer from 'puppeteer-core';

const root = path.resolve(import.meta.dirname, '../..');
export const binary = path.resolve(process.env.FANFARE_BIN ?? path.join(root, 'target/release/fanfare'));
const artefacts = path.join(import.meta.dirname, 'artefacts');
mkdirSync(artefacts, { recursive: true });

/** Longest wait for anything, in ms; only a failure takes that long. */
export const PATIENCE = 30_000;

const BROWSERS = {
  chromium: {
    browser: 'chrome',
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  },
  firefox: { browser: 'firefox', executablePath: '/usr/bin/firefox-esr' },
};

/** Runs the tests that `define` makes in each browser. */
export function inBrowsers(define) {
  for (const [name, launch] of Object.entries(BROWSERS)) {
    test(name, async (t) => {
      const browser = await puppeteer.launch({ headless: true, ...launch });
      t.after(() => browser.close());
      /** A page that shares nothing with others. */
      const newPage = async () => {
        const page = await (await browser.createBrowserContext()).newPage();
        await page.setViewport({ width: 1280, height: 900 });
        return page;
      };
      await define(t, { name, newPage });
    });
  }
}

/** HTTP at a port (0: the kernel chooses one), WebTransport at any. */
const listen = (port) => ['--http', `127.0.0.1:${port}`, '--secure', 'off', '--quic', '127.0.0.1:0'];

/** A server with state of its own, for development unless `mode` says otherwise; `settings` go into its environment. */
export class Server {
  static async start(flags = [], mode = 'dev', settings = {}) {
    const server = new Server();
    Object.assign(server, { mode, settings, dir: mkdtempSync(path.join(tmpdir(), 'fanfare-')) });
    await server.run([...listen(0), ...flags]);
    return server;
  }

  async run(flags) {
    // Nothing of the caller's, so that neither a key nor a setting leaks in.
    const callers = Object.entries(process.env).filter(([key]) => !key.startsWith('FANFARE_'));
    this.env = { ...Object.fromEntries(callers), ...this.settings, XDG_STATE_HOME: this.dir, PATH: `${path.dirname(binary)}:${process.env.PATH}` };
    this.process = spawn(binary, [this.mode, '--set', `tls.development=${this.dir}`, ...flags], { env: this.env, stdio: ['ignore', 'pipe', 'inherit'] });
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

  /** Ends it as an operator would, and starts it again at the same HTTP address; its exit code. */
  async restart(flags = []) {
    const { port } = new URL(this.url);
    const code = await this.stop();
    await this.run([...listen(port), ...flags]);
    return code;
  }

  async send(...line) {
    const { stdout } = await promisify(execFile)(binary, ['send', ...line, '--url', this.url], { env: this.env });
    return stdout;
  }

  /** Runs a line as a person pastes it. */
  async paste(line) {
    const { stdout } = await promisify(execFile)('sh', ['-c', line], { env: this.env });
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

/** A Redis that nodes can share; its URL. */
export async function serveRedis(t) {
  const free = createServer();
  await new Promise((resolve) => free.listen(0, '127.0.0.1', resolve));
  const { port } = free.address();
  await new Promise((resolve) => free.close(resolve));
  const redis = spawn('redis-server', ['--bind', '127.0.0.1', '--port', port, '--save', ''], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => redis.kill());
  let text = '';
  await new Promise((resolve, reject) => {
    redis.stdout.on('data', (part) => (text += part).includes('Ready to accept connections') && resolve());
    redis.once('exit', (code) => reject(new Error(`redis-server ended with ${code}: ${text}`)));
  });
  return `redis://127.0.0.1:${port}`;
}

/** An application's own site with one page, at an origin of its own. */
export async function serveSite(t, html) {
  const site = createServer((_, answer) => answer.setHeader('content-type', 'text/html; charset=utf-8').end(html()));
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  t.after(() => site.close());
  return `http://127.0.0.1:${site.address().port}`;
}

export const id = (name) => `[data-testid="${name}"]`;

/** Waits until an element has these words. */
export async function waitFor(page, selector, words) {
  const found = (selector, words) => [...document.querySelectorAll(selector)].some((element) => element.textContent.includes(words));
  await page.waitForFunction(found, { timeout: PATIENCE }, selector, words);
}

/** Waits until the page's own script says yes. */
export const until = (page, condition, ...args) => page.waitForFunction(condition, { timeout: PATIENCE }, ...args);

export const joined = (page, group = 'sales_team') => page.waitForSelector(`${id(`group-item-${group}`)}[data-state="joined"]`, { timeout: PATIENCE });

/** Waits until nothing moves that comes to an end. */
export const still = (page) => until(page, () => document.getAnimations().every(({ playState, effect }) => playState === 'finished' || effect.getTiming().iterations === Infinity));

export async function picture(page, name) {
  await still(page);
  await page.screenshot({ path: path.join(artefacts, `${name}.png`) });
}
