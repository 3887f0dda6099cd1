/**
 * The control block of a pool of threads: 32-bit words that all of them reach, in shared memory. Words that different
 * threads write lie in cache lines of their own.
 *
 * The chunks of all regions are numbered through by tickets. A region is the tickets from `base` on, `count` of them;
 * the next begins only when all are done, so that a ticket names its region too. A thread takes a ticket by moving
 * `next` from it to the one after: one that still looks at an old region cannot, since `next` never goes back.
 */
export const CONTROL = {
  /** Odd while the main thread describes a region, even once it stands; workers sleep on it. */
  epoch: 0,
  /** Operation of the region. */
  op: 1,
  /** Pointer to its arguments. */
  args: 2,
  /** First ticket. */
  base: 3,
  /** How many. */
  count: 4,
  /** 1: workers shall end. */
  stop: 5,
  /** Next ticket that nobody took. */
  next: 16,
  /** Tickets done. */
  done: 32,
  /** How many workers sleep. */
  sleepers: 48,
  /** 1 + the chunk in which a worker trapped; 0 for none. */
  fault: 64,
  /** Number of words. */
  words: 80,
} as const;

/** What a worker is started with. */
export interface WorkerStart {
  /** The engine. */
  readonly module: WebAssembly.Module;
  /** Its shared memory. */
  readonly memory: WebAssembly.Memory;
  /** See {@link CONTROL}. */
  readonly control: Int32Array;
  /** How long a worker looks for a next region before it sleeps, in milliseconds. */
  readonly spinMs: number;
}

const { epoch, op, args, base, count, stop, next, done, sleepers, fault } = CONTROL;

/**
 * What a worker runs: a script of its own, as text, since bundlers and minifiers rewrite functions but no strings. It never
 * returns to its event loop before it is told to end. Wherever its snapshot of a region may be torn or old, it takes no ticket.
 */
export const WORKER_SOURCE = `'use strict';
(function () {
  function work(start) {
    var control = start.control;
    var run = new WebAssembly.Instance(start.module, { env: { memory: start.memory } }).exports.run;
    var seen = -1;
    var idleSince = performance.now();
    var looks = 0;
    while (Atomics.load(control, ${stop}) === 0) {
      var epoch = Atomics.load(control, ${epoch});
      if ((epoch & 1) === 0 && epoch !== seen) {
        var op = Atomics.load(control, ${op});
        var args = Atomics.load(control, ${args});
        var base = Atomics.load(control, ${base});
        var count = Atomics.load(control, ${count});
        if (Atomics.load(control, ${epoch}) !== epoch) continue;
        seen = epoch;
        for (;;) {
          var ticket = Atomics.load(control, ${next});
          var chunk = (ticket - base) | 0;
          if (chunk < 0 || chunk >= count) break;
          if (Atomics.compareExchange(control, ${next}, ticket, (ticket + 1) | 0) !== ticket) continue;
          try {
            run(op, args, chunk);
          } catch (error) {
            Atomics.compareExchange(control, ${fault}, 0, chunk + 1);
          }
          Atomics.add(control, ${done}, 1);
        }
        idleSince = performance.now();
        looks = 0;
      } else if (++looks % 64 === 0 && performance.now() - idleSince > start.spinMs) {
        Atomics.add(control, ${sleepers}, 1);
        Atomics.wait(control, ${epoch}, epoch);
        Atomics.sub(control, ${sleepers}, 1);
        idleSince = performance.now();
      }
    }
  }
  if (typeof require === 'function') work(require('worker_threads').workerData);
  else self.onmessage = function (event) {
    self.onmessage = null;
    work(event.data);
    self.close();
  };
})();
`;
