/** Long enough that the waits cost nothing, short enough that nobody notices them. */
const TURN_MS = 40;

/**
 * Gives the event loop its turn now and then. A loop that awaits nothing but settled promises would keep timers, abort
 * signals, Ctrl-C and a page's clicks waiting until its end.
 */
export class Turns {
  #last = Date.now();

  /** Waits for one turn of the event loop if the last one is more than 40 ms ago; otherwise resolves at once. */
  async give(): Promise<void> {
    if (Date.now() - this.#last < TURN_MS) return;
    await new Promise((resolve) => setTimeout(resolve));
    this.#last = Date.now();
  }
}
