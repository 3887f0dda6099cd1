import { z } from 'zod';
import { Adam } from '../compute/optimiser.js';
import { CheckpointError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions } from '../foundation/options.js';
import type { ActorCritic } from './actor-critic.js';
import { type Algorithm, type UpdateContext, type UpdateReport, UpdateRound } from './algorithm.js';
import { listLoss } from './losses/supervised-losses.js';
import type { TransitionColumns } from './transitions.js';

/** Settings of `'list'`, pre-training's default way to learn. */
export interface ListSettings {
  /**
   * What learns: the weights of the history features and of None alone, or the whole policy (item vectors, biases, encoder) with them.
   * @default 'historyFeatures' where those read text or an item prior, else 'all'
   */
  readonly learns?: 'historyFeatures' | 'all';
  /**
   * What is minimised: the list loss over the candidates and None, or `-log pi(choice)` over all items, for accepted answers.
   * @default 'list'; 'likelihood' for an agent that knows items by id alone
   */
  readonly loss?: 'list' | 'likelihood';
  /** Most times each answer is learned from, on average, > 0. @default 16 */
  readonly passes?: number;
  /**
   * Learning ends when the loss of the answers held out has not fallen for so many passes, > 0; the weights of the lowest loss are kept.
   * `Infinity` for all passes.
   * @default 4
   */
  readonly patience?: number;
  /** Answers a minibatch, 1 to 65,536. @default 32 */
  readonly batchSize?: number;
  /** Adam's learning rate of tables, projections and encoder. @default 1e-3 */
  readonly learningRate?: number;
  /** Adam's learning rate of the weights of the history features and of None: few, shared by all items, so they may move fast. @default 0.1 */
  readonly historyLearningRate?: number;
  /** Clip of the global gradient norm. @default 1 */
  readonly clipNorm?: number;
}

const schema = z.strictObject({
  learns: z.enum(['historyFeatures', 'all']).default('all'),
  loss: z.enum(['list', 'likelihood']).default('list'),
  passes: z.number().positive().max(10_000).default(16),
  patience: z.union([z.number().positive(), z.literal(Number.POSITIVE_INFINITY)]).default(4),
  batchSize: z.int().min(1).max(65_536).default(32),
  learningRate: z.number().positive().max(1).default(1e-3),
  historyLearningRate: z.number().positive().max(1).default(0.1),
  clipNorm: z.number().positive().default(1),
});

/** Half of the updates wait for the last answer: before, the late answers would hardly be learned from. */
const SHARE_WHILE_COLLECTING = 0.5;
/** Updates of one call at most, so that an abort is heard soon. */
const ROUND = 16;
/** Rows of one forward pass over the answers held out. */
const JUDGED_AT_ONCE = 128;
/**
 * Weight of an item just shown against a candidate's 1: it was not offered, so it must not outweigh what was. Enough for the repeat
 * features to learn; more costs what the text weights know.
 */
const SHOWN_WEIGHT = 0.1;
/** Parameters of the history features and None. */
const FEATURE_WEIGHTS = /^actor\/(history|none)$/;

/**
 * `'list'`, pre-training's default: the list loss over the candidates shown and None, because the information of an answer
 * is which of the k, not Eq. 3's reward (`learning.md` 3; a numbered difference in `docs/explanation/pretraining.md`). It
 * trains no critic.
 *
 * @param settings - see {@link ListSettings}.
 * @param agent - decides the defaults of `learns` and `loss`; without one they are 'all' and 'list'.
 * @throws {InvalidArgumentError} for a setting out of range.
 */
export function listDistillation(settings: ListSettings = {}, agent?: Pick<ActorCritic, 'settings'>): ListDistillation {
  return new ListDistillation(checkOptions(schema, { ...defaultsOf(agent), ...settings }, 'list'));
}

function defaultsOf(agent: Pick<ActorCritic, 'settings'> | undefined): Pick<ListSettings, 'learns' | 'loss'> {
  if (!agent) return {};
  const { historyFeatures, items } = agent.settings;
  const readsItems = historyFeatures !== false && (historyFeatures.text || historyFeatures.priorScale !== undefined);
  if (readsItems) return { learns: 'historyFeatures', loss: 'list' };
  const hasAttributes = historyFeatures !== false && historyFeatures.attributes.length > 0;
  return { learns: 'all', loss: items === 'id' && !hasAttributes ? 'likelihood' : 'list' };
}

