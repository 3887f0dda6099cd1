import { z } from 'zod';
import { BudgetExceededError } from '../foundation/errors.js';
import type { Preference, Usage } from './preference-oracle.js';

/** Hard caps of a budget; what is left out is not capped. */
export interface BudgetCaps {
  /** Calls of the model, retries and reminders included. */
  readonly calls?: number | undefined;
  /** Tokens of prompts. */
  readonly inputTokens?: number | undefined;
  /** Tokens of answers. */
  readonly outputTokens?: number | undefined;
  /** US dollars; needs `prices`. */
  readonly usd?: number | undefined;
  /** Wall time since the first question, in ms; looked at before each question. */
  readonly wallMs?: number | undefined;
}

/** What a provider asks for, in US dollars per million tokens. None is built in. */
export interface TokenPrices {
  /** Per million tokens of prompts. */
  readonly inputPerMillion: number;
  /** Per million tokens of answers. */
  readonly outputPerMillion: number;
  /** Per million tokens of prompts that came from the provider's cache. @default `inputPerMillion` */
  readonly cachedInputPerMillion?: number | undefined;
}

/** What was spent; plain JSON. */
export interface Spending {
  /** Calls of the model, retries and reminders included. */
  readonly calls: number;
  /** Tokens of prompts. */
  readonly inputTokens: number;
  /** Tokens of answers. */
  readonly outputTokens: number;
  /** US dollars by `prices`, or as the back-end billed; 0 where neither is known. */
  readonly usd: number;
  /** Wall time since the first question, in ms. */
  readonly wallMs: number;
}

const amount = z.number().min(0);
const price = z.number().min(0).max(1_000_000);

/** Schema of {@link BudgetCaps}. */
export const budgetCapsSchema = z
  .strictObject({
    calls: z.int().min(0).optional(),
    inputTokens: z.int().min(0).optional(),
    outputTokens: z.int().min(0).optional(),
    usd: amount.optional(),
    wallMs: amount.optional(),
  })
  .refine((caps) => Object.values(caps).some((cap) => cap !== undefined), {
    message: 'a budget caps at least one of `calls`, `inputTokens`, `outputTokens`, `usd` and `wallMs`',
  });

/** Schema of {@link TokenPrices}. */
export const tokenPricesSchema = z.strictObject({
  inputPerMillion: price,
  outputPerMillion: price,
  cachedInputPerMillion: price.optional(),
});

/** Schema of {@link Spending}. */
export const spendingSchema = z.strictObject({
  calls: amount,
  inputTokens: amount,
  outputTokens: amount,
  usd: amount,
  wallMs: amount,
});

/** Share of a cap at which a warning is due. */
const WARN_AT = 0.8;

/** Sums of prices are not exact in floating point: a cap of exactly ten questions must take ten. */
const ROUNDING = 1 + 1e-9;

const UNITS = ['calls', 'inputTokens', 'outputTokens', 'usd'] as const;

/** What one question costs. */
export type Cost = Readonly<Record<(typeof UNITS)[number], number>>;
const NOTHING: Cost = { calls: 0, inputTokens: 0, outputTokens: 0, usd: 0 };

/** What a {@link Budget} is made of; checked. */
interface BudgetOptions {
  readonly caps: BudgetCaps;
  readonly prices?: TokenPrices | undefined;
  readonly spent?: Spending | undefined;
  readonly perQuestion?: { readonly inputTokens: number; readonly outputTokens: number } | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** What a question is taken to cost where nobody can tell. */
const PER_QUESTION = { inputTokens: 4_000, outputTokens: 256 };

/**
 * The books of one job: what a question is expected to cost is reserved before it is asked, and settled by what it did cost.
 * Where the bill of an answer is not known, its estimate counts as spent.
 */
export class Budget {
  readonly #options: BudgetOptions;
  readonly #warned = new Set<string>();
  readonly #waiting = new Set<() => void>();
  #spent: Cost = NOTHING;
  #reserved: Cost = NOTHING;
  #inFlight = 0;
  /** The longest answer so far: estimates count one token, a talkative model writes more. */
  #longestAnswer = 0;
  #wallBefore = 0;
  #started: number | undefined;

  /** @param options - checked by the schemas above. */
  constructor(options: BudgetOptions) {
    this.#options = options;
    if (options.spent !== undefined) {
      const { wallMs, ...cost } = options.spent;
      this.#spent = cost;
      this.#wallBefore = wallMs;
    }
  }

