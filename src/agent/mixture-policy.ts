import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import type { ItemFeatures } from '../catalog/item-features.js';
import { checkHistoryBatch, type HistoryBatch, selectRows } from '../compute/history-batch.js';
import type { StateEncoder } from '../compute/state-encoder.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { CheckpointError, DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import { prefixedStorage, type Storage } from '../foundation/storage.js';
import { ActorCritic } from './actor-critic.js';
import { mixtureLogProb } from './losses/mixture-log-prob.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import { type Recommendation, type RecommendOptions, recommend } from './recommend.js';
import { checkActOptions, checkUniforms, topKByScore } from './row-scorer.js';

/** A policy that can say the log-probability of an action: all a frozen arm of a mixture must do besides acting. */
export interface ScoringPolicy extends Policy {
  /** log pi(a|s) of the given actions, `[B]`. */
  logProbOf(batch: HistoryBatch, actions: Int32Array, options?: PolicyOptions): Float32Array;
  /** pi(a|s) of every item, `[B, A]`. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array;
}

/** What a mixture did, with both arms' shares: Eq. 15 needs no second forward pass of the frozen arm. */
export interface MixtureDecision extends Decision {
  /** log pi_theta(a|s), `[B]`. */
  readonly pretrainedLogProb: Float32Array;
  /** The weight the actions were drawn with. */
  readonly alpha: number;
}

const KEY = 'mixture.json';
const VERSION = 1;
const fileSchema = z.strictObject({
  format: z.literal('ialp-mixture'),
  version: z.int(),
  alpha: z.number().min(0).max(1),
});

/**
 * Eq. 14: `(1 - alpha) pi_theta + alpha pi_beta`. It borrows the frozen pretrained policy and owns the learner; one that was
 * loaded owns both. Sampling first chooses an arm, then asks that arm, so both arms must see the same mask.
 */
export class MixturePolicy implements ScoringPolicy {
  /** `MixturePolicy`. */
  readonly name: string = 'MixturePolicy';
  /** pi_theta, frozen; borrowed, or owned where the mixture was loaded. */
  readonly pretrained: ScoringPolicy;
  /** pi_beta, the learner; owned. */
  readonly learner: ActorCritic;
  #alpha: number;
  /** The frozen arm, where it is this mixture's own. */
  #owned: ActorCritic | undefined;
  #disposed = false;

  /**
   * @throws {InvalidArgumentError} for an alpha outside [0, 1].
   */
  constructor(options: { readonly pretrained: ScoringPolicy; readonly learner: ActorCritic; readonly alpha: number }) {
    checkObject('MixturePolicy', 'options', options);
    checkObject(
      'MixturePolicy',
      'pretrained',
      options.pretrained,
      ['act', 'logProbOf', 'probabilities'],
      'a ScoringPolicy',
    );
    checkObject(
      'MixturePolicy',
      'learner',
      options.learner,
      ['act', 'logProbOf', 'probabilities', 'dispose'],
      'an ActorCritic',
    );
    this.pretrained = options.pretrained;
    this.learner = options.learner;
    this.#alpha = checkAlpha(options.alpha);
  }

  /** Share of actions by the learner, 0 to 1. */
  get alpha(): number {
    return this.#alpha;
  }

  /** Sets the share. @throws {InvalidArgumentError} outside [0, 1]. */
  set alpha(value: number) {
    this.#alpha = checkAlpha(value);
  }

  /** Acts for a batch; argmax is that of the mixture, not of an arm. */
  act(batch: HistoryBatch, options: ActOptions): MixtureDecision {
    this.#check();
    checkActOptions(options);
    checkObject('MixturePolicy.act', 'batch', batch, [], 'a HistoryBatch');
    const alpha = this.#alpha;
    const actions =
      options.mode === 'sampled'
        ? this.#sample(batch, options)
        : argmaxRows(this.probabilities(batch, options), batch.size);
    const pretrainedLogProb = this.pretrained.logProbOf(batch, actions, options);
    // At alpha 0 the learner's value is irrelevant, but finite: the formula needs no special case.
    const learnerLogProb = this.learner.logProbOf(batch, actions, options);
    const { logMixture } = mixtureLogProb(learnerLogProb, pretrainedLogProb, alpha);
    // An argmax is certain: see {@link Decision.logProb}.
    const logProb = options.mode === 'argmax' ? new Float32Array(batch.size) : logMixture;
    return { actions, logProb, pretrainedLogProb, alpha };
  }

