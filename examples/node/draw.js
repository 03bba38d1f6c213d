#!/usr/bin/env node
// Draws a handwritten digit: node draw.js 7 --seed 42
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const {parseArgs} = require('node:util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const TIMEOUT_MILLISECONDS = 300_000; // of a call, retries and their waiting counted
const PREVIEW_EVERY = 10; // steps from one frame to the next
const MAX_SEED = 2n ** 64n - 1n;

// Where a name has several addresses, as of a headless Service, calls go to all servers in turn. A full queue answers
// with RESOURCE_EXHAUSTED and says when to come back, which gRPC then does by itself.
//
// NOTE: no healthCheckConfig, which grpc-js does not know. A server that is about to stop is left when it closes its
// port; a call that is on its way then is tried again.
const SERVICE_CONFIG = {
  loadBalancingConfig: [{round_robin: {}}],
  methodConfig: [{
    name: [{service: 'denoised.v1.DigitService'}],
    retryPolicy: {
      maxAttempts: 5,
      initialBackoff: '0.2s',
      maxBackoff: '10s',
      backoffMultiplier: 2,
      retryableStatusCodes: ['RESOURCE_EXHAUSTED', 'UNAVAILABLE'],
    },
  }],
};

const SAMPLERS = {ddpm: 'SAMPLER_DDPM', ddim: 'SAMPLER_DDIM', dpm_solver_pp_2m: 'SAMPLER_DPM_SOLVER_PP_2M'};

const USAGE = `usage: draw.js DIGIT [OPTION...]
  --server HOST:PORT   default: localhost:50051
  --seed N             0 to 2^64-1; default: the server draws one
  --sampler NAME       ddpm, ddim or dpm_solver_pp_2m; default: the server's
  --steps N            denoising steps; default: the sampler's own number
  --out FILE           PNG; default: digit-N.png
  --previews DIR       folder for frames on the way
  --ca FILE            speak TLS and trust these certificates, PEM
  --token-file FILE    show this token; takes --ca
  --no-retry           do not wait for a place in a full queue`;

// NOTE: longs as texts. JavaScript's numbers are doubles, which keep 53 bits of a seed's 64.
const api = protoLoader.loadSync(
    ['denoised/v1/digit_service.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'],
    {includeDirs: [path.join(__dirname, '../../proto')], longs: String, enums: String, oneofs: true});
const {DigitService} = grpc.loadPackageDefinition(api).denoised.v1;

function parseOptions() {
  const options = {
    server: {type: 'string', default: 'localhost:50051'},
    seed: {type: 'string'},
    sampler: {type: 'string'},
    steps: {type: 'string', default: '0'},
    out: {type: 'string'},
    previews: {type: 'string'},
    ca: {type: 'string'},
    'token-file': {type: 'string'},
    'no-retry': {type: 'boolean', default: false},
    help: {type: 'boolean', default: false},
  };
  try {
    const {values, positionals} = parseArgs({options, allowPositionals: true});
    if (values.help) return null;
    check(positionals.length === 1 && /^\d{1,9}$/.test(positionals[0]), `one digit, 0 to 9, got "${positionals}"`);
    check(isHostPort(values.server), `--server must be HOST:PORT, with a port of 1 to 65535, got "${values.server}"`);
    check(values.seed === undefined || isSeed(values.seed), `--seed must be 0 to ${MAX_SEED}, got "${values.seed}"`);
    check(values.sampler === undefined || values.sampler in SAMPLERS, `--sampler must be one of ${Object.keys(SAMPLERS)}, got ${values.sampler}`);
    check(/^\d{1,9}$/.test(values.steps), `--steps must be a number, got "${values.steps}"`);
    check(!values['token-file'] || values.ca,
        '--token-file takes --ca: without TLS everybody on the way could read the token');
    return {...values, digit: Number(positionals[0]), out: values.out ?? `digit-${positionals[0]}.png`};
  } catch (error) {
    console.error(`${USAGE}\nerror: ${error.message}`);
    process.exit(2);
  }
}

function check(condition, message) {
  if (!condition) throw new Error(message);
}

function isHostPort(text) {
  const [, port] = text.match(/^.+:(\d{1,5})$/) ?? [];
  return Number(port) >= 1 && Number(port) <= 65535;
}

function isSeed(text) {
  return /^\d{1,20}$/.test(text) && BigInt(text) <= MAX_SEED;
}

function makeRequest(options) {
  return {
    digit: options.digit,
    seed: options.seed,
    sampler: SAMPLERS[options.sampler] ?? 'SAMPLER_UNSPECIFIED',
    steps: Number(options.steps),
    preview: options.previews && {everySteps: PREVIEW_EVERY, kind: 'PREVIEW_KIND_PREDICTED_CLEAN'},
  };
}

function connect(options) {
  const channel = {
    'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
    'grpc.enable_retries': options['no-retry'] ? 0 : 1,
  };
  if (!options.ca) return new DigitService(options.server, grpc.credentials.createInsecure(), channel);
  const certificates = fs.readFileSync(options.ca);
  check(certificates.includes('-----BEGIN CERTIFICATE-----'), `--ca: ${options.ca} holds no certificate, PEM`);
  let credentials = grpc.credentials.createSsl(certificates);
  if (options['token-file']) {
    const token = fs.readFileSync(options['token-file'], 'utf8').trim();
    credentials = grpc.credentials.combineChannelCredentials(
        credentials, grpc.credentials.createFromMetadataGenerator((_, callback) => {
          const metadata = new grpc.Metadata();
          metadata.set('authorization', `Bearer ${token}`);
          callback(null, metadata);
        }));
  }
  return new DigitService(options.server, credentials, channel);
}

async function draw(options) {
  const client = connect(options);
  if (options.previews) fs.mkdirSync(options.previews, {recursive: true});
  const call = client.generateDigit(makeRequest(options), {deadline: Date.now() + TIMEOUT_MILLISECONDS});
  process.once('SIGINT', () => {
    options.interrupted = true;
    call.cancel(); // the server sees it, and stops drawing
  });
  try {
    let accepted;
    for await (const response of call) {
      if (response.event === 'accepted') accepted = response.accepted;
      if (response.event === 'preview') savePreview(response.preview, options);
      if (response.event === 'image') saveImage(response.image, accepted, options);
    }
  } finally {
    call.cancel(); // whatever ended this early, a full disk too
    client.close();
  }
}

function savePreview(preview, options) {
  const frame = path.join(options.previews, `step-${String(preview.step).padStart(4, '0')}.png`);
  fs.writeFileSync(frame, preview.png);
  console.log(`step ${preview.step} of ${preview.totalSteps}: ${frame}`);
}

function saveImage(image, accepted, options) {
  fs.writeFileSync(options.out, image.png);
  console.log(`${options.out}  ${image.width}x${image.height}, seed ${image.seed}, ${accepted.steps} steps, ` +
      `model ${accepted.modelVersion}`);
}

// What an error says, with the details that the server has added.
function errorText(error) {
  if (!error.metadata) return error.message; // not gRPC's
  const lines = [`${grpc.status[error.code]}: ${error.details}`];
  for (const bytes of error.metadata.get('grpc-status-details-bin')) {
    for (const detail of api['google.rpc.Status'].deserialize(bytes).details ?? []) {
      lines.push(...detailLines(detail));
    }
  }
  return lines.join('\n');
}

// NOTE: the loader spells this one message's fields as its .proto does.
function detailLines({type_url: typeUrl, value}) {
  const type = typeUrl.slice(typeUrl.lastIndexOf('/') + 1);
  const detail = api[type]?.deserialize(value);
  switch (type) {
    case 'google.rpc.BadRequest':
      return detail.fieldViolations.map(({field, description}) => `  ${field}: ${description}`);
    case 'google.rpc.RetryInfo': {
      const seconds = Number(detail.retryDelay.seconds ?? 0) + (detail.retryDelay.nanos ?? 0) / 1e9;
      return [`  try again in ${seconds.toFixed(1)} s`];
    }
    default:
      return [];
  }
}

async function main() {
  const options = parseOptions();
  if (options === null) return console.log(USAGE);
  try {
    await draw(options);
  } catch (error) {
    console.error(`error: ${options.interrupted ? 'cancelled' : errorText(error)}`);
    process.exitCode = options.interrupted ? 130 : 1;
  }
}

main();
