import { DisposedError } from '../foundation/errors.js';
import { isAnswer } from './answer-log.js';
import { checkPreference } from './check-query.js';
import { orAbort } from './or-abort.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions, Usage } from './preference-oracle.js';

/** An answer and the question as its asker put it; undefined when the one who asked gave up. */
type Landed = { readonly query: PreferenceQuery; readonly preference: Preference } | undefined;
type Flight = Promise<Landed>;

/** Ends a flight; only the first call counts. */
type Land = (landed: Landed) => void;

/** How long a close waits for an oracle that has been closed and still neither answers nor rejects, in milliseconds. */
const PATIENCE_MS = 5_000;

/** What an answer costs that is there already. */
const FREE: Usage = { calls: 0, inputTokens: 0, outputTokens: 0 };

/** Where answers are looked up and kept. */
interface AnswerKeeper {
  /** The answer that is held, if any. */
  lookUp(key: string, query: PreferenceQuery): Preference | undefined | Promise<Preference | undefined>;
  /** Keeps an answer that is no failure; it is handed out when the promise resolves. */
  keep(key: string, query: PreferenceQuery, preference: Exclude<Preference, { kind: 'failed' }>): Promise<void>;
}

/** Where the answers of an oracle that remembers came from, since it was opened. */
export interface RecordingCounts {
  /** Questions sent to the oracle behind. */
  readonly asked: number;
  /** Questions answered from the record. */
  readonly replayed: number;
  /** Questions that were in flight already, whose answer was waited for. */
  readonly shared: number;
}

/**
 * Never asks a question twice: what is held is replayed, what is in flight is waited for, the rest is asked in one call of the
 * oracle behind and kept *before* it is handed out. Questions with equal keys are the same question, place by place.
 */
export class AskOnce {
  readonly #oracle: PreferenceOracle;
  readonly #keeper: AnswerKeeper;
  readonly #inFlight = new Map<string, Flight>();
  readonly #counts = { asked: 0, replayed: 0, shared: 0 };
  readonly #owner: string;
  /** Each ends the wait for one call of the oracle. */
  readonly #ends = new Set<(reason: unknown) => void>();
  readonly #writes = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;
  /** Whether answers that still come are too late: the record may have another writer by now. */
  #isOver = false;

  /**
   * @param oracle - who is asked; closed with this.
   * @param keeper - who remembers.
   * @param owner - name of the oracle's class, for errors.
   */
  constructor(oracle: PreferenceOracle, keeper: AnswerKeeper, owner: string) {
    this.#oracle = oracle;
    this.#keeper = keeper;
    this.#owner = owner;
  }

