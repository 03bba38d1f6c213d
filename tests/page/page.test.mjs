// The page, clicked through in Chromium against a real server: what it shows are the bytes that the API gives, what it
// saves decodes, what goes wrong is told, and anybody can use it.
import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {after, before, describe, test} from 'node:test';
import {address, axe, decode, download, draw, facts, fill, finished, isEnabled, launch, notice, open, pictures, said, same, startServer,
  stopServers, temporary, violations} from './fixture.mjs';

const BIG = '18446744073709551615';  // the greatest seed, which no number of JavaScript's holds

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(), startServer()]);
});
after(async () => {
  await browser?.close();
  stopServers();
});

const visit = (options) => open(browser, server.url, options);
const fast = {sampler: 'ddim', steps: '10'};

describe('One digit', () => {
  test('is the picture that the API gives for the same seed, of 64 bits', async () => {
    const page = await visit();
    await draw(page, {digit: 3, seed: BIG, sampler: 'ddim', steps: '12', guidance: '2'});
    same((await pictures(page))[0], await server.picture(`3.png?seed=${BIG}&sampler=ddim&steps=12&guidance_scale=2&size=256`));
    assert.match(await facts(page), new RegExp(`^seed ${BIG} · drawn in `));
    await page.done();
  });

  test('has its sampler, steps and size by default as the API does', async () => {
    const page = await visit();
    await draw(page, {digit: 5, seed: '42'});
    same((await pictures(page))[0], await server.picture('5.png?seed=42'));
    assert.equal(await page.textContent('.step'), 'step 1000 of 1000');
    await draw(page, {digit: 5, seed: '42', sampler: 'dpm_solver_pp_2m', size: '32'});
    same((await pictures(page))[0], await server.picture('5.png?seed=42&sampler=dpm_solver_pp_2m&size=32'));
    await page.done();
  });

  test('emerges step by step, and its steps can be gone through again', async () => {
    const page = await visit();
    await page.evaluate(() => {
      window.steps = [];
      new MutationObserver(() => window.steps.push(document.querySelector('.step').textContent))
          .observe(document.querySelector('.step'), {childList: true});
    });
    await draw(page, {digit: 2, seed: '1', sampler: 'ddpm', steps: '200'});
    await page.locator('.step', {hasText: 'step 200 of 200'}).waitFor();
    const steps = (await page.evaluate(() => window.steps)).map((text) => Number(/step (\d+) of 200/.exec(text)?.[1])).filter(Boolean);
    assert.ok(steps.length > 10, `${steps}`);
    assert.deepEqual(steps, [...steps].sort((a, b) => a - b));

    const end = await page.getAttribute('#pictures img', 'src');
    await page.focus('.scrub');
    await page.keyboard.press('Home');
    assert.notEqual(await page.getAttribute('#pictures img', 'src'), end);
    assert.match(await page.getAttribute('.scrub', 'aria-valuetext'), /^step \d+ of 200$/);
    await page.click('#replay');
    await page.waitForFunction((source) => document.querySelector('#pictures img').src === source, end);
    await page.done();
  });

  test('has a seed that the server draws, where none is given', async () => {
    const page = await visit();
    await draw(page, {...fast, digit: 4});
    const seed = address(page).get('seed');
    assert.match(seed, /^\d+$/);
    assert.match(await facts(page), new RegExp(`^seed ${seed} `));
    same((await pictures(page))[0], await server.picture(`4.png?seed=${seed}&sampler=ddim&steps=10`));
    await page.click('#draw');
    await page.waitForFunction((before) => !location.hash.includes(before), `seed=${seed}`);
    await page.click('#pin');
    await finished(page);
    await page.click('#pin');
    assert.equal(await page.inputValue('#seed'), address(page).get('seed'));
    await page.done();
  });

  test('shows the guess instead of the noise, if asked to', async () => {
    const page = await visit();
    const first = async (kind) => {
      await draw(page, {digit: 1, seed: '3', sampler: 'ddpm', steps: '100', size: '32', kind});
      await page.locator('.scrub').press('Home');
      return page.getAttribute('#pictures img', 'src');
    };
    assert.notEqual(await first('noisy'), await first('predicted_clean'));
    await page.done();
  });
});