/** See {@link listDistillation}. */
export class ListDistillation implements Algorithm {
  /** `list`. */
  readonly name = 'list';
  /** It works with either critic, or none. */
  readonly critic = undefined;
  /** A call after every step. */
  readonly rolloutSteps = 1;
  /** Its Adam. */
  readonly optimiser: Adam;
  readonly #settings: z.output<typeof schema>;
  /** The lowest loss of what is held out, the learned weights that had it, and when. */
  #best:
    | { readonly loss: number; readonly update: number; readonly weights: ReadonlyMap<string, Float32Array> }
    | undefined;
  /** Updates after which learning ended early. */
  #endedAt: number | undefined;

  /** @param settings - checked, defaults filled in. */
  constructor(settings: z.output<typeof schema>) {
    this.#settings = settings;
    const fast = settings.historyLearningRate / settings.learningRate;
    this.optimiser = new Adam({
      learningRate: settings.learningRate,
      clipNorm: settings.clipNorm,
      multipliers: { 'actor/history': fast, 'actor/none': fast },
    });
  }

  /** What is minimised. */
  get loss(): 'list' | 'likelihood' {
    return this.#settings.loss;
  }

  /** Whether a parameter learns. */
  isLearned(name: string): boolean {
    return this.#settings.learns === 'all' || FEATURE_WEIGHTS.test(name);
  }

