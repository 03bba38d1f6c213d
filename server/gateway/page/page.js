// The page: what to draw is read from the form, events of the server become pictures, errors become notices, and the
// address always says how to get the same picture again.

import {apng, fromBase64, gif, greys} from './animation.js';
import {FRAMES, SAMPLERS, WALL_CALLS, newSeed, requestOf, wallOf} from './ask.js';
import {Chain, noise, still} from './chain.js';
import {Classes, DIGITS} from './classes.js';
import {watchServer} from './live.js';
import {ServerError, generate, getModel, setToken} from './server.js';

const TRIES = 20;

const $ = (id) => document.getElementById(id);
const form = $('ask');
const field = (name) => form.elements[name];
const wide = matchMedia('(min-width: 60rem)');

let model = null;  // what GET /v1/model said
let classes = DIGITS;  // of the model, once it is known
let running = null;  // AbortController of what is being drawn
let shown = null;  // what the pictures show: {view, ask, chains, done}
let keeping = new AbortController();  // of what is being saved
let begun = '';  // the address that is drawn, or was
let linked = '';  // the model that the link was made with which is followed

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// --- What to draw ----------------------------------------------------------------------------------------------------

/** What the form says, as texts, without guidance where the model has learned none. */
function readForm() {
  const ask = Object.fromEntries([...new FormData(form)].map(([name, text]) => [name, text.trim()]));
  // Some telephones offer no point.
  return {...ask, guidance: $('guided').hidden ? '' : ask.guidance.replace(',', '.')};
}

const SHAPES = {
  seed: [/^\d*$/, 'a whole number'],
  steps: [/^\d*$/, 'a whole number'],
  guidance: [/^(-?\d+(\.\d*)?)?$/, 'a number, such as 1.5'],
};

/** What the server could not even read. */
function checkShapes(ask) {
  const fields = Object.keys(SHAPES).filter((name) => !SHAPES[name][0].test(ask[name] ?? ''));
  const words = fields.map((name) => `${name}: must be ${SHAPES[name][1]}, or empty, got ${ask[name]}`);
  if (fields.length > 0) throw new ServerError('INVALID_ARGUMENT', words.join('; '), {fields});
}

/** The address of what is shown: all that decides its pixels, and the model that drew it. */
function writeAddress(ask) {
  const link = new URLSearchParams();
  const parts = {...ask, fill: ask.view === 'wall' ? ask.fill : '', model: model?.modelVersion};
  for (const [name, value] of Object.entries(parts)) if (value) link.set(name, value);
  history.replaceState(null, '', `#${link}`);
  begun = location.hash;
}

/** What the form cannot hold is returned, in words. */
function setField(name, value) {
  const input = field(name);
  if (!input) return [];
  const before = input.value;
  if (name === 'size' && /^\d+$/.test(value) && ![...input.options].some((option) => option.value === value)) input.add(new Option(value));
  input.value = value;
  if (input.value === value) return [];
  input.value = before;
  return [`${name} ${value}`];
}

