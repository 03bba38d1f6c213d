// What is asked of the server, from what the form says.
//
// An `ask` holds texts, named as the form's fields are; what is empty the server decides, and it checks the rest. Seeds
// stay texts, since they have 64 bits.

export const SAMPLERS = {
  ddpm: {name: 'DDPM', steps: 1000},
  ddim: {name: 'DDIM', steps: 50},
  dpm_solver_pp_2m: {name: 'DPM-Solver++', steps: 20},
};
export const FRAMES = 100;  // of a chain, at most
export const WALL = 10;  // rows and columns, of one class
export const WALL_CALLS = 4;  // at a time: a browser has six connections to a server

/** The request for one picture and its frames. */
export function requestOf(ask) {
  const request = {digit: Number(ask.digit), sampler: `SAMPLER_${ask.sampler.toUpperCase()}`, image: {size: Number(ask.size)}};
  if (ask.seed) request.seed = ask.seed;
  if (ask.steps) request.steps = ask.steps;
  if (ask.guidance) request.guidanceScale = ask.guidance;
  request.preview = {everySteps: Math.ceil(stepsOf(ask) / FRAMES), kind: `PREVIEW_KIND_${ask.kind.toUpperCase()}`};
  return request;
}

const stepsOf = ({steps, sampler}) => Number(steps) > 0 ? Math.min(Number(steps), 1000000) : SAMPLERS[sampler].steps;

export const newSeed = () => String(crypto.getRandomValues(new BigUint64Array(1))[0]);

/**
 * The requests of a wall and its columns. Image i of a request is drawn with noise stream i of its seed, which is one for
 * all classes; of one class each row has its own.
 */
export function wallOf(ask, classes) {
  const {preview, ...request} = requestOf({...ask, size: 64});
  preview.everySteps = Math.ceil(stepsOf(ask) / 10);
  const each = {...request, preview, priority: 'PRIORITY_BATCH'};
  if (ask.fill === 'all') {
    const {times: count, columns} = classes.wall;
    return {columns, requests: classes.names.map((_, digit) => ({...each, count, digit, seed: ask.seed}))};
  }
  const row = (_, i) => ({...each, count: WALL, seed: seedAfter(ask.seed, i)});
  return {columns: WALL, requests: Array.from({length: WALL}, row)};
}

/** What is no seed stays as it is, for the server to refuse. */
function seedAfter(seed, rows) {
  const isSeed = /^\d+$/.test(seed) && BigInt(seed) < 2n ** 64n;
  return isSeed ? String(BigInt.asUintN(64, BigInt(seed) + BigInt(rows))) : seed;
}