describe('A link', () => {
  test('draws the same picture again in another window', async () => {
    const page = await visit();
    await draw(page, {...fast, digit: 9, guidance: '1.5', size: '128'});
    const there = await visit({hash: new URL(page.url()).hash});
    await finished(there);
    same((await pictures(there))[0], (await pictures(page))[0]);
    await page.done();
    await there.done();
  });

  test('is copied', async () => {
    const page = await visit({permissions: ['clipboard-read', 'clipboard-write']});
    await draw(page, fast);
    await page.click('#link');
    await said(page, /Copied/);
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), page.url());
    await page.done();
  });

  test('that another model made says so', async () => {
    const page = await visit({hash: '#view=one&digit=2&seed=5&sampler=ddim&steps=5&model=0123456789ab'});
    assert.match(await notice(page), /This link was made with model 0123456789ab\. Here it is [0-9a-f]{12} that draws\./);
    await finished(page);
    await page.done();
  });

  test('that is pasted into an open page is followed', async () => {
    const page = await visit();
    await page.evaluate(() => location.hash = 'view=one&digit=8&seed=77&sampler=ddim&steps=5');
    await finished(page);
    same((await pictures(page))[0], await server.picture('8.png?seed=77&sampler=ddim&steps=5'));
    await page.done();
  });
});

describe('A link in a form that was filled', () => {
  test('draws what it names alone, and again after something else', async () => {
    const page = await visit();
    await fill(page, {steps: '3', guidance: '2', size: '32'});
    const link = 'view=one&digit=8&seed=77&sampler=dpm_solver_pp_2m';
    for (let round = 0; round < 2; round++) {
      await page.evaluate((hash) => location.hash = hash, link);
      await said(page, /seed 77/);
      same((await pictures(page))[0], await server.picture('8.png?seed=77&sampler=dpm_solver_pp_2m'));
      await draw(page, {...fast, digit: 1, seed: '78'});
    }
    await page.done();
  });

  test('may ask for a size of its own, and hears what is not offered', async () => {
    const page = await visit({hash: '#view=one&digit=8&seed=77&sampler=ddim&steps=2&size=300'});
    await finished(page);
    same((await pictures(page))[0], await server.picture('8.png?seed=77&sampler=ddim&steps=2&size=300'));
    await page.evaluate(() => location.hash = 'view=one&digit=8&seed=78&sampler=euler&steps=2');
    assert.match(await notice(page), /This link asks for sampler euler, which is not offered here\./);
    await finished(page);
    await page.done();
  });

  test('names the model that drew, not that of when the page was opened', async () => {
    let old = true;
    const page = await visit({route: (page) => page.route('**/v1/model', async (route) => {
      const response = await route.fetch();
      const model = await response.json();
      await route.fulfill({response, json: old ? {...model, modelVersion: 'old'} : model});
    })});
    await page.locator('#model', {hasText: 'model old'}).waitFor();
    old = false;
    await draw(page, {...fast, seed: '3'});
    const {modelVersion} = await (await fetch(`${server.url}/v1/model`)).json();
    assert.equal(address(page).get('model'), modelVersion);
    await page.locator('#model', {hasText: `model ${modelVersion}`}).waitFor();
    await page.done();
  });
});

describe('Several at once', () => {
  test('are the same seed by three samplers', async () => {
    const page = await visit();
    await draw(page, {view: 'compare', digit: 6, seed: BIG, steps: '20'});
    const shown = await pictures(page);
    assert.equal(shown.length, 3);
    for (const [i, sampler] of ['ddpm', 'ddim', 'dpm_solver_pp_2m'].entries()) {
      same(shown[i], await server.picture(`6.png?seed=${BIG}&sampler=${sampler}&steps=20`));
    }
    assert.match(await facts(page), /DDPM .*s, DDIM .*s, DPM-Solver\+\+ .*s$/);
    await page.done();
  });

  test('fill a wall with all digits', async () => {
    const page = await visit();
    await draw(page, {view: 'wall', seed: '11', sampler: 'dpm_solver_pp_2m', steps: '4'});
    const tiles = await pictures(page);
    assert.equal(tiles.length, 100);
    for (const digit of [0, 9]) same(tiles[digit * 10], await server.picture(`${digit}.png?seed=11&sampler=dpm_solver_pp_2m&steps=4&size=64`));
    assert.match(await facts(page), /^100 of 100 · .* · seed 11$/);
    await page.done();
  });

  test('fill a wall with one digit, each row by a seed of its own', async () => {
    const page = await visit();
    await draw(page, {view: 'wall', digit: 8, seed: BIG, fill: 'same', sampler: 'dpm_solver_pp_2m', steps: '4'});
    const tiles = await pictures(page);
    for (const [row, seed] of [[0, BIG], [1, '0'], [9, '8']]) {
      same(tiles[row * 10], await server.picture(`8.png?seed=${seed}&sampler=dpm_solver_pp_2m&steps=4&size=64`));
    }
    await page.done();
  });

  test('stop when they are told to, and the server does too', async () => {
    const page = await visit();
    await fill(page, {view: 'wall', sampler: 'ddpm'});
    await page.click('#draw');
    await page.locator('#facts', {hasText: 'of 100'}).waitFor();
    await page.click('#stop');
    await said(page, /Stopped\./);
    assert.match(await facts(page), / · stopped$/);
    for (let status = {}; status.queuedImages !== 0 || status.denoisingImages !== 0;) status = await server.status();
    assert.equal(await isEnabled(page, '#stop'), false);
    await page.done();
  });
});

