import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { encoderSchema, type ModelSpec } from '../compute/model.js';
import type { StateEncoder } from '../compute/state-encoder.js';
import { historyFeatures, type PriorScale, priorScale } from '../encoder/history-features.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';

/** How an agent learns online; see the page of each in `docs/explanation`. */
export type AlgorithmName = 'ppo' | 'replay' | 'paper';

/** Which planes the policy's history features have; each is one learned weight, 0 at the start (`learning.md`: worth more than any other choice). */
export interface HistoryFeatureOptions {
  /** "Was shown j steps ago", j = 1..repeats; 0 to 50. @default 8 */
  readonly repeats?: number;
  /** Catalogue attributes compared with the last item and with the recent ones. @default [] */
  readonly attributes?: readonly string[];
  /** Text cosine to the last, the recent and the nearest item; needs item text. @default true when `items` has text */
  readonly text?: boolean;
  /**
   * One number for every item, by item index: how popular it is held to be, say. It counts with an empty history too, and only by its
   * z-score: ratings from `rateItems()`, `Math.log1p` of counts in logs, or a guess of your own. @default none
   */
  readonly prior?: ArrayLike<number>;
  /** What makes the z-score of `prior`. @default its mean and standard deviation over the items */
  readonly priorScale?: PriorScale | undefined;
}

/** Resolved {@link HistoryFeatureOptions}, without the prior's numbers. */
export interface HistoryFeatureSettings {
  /** See {@link HistoryFeatureOptions.repeats}. */
  readonly repeats: number;
  /** See {@link HistoryFeatureOptions.attributes}. */
  readonly attributes: readonly string[];
  /** See {@link HistoryFeatureOptions.text}. */
  readonly text: boolean;
  /** Scale of the item prior; absent without one. */
  readonly priorScale?: PriorScale;
}

/** Options of {@link ActorCritic}. */
export interface ActorCriticOptions {
  /** The items; action = item index. Borrowed. */
  readonly catalog: Catalog;
  /** Makes the state, Eq. 4. */
  readonly encoder: StateEncoder;
  /** What an item is to the policy: an embedding by id (the paper), its text's features, or the sum of both. @default 'id+text'; 'id' for `algorithm: 'paper'` */
  readonly items?: 'id' | 'text' | 'id+text';
  /** Item features for `text`. @default `ItemFeatures.tfidf(catalog)` */
  readonly features?: ItemFeatures;
  /** History features of the actor (and of a critic over actions); `false` for none, as in the paper. @default repeats 8, and text cosines where there is text; false for `algorithm: 'paper'` */
  readonly historyFeatures?: HistoryFeatureOptions | false;
  /** Online algorithm that `adapt` uses. @default 'ppo' */
  readonly algorithm?: AlgorithmName;
  /** Eq. 7's two readings: a state value V(s), or a vector Q(s, .) over items. @default 'action' for 'paper', else 'state' */
  readonly critic?: 'state' | 'action';
  /** Whether V(s) reads the actor's state or has an encoder of its own. @default 'shared' */
  readonly valueEncoder?: 'shared' | 'separate';
  /** Hidden units of V(s), 0 for a linear one. @default 64 */
  readonly valueHidden?: number;
  /** Numbers in the user context, 0 for none. @default 0 */
  readonly contextWidth?: number;
  /** Seed of the initial weights. @default 0 */
  readonly seed?: number;
}

/** The settings that make a model, without the objects: what a saved policy carries. */
export interface ActorCriticSettings {
  /** See {@link ActorCriticOptions.items}. */
  readonly items: 'id' | 'text' | 'id+text';
  /** Resolved history features, or false. */
  readonly historyFeatures: HistoryFeatureSettings | false;
  /** See {@link ActorCriticOptions.algorithm}. */
  readonly algorithm: AlgorithmName;
  /** See {@link ActorCriticOptions.critic}. */
  readonly critic: 'state' | 'action';
  /** See {@link ActorCriticOptions.valueEncoder}. */
  readonly valueEncoder: 'shared' | 'separate';
  /** See {@link ActorCriticOptions.valueHidden}. */
  readonly valueHidden: number;
  /** See {@link ActorCriticOptions.contextWidth}. */
  readonly contextWidth: number;
}

