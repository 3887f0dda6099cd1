import { historyBatch } from '../compute/history-batch.js';
import type { Mask } from '../compute/mask.js';
import type { JsonValue } from '../foundation/json.js';
import { Rng } from '../foundation/rng.js';
import { EpisodeColumns } from './episode-columns.js';
import type { ExperienceSource, SourceStep, StepContext } from './training-loop.js';

/** An answer somebody already has, in item indices. */
export interface IndexedAnswer {
  /** Items before, oldest first. */
  readonly history: readonly number[];
  /** The k items shown. */
  readonly candidates: readonly number[];
  /** Position of the item chosen, 0 to k - 1, or k for None. */
  readonly choice: number;
  /** The user context, as wide as the agent's. */
  readonly context: readonly number[];
}

/** Experience from answers that were recorded elsewhere: each is met once, in a seeded order, and nobody is asked. */
export class RecordedSource implements ExperienceSource {
  readonly mask: Mask = { noRepeat: true };
  readonly isSaved = true;
  readonly #answers: readonly IndexedAnswer[];
  readonly #order: Int32Array;
  readonly #lanes: number;

  constructor(options: { readonly answers: readonly IndexedAnswer[]; readonly lanes: number; readonly seed: number }) {
    this.#answers = options.answers;
    this.#lanes = options.lanes;
    const order = Int32Array.from({ length: options.answers.length }, (_, i) => i);
    this.#order = new Rng(options.seed).fork('answers').shuffle(order);
  }

  async start(): Promise<void> {
    // The order is fixed by the seed; the position is the loop's step count.
  }

  async step({ buffer, rng, steps }: StepContext): Promise<SourceStep> {
    const lanes = this.#lanes;
    const size = Math.min(lanes, this.#order.length - steps);
    const shown = Array.from(
      { length: lanes },
      (_, b) => this.#answers[this.#order[b < size ? steps + b : 0] as number] as IndexedAnswer,
    );
    const K = buffer.candidateCount;
    buffer.add({
      histories: historyBatch(
        shown.map(({ history }) => history),
        { context: shown.map(({ context }) => context) },
      ),
      // Eq. 2: for None one of the k at random.
      actions: Int32Array.from(
        shown,
        ({ candidates, choice }) => candidates[choice < K ? choice : rng.integer(K)] as number,
      ),
      rewards: Float32Array.from(shown, ({ choice }) => (choice < K ? 1 : 0)),
      terminated: new Uint8Array(lanes),
      truncated: new Uint8Array(lanes).fill(1),
      logProb: new Float32Array(lanes),
      candidates: Int32Array.from(shown.flatMap(({ candidates }) => candidates)),
      choices: Int32Array.from(shown, ({ choice }) => choice),
      rows: Uint8Array.from({ length: lanes }, (_, b) => (b < size ? 1 : 0)),
    });
    return { steps: size, oracleCalls: 0, ended: new EpisodeColumns() };
  }

  saveState(): JsonValue {
    return {};
  }

  restoreState(): void {
    // Nothing moves but the step count.
  }

  async restart(): Promise<void> {
    // saveState always has something to say, so the loop never asks for this.
  }
}
