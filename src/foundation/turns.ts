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
    await nextTurn();
    this.#last = Date.now();
  }
}

/** A timer is not asked for where there is something sooner: it takes a millisecond and more, and in a page soon four. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else if (typeof MessageChannel === 'function') {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    } else setTimeout(resolve);
  });
}