/** Fills the form from the address. Whether it names a picture, and then nothing of the form before counts. */
function readAddress() {
  const link = new URLSearchParams(location.hash.slice(1));
  const namesPicture = link.has('seed');
  if (namesPicture) form.reset();
  const unknown = [...link].flatMap(([name, value]) => setField(name, value));
  followView();
  return {namesPicture, unknown};
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

const seconds = (text) => parseFloat(text ?? '0');

const howOften = (count) => ({1: 'once', 10: 'ten times'}[count] ?? `${count} times`);

const shortly = (s) => s < 0.095 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(s < 9.95 ? 1 : 0)} s`;

const pause = (milliseconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), {once: true});
});

/** Counts down to the next try, unless somebody wants it now. Words and countdown are shown. */
async function waitToRetry(error, attempt, signal) {
  const wait = Math.max(1, Math.ceil(error.retrySeconds ?? Math.min(30, 2 ** attempt)));
  const now = new AbortController();
  signal.addEventListener('abort', () => now.abort(), {once: true});
  const countdown = make('span', {role: 'timer', ariaLive: 'off'});
  notify(error.status === 'RESOURCE_EXHAUSTED' ? 'Busy' : error.status === 'UNAVAILABLE' ? 'Not serving' : 'No answer',
      error.message, countdown, button('Try now', () => now.abort()));
  for (let left = wait; left > 0 && !now.signal.aborted; left--) {
    countdown.textContent = `Trying again in ${left} s.`;
    await pause(1000, now.signal);
  }
  if (!signal.aborted) countdown.textContent = 'Trying again …';
}

/** All events of a request, `on(event)` for each. What may pass is tried again, with the seed that was told. */
async function drawAll(request, on, signal) {
  for (let attempt = 0;; attempt++) {
    try {
      let left = request.count ?? 1;
      for await (const event of generate(request, signal)) {
        if (event.accepted && attempt > 0) hideNotice();
        if (event.accepted) {
          request.seed = event.accepted.seed;
          noteModel(event.accepted.modelVersion);
        }
        if (event.image) left--;
        on(event);
      }
      if (left === 0) return;
      throw new ServerError('UNREACHABLE', `The connection to ${location.host} ended before the picture was finished.`);
    } catch (error) {
      if (!error.passes || attempt >= TRIES) throw error;
      await waitToRetry(error, attempt, signal);
      signal.throwIfAborted();
    }
  }
}

const waitingWords = ({queuePosition, estimatedDuration}) =>
    queuePosition > 0 ? `${queuePosition} before it, about ${shortly(seconds(estimatedDuration))}` : 'starting';

/** One picture by its chain. Returns the finished image's event. */
async function drawChain(chain, ask, signal, onSeed = () => {}) {
  const {name} = SAMPLERS[ask.sampler];
  let total = 0, image = null;
  chain.begin(`${classes.one(ask.digit, 'A')}, being drawn by ${name}`);
  chain.say('asking …');
  await drawAll(requestOf(ask), (event) => {
    if (event.accepted) {
      total = event.accepted.steps;
      chain.say(waitingWords(event.accepted));
      onSeed(event.accepted.seed);
    } else if (event.preview) {
      chain.add(event.preview.step, event.preview.totalSteps, event.preview.png);
    } else {
      image = event.image;
      chain.finish(total, image.png, `${classes.one(ask.digit, 'A handwritten')}, drawn by ${name}`);
    }
  }, signal);
  return image;
}

const factsOf = (ask, image) => `seed ${image.seed} · drawn in ${shortly(seconds(image.denoiseDuration))}` +
    (seconds(image.queueDuration) >= 0.05 ? `, after ${shortly(seconds(image.queueDuration))} of waiting` : '');

async function drawOne(ask, signal) {
  const chain = shown?.view === 'one' ? shown.chains[0] : new Chain();
  show({view: 'one', ask, chains: [chain]});
  const image = await drawChain(chain, ask, signal, (seed) => {
    ask.seed = seed;
    writeAddress(ask);
    say(`seed ${seed}`);
  });
  say(factsOf(ask, image), `Drew ${classes.one(ask.digit)} by ${SAMPLERS[ask.sampler].name}, ${chain.total} steps, seed ${image.seed}.`);
}

async function drawCompared(ask, signal) {
  ask.seed ||= newSeed();
  const asks = Object.keys(SAMPLERS).map((sampler) => ({...ask, sampler}));
  const chains = shown?.view === 'compare' ? shown.chains : asks.map(({sampler}) => new Chain(SAMPLERS[sampler].name));
  show({view: 'compare', ask, chains});
  writeAddress(ask);
  say(`seed ${ask.seed}`);
  const images = await together(asks.map((one, i) => () => drawChain(chains[i], one, signal)), signal);
  const times = asks.map(({sampler}, i) => `${SAMPLERS[sampler].name} ${shortly(seconds(images[i].denoiseDuration))}`);
  say(`seed ${ask.seed} · ${times.join(', ')}`, `Drew ${classes.one(ask.digit)} by three samplers, seed ${ask.seed}.`);
}

async function drawWall(ask, signal) {
  ask.seed ||= newSeed();
  const {columns, requests} = wallOf(ask, classes);
  const {count} = requests[0];
  const what = ask.fill === 'all' ? `all ${classes.all}, ${howOften(count)} each` : `a hundred times ${classes.names[ask.digit]}`;
  const tiles = Array.from({length: count * requests.length}, () => make('img', {alt: '', decoding: 'sync', src: noise()}));
  const wall = make('div', {className: 'wall', role: 'img', ariaLabel: `A wall: ${what}`}, ...tiles);
  wall.style.setProperty('--columns', columns);
  show({view: 'wall', ask, chains: [], tiles, columns}, wall);
  writeAddress(ask);
  const began = performance.now();
  let done = 0;
  const on = (row) => ({preview, image}) => {
    const frame = image ?? (still.matches ? null : preview);
    if (!frame) return;
    const tile = tiles[row * count + frame.imageIndex];
    if (!tile.dataset.done) tile.src = `data:image/png;base64,${frame.png}`;
    if (image && !tile.dataset.done) {
      tile.dataset.done = ++done;
      say(`${done} of ${tiles.length} · ${shortly((performance.now() - began) / 1000)} · seed ${ask.seed}`);
    }
  };
  say(`0 of ${tiles.length} · seed ${ask.seed}`);
  await together(requests.map((request, row) => () => drawAll(request, on(row), signal)), signal, WALL_CALLS);
  $('said').textContent = `Drew ${what}, seed ${ask.seed}.`;
}

/** Runs jobs, `lanes` at a time. The first that fails ends all, as all belong together. */
async function together(jobs, signal, lanes = jobs.length) {
  const results = [];
  const left = jobs.entries();
  const lane = async () => {
    for (const [i, job] of left) {
      signal.throwIfAborted();
      results[i] = await job();
    }
  };
  await Promise.all(Array.from({length: lanes}, lane));
  return results;
}

const VIEWS = {one: drawOne, compare: drawCompared, wall: drawWall};

async function draw() {
  stop();
  linked = '';
  const mine = running = new AbortController();
  hideNotice();
  markFields([]);
  enable($('stop'), true);
  $('stage').ariaBusy = 'true';
  try {
    const ask = readForm();
    checkShapes(ask);
    await VIEWS[ask.view](ask, mine.signal);
    shown.done = true;
  } catch (error) {
    if (running === mine) fail(error);
    mine.abort();
  }
  if (running !== mine) return;
  running = null;
  enable($('stop'), false);
  $('stage').ariaBusy = 'false';
  allowKeeping();
}

function stop() {
  running?.abort();
  keeping.abort();
}

// --- What is shown ---------------------------------------------------------------------------------------------------

function show(what, element = null) {
  const same = shown?.view === what.view && !element;
  shown = {...what, done: false};
  $('said').textContent = '';
  if (!same) $('pictures').replaceChildren(...(element ? [element] : what.chains.map((chain) => chain.element)));
  $('pictures').dataset.view = what.view;
  $('pictures').scrollIntoView({block: 'nearest'});  // on a narrow screen the settings may be in between
  allowKeeping();
}

function say(facts, aloud = null) {
  $('facts').textContent = facts;
  if (!aloud) return;
  shown.facts = facts;
  $('said').textContent = aloud;
}

const enable = (element, yes) => element.setAttribute('aria-disabled', String(!yes));

const isEnabled = (element) => element.getAttribute('aria-disabled') !== 'true';

function allowKeeping() {
  const one = shown?.done && shown.view === 'one';
  for (const id of ['link', 'pin', 'png']) enable($(id), shown?.done);
  for (const id of ['apng', 'gif']) enable($(id), one);
  enable($('replay'), shown?.done && shown.chains.length > 0);
}

/** Fields that a view or the model has no use for are not there. */
function followView() {
  if (model?.distilledSteps) offerOneChain(model.distilledSteps);
  const view = field('view').value;
  for (const label of form.querySelectorAll('[data-only], [data-not]')) {
    label.hidden = (label.dataset.only ?? view) !== view || label.dataset.not === view;
  }
  $('digits').disabled = view === 'wall' && field('fill').value === 'all';
  field('steps').placeholder = view === 'compare' ? 'each its own' : SAMPLERS[field('sampler').value]?.steps;
}

const button = (text, onclick) => make('button', {type: 'button', textContent: text, onclick});

function notify(title, message, ...more) {
  const close = make('button', {type: 'button', className: 'close', textContent: '×', ariaLabel: 'Close', onclick: hideNotice});
  $('notice').replaceChildren(make('strong', {textContent: title}), close, make('p', {textContent: message}),
      make('div', {className: 'more'}, ...more));
  $('notice').hidden = false;
}

function hideNotice() {
  $('notice').hidden = true;
}

/** What to do about an error, by gRPC's name for it. */
const ADVICE = {
  INVALID_ARGUMENT: ['Not possible like this', 'Change it under Settings, then draw again.'],
  RESOURCE_EXHAUSTED: ['Busy', 'It stayed busy for long. Draw again later.'],
  UNAVAILABLE: ['Not serving', 'It may be starting again. Draw again later.'],
  UNREACHABLE: ['No answer', 'Draw again when it is back.'],
  DEADLINE_EXCEEDED: ['Too late', 'Ask for fewer steps, or draw again later.'],
  INTERNAL: ['Failed', 'Nothing else was affected: draw again. If it fails again, the server’s log says more.'],
};

function fail(error) {
  const waiting = shown?.chains.filter((chain) => !chain.done) ?? [];
  for (const chain of waiting) (chain.pause(), chain.say('stopped'));
  if (error.name === 'AbortError') {
    hideNotice();
    return say($('facts').textContent.replace(/( · stopped)?$/, ' · stopped'), 'Stopped.');
  }
  if (['UNAUTHENTICATED', 'PERMISSION_DENIED'].includes(error.status)) return askForToken(error, () => draw());
  const [title, advice] = ADVICE[error.status] ?? ['Failed', 'Draw again; if it fails again, tell whoever runs the server.'];
  notify(title, error.message, advice);
  if (!(error instanceof ServerError)) console.error(error);
  markFields(error.fields ?? []);
}

const FIELDS = {guidance_scale: 'guidance', guidanceScale: 'guidance', 'image.size': 'size'};

/** Marks the form's fields that the server named, and goes to the first. */
function markFields(names) {
  for (const input of form.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
  const inputs = names.map((name) => $(FIELDS[name] ?? name)).filter((input) => input?.form === form);
  for (const input of inputs) input.ariaInvalid = 'true';
  if (inputs.length > 0) {
    $('settings').open = true;
    inputs[0].focus();
  }
}

/** Asks for a token, kept until this tab is closed, then goes on with `next`. */
function askForToken(error, next) {
  const input = make('input', {id: 'token', type: 'password', autocomplete: 'off', required: true});
  const ask = make('form', {className: 'token'}, make('label', {htmlFor: 'token', textContent: 'Token'}), input,
      make('button', {textContent: 'Use'}));
  ask.onsubmit = (event) => {
    event.preventDefault();
    const token = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      return askForToken({message: 'A token is one word of printable ASCII characters, and this is not: some may be invisible.'}, next);
    }
    setToken(token);
    hideNotice();
    if (!model) start();
    next();
  };
  notify('A token is needed', error.message, ask);
  input.focus();
}

// --- Keeping ---------------------------------------------------------------------------------------------------------

function save(blob, kind) {
  const {ask, view} = shown;
  const name = view === 'one' ? `${classes.file(ask.digit)}-${ask.sampler}-${ask.seed}` : `${view}-${ask.seed}`;
  const anchor = make('a', {href: URL.createObjectURL(blob), download: `${name}.${kind}`});
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60000);
}

/** Several pictures side by side as one. */
function sheet(images, columns) {
  const {naturalWidth: width} = images[0];
  const rows = Math.ceil(images.length / columns);
  const canvas = make('canvas', {width: width * columns, height: width * rows});
  const context = canvas.getContext('2d');
  images.forEach((image, i) => context.drawImage(image, i % columns * width, Math.floor(i / columns) * width));
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

async function savePng() {
  if (shown.view === 'one') return save(new Blob([fromBase64(shown.chains[0].picture)], {type: 'image/png'}), 'png');
  for (const chain of shown.chains) chain.end();
  const images = [...$('pictures').querySelectorAll('img')];
  await Promise.all(images.map((image) => image.decode()));
  save(await sheet(images, shown.columns ?? images.length), 'png');
}

/**
 * Frames that were too fast for the server to send are asked for again: the same seed draws the same chain. A frame
 * after every n steps, n being one that is missing, cannot be missed again.
 */
async function completeChain(chain, ask, signal) {
  const every = Math.ceil(chain.total / FRAMES);
  const has = new Set(chain.frames.map((frame) => frame.step));
  for (let step = chain.total - 1; step > 0; step--) {
    if (step % every !== 0 || has.has(step)) continue;
    say(`fetching step ${step} of ${chain.total} again …`);
    const request = {...requestOf(ask), priority: 'PRIORITY_BATCH'};
    request.preview.everySteps = step;
    await drawAll(request, ({preview}) => {
      if (!preview || preview.step % every !== 0) return;
      has.add(preview.step);
      chain.add(preview.step, preview.totalSteps, preview.png);
    }, signal);
  }
}

async function saveChain(kind) {
  const {ask, chains: [chain], facts} = shown;
  keeping.abort();
  const mine = keeping = new AbortController();
  enable($('stop'), true);
  try {
    await completeChain(chain, ask, mine.signal);
    const pngs = chain.frames.map((frame) => fromBase64(frame.png));
    const times = pngs.map((_, i) => i < pngs.length - 1 ? Math.max(20, Math.round(240 / pngs.length) * 10) : 2000);
    save(kind === 'gif' ? gif(await Promise.all(pngs.map(greys)), times) : apng(pngs, times), kind);
    say(facts, `Saved ${pngs.length} frames.`);
  } finally {
    if (keeping === mine && !running) {
      say(facts);
      enable($('stop'), false);
    }
  }
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    $('said').textContent = 'Copied the link.';
    flash($('link'), 'Copied');
  } catch {
    notify('The link', location.href, 'This browser gives no clipboard to pages without HTTPS: copy it from here.');
  }
}

function flash(element, text) {
  const before = element.dataset.text ??= element.textContent;
  element.textContent = text;
  setTimeout(() => element.textContent = before, 1500);
}

function pinSeed() {
  field('seed').value = shown.ask.seed;
  $('settings').open = true;
  flash($('pin'), 'Kept');
}

// --- Start -----------------------------------------------------------------------------------------------------------

function describeModel() {
  const parameters = (Number(model.parameterCount) / 1e6).toFixed(1);
  $('model').textContent = `${model.architecture}, ${parameters} million parameters, on ${model.device} · model ${model.modelVersion}`;
  $('model').title = model.engine ?? '';
  $('guided').hidden = !model.supportsGuidance;
  offerClasses(new Classes(model.classNames?.length > 0 ? model.classNames : DIGITS.names));
  SAMPLERS.ddpm.steps = Math.min(1000, model.noiseSchedule?.numTrainTimesteps ?? 1000);
}

/** Of a picture that begins: a server may have got another model since the page was opened. */
function noteModel(version) {
  if (!version) return;
  if (linked && linked !== version) notify('Another picture', `This link was made with model ${linked}. Here it is ${version} that draws.`);
  linked = '';
  if (version === model.modelVersion) return;
  model.modelVersion = version;
  if (shown.ask.seed) writeAddress(shown.ask);
  getModel().then(adopt).catch(() => {});  // the picture is drawn all the same
}

function adopt(answer) {
  model = answer;
  describeModel();
  followView();
}

/** Of a student, which has learnt to draw in so many steps of DDIM alone. */
function offerOneChain(steps) {
  SAMPLERS.ddim.steps = steps;
  for (const option of field('sampler').options) option.disabled = option.value !== 'ddim';
  field('sampler').value = 'ddim';
  const compare = form.querySelector('[value=compare]');
  compare.disabled = true;
  if (compare.checked) field('view').value = 'one';
}

/** A button for each class; of digits the seven is chosen, since it was before the model was known. */
function offerClasses(offered) {
  if (JSON.stringify(offered.names) === JSON.stringify(classes.names) && $('digits').querySelector('input')) return;
  classes = offered;
  const {names, areDigits} = classes;
  const chosen = areDigits && names.length > 7 ? 7 : 0;
  for (const label of $('digits').querySelectorAll('label')) label.remove();
  names.forEach((name, number) => {
    const input = make('input', {type: 'radio', name: 'digit', value: number, defaultChecked: number === chosen});
    $('digits').append(make('label', {}, input, make('span', {textContent: name})));
  });
  $('digits').toggleAttribute('data-words', names.some((name) => name.length > 2));
  $('digits').toggleAttribute('data-many', names.length > 30);
  $('digits').querySelector('legend').textContent = areDigits ? 'Digit' : 'Class';
  $('filled').textContent = areDigits ? 'Digits' : 'Classes';
  $('fill').options[0].textContent = `all ${names.length === 10 ? 'ten' : names.length}`;
  if (!shown.ask) say(`Every ${areDigits ? 'digit' : 'picture'} starts as noise. Choose one.`);
}

async function start() {
  const never = new AbortController().signal;
  let answer = null;
  for (let attempt = 0; !answer; attempt++) {
    try {
      answer = await getModel();
    } catch (error) {
      if (!error.passes) return error.status === 'UNAUTHENTICATED' ? askForToken(error, beginFromAddress) : fail(error);
      await waitToRetry(error, Math.min(attempt, 3), never);
    }
  }
  hideNotice();
  adopt(answer);
  beginFromAddress();
}

/** Draws what the address names, once. With another model the same seed gives another picture: that is said. */
function beginFromAddress() {
  if (!model || begun === location.hash) return;
  const {namesPicture, unknown} = readAddress();
  if (!namesPicture) return;
  begun = location.hash;
  const theirs = new URLSearchParams(begun.slice(1)).get('model') ?? '';
  draw();
  linked = theirs;
  if (unknown.length > 0) notify('Another picture', `This link asks for ${unknown.join(', ')}, which is not offered here.`);
}

function listen() {
  const on = (id, action) => $(id).addEventListener('click', async () => {
    if (!isEnabled($(id))) return;
    try {
      await action();
    } catch (error) {
      if (error.name !== 'AbortError') fail(error);
    }
  });
  on('stop', stop);
  on('replay', () => shown.chains.forEach((chain) => chain.replay()));
  on('pin', pinSeed);
  on('link', copyLink);
  on('png', savePng);
  on('apng', () => saveChain('apng'));
  on('gif', () => saveChain('gif'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    draw();
  });
  form.addEventListener('change', followView);
  addEventListener('hashchange', beginFromAddress);
  addEventListener('keydown', (event) => event.key === 'Escape' && stop());
  wide.addEventListener('change', () => $('settings').open ||= wide.matches);
}

$('settings').open = wide.matches;
show({view: 'one', ask: null, chains: [new Chain()]});
offerClasses(DIGITS);
listen();
readAddress();
document.querySelector('main').hidden = $('live').hidden = false;
start();
watchServer();
