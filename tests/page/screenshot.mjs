// The README's picture of the page, from a real server: node tests/page/screenshot.mjs docs/page.png
import {draw, launch, open, startServer, stopServers} from './fixture.mjs';

const [path] = process.argv.slice(2);
const [browser, server] = await Promise.all([launch(), startServer()]);
try {
  const page = await open(browser, server.url, {viewport: {width: 1200, height: 800}, colorScheme: 'dark'});
  // A wall first, so that there is something to be seen of the server's past.
  await draw(page, {view: 'wall', sampler: 'ddim', seed: '42'});
  await draw(page, {view: 'one', digit: 7, sampler: 'ddpm', seed: '42'});
  await page.locator('.step', {hasText: 'step 1000'}).waitFor();
  for (let i = 0; i < 9; i++) await page.locator('.scrub').press('ArrowLeft');
  await page.evaluate(() => document.activeElement.blur());
  await page.screenshot({path, fullPage: true});
  await page.done();
} finally {
  await browser.close();
  stopServers();
}
