import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { ensureBackend } from '../compute/backend.js';
import { createKernels } from '../compute/create-kernels.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import type { Kernels, ScoreOptions, Scores, Want } from '../compute/kernels.js';
import { encoderSchema, initParameters, type ModelSpec } from '../compute/model.js';
import type { ParameterStore } from '../compute/parameter-store.js';
import type { StateEncoder } from '../compute/state-encoder.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { DisposedError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import type { Storage } from '../foundation/storage.js';
import { type ActorCriticOptions, type ActorCriticSettings, resolveModel } from './agent-model.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import { type CatalogChange, loadPolicy, savePolicy } from './policy-file.js';
import { type Recommendation, type RecommendOptions, recommend } from './recommend.js';
import { checkActOptions } from './row-scorer.js';

const loadSchema = z.strictObject({
  catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog'),
  encoder: encoderSchema.optional(),
  features: z.custom<ItemFeatures>((value) => value instanceof ItemFeatures, 'expected ItemFeatures').optional(),
});

/** Names of the critic's parameters. */
const CRITIC = /^(critic|value|valueEncoder|valueItem)\//;

/**
 * The agent theta of the paper: state encoder G, Actor and Critic in one parameter store (Eqs. 4-10). It acts and
 * recommends; what learns is `pretrain` and `adapt`. It owns its parameters: `dispose()` it, or declare it with `using`.
 *
 * @example
 * ```ts no-run
 * using agent = new ActorCritic({ catalog, encoder: sasRec({ width: 32 }), seed: 1 });
 * agent.recommend({ history: ['track-17'], k: 5 });
 * ```
 */
export class ActorCritic implements Policy {
  /** `ActorCritic`. */
  readonly name: string = 'ActorCritic';
  /** The items. */
  readonly catalog: Catalog;
  /** Item features, where the policy reads text. */
  readonly features: ItemFeatures | undefined;
  /** The item prior as it was given, `[A]`; undefined without one. */
  readonly prior: Float64Array | undefined;
  /** Settings as resolved from the options. */
  readonly settings: ActorCriticSettings;
  /** The model that the kernels run. */
  readonly spec: ModelSpec;
  /** All parameters. */
  readonly store: ParameterStore;
  /** How the catalogue differed when this agent was loaded; undefined when it did not, or when it was not loaded. */
  readonly catalogChange: CatalogChange | undefined;
  #kernels: Kernels | undefined;
  #disposed = false;

  /**
   * @throws {InvalidArgumentError} for options out of range or at odds with each other.
   */
  constructor(
    options: ActorCriticOptions,
    restored?: { readonly store: ParameterStore; readonly change: CatalogChange | undefined },
  ) {
    const model = resolveModel(options);
    this.catalog = model.catalog;
    this.features = model.features;
    this.prior = model.prior;
    this.settings = model.settings;
    this.spec = model.spec;
    this.store = restored?.store ?? initParameters(model.spec, new Rng(model.seed).fork('init'));
    this.catalogChange = restored?.change;
  }

  /** The state encoder, Eq. 4. */
  get encoder(): StateEncoder {
    return this.spec.encoder;
  }

