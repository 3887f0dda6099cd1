import { dollarsOf, known, type Spending, type TokenPrices } from '../oracle/budget.js';
import type { Usage } from '../oracle/preference-oracle.js';

/** What answers cost, together. */
export interface DistilCost {
  /** Questions. */
  readonly questions: number;
  /** Calls of the model, retries and reminders included. */
  readonly calls: number;
  /** Tokens of prompts, as far as they were told, or estimated under a cap on tokens or dollars. */
  readonly inputTokens: number;
  /** Tokens of answers, likewise. */
  readonly outputTokens: number;
  /** US dollars, as far as they were told or `prices` tell. */
  readonly costUsd: number;
}

/** Adds up what answers cost. */
export class Ledger {
  readonly #prices: TokenPrices | undefined;
  #total: DistilCost;

  constructor(prices: TokenPrices | undefined, questions = 0, spent?: Spending) {
    this.#prices = prices;
    const { calls = 0, inputTokens = 0, outputTokens = 0, usd: costUsd = 0 } = spent ?? {};
    this.#total = { questions, calls, inputTokens, outputTokens, costUsd };
  }

  /** What these cost together. */
  static of(usages: readonly Usage[], prices: TokenPrices | undefined): Ledger {
    const ledger = new Ledger(prices);
    for (const usage of usages) ledger.add(usage);
    return ledger;
  }

  get total(): DistilCost {
    return this.#total;
  }

  /** An answer, with what is known of its cost. */
  add(usage: Usage | undefined): void {
    const calls = known(usage?.calls) ?? 1;
    const inputTokens = known(usage?.inputTokens) ?? 0;
    const outputTokens = known(usage?.outputTokens) ?? 0;
    const cachedInputTokens = known(usage?.cachedInputTokens) ?? 0;
    const total = this.#total;
    this.#total = {
      questions: total.questions + 1,
      calls: total.calls + calls,
      inputTokens: total.inputTokens + inputTokens,
      outputTokens: total.outputTokens + outputTokens,
      costUsd:
        total.costUsd +
        (known(usage?.costUsd) ?? dollarsOf({ inputTokens, outputTokens, cachedInputTokens }, this.#prices)),
    };
  }

  /** What more questions cost if they are like those so far; undefined where there are none to go by. */
  forecast(questions: number): DistilCost | undefined {
    const { questions: seen, calls, inputTokens, outputTokens, costUsd } = this.#total;
    if (seen === 0) return undefined;
    const share = questions / seen;
    return {
      questions,
      calls: Math.round(calls * share),
      inputTokens: Math.round(inputTokens * share),
      outputTokens: Math.round(outputTokens * share),
      costUsd: costUsd * share,
    };
  }
}