  /** Rows of Eq. 14, `[B, A]`. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array {
    this.#check();
    const alpha = this.#alpha;
    if (alpha === 0) return this.pretrained.probabilities(batch, options);
    const rows = this.learner.probabilities(batch, options);
    if (alpha === 1) return rows;
    const frozen = this.pretrained.probabilities(batch, options);
    for (let i = 0; i < rows.length; i++) rows[i] = (1 - alpha) * (frozen[i] as number) + alpha * (rows[i] as number);
    return rows;
  }

  /** log of Eq. 14 at the given actions, `[B]`. */
  logProbOf(batch: HistoryBatch, actions: Int32Array, options?: PolicyOptions): Float32Array {
    this.#check();
    const frozen = this.pretrained.logProbOf(batch, actions, options);
    return Float32Array.from(
      mixtureLogProb(this.learner.logProbOf(batch, actions, options), frozen, this.#alpha).logMixture,
    );
  }

  /**
   * The k best items of each row by Eq. 14, equal ones by lower index.
   *
   * @throws {InvalidArgumentError} when a row has fewer than k allowed items.
   */
  topK(batch: HistoryBatch, k: number, options: PolicyOptions = {}): Ranking {
    const itemCount = this.learner.catalog.size;
    const rows = this.probabilities(batch, options);
    const scorer = {
      itemCount,
      link: 'proportional' as const,
      temperature: 1,
      scoreRow: (_batch: HistoryBatch, row: number, scores: Float64Array) =>
        scores.set(rows.subarray(row * itemCount, (row + 1) * itemCount)),
    };
    // The temperature is in the rows already.
    return topKByScore(scorer, batch, k, options.mask ? { mask: options.mask } : {});
  }

  /**
   * The k most probable items for one user, most probable first; see {@link ActorCritic.recommend}.
   *
   * @throws {InvalidArgumentError} for an unknown item id (with the nearest known one), a `k` beyond the items left, or a context of another width.
   */
  recommend(options: RecommendOptions = {}): Recommendation[] {
    const { catalog, settings } = this.learner;
    return recommend(this, { catalog, contextWidth: settings.contextWidth }, options);
  }

  /**
   * Writes both arms (`pretrained/policy.safetensors`, `learner/policy.safetensors`), and alpha in `mixture.json`. That file
   * is removed first and written last: a save that was cut off leaves nothing that loads, never arms of two mixtures.
   *
   * @throws {InvalidArgumentError} when the pretrained arm is not an {@link ActorCritic}: there is no form to save it in.
   */
  async save(storage: Storage): Promise<void> {
    this.#check();
    checkObject('MixturePolicy.save', 'storage', storage, ['put', 'delete'], 'a Storage');
    const { pretrained, learner } = this;
    if (!(pretrained instanceof ActorCritic)) {
      throw new InvalidArgumentError(
        `MixturePolicy.save: expected \`pretrained\` to be an ActorCritic, got ${pretrained.name}; save the learner alone`,
        { argument: 'pretrained', wanted: 'an ActorCritic', got: pretrained.name },
      );
    }
    const file: z.output<typeof fileSchema> = { format: 'ialp-mixture', version: VERSION, alpha: this.#alpha };
    await storage.delete(KEY);
    await pretrained.save(prefixedStorage(storage, 'pretrained'));
    await learner.save(prefixedStorage(storage, 'learner'));
    await storage.put(KEY, new TextEncoder().encode(`${JSON.stringify(file)}\n`));
  }

  /**
   * Reads a mixture and maps both arms onto `catalog` by item id, as {@link ActorCritic.load} does; how the catalogue differs
   * is in the arms' `catalogChange`. The mixture owns *both* arms: its `dispose()` frees them.
   *
   * @param options - the items, and the encoder and item features where {@link ActorCritic.load} needs them; both arms get them.
   * @throws {CheckpointError} when nothing is stored, or a file is damaged or of another version.
   */
  static async load(
    storage: Storage,
    options: { readonly catalog: Catalog; readonly encoder?: StateEncoder; readonly features?: ItemFeatures },
  ): Promise<MixturePolicy> {
    checkObject('MixturePolicy.load', 'storage', storage, ['get'], 'a Storage');
    const alpha = await loadAlpha(storage);
    const pretrained = await ActorCritic.load(prefixedStorage(storage, 'pretrained'), options);
    try {
      const learner = await ActorCritic.load(prefixedStorage(storage, 'learner'), options);
      const mixture = new MixturePolicy({ pretrained, learner, alpha });
      mixture.#owned = pretrained;
      return mixture;
    } catch (error) {
      pretrained.dispose();
      throw error;
    }
  }

  /** Disposes the learner, and the pretrained policy only where the mixture was loaded: else it is borrowed. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    this.learner.dispose();
    this.#owned?.dispose();
  }

  /** {@link MixturePolicy.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** One uniform a row chooses the arm and, rescaled to what is left of it, the item: exact, and half the draws. */
  #sample(batch: HistoryBatch, options: ActOptions): Int32Array {
    checkHistoryBatch(batch, {
      itemCount: this.learner.catalog.size,
      contextWidth: this.learner.settings.contextWidth,
    });
    checkUniforms(options.uniforms, batch.size);
    const alpha = this.#alpha;
    const { uniforms } = options;
    // Both arms' rows in one array, the learner's first, each in the order of the batch; and what is left of their uniforms.
    const rows = new Int32Array(batch.size);
    const left = new Float64Array(batch.size);
    let at = 0;
    for (let b = 0; b < batch.size; b++) {
      const u = uniforms[b] as number;
      if (!(u < alpha)) continue;
      rows[at] = b;
      left[at++] = u / alpha;
    }
    const learners = at;
    for (let b = 0; b < batch.size; b++) {
      const u = uniforms[b] as number;
      if (u < alpha) continue;
      rows[at] = b;
      left[at++] = (u - alpha) / (1 - alpha);
    }
    const actions = new Int32Array(batch.size);
    for (const [arm, from, to] of [
      [this.learner, 0, learners],
      [this.pretrained, learners, at],
    ] as const) {
      if (from === to) continue;
      const own = rows.subarray(from, to);
      const some = own.length === batch.size ? batch : selectRows(batch, own);
      const drawn = arm.act(some, { ...options, uniforms: left.slice(from, to), ...selectMask(options, own) });
      for (let i = 0; i < own.length; i++) actions[own[i] as number] = drawn.actions[i] as number;
    }
    return actions;
  }

  #check(): void {
    if (this.#disposed) throw new DisposedError(this.name);
  }
}

function selectMask({ mask }: ActOptions, rows: Int32Array): Pick<PolicyOptions, 'mask'> {
  if (!Array.isArray(mask?.excludeRows)) return mask !== undefined ? { mask } : {};
  const { excludeRows } = mask;
  return { mask: { ...mask, excludeRows: Array.from(rows, (b) => excludeRows[b] ?? []) } };
}

function argmaxRows(rows: Float32Array, batch: number): Int32Array {
  const width = rows.length / batch;
  return Int32Array.from({ length: batch }, (_, b) => {
    let best = 0;
    for (let i = 1; i < width; i++) if ((rows[b * width + i] as number) > (rows[b * width + best] as number)) best = i;
    return best;
  });
}

function checkAlpha(alpha: number): number {
  checkNumber('MixturePolicy', 'alpha', alpha, { low: 0, high: 1 });
  return alpha;
}

async function loadAlpha(storage: Storage): Promise<number> {
  const bytes = await storage.get(KEY);
  if (!bytes) {
    throw new CheckpointError(`${KEY}: no mixture is stored here; write one with \`mixture.save(storage)\``, {
      source: KEY,
    });
  }
  let file: z.output<typeof fileSchema>;
  try {
    file = fileSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (cause) {
    throw new CheckpointError(`${KEY}: not a mixture of this library`, { source: KEY, cause });
  }
  const { version, alpha } = file;
  if (version !== VERSION) {
    throw new CheckpointError(`${KEY}: expected format version ${VERSION}, got ${version}`, { source: KEY, version });
  }
  return alpha;
}
