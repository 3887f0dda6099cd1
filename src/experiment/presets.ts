import type { ActorCriticOptions, AlgorithmName } from '../agent/agent-model.js';
import type { Catalog } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { sasRec } from '../encoder/sasrec.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { World } from '../world/world.js';

/** What {@link WorldPreset.agent} is asked. */
export interface PresetAgentOptions {
  /** Seed of the initial weights. */
  readonly seed: number;
  /** How it will learn online; `'paper'` gives it the critic over actions of Eq. 7. @default 'ppo' */
  readonly algorithm?: AlgorithmName | undefined;
  /** One number for every item, by item index, such as `rateItems()` gives; not for `'paper'`. @default none */
  readonly itemPrior?: ArrayLike<number> | undefined;
}

/** Settings that fit a world, or a catalogue of your own: where the command line's defaults come from. */
export interface WorldPreset {
  /** The agent of one seed. */
  readonly agent: (options: PresetAgentOptions) => ActorCriticOptions;
  /** Questions of one pre-training. */
  readonly calls: number;
  /** Simulated users' beginnings. */
  readonly starts: number;
  /** Parallel users while learning. */
  readonly lanes: number;
  /** Episodes of one evaluation. */
  readonly episodes: number;
  /** Mean entropy at hand-over from pre-training to online learning, nats. */
  readonly handoverEntropy: number;
  /** Steps over which a mixture's alpha goes from 0.1 to 1. */
  readonly alphaSteps: number;
  /** Attributes whose repetition history features see. */
  readonly attributes: readonly string[];
}

const COMMON = { calls: 2000, starts: 256, lanes: 16, episodes: 192, handoverEntropy: 3, alphaSteps: 6000 } as const;
/** So many last items the state sees, and "was shown j steps ago" reaches so far back (`learning.md` 2). */
const HISTORY = { historyLength: 10, repeats: 8 } as const;

/**
 * Settings for one of this library's worlds, or a reasonable start for another.
 *
 * Coat: items by id and no attributes, since its text hardly tells which coats are alike (`learning.md` 2), and the shopper's
 * features as context. Synthetic and Amazon: items by id and text, with category and brand among the history features.
 *
 * @param world - which; its name decides, and its environment gives the width of the user context.
 */
export function worldPreset(world: World): WorldPreset {
  const { contextWidth } = world.batchEnv({ split: 'train', size: 1, seed: 0 });
  if (world.name === 'coat') return preset(world.catalog, { items: 'id', attributes: [], contextWidth, lanes: 16 });
  const attributes = ['category', 'brand'].filter((name) => world.catalog.attributes.includes(name));
  return preset(world.catalog, { items: 'id+text', attributes, contextWidth });
}

/** Settings for a catalogue of your own, without a world: items by id and text. */
export function catalogPreset(catalog: Catalog): WorldPreset {
  return preset(catalog, { items: 'id+text', attributes: [], contextWidth: 0 });
}

interface PresetParts {
  readonly items: 'id' | 'id+text';
  readonly attributes: readonly string[];
  readonly contextWidth: number;
  readonly lanes?: number;
}

function preset(catalog: Catalog, { items, attributes, contextWidth, ...numbers }: PresetParts): WorldPreset {
  let features: ItemFeatures | undefined;
  return {
    ...COMMON,
    ...numbers,
    attributes,
    agent: ({ seed, algorithm = 'ppo', itemPrior }) => {
      const common = {
        catalog,
        encoder: sasRec({ width: 32, blocks: 1, historyLength: HISTORY.historyLength }),
        algorithm,
        contextWidth,
        seed,
      };
      // The paper's agent has items by id and no history features: the defaults of `algorithm: 'paper'`.
      if (algorithm === 'paper') {
        if (!itemPrior) return common;
        throw new InvalidArgumentError(
          "expected `itemPrior` with another algorithm than 'paper', whose agent has no history features",
          { argument: 'itemPrior' },
        );
      }
      // Thousands of texts take seconds: once for all agents of a world.
      if (items !== 'id') features ??= ItemFeatures.tfidf(catalog);
      return {
        ...common,
        items,
        ...(features ? { features } : {}),
        historyFeatures: { repeats: HISTORY.repeats, attributes, ...(itemPrior ? { prior: itemPrior } : {}) },
      };
    },
  };
}
