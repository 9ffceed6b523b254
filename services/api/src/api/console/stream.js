// The event stream, kept open: it reconnects with growing pauses, and says at every moment how it stands.

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const SILENCE_MS = 40_000;

// `told` gets ({state, until}): connecting, live (once the stream said hello), waiting, refused; `heard` gets
// (name, data).
export class Stream {
  #api;
  #told;
  #heard;
  #stopping = new AbortController();
  #wake = () => {};

  constructor(api, { told, heard }) {
    this.#api = api;
    this.#told = told;
    this.#heard = heard;
  }

  async run() {
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.#stopping.signal.aborted) {
      this.#told({ state: 'connecting' });
      try {
        await this.#listen(() => { pauseMs = FIRST_PAUSE_MS; });
      } catch (error) {
        if (error.status === 401) {
          this.#told({ state: 'refused' });
          return;
        }
        if (error.retryAfterS) pauseMs = error.retryAfterS * 1000;
      }
      if (this.#stopping.signal.aborted) return;
      // Not all consoles at once when the API comes back.
      const waitMs = pauseMs * (0.75 + Math.random() / 2);
      this.#told({ state: 'waiting', until: Date.now() + waitMs });
      await this.#paused(waitMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  // The next attempt is now.
  hurry() {
    this.#wake();
  }

  stop() {
    this.#stopping.abort();
    this.#wake();
  }

  async #listen(opened) {
    const attempt = new AbortController();
    const signal = AbortSignal.any([attempt.signal, this.#stopping.signal]);
    const answer = await this.#api.open('/events', signal);
    let deaf = setTimeout(() => attempt.abort(), SILENCE_MS);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(deaf);
        deaf = setTimeout(() => attempt.abort(), SILENCE_MS);
        const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
        rest = blocks.pop();
        for (const block of blocks) this.#dispatch(block, opened);
      }
    } finally {
      clearTimeout(deaf);
      attempt.abort();
    }
  }

  #dispatch(block, opened) {
    let name = 'message';
    const data = [];
    for (const line of block.split('\n')) {
      const [field, value] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).replace(/^ /, '')];
      if (field === 'event') name = value;
      if (field === 'data') data.push(value);
    }
    if (!data.length) return;
    let said;
    try {
      said = JSON.parse(data.join('\n'));
    } catch {
      return;
    }
    if (name === 'hello') {
      opened();
      this.#told({ state: 'live' });
    }
    this.#heard(name, said);
  }

  #paused(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}
