// The API, asked with the operator's key. Every failure is an ApiError with a sentence to show.

const LIMIT_MS = 10_000;

export class ApiError extends Error {
  constructor(status, code, sentence, { retryAfterS = null, traceId = null } = {}) {
    super(sentence);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
    this.traceId = traceId;
  }
}

export class Api {
  #key;
  #failed;

  // `failed` hears of every ApiError before its asker does.
  constructor(key, failed = () => {}) {
    this.#key = key;
    this.#failed = failed;
  }

  get(path, parameters = {}) {
    const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
    const query = new URLSearchParams(given).toString();
    return this.#ask('GET', query ? `${path}?${query}` : path);
  }

  post(path, body, headers = {}) {
    return this.#ask('POST', path, body, headers);
  }

  put(path, body) {
    return this.#ask('PUT', path, body);
  }

  // The open answer of a stream; whoever asked reads it and aborts it.
  async open(path, signal) {
    return this.#checked(await this.#fetched(path, { headers: this.#headers({ Accept: 'text/event-stream' }), signal, cache: 'no-store' }));
  }

  async #ask(method, path, body, headers = {}) {
    const answer = await this.#fetched(path, {
      method,
      headers: this.#headers(body === undefined ? headers : { 'Content-Type': 'application/json', ...headers }),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(LIMIT_MS),
      cache: 'no-store',
    });
    return (await this.#checked(answer)).json();
  }

  #headers(more) {
    return { 'X-API-Key': this.#key, ...more };
  }

  async #fetched(path, options) {
    try {
      return await fetch(`/api/v1${path}`, { credentials: 'omit', redirect: 'error', ...options });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      const late = error.name === 'TimeoutError';
      throw this.#told(new ApiError(0, 'away', late ? 'The API did not answer in time.' : 'The API does not answer.'));
    }
  }

  async #checked(answer) {
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const sentence = problem.detail || `The API answered ${answer.status}.`;
    const retryAfterS = Number(answer.headers.get('Retry-After')) || null;
    throw this.#told(new ApiError(answer.status, problem.code || 'error', sentence, { retryAfterS, traceId: problem.trace_id }));
  }

  #told(error) {
    this.#failed(error);
    return error;
  }
}