  /** What was spent so far, earlier runs included; a copy. */
  get spent(): Spending {
    return { ...this.#spent, wallMs: this.#wallMs() };
  }

  /** The spending, with what is in flight at its estimate. */
  get state(): Spending {
    return { ...plus(this.#spent, this.#reserved), wallMs: this.#wallMs() };
  }

  /** Questions that are out. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Starts the clock, if it does not run yet. */
  start(): void {
    this.#started ??= performance.now();
  }

  /**
   * Sets aside what a question is expected to cost.
   *
   * @param estimate - what is known of it.
   * @returns the reservation, to be settled once; or why the question does not fit.
   */
  reserve(estimate: Usage | undefined): Cost | BudgetExceededError {
    const cost = this.#expected(estimate);
    const excess = this.#excess(cost);
    if (excess !== undefined) return excess;
    this.#reserved = plus(this.#reserved, cost);
    this.#inFlight++;
    return cost;
  }

  /**
   * Books an answer and wakes who waits.
   *
   * @param reserved - what {@link Budget.reserve} gave.
   * @param preference - the answer; undefined when the question was given up, whose estimate then counts as spent.
   */
  settle(reserved: Cost, preference: Preference | undefined): void {
    this.#inFlight--;
    this.#reserved = this.#inFlight === 0 ? NOTHING : minus(this.#reserved, reserved);
    this.#spent = plus(this.#spent, preference === undefined ? reserved : this.#billed(preference, reserved));
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
    const { caps, onWarning } = this.#options;
    const spent = this.spent;
    for (const [cap, limit] of Object.entries(caps) as [keyof BudgetCaps, number | undefined][]) {
      if (limit === undefined || this.#warned.has(cap) || spent[cap] < WARN_AT * limit) continue;
      this.#warned.add(cap);
      const share = limit === 0 ? 100 : Math.floor((100 * spent[cap]) / limit);
      onWarning?.(`${share} % of the budget of ${shown(limit)} ${cap} are spent`);
    }
  }

  /**
   * An answer whose bill is not known, with its estimate as usage: a record of it then tells the next run what this one booked. Only
   * where a cap needs it.
   */
  told(preference: Preference, reserved: Cost): Preference {
    const { caps } = this.#options;
    const isCapped = [caps.inputTokens, caps.outputTokens, caps.usd].some((cap) => cap !== undefined);
    if (!isCapped || preference.kind === 'failed' || preference.meta?.cached === true) return preference;
    const { usage } = preference.meta ?? {};
    if (known(usage?.inputTokens) !== undefined && known(usage?.outputTokens) !== undefined) return preference;
    const { calls, inputTokens, outputTokens } = this.#priced(usage, reserved);
    return { ...preference, meta: { ...preference.meta, usage: { ...usage, calls, inputTokens, outputTokens } } };
  }

  /** Resolves when the next question is settled. */
  change(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.add(resolve);
    });
  }

  /** What a question is taken to cost. */
  #expected(estimate: Usage | undefined): Cost {
    const { perQuestion = PER_QUESTION } = this.#options;
    const inputTokens = known(estimate?.inputTokens) ?? perQuestion.inputTokens;
    const outputTokens = Math.max(known(estimate?.outputTokens) ?? perQuestion.outputTokens, this.#longestAnswer);
    const usage = { calls: known(estimate?.calls) ?? 1, inputTokens, outputTokens };
    // A question that costs nothing has its answer already; no margin on nothing.
    if (usage.calls === 0) return NOTHING;
    return { ...usage, usd: known(estimate?.costUsd) ?? dollarsOf(usage, this.#options.prices) };
  }

  /** What an answer did cost: by its usage, else its estimate. */
  #billed(preference: Preference, expected: Cost): Cost {
    if (preference.kind === 'failed') {
      const { attempts, status, paid } = preference.error;
      // A server that refused has not answered. Without a status nobody knows what it did, and with 2xx it answered something that is
      // of no use.
      const lost = known(preference.error.lost) ?? (status !== undefined && status >= 300 ? 0 : 1);
      const each = times(expected, 1 / (expected.calls || 1));
      const failed = { ...times(each, lost), calls: known(attempts) ?? 1 };
      const before =
        paid === undefined ? NOTHING : this.#priced({ calls: 0, ...paid }, times(each, known(paid.calls) ?? 0));
      // Of several calls behind one answer others were paid, told or not.
      return expected.calls > 1 ? larger(expected, plus(before, failed)) : plus(before, failed);
    }
    const { usage, cached } = preference.meta ?? {};
    return cached === true ? NOTHING : this.#priced(usage, expected);
  }

  /** What answered calls cost: as they were billed, else as the question was expected to, and more where it took more calls. */
  #priced(usage: Usage | undefined, expected: Cost): Cost {
    const calls = known(usage?.calls) ?? 1;
    const tries = Math.max(1, (calls - (known(usage?.refused) ?? 0)) / (expected.calls || 1));
    const inputTokens = known(usage?.inputTokens) ?? tries * expected.inputTokens;
    const written = known(usage?.outputTokens);
    const outputTokens = written ?? tries * expected.outputTokens;
    this.#longestAnswer = Math.max(this.#longestAnswer, written ?? 0);
    const cachedInputTokens = known(usage?.cachedInputTokens) ?? 0;
    const usd =
      known(usage?.costUsd) ?? dollarsOf({ inputTokens, outputTokens, cachedInputTokens }, this.#options.prices);
    return { calls, inputTokens, outputTokens, usd };
  }

  #excess(cost: Cost): BudgetExceededError | undefined {
    const { caps } = this.#options;
    const used = plus(this.#spent, this.#reserved);
    for (const unit of UNITS) {
      const limit = caps[unit];
      if (limit !== undefined && cost[unit] > 0 && used[unit] + cost[unit] > limit * ROUNDING)
        return exceeded(unit, limit, used[unit], cost[unit]);
    }
    const wallMs = this.#wallMs();
    if (caps.wallMs !== undefined && cost.calls > 0 && wallMs >= caps.wallMs)
      return exceeded('wallMs', caps.wallMs, wallMs, 0);
    return undefined;
  }

  #wallMs(): number {
    return this.#wallBefore + (this.#started === undefined ? 0 : performance.now() - this.#started);
  }
}

/** A number that a back-end told, if it is one that can be summed: a NaN in the books would open every cap. */
export function known(value: number | undefined): number | undefined {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER ? value : undefined;
}

/** What tokens cost by a price table, in US dollars; 0 without one. */
export function dollarsOf(usage: Usage, prices: TokenPrices | undefined): number {
  if (prices === undefined) return 0;
  const { inputTokens = 0, outputTokens = 0, cachedInputTokens = 0 } = usage;
  const { inputPerMillion, outputPerMillion, cachedInputPerMillion = inputPerMillion } = prices;
  const cached = Math.min(cachedInputTokens, inputTokens);
  const input = (inputTokens - cached) * inputPerMillion + cached * cachedInputPerMillion;
  return (input + outputTokens * outputPerMillion) / 1e6;
}

/** What was spent with its price, where a price table tells it and the back-end did not. */
export function withDollars(usage: Usage, prices: TokenPrices | undefined): Usage {
  const { inputTokens, outputTokens, costUsd } = usage;
  if (prices === undefined || costUsd !== undefined || inputTokens === undefined || outputTokens === undefined)
    return usage;
  return { ...usage, costUsd: dollarsOf(usage, prices) };
}

function times({ calls, inputTokens, outputTokens, usd }: Cost, by: number): Cost {
  return { calls: calls * by, inputTokens: inputTokens * by, outputTokens: outputTokens * by, usd: usd * by };
}

/** Of each unit the larger number. */
export function larger(a: Cost, b: Cost): Cost {
  return {
    calls: Math.max(a.calls, b.calls),
    inputTokens: Math.max(a.inputTokens, b.inputTokens),
    outputTokens: Math.max(a.outputTokens, b.outputTokens),
    usd: Math.max(a.usd, b.usd),
  };
}

function plus(a: Cost, b: Cost): Cost {
  return {
    calls: a.calls + b.calls,
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    usd: a.usd + b.usd,
  };
}

function minus(a: Cost, b: Cost): Cost {
  return plus(a, { calls: -b.calls, inputTokens: -b.inputTokens, outputTokens: -b.outputTokens, usd: -b.usd });
}

function exceeded(cap: string, limit: number, used: number, asked: number): BudgetExceededError {
  const next = cap === 'wallMs' ? '' : `, and the next question needs about ${shown(asked)}`;
  return new BudgetExceededError(
    `The budget of ${shown(limit)} ${cap} is used up: ${shown(used)} are spent${next}. All that was asked is answered; raise \`caps.${cap}\` and go on from the record`,
    { cap, limit, used, asked },
  );
}

function shown(value: number): string {
  return Number.isInteger(value) ? `${value}` : value.toPrecision(3);
}
