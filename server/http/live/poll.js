// Asks for one JSON resource again and again, never twice at the same time, and not while
// nobody sees the page.

const ANSWER_WITHIN_MS = 5000;

export class Poller {
  constructor(url, everyMs, { onData, onError }) {
    this.url = url;
    this.everyMs = everyMs;
    this.onData = onData;
    this.onError = onError;
    this.timer = null;
    this.isAsking = false;
    document.addEventListener("visibilitychange", () => this.askNow());
    this.askNow();
  }

  // Soon instead of when it is due.
  askNow() {
    clearTimeout(this.timer);
    if (!document.hidden && !this.isAsking) this.ask();
  }

  async ask() {
    this.isAsking = true;
    const begin = performance.now();
    const answer = await this.fetch();
    this.isAsking = false;
    // Outside of the try of fetch: a defect of the page is no lost connection.
    const wait = Math.max(0, this.everyMs - (performance.now() - begin));
    if (!document.hidden) this.timer = setTimeout(() => this.askNow(), wait);
    if (answer.error) this.onError(answer.error);
    else this.onData(answer.data);
  }

  async fetch() {
    try {
      const response = await fetch(this.url, {
        cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      return { data: await response.json() };
    } catch (error) {
      return { error };
    }
  }
}