describe('A file', () => {
  let page, frames, shown;
  before(async () => {
    page = await visit();
    await draw(page, {digit: 7, seed: BIG, sampler: 'dpm_solver_pp_2m', steps: '9', size: '128'});
    [shown] = await pictures(page);
  });
  after(() => page.done());

  test('of the picture has the bytes that the server sent', async () => {
    const {name, bytes} = await download(page, '#png');
    assert.equal(name, `digit-7-dpm_solver_pp_2m-${BIG}.png`);
    same(bytes, shown);
  });

  test('of the chain as APNG has a frame for each step, the last of them the picture', async () => {
    const {bytes} = await download(page, '#apng');
    frames = await decode(page, bytes, 'image/png');
    assert.equal(frames.length, 9);
    assert.equal(new Set(frames.map((frame) => frame.pixels)).size, 9);
    assert.equal(frames.at(-1).pixels, (await decode(page, shown, 'image/png'))[0].pixels);
    assert.equal(frames.at(-1).milliseconds, 2000);
  });

  test('of the chain as GIF has the same frames, grey for grey', async () => {
    const {bytes} = await download(page, '#gif');
    const gif = await decode(page, bytes, 'image/gif');
    assert.deepEqual(gif.map((frame) => frame.pixels), frames.map((frame) => frame.pixels));
  });

  test('whose frames must be asked for again can be stopped, and leaves the facts as they were', async () => {
    let asked = 0;
    const other = await visit({route: (page) => page.route('**/v1/digits:generate', async (route) => {
      if (++asked > 1) return;  // never answered
      const response = await route.fetch();
      const lines = (await response.text()).split('\n').filter((line) => !line.includes('"preview"'));
      await route.fulfill({response, body: lines.join('\n')});
    })});
    await draw(other, {digit: 7, seed: '5', sampler: 'ddim', steps: '9', size: '32'});
    const before = await facts(other);
    for (const kind of ['apng', 'gif']) {
      await other.click(`#${kind}`);
      await other.locator('#facts', {hasText: 'fetching step 8 of 9 again'}).waitFor();
    }
    await other.keyboard.press('Escape');
    await other.locator('#facts', {hasText: before}).waitFor();
    assert.equal(await isEnabled(other, '#stop'), false);
    assert.equal(asked, 3);
    await other.done();
  });

  test('of a comparison has its pictures side by side', async () => {
    const other = await visit();
    await draw(other, {view: 'compare', seed: '4', steps: '5', size: '32'});
    const {name, bytes} = await download(other, '#png');
    assert.equal(name, 'compare-4.png');
    assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [96, 32]);
    await other.done();
  });

  test('of a wall is ten pictures wide and high', async () => {
    const other = await visit();
    await draw(other, {view: 'wall', seed: '4', sampler: 'ddim', steps: '2'});
    const {bytes} = await download(other, '#png');
    assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [640, 640]);
    await other.done();
  });
});

describe('The server, live', () => {
  test('shows steps while it draws, and none when it rests', async () => {
    const page = await visit();
    const meter = (name) => page.locator('#meters > div', {hasText: name}).locator('output');
    await fill(page, {view: 'wall', sampler: 'ddpm', steps: '200'});
    await page.click('#draw');
    await page.waitForFunction(() => [...document.querySelectorAll('#meters output')].every((output) => Number(output.textContent) > 0));
    assert.match(await meter('Batch').textContent(), /^\d+\.\d$/);
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => [...document.querySelectorAll('#meters output')].map((output) => output.textContent).join() === '0,0,–,–');
    await page.done();
  });
});

