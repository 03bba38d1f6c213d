// Calls to the server that this page came from: JSON over HTTP, answered as a stream of lines, or an error in its words.
//
//   for await (const event of generate({digit: 7, seed: '42'}, signal)) ...   // accepted, preview, image
//
// Seeds have 64 bits, more than a number of JavaScript's holds: they are strings from end to end.

const TOKEN = 'denoised.token';

export const setToken = (token) => sessionStorage.setItem(TOKEN, token);

/** An answer that is an error, or none at all. `status` is gRPC's name for it, or UNREACHABLE. */
export class ServerError extends Error {
  constructor(status, message, {retrySeconds = null, fields = []} = {}) {
    super(message);
    Object.assign(this, {status, retrySeconds, fields});
  }

  /** Whether the same request may get through later. */
  get passes() {
    return ['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'UNREACHABLE'].includes(this.status);
  }
}

const unreachable = () =>
    new ServerError('UNREACHABLE', `No answer from ${location.host}. Is denoised running there, and can you reach it?`);

const detail = (error, type) => (error.details ?? []).find((one) => one['@type']?.endsWith(type));

/** What {"error": ...} says. */
function asError(error, retryAfter = null) {
  const retry = detail(error, 'google.rpc.RetryInfo')?.retryDelay ?? retryAfter;
  const fields = detail(error, 'google.rpc.BadRequest')?.fieldViolations ?? [];
  return new ServerError(error.status ?? 'UNKNOWN', error.message, {
    retrySeconds: retry === null ? null : parseFloat(retry),
    fields: fields.map((one) => one.field),
  });
}

async function errorOf(response) {
  const text = await response.text().catch(() => '');
  try {
    return asError(JSON.parse(text).error, response.headers.get('Retry-After'));
  } catch {
    return new ServerError(response.status === 503 || response.status === 502 ? 'UNAVAILABLE' : 'UNKNOWN',
        `The answer to this was HTTP ${response.status}, in words that are not the server's: is there a proxy in between?`);
  }
}

async function call(path, init = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = {...init.headers, ...(token ? {Authorization: `Bearer ${token}`} : {})};
  let response;
  try {
    response = await fetch(path, {...init, headers, cache: 'no-store'});
  } catch (error) {
    throw error.name === 'AbortError' ? error : unreachable();
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export const getModel = async () => (await call('/v1/model')).json();
export const getStatus = async () => (await call('/v1/status')).json();

/** The lines of a response, each parsed. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
}

/** The events of one request. To abort `signal` closes the connection, which stops the work. */
export async function* generate(request, signal) {
  const response = await call('/v1/digits:generate', {
    method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(request), signal});
  try {
    for await (const event of lines(response)) {
      if (event.error) throw asError(event.error);
      yield event;
    }
  } catch (error) {
    throw error instanceof ServerError || error.name === 'AbortError' ? error : unreachable();
  }
}