  /**
   * The kernels that score this agent's model; made at the first use.
   *
   * @throws {DisposedError} after `dispose()`.
   * @throws {BackendError} when no backend was chosen yet: `await useBackend('auto')` first (`pretrain`, `adapt`, `evaluate` and `load` do).
   */
  get kernels(): Kernels {
    if (this.#disposed) throw new DisposedError(this.name);
    this.#kernels ??= createKernels(this.spec, this.store);
    return this.#kernels;
  }

  /** Scores a batch; see {@link Kernels.forward}. */
  forward<W extends Want>(batch: HistoryBatch, want: W, options?: ScoreOptions): Scores<W> {
    return this.kernels.forward(batch, want, options);
  }

  /** Acts for a batch: draws by inverse CDF from `uniforms`, or takes the most probable item (Eqs. 5, 11). */
  act(batch: HistoryBatch, options: ActOptions): Decision {
    const scoring = scoreOptions(checkActOptions(options));
    if (options.mode === 'sampled') return this.kernels.sample(batch, options.uniforms, scoring);
    const { items } = this.kernels.topK(batch, 1, scoring);
    // The choice is certain: see {@link Decision.logProb}.
    return { actions: items, logProb: new Float32Array(batch.size) };
  }

  /** pi(a|s) of every item, `[B, A]`; rows sum to 1. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array {
    return this.kernels.probabilities(batch, scoreOptions(options ?? {}));
  }

  /** The k most probable items of each row. */
  topK(batch: HistoryBatch, k: number, options?: PolicyOptions): Ranking {
    return this.kernels.topK(batch, k, scoreOptions(options ?? {}));
  }

  /** log pi(a|s) of the given actions, `[B]`. */
  logProbOf(batch: HistoryBatch, actions: Int32Array, options?: PolicyOptions): Float32Array {
    return this.kernels.forward(batch, { logProbOf: actions }, scoreOptions(options ?? {})).logProb as Float32Array;
  }

  /**
   * The k most probable items for one user, most probable first; none where nothing is left and `k` was not given.
   *
   * @throws {InvalidArgumentError} for an unknown item id (with the nearest known one), a `k` beyond the items left, or a context of another width.
   */
  recommend(options: RecommendOptions = {}): Recommendation[] {
    return recommend(this, { catalog: this.catalog, contextWidth: this.settings.contextWidth }, options);
  }

  /**
   * Multiplies every actor logit by `factor` > 0, exactly as a temperature of 1/factor would: how pre-training hands over a
   * sharper policy, and adaptation a flatter one.
   */
  scaleLogits(factor: number): void {
    checkNumber('scaleLogits', 'factor', factor, { low: Number.MIN_VALUE });
    for (const name of this.store.names) {
      if (!name.startsWith('actor/')) continue;
      const { data } = this.store.get(name);
      // The text part of an item's vector is (features x projection): scaling the projection scales it.
      for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * factor;
    }
    this.store.touch();
  }

  /** Draws the critic's parameters anew: rewards of another scale make the old ones worse than none (`learning.md` 4). */
  resetCritic(rng: Rng): void {
    checkObject('resetCritic', 'rng', rng, ['fork', 'normal'], 'an Rng');
    const fresh = initParameters(this.spec, rng);
    for (const name of fresh.names) {
      if (CRITIC.test(name)) this.store.get(name).data.set(fresh.get(name).data);
    }
    this.store.touch();
  }

  /** Draws the actor's parameters anew, not the encoder's: `learnerInit: 'random'` of the mixture (paper section 5.4). */
  resetActor(rng: Rng): void {
    checkObject('resetActor', 'rng', rng, ['fork', 'normal'], 'an Rng');
    const fresh = initParameters(this.spec, rng);
    for (const name of fresh.names) {
      if (name.startsWith('actor/')) this.store.get(name).data.set(fresh.get(name).data);
    }
    this.store.touch();
  }

  /** An independent agent with equal parameters; the caller owns it. */
  clone(): ActorCritic {
    return new ActorCritic(this.#options(), { store: this.store.clone(), change: undefined });
  }

  /**
   * A copy whose critic is read the other way, drawn anew: actor and encoder are kept. So a policy that was pre-trained with the
   * paper's critic over actions can be adapted by an algorithm that needs a state value.
   *
   * @param critic - the reading of Eq. 7 wanted.
   * @param rng - draws the new critic.
   */
  withCritic(critic: 'state' | 'action', rng: Rng): ActorCritic {
    checkObject('withCritic', 'rng', rng, ['fork', 'normal'], 'an Rng');
    const options = { ...this.#options(), critic };
    const store = initParameters(resolveModel(options).spec, rng);
    for (const name of store.names) {
      if (!CRITIC.test(name)) store.get(name).data.set(this.store.get(name).data);
    }
    store.touch();
    return new ActorCritic(options, { store, change: undefined });
  }

  /** SHA-256 of all parameters, hexadecimal: equal weights, equal hash. */
  sha256(): Promise<string> {
    return this.store.sha256();
  }

  /** Writes the policy with its item ids; one atomic put of `policy.safetensors`, readable from Python. */
  async save(storage: Storage): Promise<void> {
    if (this.#disposed) throw new DisposedError(this.name);
    checkObject('ActorCritic.save', 'storage', storage, ['put'], 'a Storage');
    await savePolicy(storage, this);
  }

  /**
   * Reads a policy and maps it onto `catalog` by item id: rows of items that stayed are kept, new items score by their text
   * (or as the average item where there is none), missing ones are dropped; the difference is in `catalogChange`.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {CheckpointError} when nothing is stored, the file is damaged, or it was made with an encoder that is not one of
   * this library's and `encoder` is not given.
   */
  static async load(
    storage: Storage,
    options: { readonly catalog: Catalog; readonly encoder?: StateEncoder; readonly features?: ItemFeatures },
  ): Promise<ActorCritic> {
    checkObject('ActorCritic.load', 'storage', storage, ['get'], 'a Storage');
    checkOptions(loadSchema, options, 'ActorCritic.load');
    await ensureBackend();
    const { options: own, store, change } = await loadPolicy(storage, options);
    return new ActorCritic(own, { store, change });
  }

  /** Frees the kernels' memory; idempotent. */
  dispose(): void {
    this.#disposed = true;
    this.#kernels?.dispose();
    this.#kernels = undefined;
  }

  /** {@link ActorCritic.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #options(): ActorCriticOptions {
    const { catalog, encoder, features, settings, prior } = this;
    const { historyFeatures } = settings;
    return {
      catalog,
      encoder,
      ...settings,
      ...(features ? { features } : {}),
      ...(historyFeatures && prior ? { historyFeatures: { ...historyFeatures, prior } } : {}),
    };
  }
}

function scoreOptions(options: PolicyOptions): ScoreOptions {
  checkObject('policy', 'options', options);
  const { mask, temperature } = options;
  return { ...(mask !== undefined ? { mask } : {}), ...(temperature !== undefined ? { temperature } : {}) };
}
