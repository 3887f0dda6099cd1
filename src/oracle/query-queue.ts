import PQueue from 'p-queue';
import { DisposedError } from '../foundation/errors.js';
import type { Preference, PreferOptions } from './preference-oracle.js';

/** How fast a {@link QueryQueue} starts queries. */
interface QueryQueueOptions {
  /** Most queries at the same time, over all calls; Infinity: no limit. */
  readonly concurrency: number;
  /** Length of an interval, in ms. @default no intervals */
  readonly intervalMs?: number | undefined;
  /** Most queries started in one interval. @default no limit */
  readonly intervalCap?: number | undefined;
}

/**
 * What oracles that answer one query at a time share: `prefer` calls may overlap, a limited number of queries runs, results come
 * back in query order and through `onResult` as they come; an abort or a close ends every wait at once.
 */
export class QueryQueue {
  readonly #owner: string;
  readonly #queue: PQueue;
  readonly #batches = new Set<QueryBatch>();
  #closed = false;

  /**
   * @param owner - name of the oracle's class, for errors.
   * @param options - how many queries run, and how often one starts.
   */
  constructor(owner: string, { concurrency, intervalMs, intervalCap }: QueryQueueOptions) {
    this.#owner = owner;
    this.#queue = new PQueue({
      concurrency,
      ...(intervalMs === undefined ? {} : { interval: intervalMs }),
      ...(intervalCap === undefined ? {} : { intervalCap }),
    });
  }

  /** @throws {DisposedError} after {@link QueryQueue.close}. */
  throwIfClosed(): void {
    if (this.#closed) throw new DisposedError(this.#owner);
  }

  /**
   * Answers queries 0 to `count - 1`.
   *
   * @param answer - answers one; what it throws ends the whole call. It gets the batch that it belongs to, for its waits.
   * @throws `signal.reason` on abort, at once, even if `answer` goes on.
   */
  async run(
    count: number,
    { signal, onResult }: PreferOptions,
    answer: (i: number, batch: QueryBatch) => Promise<Preference>,
  ): Promise<readonly Preference[]> {
    this.throwIfClosed();
    signal?.throwIfAborted();
    if (count === 0) return [];
    const batch = new QueryBatch();
    this.#batches.add(batch);
    // One listener a batch: one a query would print MaxListenersExceededWarning.
    const onAbort = (): void => batch.stop(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const answering = Array.from({ length: count }, async (_, i) => {
      // Takes the query out of the queue when the batch is stopped: it must not use up a later interval.
      const queued = batch.controller();
      return this.#queue.add(
        async (): Promise<Preference> => {
          batch.release(queued);
          batch.throwIfStopped();
          try {
            // Raced: an answer that goes on after the stop must not hold the queue, nor `close`.
            const preference = await Promise.race([answer(i, batch), batch.stopped]);
            batch.throwIfStopped();
            onResult?.(i, preference);
            return preference;
          } catch (error) {
            // Here, before the queue starts the next one.
            batch.stop(error);
            throw error;
          }
        },
        { signal: queued.signal },
      );
    });
    try {
      return await Promise.race([Promise.all(answering), batch.stopped]);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#batches.delete(batch);
    }
  }

  /** Ends what is in flight, whose calls reject with `DisposedError`; later ones do too. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const batch of this.#batches) batch.stop(new DisposedError(this.#owner));
    await this.#queue.onIdle();
  }
}

/** One `prefer` call: what has to end when it is stopped. */
export class QueryBatch {
  /** Rejects when the batch is stopped. */
  readonly stopped: Promise<never>;
  readonly #controllers = new Set<AbortController>();
  #reject: (reason: unknown) => void = () => {};
  #stop: { readonly reason: unknown } | undefined;

  constructor() {
    this.stopped = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.stopped.catch(() => {});
  }

  /** A signal for one wait; release it afterwards. */
  controller(): AbortController {
    const controller = new AbortController();
    if (this.#stop !== undefined) controller.abort(this.#stop.reason);
    else this.#controllers.add(controller);
    return controller;
  }

  release(controller: AbortController): void {
    this.#controllers.delete(controller);
  }

  stop(reason: unknown): void {
    if (this.#stop !== undefined) return;
    this.#stop = { reason };
    this.#reject(reason);
    for (const controller of this.#controllers) controller.abort(reason);
    this.#controllers.clear();
  }

  throwIfStopped(): void {
    if (this.#stop !== undefined) throw this.#stop.reason;
  }
}
