// What the page's tests share: servers of their own, pages that remember what their console said, and short words for what
// a person does and sees.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdtempSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';

const running = new Set();

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const bin = process.env.DENOISED_BIN_DIR ?? join(root, 'build/release/bin');
const require = createRequire(join(root, 'build/page/package.json'));

export const {chromium} = require('playwright-core');
export const axe = require.resolve('axe-core/axe.min.js');

export const launch = () => chromium.launch({
  executablePath: process.env.DENOISED_TEST_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
});

/** A file that is gone with the machine's temporary folder. */
export function temporary(name, text) {
  const path = join(mkdtempSync(join(tmpdir(), 'denoised-page-')), name);
  writeFileSync(path, text);
  return path;
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** A server with the shipped checkpoint, ready. One thread, as the browser needs the other. `url` has no slash at its end. */
export async function startServer(flags = [], port = 0) {
  const process = spawn(join(bin, 'denoised'), ['--checkpoint', join(root, 'models/mnist.pt'), '--listen', '127.0.0.1:0',
    '--metrics_listen', 'off', '--threads', '1', '--http_listen', `127.0.0.1:${port}`, ...flags], {stdio: ['ignore', 'ignore', 'pipe']});
  const ended = new Promise((resolve) => process.once('exit', resolve)).finally(() => running.delete(process));
  running.add(process);
  const said = [];
  const url = await new Promise((resolve, reject) => {
    createInterface(process.stderr).on('line', (line) => {
      said.push(line);
      const found = /https?:\/\/[\d.:]+\d/.exec(line);
      if (found) resolve(found[0]);
    });
    ended.then(() => reject(new Error(`denoised ended:\n${said.join('\n')}`)));
  });
  return {
    url,
    port: Number(new URL(url).port),
    said,
    /** At once: nothing is drained. */
    stop: () => (process.kill('SIGKILL'), ended),
    signal: (name) => process.kill(name),
    /** Once a line of its log matches. */
    says: async (pattern) => {
      while (!said.some((line) => pattern.test(line))) await new Promise((resolve) => setTimeout(resolve, 10));
    },
    picture: async (path) => {
      const response = await fetch(`${url}/v1/digits/${path}`);
      assert.equal(response.status, 200, await (response.ok ? '' : response.text()));
      return Buffer.from(await response.arrayBuffer());
    },
    status: async () => (await fetch(`${url}/v1/status`)).json(),
  };
}

/**
 * A new window on the page. `troubles` are what its console and its policy complained of; `close` fails if there are any.
 * With `expectFailures`, Chromium's own lines on answers that are errors are none.
 */
export async function open(browser, url, {hash = '', expectFailures = false, init = null, route = null, ...options} = {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 860}, acceptDownloads: true, ...options});
  context.setDefaultTimeout(60000);  // what waits longer is broken, however busy the machine
  const page = await context.newPage();
  const troubles = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !(expectFailures && /^Failed to load resource/.test(message.text()))) troubles.push(message.text());
  });
  page.on('pageerror', (error) => troubles.push(String(error)));
  await page.addInitScript(() => addEventListener('securitypolicyviolation', (event) => console.error(`refused by the policy: ${event.blockedURI} ${event.violatedDirective}`)));
  if (init) await page.addInitScript(init);
  if (route) await route(page);
  await page.goto(`${url}/${hash}`);
  return Object.assign(page, {
    troubles,
    done: async () => {
      await context.close();
      assert.deepEqual(troubles, []);
    },
  });
}

/** Ends the servers that a failed test has left. */
export const stopServers = () => running.forEach((process) => process.kill('SIGKILL'));

export const isEnabled = (page, id) => page.locator(id).getAttribute('aria-disabled').then((value) => value === 'false');

export const finished = (page) => page.locator('#png[aria-disabled=false]').waitFor();

/** Fills in and draws, until the picture is there; what the page says against it is a failure. */
export async function draw(page, values = {}) {
  await fill(page, values);
  await page.click('#draw');
  await page.locator('#png[aria-disabled=false], #notice:not([hidden])').first().waitFor();
  assert.equal(await page.isVisible('#notice') ? await page.textContent('#notice') : '', '');
}

export async function fill(page, {view, digit, ...rest}) {
  if (view) await page.check(`[name=view][value=${view}]`);
  await page.evaluate(() => document.querySelector('#settings').open = true);
  for (const [name, value] of Object.entries(rest)) {
    if (['sampler', 'kind', 'size', 'fill'].includes(name)) await page.selectOption(`#${name}`, value);
    else await page.fill(`#${name}`, value);
  }
  if (digit !== undefined) await page.check(`[name=digit][value="${digit}"]`);
}

/** The bytes of each picture that is shown, at the end of its chain. */
export async function pictures(page) {
  for (const scrub of await page.locator('#pictures .scrub:enabled').all()) await scrub.press('End');
  const sources = await page.locator('#pictures img').evaluateAll((images) => images.map((image) => image.src));
  return sources.map((source) => Buffer.from(source.split(',')[1], 'base64'));
}

export const same = (a, b) => assert.equal(sha256(a), sha256(b));

export const address = (page) => new URLSearchParams(new URL(page.url()).hash.slice(1));

export const facts = (page) => page.textContent('#facts');

export const notice = async (page) => {
  await page.locator('#notice').waitFor();
  return page.textContent('#notice');
};

export const said = (page, pattern) => page.waitForFunction((source) => new RegExp(source).test(document.querySelector('#said').textContent), pattern.source);

export async function download(page, id) {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click(id)]);
  const parts = [];
  for await (const part of await file.createReadStream()) parts.push(part);
  return {name: file.suggestedFilename(), bytes: Buffer.concat(parts)};
}

/** Frames of a moving picture as Chromium decodes them: milliseconds, and the sum of the grey values' SHA-256. */
export const decode = (page, bytes, type) => page.evaluate(async ([base64, mime]) => {
  const data = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const decoder = new ImageDecoder({data, type: mime});
  await decoder.tracks.ready;
  await decoder.completed;
  const frames = [];
  for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex++) {
    const {image} = await decoder.decode({frameIndex});
    const canvas = new OffscreenCanvas(image.displayWidth, image.displayHeight);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const {data: pixels} = context.getImageData(0, 0, canvas.width, canvas.height);
    const hash = await crypto.subtle.digest('SHA-256', pixels);
    frames.push({milliseconds: (image.duration ?? 0) / 1000, pixels: new Uint8Array(hash).join()});
  }
  return frames;
}, [bytes.toString('base64'), type]);

/** What axe-core finds wrong, as short lines. Only WCAG's rules, A and AA. */
export async function violations(page) {
  const found = await page.evaluate(async () => (await window.axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})).violations);
  return found.map(({id, nodes}) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`);
}
