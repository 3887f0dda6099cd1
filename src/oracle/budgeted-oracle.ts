import { z } from 'zod';
import { BudgetExceededError, OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import {
  Budget,
  type BudgetCaps,
  budgetCapsSchema,
  type Cost,
  type Spending,
  spendingSchema,
  type TokenPrices,
  tokenPricesSchema,
} from './budget.js';
import { checkPreference, checkPreferOptions, checkQueriesFor } from './check-query.js';
import { oracleSchema } from './option-schemas.js';
import { orAbort } from './or-abort.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** Options of {@link BudgetedOracle}. */
export interface BudgetedOracleOptions {
  /** Who is asked; closed with this one. Answers that it has on record cost nothing, yet wait for room: keep records outside. */
  readonly oracle: PreferenceOracle;
  /** The caps; at least one. */
  readonly caps: BudgetCaps;
  /** What tokens cost. @default money is not counted, unless the back-end bills */
  readonly prices?: TokenPrices;
  /** What earlier runs of the same budget spent: their `state`. @default nothing */
  readonly spent?: Spending;
  /** What one question is taken to cost where the oracle does not tell. @default 4,000 tokens of prompt, 256 of answer */
  readonly perQuestion?: {
    /** Tokens of its prompt. */
    readonly inputTokens: number;
    /** Tokens of its answer. */
    readonly outputTokens: number;
  };
  /** Most questions that are out at the same time: by what these cost beyond their estimate a cap may be passed, never by more. @default 32 */
  readonly concurrency?: number;
  /** Told once a cap, when 80 % of it is spent. */
  readonly onWarning?: (message: string) => void;
  /** Told the `state` after every question. */
  readonly onSettled?: (state: Spending) => void;
}

const functionSchema = <T>() => z.custom<T>((value) => typeof value === 'function', 'expected a function').optional();

const schema = z
  .strictObject({
    oracle: oracleSchema,
    caps: budgetCapsSchema,
    prices: tokenPricesSchema.optional(),
    spent: spendingSchema.optional(),
    perQuestion: z.strictObject({ inputTokens: z.int().min(0), outputTokens: z.int().min(0) }).optional(),
    concurrency: z.int().min(1).max(100_000).default(32),
    onWarning: functionSchema<(message: string) => void>(),
    onSettled: functionSchema<(state: Spending) => void>(),
  })
  .refine(({ caps, prices }) => caps.usd === undefined || prices !== undefined, {
    path: ['prices'],
    message: '`caps.usd` needs `prices`: what a question will cost is reserved before it is asked',
  });

/**
 * Caps what another oracle may cost (oracles.md 8). What a question is expected to cost is reserved before it is asked, and settled
 * by `meta.usage` afterwards; a question that does not fit waits for what is in flight. When it still does not fit then, all that was
 * asked has been answered and told to `onResult`, and `prefer` rejects with {@link BudgetExceededError}: with a `RecordingOracle`
 * around this one, the same call with a larger budget goes on from there.
 *
 * Where the bill of an answer is not known, its estimate counts as spent; under a cap on tokens or dollars it is told as the answer's
 * `meta.usage`, for a record to hold.
 */
export class BudgetedOracle implements PreferenceOracle {
  /** The id of the oracle behind: a budget changes no answer. */
  readonly id: string;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** That of the oracle behind. */
  readonly itemCount?: number;
  /** That of the oracle behind. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #oracle: PreferenceOracle;
  readonly #budget: Budget;
  readonly #concurrency: number;
  readonly #onSettled: ((state: Spending) => void) | undefined;

  /**
   * @param options - `oracle` and `caps` are needed.
   * @throws {InvalidArgumentError} for a wrong option, such as a cap in dollars without prices.
   */
  constructor(options: BudgetedOracleOptions) {
    const { oracle, concurrency, onSettled, ...budget } = checkOptions(schema, options, 'BudgetedOracle');
    this.id = oracle.id;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    if (oracle.itemCount !== undefined) this.itemCount = oracle.itemCount;
    if (oracle.estimate !== undefined) this.estimate = async (queries) => (await oracle.estimate?.(queries)) ?? [];
    this.#oracle = oracle;
    this.#budget = new Budget(budget);
    this.#concurrency = concurrency;
    this.#onSettled = onSettled;
  }

  /** What was spent so far, earlier runs included; a copy. */
  get spent(): Spending {
    return this.#budget.spent;
  }

  /** What to save, and to give back as `spent` when the work goes on: the spending, with what is in flight at its estimate. */
  get state(): Spending {
    return this.#budget.state;
  }

  /**
   * Asks as far as the budget goes.
   *
   * @throws {InvalidArgumentError} when a query is malformed; nothing is asked.
   * @throws {BudgetExceededError} when a question does not fit, after the answers to those that did.
   * @throws `signal.reason` on abort.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'BudgetedOracle.prefer');
    signal?.throwIfAborted();
    checkQueriesFor(this, queries, 'BudgetedOracle.prefer');
    // The oracle behind looks at all of them before any is asked, or one half might be paid for and the other be refused.
    const estimates = (await orAbort(this.#oracle.estimate?.(queries) ?? [], signal)) ?? [];
    this.#budget.start();
    const results = new Array<Preference | undefined>(queries.length);
    const asking = new Set<Promise<void>>();
    let failure: { readonly reason: unknown } | undefined;
    let isDeaf = false;
    const tell = (i: number, preference: Preference): void => {
      results[i] = preference;
      if (isDeaf || signal?.aborted === true) return;
      try {
        onResult?.(i, preference);
      } catch (reason) {
        isDeaf = true;
        failure ??= { reason };
      }
    };
    for (let next = 0; next < queries.length && failure === undefined; ) {
      const group: Asked[] = [];
      let excess: BudgetExceededError | undefined;
      while (next < queries.length && this.#budget.inFlight < this.#concurrency && excess === undefined) {
        const reserved = this.#budget.reserve(estimates[next]);
        if (reserved instanceof BudgetExceededError) excess = reserved;
        else group.push({ i: next, query: queries[next++] as PreferenceQuery, reserved });
      }
      if (group.length > 0) {
        const flight = this.#ask(group, tell, signal, (reason) => {
          failure ??= { reason };
        });
        asking.add(flight);
        void flight.finally(() => asking.delete(flight));
      } else if (excess !== undefined && this.#budget.inFlight === 0) {
        failure ??= { reason: excess };
      } else {
        await orAbort(this.#budget.change(), signal);
      }
    }
    await orAbort(Promise.all(asking), signal);
    if (failure !== undefined) throw failure.reason;
    return results as Preference[];
  }

  /** Closes the oracle behind. */
  async close(): Promise<void> {
    await this.#oracle.close?.();
  }

  /** Asks what fits and books every answer. Never rejects: `fail` is told, before anybody is woken. */
  async #ask(
    group: readonly Asked[],
    tell: (i: number, preference: Preference) => void,
    signal: AbortSignal | undefined,
    fail: (reason: unknown) => void,
  ): Promise<void> {
    const open = new Map(group.entries());
    const take = (position: number, given: unknown): void => {
      const asked = open.get(position);
      if (asked === undefined) return;
      open.delete(position);
      const preference = checkPreference(asked.query, given, this.id);
      tell(asked.i, this.#budget.told(preference, asked.reserved));
      this.#budget.settle(asked.reserved, preference);
      this.#onSettled?.(this.#budget.state);
    };
    try {
      const asked = group.map(({ query }) => query);
      // A signal of its own: Node warns of more than ten listeners on one, and as many groups may be out as questions.
      const own = signal === undefined ? {} : { signal: AbortSignal.any([signal]) };
      const answers = await this.#oracle.prefer(asked, { ...own, onResult: take });
      if (!Array.isArray(answers) || answers.length !== group.length)
        throw new OracleError(`${this.id}: expected ${group.length} answers to ${group.length} queries`);
      for (let position = 0; position < group.length; position++) take(position, answers[position]);
    } catch (reason) {
      fail(reason);
    } finally {
      // Aborted, or refused as a whole: what may have been sent counts as spent.
      for (const { reserved } of open.values()) this.#budget.settle(reserved, undefined);
      if (open.size > 0) this.#onSettled?.(this.#budget.state);
    }
  }
}

/** A question that is out. */
interface Asked {
  readonly i: number;
  readonly query: PreferenceQuery;
  readonly reserved: Cost;
}