  /** @throws {DisposedError} once {@link AskOnce.close} was called. */
  throwIfClosed(): void {
    if (this.#closing !== undefined) throw new DisposedError(this.#owner);
  }

  /** Resolves when every answer that has come by now is kept, or could not be. Never rejects. */
  async written(): Promise<void> {
    await Promise.allSettled(this.#writes);
  }

  /**
   * Closes the oracle, and resolves when nothing is in flight any more: what it still answered is kept, and nothing is afterwards. An
   * oracle that neither answers nor rejects is waited for no longer than 5 s; those who wait for it get a `DisposedError`.
   *
   * @throws what the oracle's `close` rejects with, after that.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#oracle.close?.();
    } finally {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const patience = new Promise((resolve) => {
        timer = setTimeout(resolve, PATIENCE_MS);
      });
      // A flight lands when its answer is kept, or its asker was refused one.
      await Promise.race([Promise.all(this.#inFlight.values()), patience]);
      clearTimeout(timer);
      this.#isOver = true;
      for (const end of this.#ends) end(new DisposedError(this.#owner));
      await this.written();
    }
  }

  /** So far; a copy. */
  get counts(): RecordingCounts {
    return { ...this.#counts };
  }

  /**
   * @param queries - checked.
   * @param keys - one a query.
   * @throws `signal.reason` on abort. Answers that had come by then are kept.
   */
  async prefer(
    queries: readonly PreferenceQuery[],
    keys: readonly string[],
    { signal, onResult }: PreferOptions,
  ): Promise<readonly Preference[]> {
    const results = new Array<Preference | undefined>(queries.length);
    let open = [...queries.keys()];
    let ended = false;
    const settle = (i: number, preference: Preference): void => {
      // Answers that come after an abort are kept, but the caller was told that it is over.
      if (ended) return;
      results[i] = preference;
      onResult?.(i, preference);
    };
    const round = async (): Promise<void> => {
      const flights = new Map<number, Land>();
      const looking: Promise<{ readonly i: number; readonly found: Preference | undefined }>[] = [];
      const waits: Promise<unknown>[] = [];
      try {
        for (const i of open) {
          const key = keys[i] as string;
          const query = queries[i] as PreferenceQuery;
          const flying = this.#inFlight.get(key);
          if (flying !== undefined) {
            this.#counts.shared++;
            waits.push(
              flying.then((landed) =>
                landed === undefined ? undefined : settle(i, inPlaceOf(landed.query, landed.preference, query)),
              ),
            );
            continue;
          }
          const found = this.#keeper.lookUp(key, query);
          if (found !== undefined && !(found instanceof Promise)) {
            this.#counts.replayed++;
            settle(i, found);
            continue;
          }
          // In flight from here on, so that nobody asks while this one still looks.
          flights.set(i, this.#takeOff(key));
          looking.push(Promise.resolve(found).then((preference) => ({ i, found: preference })));
        }
      } catch (error) {
        // A damaged record, or an `onResult` that throws: nobody may wait for what will not be asked.
        for (const land of flights.values()) land(undefined);
        for (const look of looking) look.catch(() => {});
        throw error;
      }
      const asking = async (): Promise<void> => {
        try {
          const own: number[] = [];
          for (const { i, found } of await orAbort(Promise.all(looking), signal)) {
            if (found === undefined) {
              own.push(i);
              continue;
            }
            this.#counts.replayed++;
            flights.get(i)?.({ query: queries[i] as PreferenceQuery, preference: found });
            settle(i, found);
          }
          if (own.length > 0) await this.#ask(own, queries, keys, flights, settle, signal);
        } finally {
          for (const land of flights.values()) land(undefined);
        }
      };
      if (looking.length > 0) waits.push(asking());
      await orAbort(Promise.all(waits), signal);
      // Left over: questions whose asker gave up. They are asked in the next round.
      open = open.filter((i) => results[i] === undefined);
      this.#counts.shared -= open.length;
    };
    try {
      while (open.length > 0) await round();
    } finally {
      ended = true;
    }
    return results as Preference[];
  }

  /**
   * What the questions would cost by the oracle behind: nothing for those held, and once for those asked twice.
   *
   * @param queries - checked.
   * @param keys - one a query.
   */
  async estimate(queries: readonly PreferenceQuery[], keys: readonly string[]): Promise<readonly Usage[]> {
    const usages = queries.map((): Usage => FREE);
    const held = await Promise.all(queries.map(async (query, i) => this.#keeper.lookUp(keys[i] as string, query)));
    const first = new Map<string, number>();
    for (const [i, key] of keys.entries()) if (held[i] === undefined && !first.has(key)) first.set(key, i);
    const open = [...first.values()];
    if (open.length === 0) return usages;
    const priced = await this.#oracle.estimate?.(open.map((i) => queries[i] as PreferenceQuery));
    for (const [at, i] of open.entries()) usages[i] = priced?.[at] ?? {};
    return usages;
  }

  #takeOff(key: string): Land {
    let resolve: Land = () => {};
    const flight: Flight = new Promise((landing) => {
      resolve = landing;
    });
    this.#inFlight.set(key, flight);
    return (landed) => {
      if (this.#inFlight.get(key) === flight) this.#inFlight.delete(key);
      resolve(landed);
    };
  }

  /** Asks `own`, the positions nobody else is asking, keeps each answer, and tells those who wait. */
  async #ask(
    own: readonly number[],
    queries: readonly PreferenceQuery[],
    keys: readonly string[],
    flights: ReadonlyMap<number, Land>,
    settle: (i: number, preference: Preference) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.throwIfClosed();
    let end: (reason: unknown) => void = () => {};
    const ended = new Promise<never>((_, reject) => {
      end = reject;
    });
    this.#ends.add(end);
    const writes = new Map<number, Promise<void>>();
    const take = (position: number, given: unknown): void => {
      const i = own[position];
      if (i === undefined || writes.has(i) || this.#isOver) return;
      const query = queries[i] as PreferenceQuery;
      const preference = checkPreference(query, given, this.#oracle.id);
      const write = async (): Promise<void> => {
        if (isAnswer(preference)) await this.#keeper.keep(keys[i] as string, query, preference);
        flights.get(i)?.({ query, preference });
        settle(i, preference);
      };
      const writing = write();
      writes.set(i, writing);
      this.#writes.add(writing);
      // Awaited below; unless it is handled here, a failed write would be an unhandled rejection while the others are still asked.
      writing.catch(() => {}).finally(() => this.#writes.delete(writing));
    };
    try {
      this.#counts.asked += own.length;
      const asked = own.map((i) => queries[i] as PreferenceQuery);
      const options = { ...(signal === undefined ? {} : { signal }), onResult: take };
      const answers = await Promise.race([this.#oracle.prefer(asked, options), ended]);
      for (let position = 0; position < own.length; position++) take(position, answers[position]);
    } finally {
      this.#ends.delete(end);
      // Also after an abort: what was answered is kept.
      const written = await Promise.allSettled(writes.values());
      const lost = written.find((result) => result.status === 'rejected');
      // biome-ignore lint/correctness/noUnsafeFinally: an answer that cannot be kept outweighs whatever else went wrong.
      if (lost !== undefined) throw lost.reason;
    }
  }
}

/** The answer to the same question about items that stand in other places of the catalogue. */
function inPlaceOf(asked: PreferenceQuery, preference: Preference, query: PreferenceQuery): Preference {
  if (preference.kind !== 'choice') return preference;
  const choice = query.candidates[asked.candidates.indexOf(preference.choice)] as number;
  return choice === preference.choice ? preference : { ...preference, choice };
}
