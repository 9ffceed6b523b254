// The API, asked with the operator's key. Every failure is an ApiError with a sentence to show.
//
// Reads wait for their turn: few at once, what is in sight first. Commands and the stream never wait.

const LIMIT_MS = 10_000;
const AT_ONCE = 4;

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
  #waiting = new Map();
  #asked = 0;
  #stopping = new AbortController();

  // `failed` hears of every ApiError before its asker does.
  constructor(key, failed = () => {}) {
    this.#key = key;
    this.#failed = failed;
  }

  // The lowest `rank()` is asked first; the same question twice in the queue is asked once.
  get(path, parameters = {}, rank = () => 0) {
    const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
    const query = new URLSearchParams(given).toString();
    return this.#queued(query ? `${path}?${query}` : path, rank);
  }

  // The same API for somebody whose reads are as urgent as `rank()` says.
  ranked(rank) {
    return {
      get: (path, parameters) => this.get(path, parameters, rank),
      post: (...command) => this.post(...command),
      put: (...command) => this.put(...command),
    };
  }

  // Nothing is asked any more, and nobody hears of what was.
  stop() {
    this.#stopping.abort();
    this.#waiting.clear();
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

  #queued(path, rank) {
    let question = this.#waiting.get(path);
    if (!question) {
      question = { ranks: [], ...Promise.withResolvers() };
      this.#waiting.set(path, question);
      // Whoever asks in the same breath is heard before the first is sent.
      queueMicrotask(() => this.#next());
    }
    question.ranks.push(rank);
    return question.promise;
  }

  #next() {
    if (this.#asked >= AT_ONCE || !this.#waiting.size) return;
    const urgency = ({ ranks }) => Math.min(...ranks.map((rank) => rank()));
    const [path, question] = [...this.#waiting].reduce((first, each) => (urgency(each[1]) < urgency(first[1]) ? each : first));
    this.#waiting.delete(path);
    this.#asked += 1;
    this.#ask('GET', path).then(question.resolve, question.reject).finally(() => {
      this.#asked -= 1;
      this.#next();
    });
  }

  async #ask(method, path, body, headers = {}) {
    const answer = await this.#fetched(path, {
      method,
      headers: this.#headers(body === undefined ? headers : { 'Content-Type': 'application/json', ...headers }),
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any([AbortSignal.timeout(LIMIT_MS), this.#stopping.signal]),
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