  /** Every answer is kept: the loop sizes the buffer by the budget. */
  stepsPerLane(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** Quadratic while answers come in (each then gets its share), the rest at the end. */
  updatesDue(steps: number, totalSteps: number): number {
    if (this.#endedAt !== undefined) return this.#endedAt;
    const planned = Math.ceil((totalSteps * this.#settings.passes) / this.#settings.batchSize);
    if (steps >= totalSteps) return planned;
    return Math.floor(planned * SHARE_WHILE_COLLECTING * Math.max(0, steps / totalSteps) ** 2);
  }

  /** Some of the updates that are due; after the last answer it judges each pass by what is held out. */
  update({ learner, buffer, rng, steps, totalSteps, attempted }: UpdateContext): UpdateReport {
    const { batchSize, patience } = this.#settings;
    const round = new UpdateRound();
    const planned = this.updatesDue(steps, totalSteps);
    const due = Math.min(ROUND, planned - attempted);
    for (let i = 0; i < due && buffer.size > 0; i++) {
      const batch = buffer.sample(batchSize, rng);
      this.#step(learner, batch, rng.nonZeroSeed(), round);
      if (steps < totalSteps) continue;
      const done = attempted + i + 1;
      const aPass = Math.max(1, Math.round(totalSteps / batchSize));
      if (done % aPass !== 0 && done < planned) continue;
      const heldOut = buffer.all('heldOut', JUDGED_AT_ONCE);
      if (heldOut.length === 0) continue;
      const loss = this.heldOutLoss(learner, heldOut);
      if (this.#best === undefined || loss < this.#best.loss) {
        this.#best = { loss, update: done, weights: this.#learnedWeights(learner) };
      }
      const isOver = done >= planned || done - this.#best.update >= patience * aPass;
      if (!isOver) continue;
      this.#endedAt = done;
      for (const [name, weights] of this.#best.weights) learner.store.get(name).data.set(weights);
      learner.store.touch();
      break;
    }
    return round.report();
  }

  #step(learner: ActorCritic, batch: TransitionColumns, dropoutSeed: number, round: UpdateRound): void {
    const { kernels } = learner;
    if (this.#settings.loss === 'list') {
      const { items, width, candidateWeights } = columnsOf(batch, learner.spec.itemCount, repeatsOf(learner));
      const want = { scoresOf: { head: 'actor' as const, items, width } };
      const { scores } = kernels.forward(batch.histories, want, { dropoutSeed });
      round.apply(kernels, this.optimiser, listLoss({ scores, width, targets: batch.choices, candidateWeights }));
      return;
    }
    const { logProb } = kernels.forward(batch.histories, { logProbOf: batch.actions }, { dropoutSeed });
    const accepted = isAccepted(batch);
    const count = Math.max(1, accepted.filter(Boolean).length);
    const cotangent = Float32Array.from(accepted, (is) => (is ? -1 / count : 0));
    const loss = logProb.reduce((sum, value, b) => sum + (accepted[b] ? -value / count : 0), 0);
    round.apply(kernels, this.optimiser, { loss, cotangents: { logProb: cotangent } });
  }

  /**
   * Mean loss of answers that were not learned from, nats; without dropout and without the items just shown.
   *
   * @param answers - in batches; 0 where there are none that count.
   */
  heldOutLoss(learner: ActorCritic, answers: readonly TransitionColumns[]): number {
    const { kernels, spec } = learner;
    let sum = 0;
    let counted = 0;
    for (const part of answers) {
      if (this.#settings.loss === 'list') {
        const { items, width, candidateWeights } = columnsOf(part, spec.itemCount, 0);
        const { scores } = kernels.forward(part.histories, { scoresOf: { head: 'actor', items, width } });
        sum += part.size * listLoss({ scores, width, targets: part.choices, candidateWeights }).loss;
        counted += part.size;
        continue;
      }
      const { logProb } = kernels.forward(part.histories, { logProbOf: part.actions });
      for (const [b, is] of isAccepted(part).entries()) {
        if (!is) continue;
        sum -= logProb[b] as number;
        counted++;
      }
    }
    return counted === 0 ? 0 : sum / counted;
  }

  #learnedWeights(learner: ActorCritic): Map<string, Float32Array> {
    const learned = learner.store.parameters().filter(({ name, frozen }) => !frozen && this.isLearned(name));
    return new Map(learned.map(({ name, data }) => [name, data.slice()]));
  }

  /** The best weights so far and whether learning has ended. */
  state(): NamedArrays {
    const { loss = Number.NaN, update = -1, weights = new Map<string, Float32Array>() } = this.#best ?? {};
    const arrays: Record<string, NamedArray> = {
      progress: { shape: [3], data: Float64Array.of(loss, update, this.#endedAt ?? -1) },
    };
    for (const [name, data] of weights) arrays[`best/${name}`] = { shape: [data.length], data };
    return arrays;
  }

  /**
   * Goes on from {@link ListDistillation.state}.
   *
   * @throws {CheckpointError} when it is not such a state.
   */
  load(arrays: NamedArrays, source: string): void {
    const progress = arrays.progress?.data;
    if (!(progress instanceof Float64Array) || progress.length !== 3) {
      throw new CheckpointError(`${source}: expected the progress of the list loss, 3 numbers`, { source });
    }
    const [loss, update, endedAt] = progress as unknown as [number, number, number];
    const weights = new Map<string, Float32Array>();
    for (const [name, { data }] of Object.entries(arrays)) {
      if (name.startsWith('best/')) weights.set(name.slice('best/'.length), (data as Float32Array).slice());
    }
    this.#best = update < 0 ? undefined : { loss, update, weights };
    this.#endedAt = endedAt < 0 ? undefined : endedAt;
  }

  /** All settings. */
  toJSON(): JsonValue {
    const { patience, ...rest } = this.#settings;
    // JSON has no infinity.
    return { name: this.name, ...rest, patience: Number.isFinite(patience) ? patience : null };
  }
}

function isAccepted({ choices, candidateCount }: TransitionColumns): boolean[] {
  return Array.from(choices, (choice) => choice < candidateCount);
}

function repeatsOf(learner: ActorCritic): number {
  return learner.settings.historyFeatures ? learner.settings.historyFeatures.repeats : 0;
}

/**
 * What the softmax runs over: the candidates (at most K; the columns that a shorter list leaves have no weight), None (the item index A
 * of the actor's head), and the latest `repeats` items of the history. Those were never candidates, so an answer alone says nothing of
 * them and a policy that reads text would show the same item for ever; a simulated user never takes an item twice, and the repeat
 * features are there to learn that.
 */
function columnsOf(
  { size, candidateCount: K, candidates, histories }: TransitionColumns,
  none: number,
  repeats: number,
) {
  const width = K + 1 + repeats;
  const items = new Int32Array(size * width).fill(none);
  const candidateWeights = new Float32Array(size * width);
  for (let b = 0; b < size; b++) {
    const shown = candidates.subarray(b * K, (b + 1) * K);
    const at = b * width;
    for (let k = 0; k < K; k++) {
      if ((shown[k] as number) < 0) continue;
      items[at + k] = shown[k] as number;
      candidateWeights[at + k] = 1;
    }
    candidateWeights[at + K] = 1;
    const length = histories.lengths[b] as number;
    for (let j = 1; j <= Math.min(repeats, length); j++) {
      const item = histories.items[b * histories.length + length - j] as number;
      // Answers from elsewhere may offer an item of the history again, or have it there twice: it then stands once.
      if (items.subarray(at, at + K + j).includes(item)) continue;
      items[at + K + j] = item;
      candidateWeights[at + K + j] = SHOWN_WEIGHT;
    }
  }
  return { items, width, candidateWeights };
}