describe('An error', () => {
  const failing = (options) => visit({...options, expectFailures: true});

  test('in a field is told in the server’s words, and the field is marked', async () => {
    const page = await failing();
    await fill(page, {steps: '1001', guidance: '99'});
    await page.click('#draw');
    const words = await notice(page);
    assert.match(words, /steps/);
    assert.match(words, /1000/);
    assert.match(words, /guidance_scale/);
    assert.equal(await page.getAttribute('#steps', 'aria-invalid'), 'true');
    assert.equal(await page.getAttribute('#guidance', 'aria-invalid'), 'true');
    await draw(page, {...fast, guidance: ''});
    assert.equal(await page.locator('[aria-invalid]').count(), 0);
    assert.equal(await page.isVisible('#notice'), false);
    await page.done();
  });

  test('in a number is told in words for people, and a comma is a point', async () => {
    const page = await failing();
    await fill(page, {...fast, seed: '5', steps: 'ten', guidance: 'much'});
    await page.click('#draw');
    assert.match(await notice(page), /steps: must be a whole number, or empty, got ten; guidance: must be a number, such as 1\.5/);
    for (const name of ['steps', 'guidance']) assert.equal(await page.getAttribute(`#${name}`, 'aria-invalid'), 'true');
    await draw(page, {...fast, steps: ' 10 ', guidance: '1,5'});
    same((await pictures(page))[0], await server.picture('7.png?seed=5&sampler=ddim&steps=10&guidance_scale=1.5'));
    await page.done();
  });

  for (const seed of ['abc', '-1', '18446744073709551616', '1e3']) {
    test(`is what a seed ${seed} gives, never another seed`, async () => {
      const page = await failing();
      await fill(page, {...fast, seed});
      await page.click('#draw');
      assert.match(await notice(page), /Not possible like this/);
      await page.done();
    });
  }

  test('that may pass is counted down, and tried again', async () => {
    let answers = 0;
    const page = await failing({route: (page) => page.route('**/v1/digits:generate', (route) => answers++ > 1 ? route.continue() : route.fulfill({
      status: 429, headers: {'Retry-After': '2'}, contentType: 'application/json',
      body: JSON.stringify({error: {code: 8, status: 'RESOURCE_EXHAUSTED', message: 'the queue is full: 256 images wait', details: [
        {'@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '1.2s'}]}})}))});
    await fill(page, {...fast, digit: 1});
    await page.click('#draw');
    assert.match(await notice(page), /Busy.*the queue is full: 256 images wait.*Trying again in [12] s\./);
    await page.click('text=Try now');
    await finished(page);
    assert.equal(answers, 3);
    assert.equal(await page.isVisible('#notice'), false);
    await page.done();
  });

  test('of a server with too few places for a wall is waited out', async () => {
    const small = await startServer(['--max_queued_images', '8']);
    const page = await open(browser, small.url, {expectFailures: true});
    await fill(page, {view: 'wall', sampler: 'ddim', steps: '20', seed: '3'});
    await page.click('#draw');
    assert.match(await notice(page), /Busy.*the queue is full: .* this request needs 10; .*Trying again/);
    await finished(page);
    assert.match(await facts(page), /^100 of 100 /);
    await page.done();
    await small.stop();
  });

  test('of a server that drains is told, and waiting for it can be stopped', async () => {
    const page = await failing({route: (page) => page.route('**/v1/digits:generate', (route) => route.fulfill({status: 503,
      contentType: 'application/json', body: JSON.stringify({error: {code: 14, status: 'UNAVAILABLE', message: 'the server is draining'}})}))});
    await page.click('#draw');
    assert.match(await notice(page), /Not serving.*the server is draining.*Trying again in \d s\./);
    await page.keyboard.press('Escape');
    await said(page, /Stopped\./);
    await page.done();
  });

  test('that is not the server’s is told as such', async () => {
    const page = await failing({route: (page) => page.route('**/v1/digits:generate', (route) => route.fulfill({status: 413, body: '<html>nginx'}))});
    await page.click('#draw');
    assert.match(await notice(page), /HTTP 413, in words that are not the server's/);
    await page.done();
  });

  test('after the first event ends the picture, in the server’s words', async () => {
    const lines = [{accepted: {seed: '9', steps: 50, modelVersion: 'x', queuePosition: 0, estimatedDuration: '0s'}},
      {error: {code: 13, status: 'INTERNAL', message: 'the engine gave numbers that are not finite'}}];
    const page = await failing({route: (page) => page.route('**/v1/digits:generate', (route) => route.fulfill({
      contentType: 'application/x-ndjson', body: lines.map((line) => `${JSON.stringify(line)}\n`).join('')}))});
    await page.click('#draw');
    assert.match(await notice(page), /the engine gave numbers that are not finite/);
    assert.equal(await page.textContent('.step'), 'stopped');
    assert.equal(await isEnabled(page, '#png'), false);
    await page.done();
  });

  test('of a connection that broke is mended with the seed that was told', async () => {
    const seeds = [];
    const cut = `${JSON.stringify({accepted: {seed: BIG, steps: 10, modelVersion: 'x', queuePosition: 0, estimatedDuration: '0s'}})}\n`;
    const page = await failing({route: (page) => page.route('**/v1/digits:generate', (route) => {
      seeds.push(route.request().postDataJSON().seed);
      return seeds.length > 1 ? route.continue() : route.fulfill({contentType: 'application/x-ndjson', body: cut});
    })});
    await fill(page, {...fast, digit: 3});
    await page.click('#draw');
    await finished(page);
    assert.deepEqual(seeds, [undefined, BIG]);
    same((await pictures(page))[0], await server.picture(`3.png?seed=${BIG}&sampler=ddim&steps=10`));
    await page.done();
  });

  test('of a server that shuts down, and then is gone, is told, and the page goes on when it is back', async () => {
    const mortal = await startServer(['--lame_duck', '0']);
    const page = await open(browser, mortal.url, {expectFailures: true});
    await draw(page, {...fast, seed: '5'});
    const before = (await pictures(page))[0];

    const other = await open(browser, mortal.url, {expectFailures: true});
    await fill(other, {view: 'wall', sampler: 'ddpm'});
    await other.click('#draw');
    while ((await mortal.status()).denoisingImages === 0);
    mortal.signal('SIGTERM');
    await mortal.says(/draining: /);
    await page.click('#draw');
    assert.match(await notice(page), /Not serving.*the server is shutting down.*Trying again in \d s\./);
    await other.close();

    await mortal.stop();
    await page.locator('#notice', {hasText: `No answer from 127.0.0.1:${mortal.port}. Is denoised running there`}).waitFor();
    await page.locator('#live.absent').waitFor();
    const again = await startServer([], mortal.port);
    await finished(page);
    same((await pictures(page))[0], before);
    await page.done();
    await again.stop();
  });
});

describe('A server with tokens', () => {
  test('is asked with a token that stays in this window', async () => {
    const line = `lab ${createHash('sha256').update('sesame').digest('hex')}\n`;
    const guarded = await startServer(['--tokens', temporary('tokens', line)]);
    const page = await open(browser, guarded.url, {expectFailures: true});
    await page.locator('#token').waitFor();
    await page.fill('#token', 'sesame\u200b');
    await page.keyboard.press('Enter');
    assert.match(await notice(page), /A token is one word of printable ASCII characters, and this is not/);
    await page.fill('#token', 'wrong');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('#token')?.value === '');
    await page.fill('#token', 'sesame');
    await page.click('.token button');
    await page.locator('#model', {hasText: 'million parameters'}).waitFor();
    await draw(page, {...fast, seed: '1'});
    assert.equal(await page.evaluate(() => localStorage.length), 0);
    assert.equal(page.url().includes('sesame'), false);
    assert.equal((await page.context().cookies()).length, 0);
    await page.reload();
    await finished(page);
    await page.done();
    await guarded.stop();
  });
});

// page_test.cc issues a certificate and says where it lies.
describe('A server that speaks TLS', {skip: !process.env.DENOISED_TEST_TLS && 'DENOISED_TEST_TLS names no folder with cert.pem and key.pem'}, () => {
  test('draws the same, its frames too', async () => {
    const folder = process.env.DENOISED_TEST_TLS;
    const tls = await startServer(['--tls_cert', `${folder}/cert.pem`, '--tls_key', `${folder}/key.pem`]);
    assert.match(tls.url, /^https:/);
    const page = await open(browser, tls.url, {ignoreHTTPSErrors: true});
    await draw(page, {...fast, digit: 8, seed: BIG});
    same((await pictures(page))[0], await server.picture(`8.png?seed=${BIG}&sampler=ddim&steps=10`));
    assert.equal(await page.textContent('.step'), 'step 10 of 10');
    await page.locator('#live:not(.absent)').waitFor();
    await page.done();
    await tls.stop();
  });
});

// The server's own model draws them, whatever the page is told that they are called.
describe('A model of other classes', () => {
  const CLOTHES = ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'];
  const visitNamed = async (classNames, options = {}) => {
    const page = await visit({...options, route: (page) => page.route('**/v1/model', async (route) => {
      const response = await route.fetch();
      await route.fulfill({response, json: {...await response.json(), classNames}});
    })});
    await page.locator('#model', {hasText: 'million parameters'}).waitFor();
    return page;
  };

  test('has a button for each, by its name', async () => {
    const page = await visitNamed(CLOTHES);
    assert.deepEqual(await page.locator('#digits label').allTextContents(), CLOTHES);
    assert.equal(await page.textContent('#digits legend'), 'Class');
    assert.equal(await facts(page), 'Every picture starts as noise. Choose one.');
    assert.equal(await page.isChecked('[name=digit][value="0"]'), true);
    await page.getByRole('radio', {name: 'Sneaker'}).check();
    await draw(page, {...fast, seed: '6'});
    same((await pictures(page))[0], await server.picture('7.png?seed=6&sampler=ddim&steps=10'));
    await said(page, /^Drew Sneaker by DDIM, 10 steps, seed 6\.$/);
    assert.equal(await page.getAttribute('#pictures img', 'alt'), 'Sneaker, drawn by DDIM');
    await page.getByRole('radio', {name: 'T-shirt/top'}).check();
    await draw(page, {...fast, seed: '6'});
    assert.equal((await download(page, '#png')).name, 'T-shirt-top-ddim-6.png');
    await page.done();
  });

  test('is chosen from by keyboard, and finds nothing that axe-core objects to', async () => {
    const page = await visitNamed(Array.from({length: 47}, (_, i) => `class ${i}`));
    await page.focus('[name=digit]:checked');
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.inputValue('[name=digit]:checked'), '1');
    await page.evaluate(readFileSync(axe, 'utf8'));
    assert.deepEqual(await violations(page), []);
    await page.done();
  });

  test('has links that draw the same picture again', async () => {
    const page = await visitNamed(CLOTHES);
    await page.getByRole('radio', {name: 'Bag'}).check();
    await draw(page, {...fast, seed: BIG});
    const there = await visitNamed(CLOTHES, {hash: new URL(page.url()).hash});
    await finished(there);
    assert.equal(await there.isChecked('[name=digit][value="8"]'), true);
    same((await pictures(there))[0], (await pictures(page))[0]);
    await page.done();
    await there.done();
  });

  test('is compared by its name', async () => {
    const page = await visitNamed(CLOTHES);
    await draw(page, {view: 'compare', digit: 9, seed: '6', steps: '5'});
    await said(page, /^Drew Ankle boot by three samplers, seed 6\.$/);
    same((await pictures(page))[1], await server.picture('9.png?seed=6&sampler=ddim&steps=5'));
    await page.done();
  });

  test('fills a wall with all of them', async () => {
    const page = await visitNamed(['cat', 'dog', 'bird']);
    assert.equal(await page.locator('#fill option').first().textContent(), 'all 3');
    await draw(page, {view: 'wall', seed: '11', sampler: 'ddim', steps: '2'});
    const tiles = await pictures(page);
    assert.equal(tiles.length, 30);
    same(tiles[20], await server.picture('2.png?seed=11&sampler=ddim&steps=2&size=64'));
    assert.equal(await page.getAttribute('.wall', 'aria-label'), 'A wall: all 3 classes, ten times each');
    const {bytes} = await download(page, '#png');
    assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [640, 192]);
    await draw(page, {fill: 'same', digit: 1});
    await said(page, /^Drew a hundred times dog, seed 11\.$/);
    await page.done();
  });

  test('fits a narrow screen, however many there are', async () => {
    const names = Array.from({length: 47}, (_, i) => i === 3 ? 'x'.repeat(64) : `class ${i}`);
    const page = await visitNamed(names, {viewport: {width: 360, height: 740}});
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    await page.done();
  });
});

// A telephone's screen, and a finger in the place of a mouse.
describe('A finger', () => {
  const onPhone = (options) => visit({viewport: {width: 360, height: 740}, deviceScaleFactor: 3, hasTouch: true, isMobile: true, ...options});
  const isInSight = (page, selector) => page.locator(selector).first().evaluate((element) => {
    const {top, bottom} = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  });
  const chain = {sampler: 'ddim', steps: '20', seed: '5'};

  /** From one place of an element to another, both as parts of its width. */
  const drag = async (page, selector, from, to) => {
    const {x, y, width, height} = await page.locator(selector).boundingBox();
    const touches = await page.context().newCDPSession(page);
    const touch = (type, part) => touches.send('Input.dispatchTouchEvent',
        {type, touchPoints: part === undefined ? [] : [{x: x + part * width, y: y + height / 2}]});
    await touch('touchStart', from);
    for (let i = 1; i <= 10; i++) await touch('touchMove', from + (to - from) * i / 10);
    await touch('touchEnd');
  };

  test('draws by taps, with the picture in sight', async () => {
    const page = await onPhone();
    await page.tap('summary');
    await page.selectOption('#sampler', 'ddim');
    for (const [id, text] of [['seed', BIG], ['steps', '20']]) {
      await page.tap(`#${id}`);
      await page.keyboard.type(text);
    }
    await page.locator('#digits label', {hasText: '3'}).tap();
    assert.equal(await isInSight(page, '#pictures img'), false, 'the settings are in between');
    await page.tap('#draw');
    await finished(page);
    assert.equal(await isInSight(page, '#pictures img'), true);
    same((await pictures(page))[0], await server.picture(`3.png?seed=${BIG}&sampler=ddim&steps=20`));
    for (const view of ['compare', 'wall']) {
      await page.locator('.choice label', {has: page.locator(`[value=${view}]`)}).tap();
      await page.tap('#draw');
      await finished(page);
      assert.equal(await page.locator('#pictures img').count(), {compare: 3, wall: 100}[view]);
    }
    await page.done();
  });

  test('goes back through the steps, and the page stays where it is', async () => {
    const page = await onPhone();
    await draw(page, chain);
    await page.locator('.step', {hasText: 'step 20 of 20'}).waitFor();
    await page.locator('.scrub').scrollIntoViewIfNeeded();
    const before = await page.evaluate(() => scrollY), end = await page.getAttribute('#pictures img', 'src');
    await drag(page, '.scrub', 0.97, 0.5);
    const half = Number(/step (\d+) of 20/.exec(await page.textContent('.step'))[1]);
    assert.ok(half > 5 && half < 15, `${half}`);
    assert.notEqual(await page.getAttribute('#pictures img', 'src'), end);
    await drag(page, '.scrub', 0.5, 1);
    assert.equal(await page.getAttribute('#pictures img', 'src'), end);
    assert.equal(await page.evaluate(() => scrollY), before);
    await page.done();
  });

  test('finds everything large enough, and letters that no telephone enlarges by itself', async () => {
    const page = await onPhone({expectFailures: true});
    await fill(page, {steps: '5000'});
    await page.tap('#draw');
    await notice(page);
    const small = await page.locator('button:visible, input:visible, select:visible, summary:visible').evaluateAll((elements) => elements.map(
        (element) => ({is: element.id || element.className || element.name || element.tagName, height: element.getBoundingClientRect().height,
          letters: /^(INPUT|SELECT)$/.test(element.tagName) && !/^(radio|range)$/.test(element.type) ? parseFloat(getComputedStyle(element).fontSize) : 16}))
        .filter(({height, letters}) => height < 44 || letters < 16));
    assert.deepEqual(small, []);
    await page.tap('#notice .close');
    assert.equal(await page.isVisible('#notice'), false);
    await page.done();
  });
});

describe('Anybody', () => {
  test('can use it by keyboard alone', async () => {
    const page = await visit();
    const focused = () => page.evaluate(() => document.activeElement.name || document.activeElement.id);
    const tabTo = async (name) => {
      for (let i = 0; i < 20 && await focused() !== name; i++) await page.keyboard.press('Tab');
      assert.equal(await focused(), name);
    };
    await tabTo('digit');
    await page.keyboard.press('ArrowRight');
    await tabTo('sampler');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.type('123');
    await page.keyboard.press('Enter');
    await finished(page);
    same((await pictures(page))[0], await server.picture('8.png?seed=123&sampler=ddim'));
    await tabTo('png');
    const [file] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
    assert.equal(file.suggestedFilename(), 'digit-8-ddim-123.png');
    await page.done();
  });

  test('hears what was drawn', async () => {
    const page = await visit();
    await draw(page, {...fast, digit: 2, seed: '6'});
    await said(page, /^Drew a 2 by DDIM, 10 steps, seed 6\.$/);
    assert.equal(await page.getAttribute('#said', 'role'), 'status');
    assert.equal(await page.getAttribute('#pictures img', 'alt'), 'A handwritten 2, drawn by DDIM');
    await page.done();
  });

  test('who prefers less motion sees the end alone', async () => {
    const page = await visit({reducedMotion: 'reduce'});
    await page.evaluate(() => {
      window.sources = new Set();
      const image = document.querySelector('#pictures img');
      new MutationObserver(() => window.sources.add(image.src)).observe(image, {attributes: true, attributeFilter: ['src']});
    });
    await draw(page, {seed: '2', sampler: 'ddpm', steps: '100'});
    assert.ok(await page.evaluate(() => window.sources.size) <= 2);  // noise, then the picture
    await page.done();
  });

  test('who prefers less motion sees no frames on a wall', async () => {
    const page = await visit({reducedMotion: 'reduce'});
    await page.evaluate(() => {
      window.sources = new Map();
      new MutationObserver((changes) => changes.forEach(({target}) => window.sources.set(target, (window.sources.get(target) ?? 0) + 1)))
          .observe(document.querySelector('#pictures'), {attributes: true, attributeFilter: ['src'], subtree: true});
    });
    await draw(page, {view: 'wall', seed: '2', sampler: 'ddim', steps: '10'});
    assert.equal(await page.evaluate(() => Math.max(...window.sources.values())), 1);
    await page.done();
  });

  test('hears of a drawing in two places alone', async () => {
    const page = await visit();
    await draw(page, fast);
    const live = await page.locator('output, [role=status], [role=alert], [aria-live]').evaluateAll((elements) =>
      elements.filter((element) => element.ariaLive !== 'off').map((element) => element.id));
    assert.deepEqual(live.sort(), ['notice', 'said']);
    await page.done();
  });

  for (const colorScheme of ['dark', 'light']) {
    test(`finds nothing that axe-core objects to, ${colorScheme}`, async () => {
      const page = await visit({colorScheme, expectFailures: true});
      // A page's own policy keeps other scripts out; a test may evaluate them all the same.
      await page.evaluate(readFileSync(axe, 'utf8'));
      assert.deepEqual(await violations(page), []);
      for (const view of ['one', 'compare', 'wall']) {
        await draw(page, {view, seed: '3', steps: '5'});
        assert.deepEqual(await violations(page), [], view);
      }
      await fill(page, {view: 'one', steps: '5000'});
      await page.click('#draw');
      await notice(page);
      assert.deepEqual(await violations(page), [], 'an error');
      await page.done();
    });
  }

  test('has it fit a narrow screen, and nothing moves while it draws', async () => {
    const page = await visit({viewport: {width: 360, height: 740}, expectFailures: true, init: () => {
      window.shifts = 0;
      window.moved = [];
      new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
        window.shifts += entry.value;
        window.moved.push(...entry.sources.map(({node}) => node?.id || node?.className || node?.nodeName));
      })).observe({type: 'layout-shift', buffered: true});
    }});
    const fits = async (what) => assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, what);
    await page.locator('#model', {hasText: 'million parameters'}).waitFor();
    await fits('at first');
    await page.click('#draw');
    await finished(page);
    assert.ok(await page.evaluate(() => window.shifts) < 0.02, await page.evaluate(() => `${window.shifts}: ${window.moved}`));
    for (const view of ['one', 'compare', 'wall']) {
      await draw(page, {view, seed: BIG, steps: '5'});
      await fits(view);
    }
    await fill(page, {view: 'one', steps: '5000'});
    await page.click('#draw');
    await notice(page);
    await fits('an error');
    await page.done();
  });

  test('is offered the one chain that a student has learnt', async () => {
    const page = await visit({hash: '#digit=1&view=compare&sampler=ddpm', route: (page) => page.route('**/v1/model', async (route) => {
      const response = await route.fetch();
      await route.fulfill({response, json: {...await response.json(), distilledSteps: 4}});
    })});
    await page.locator('#model', {hasText: 'million parameters'}).waitFor();
    assert.equal(await page.isDisabled('[name=view][value=compare]'), true);
    assert.equal(await page.isChecked('[name=view][value=one]'), true);
    assert.equal(await page.inputValue('#sampler'), 'ddim');
    assert.deepEqual(await page.locator('#sampler option:not([disabled])').allTextContents(), ['DDIM']);
    assert.equal(await page.getAttribute('#steps', 'placeholder'), '4');
    await page.done();
  });

  test('sees no guidance where the model has learned none', async () => {
    const bodies = [];
    const page = await visit({hash: '#digit=1&guidance=3', route: async (page) => {
      await page.route('**/v1/model', async (route) => {
        const response = await route.fetch();
        await route.fulfill({response, json: {...await response.json(), supportsGuidance: false}});
      });
      page.on('request', (request) => request.method() === 'POST' && bodies.push(request.postDataJSON()));
    }});
    await page.locator('#model', {hasText: 'million parameters'}).waitFor();
    assert.equal(await page.isVisible('#guidance'), false);
    await draw(page, fast);
    assert.equal('guidanceScale' in bodies[0], false);
    await page.done();
  });
});