const optionsSchema = z.strictObject({
  catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog'),
  encoder: encoderSchema,
  items: z.enum(['id', 'text', 'id+text']).optional(),
  features: z.custom<ItemFeatures>((value) => value instanceof ItemFeatures, 'expected ItemFeatures').optional(),
  historyFeatures: z
    .union([
      z.literal(false),
      z.strictObject({
        repeats: z.int().min(0).max(50).optional(),
        attributes: z.array(z.string()).optional(),
        text: z.boolean().optional(),
        prior: z
          .custom<ArrayLike<number>>(
            (value) => Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array,
            'expected an array of numbers, one for each item',
          )
          .optional(),
        priorScale: z.strictObject({ mean: z.number(), deviation: z.number().min(0) }).optional(),
      }),
    ])
    .optional(),
  algorithm: z.enum(['ppo', 'replay', 'paper']).default('ppo'),
  critic: z.enum(['state', 'action']).optional(),
  valueEncoder: z.enum(['shared', 'separate']).default('shared'),
  valueHidden: z.int().min(0).max(4096).default(64),
  contextWidth: z.int().min(0).max(4096).default(0),
  seed: z.int().default(0),
});

/** An agent's options, resolved: what the kernels run and what a saved policy carries. */
export interface AgentModel {
  /** The items. */
  readonly catalog: Catalog;
  /** Item features, where the policy or its history features read text. */
  readonly features: ItemFeatures | undefined;
  /** Settings without the objects. */
  readonly settings: ActorCriticSettings;
  /** The item prior as it was given, `[A]`. */
  readonly prior: Float64Array | undefined;
  /** What the kernels run. */
  readonly spec: ModelSpec;
  /** Seed of the initial weights. */
  readonly seed: number;
}

/**
 * Checks an agent's options and fills in their defaults.
 *
 * @throws {InvalidArgumentError} for options out of range or at odds with each other.
 */
export function resolveModel(options: ActorCriticOptions): AgentModel {
  const checked = checkOptions(optionsSchema, options, 'ActorCritic');
  const { catalog, encoder, contextWidth, valueEncoder, valueHidden, algorithm } = checked;
  // The paper's agent knows items by id and nothing else of a history (paper.md 9).
  const isPaper = algorithm === 'paper';
  const items = checked.items ?? (isPaper ? 'id' : 'id+text');
  const asked = checked.historyFeatures ?? (isPaper ? false : {});
  const readsText = items !== 'id';
  const given = asked === false ? {} : asked;
  const prior = given.prior && Float64Array.from(given.prior);
  if (given.priorScale && !prior) {
    throw new InvalidArgumentError('ActorCritic: expected `historyFeatures.priorScale` with a `prior` only', {
      argument: 'historyFeatures.priorScale',
    });
  }
  const planes = asked && {
    repeats: asked.repeats ?? 8,
    attributes: asked.attributes ?? [],
    text: asked.text ?? readsText,
    ...(prior ? { priorScale: given.priorScale ?? priorScale(prior) } : {}),
  };
  if (checked.features && checked.features.itemCount !== catalog.size) {
    throw new InvalidArgumentError(
      `ActorCritic: expected \`features\` for the ${catalog.size} items of the catalogue, got ${checked.features.itemCount}`,
      { argument: 'features', wanted: `${catalog.size} rows`, got: checked.features.itemCount },
    );
  }
  const features =
    checked.features ?? (readsText || (planes !== false && planes.text) ? ItemFeatures.tfidf(catalog) : undefined);
  const critic = checked.critic ?? (isPaper ? 'action' : 'state');
  const spec: ModelSpec = {
    itemCount: catalog.size,
    contextWidth,
    encoder,
    items,
    ...(readsText && features ? { itemFeatures: features.matrix, itemFeatureWidth: features.width } : {}),
    ...(planes
      ? {
          historyFeatures: historyFeatures({
            catalog,
            ...planes,
            ...(prior ? { prior } : {}),
            ...(features ? { features } : {}),
          }),
        }
      : {}),
    critic,
    valueEncoder,
    valueHidden,
  };
  const settings = { items, historyFeatures: planes, algorithm, critic, valueEncoder, valueHidden, contextWidth };
  return { catalog, features, settings, prior, spec, seed: checked.seed };
}
