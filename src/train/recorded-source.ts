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
  /** The k items shown; k may differ from answer to answer. */
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
  readonly #heldOut: Uint8Array;

  constructor(options: {
    readonly answers: readonly IndexedAnswer[];
    readonly lanes: number;
    /** Share of the answers held out, by user stream. */
    readonly heldOutShare: number;
    readonly seed: number;
  }) {
    this.#answers = options.answers;
    this.#lanes = options.lanes;
    const order = Int32Array.from({ length: options.answers.length }, (_, i) => i);
    this.#order = new Rng(options.seed).fork('answers').shuffle(order);
    this.#heldOut = heldOutStreams(options.answers, options.heldOutShare, new Rng(options.seed).fork('heldOut'));
  }

  async start(): Promise<void> {
    // The order is fixed by the seed; the position is the loop's step count.
  }

  async step({ buffer, rng, steps }: StepContext): Promise<SourceStep> {
    const lanes = this.#lanes;
    const size = Math.min(lanes, this.#order.length - steps);
    const indices = Array.from({ length: lanes }, (_, b) => this.#order[b < size ? steps + b : 0] as number);
    const shown = indices.map((index) => this.#answers[index] as IndexedAnswer);
    const K = buffer.candidateCount;
    const candidates = new Int32Array(lanes * K).fill(-1);
    for (const [b, { candidates: list }] of shown.entries()) candidates.set(list, b * K);
    const isNone = ({ candidates: list, choice }: IndexedAnswer): boolean => choice === list.length;
    buffer.add({
      histories: historyBatch(
        shown.map(({ history }) => history),
        { context: shown.map(({ context }) => context) },
      ),
      // Eq. 2: for None one of the k at random.
      actions: Int32Array.from(shown, (answer) => {
        const { candidates: list, choice } = answer;
        return list[isNone(answer) ? rng.integer(list.length) : choice] as number;
      }),
      rewards: Float32Array.from(shown, (answer) => (isNone(answer) ? 0 : 1)),
      terminated: new Uint8Array(lanes),
      truncated: new Uint8Array(lanes).fill(1),
      logProb: new Float32Array(lanes),
      candidates,
      choices: Int32Array.from(shown, (answer) => (isNone(answer) ? K : answer.choice)),
      rows: Uint8Array.from({ length: lanes }, (_, b) => (b < size ? 1 : 0)),
      heldOut: Uint8Array.from(indices, (index) => this.#heldOut[index] as number),
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

/**
 * Which answers are held out: whole streams, drawn until the share is reached. Answers belong to one stream where the history of one
 * goes on from the other's: what a user is asked twice would otherwise be known from the first time. Without two such
 * streams it goes by answer. An empty history binds nothing.
 */
export function heldOutStreams(answers: readonly IndexedAnswer[], share: number, rng: Rng): Uint8Array {
  const wanted = share * answers.length;
  const heldOut = new Uint8Array(answers.length);
  const streams = streamsOf(answers);
  const groups = streams.length > 1 ? streams : answers.map((_, i) => [i]);
  let held = 0;
  for (const place of rng.shuffle(Int32Array.from(groups.keys()))) {
    const group = groups[place] as readonly number[];
    // A stream that alone would hold out far more than was asked for is learned from.
    if (held + group.length > wanted + Math.max(1, wanted / 2) || held + group.length === answers.length) continue;
    if (held >= wanted) break;
    for (const i of group) heldOut[i] = 1;
    held += group.length;
  }
  return wanted < 1 ? heldOut.fill(0) : heldOut;
}

/** Answers by the shortest history among them that theirs begins with. */
function streamsOf(answers: readonly IndexedAnswer[]): number[][] {
  const known = new Set(answers.map(({ history }) => keysOf(history).at(-1)));
  const streams = new Map<string, number[]>();
  for (const [i, { history }] of answers.entries()) {
    const stream = keysOf(history).find((key) => known.has(key)) ?? `empty ${i}`;
    const members = streams.get(stream) ?? [];
    members.push(i);
    streams.set(stream, members);
  }
  return [...streams.values()];
}

/** A key for each beginning of a history that has an item, shortest first. */
function keysOf(history: readonly number[]): string[] {
  let [one, other] = [0x811c9dc5, 0x9e3779b9];
  return history.map((item, n) => {
    one = Math.imul(one ^ (item + 1), 0x01000193) >>> 0;
    other = Math.imul(other ^ (item + 1), 0x85ebca6b) >>> 0;
    other = (other ^ (other >>> 13)) >>> 0;
    return `${n}:${one}:${other}`;
  });
}
