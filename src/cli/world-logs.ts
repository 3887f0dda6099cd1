import type { Command } from 'commander';
import type { Catalog } from '../catalog/catalog.js';
import type { CoatData } from '../catalog/coat.js';
import { rewordedCatalog } from '../catalog/reworded-catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { syntheticData } from '../catalog/synthetic.js';
import { DEMO } from '../experiment/demo.js';
import { Rng } from '../foundation/rng.js';
import { fileStorage } from '../node/file-storage.js';
import { readAmazon, readCoat } from '../node/read-data.js';
import {
  type EvaluationList,
  type Negatives,
  nextItemLists,
  ratedLists,
  splitUsers,
} from '../oracle/next-item-lists.js';
import { coatUserParts, ratingCounts } from '../world/coat-world.js';
import { openWorldFolder } from '../world/world-folder.js';
import { isWorldName, type WorldOptions } from './load-world.js';

/** Parts of the users who left a log. */
export const LOG_PARTS = ['train', 'validation', 'test'] as const;
/** One of {@link LOG_PARTS}. */
export type LogPart = (typeof LOG_PARTS)[number];

/** How lists are drawn from logs. */
export interface LogListOptions {
  /** Highest K. */
  readonly candidateCount: number;
  /** How negatives are drawn. */
  readonly negatives: Negatives;
  /** Most lists. */
  readonly limit: number;
  /** Seed. */
  readonly seed: number;
}

/** What users of a world really took, in parts that share no user. */
export interface WorldLogs {
  /** Short name of the world. */
  readonly name: string;
  /** What a list is, in words. */
  readonly described: string;
  /** The items. */
  readonly catalog: Catalog;
  /** How often train users took each item, `[A]`. */
  readonly counts: ArrayLike<number>;
  /** Kinds of negatives that its lists can have. */
  readonly negatives: readonly Negatives[];
  /** Seed that the users were dealt by. */
  readonly splitSeed: number;
  /** Lists with a known answer, of one part's users. */
  lists(part: LogPart, options: LogListOptions): EvaluationList[];
  /** Lists for fine-tuning: of any of a user's items where there is an order, of train users. */
  trainingLists(options: LogListOptions): EvaluationList[];
  /** What a part's users took, in order; absent where the log has none. */
  readonly sequences?: (part: LogPart) => Sequences;
  /** Names of a part's users, as lists carry them. */
  users(part: LogPart): readonly string[];
}

/** Seed by which the worlds that have a name deal their users. */
const SPLIT_SEED = 1;
const SYNTHETIC_USERS = 2_000;
/** Items among which a generated user takes the best. */
const SYNTHETIC_CHOICE = 40;

/**
 * The logs of a world, by name or from its folder.
 *
 * @param command - told of options that do not fit; it ends with wrong usage.
 * @param attributes - what makes an item's text, where it is not what the world says.
 */
export async function openWorldLogs(
  command: Command,
  place: string,
  options: WorldOptions & { readonly attributes?: readonly string[] },
): Promise<WorldLogs> {
  const { data, attributes, worldSize } = options;
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const worded = (catalog: Catalog): Catalog => {
    if (attributes === undefined) return catalog;
    const known = [...catalog.attributes, ...catalog.extraAttributes];
    const unknown = attributes.find((name) => !known.includes(name));
    if (unknown !== undefined) refuse(`--attributes: items have no '${unknown}', but ${known.join(', ')}`);
    return rewordedCatalog(catalog, { attributes });
  };
  if (!isWorldName(place)) {
    if (data !== undefined) refuse('--data is said when a world is built, not for the folder of a built one');
    const stored = await openWorldFolder(fileStorage(place), { splits: [] });
    if (stored.kind === 'sequence') {
      const { spec, data } = stored.built;
      return sequenceLogs(spec.name, worded(data.catalog), data.sequences, spec.splitSeed);
    }
    if (stored.kind === 'coat') {
      const { data, splitSeed = SPLIT_SEED } = stored.options;
      return coatLogs(worded(data.catalog), data, splitSeed, refuse);
    }
    return syntheticLogs(stored.options, worded);
  }
  if (place === 'synthetic') {
    if (data !== undefined) refuse('--data is for coat and amazon: the synthetic world is generated');
    return syntheticLogs({ ...DEMO.world, ...worldSize }, worded);
  }
  if (data === undefined) return refuse(`the world ${place} needs --data DIR, the folder of its data set`);
  if (place === 'amazon') {
    const { catalog, sequences } = await readAmazon(data);
    return sequenceLogs('industrial', worded(catalog), sequences, SPLIT_SEED);
  }
  const coat = await readCoat(data);
  return coatLogs(worded(coat.catalog), coat, SPLIT_SEED, refuse);
}

function sequenceLogs(name: string, catalog: Catalog, sequences: Sequences, splitSeed: number): WorldLogs {
  const parts = splitUsers(sequences, { seed: splitSeed });
  const counts = parts.train.counts();
  return {
    name,
    described: 'the item a user took next, among others that the user never took',
    catalog,
    counts,
    negatives: ['uniform', 'popularity'],
    splitSeed,
    lists: (part, options) => nextItemLists({ sequences: parts[part], counts, ...options }),
    trainingLists: (options) => nextItemLists({ sequences: parts.train, counts, targets: 'any', ...options }),
    sequences: (part) => parts[part],
    users: (part) => [...new Set(parts[part].users)],
  };
}

function coatLogs(catalog: Catalog, data: CoatData, splitSeed: number, refuse: (message: string) => never): WorldLogs {
  const { test, train, users, items } = data;
  if (test === undefined) return refuse('Coat without test.ascii has no rating to ask about');
  const parts = coatUserParts(users, splitSeed);
  const ratings = train.map((rating, cell) => Math.max(rating, test[cell] as number));
  const lists = (part: LogPart, { candidateCount, limit, seed }: LogListOptions): EvaluationList[] =>
    ratedLists({ ratings, itemCount: items, users: parts[part], candidateCount, limit, seed });
  return {
    name: 'coat',
    described:
      'an item that a user rated 4 or 5, against items that the user rated 1 or 2; the history is what else they rated 4 or 5',
    catalog,
    counts: ratingCounts(data, parts.train),
    // A list holds nearly all that its user rated low: nothing is left to draw by popularity.
    negatives: ['uniform'],
    splitSeed,
    lists,
    trainingLists: (options) => lists('train', options),
    users: (part) => Array.from(parts[part], (user) => `user ${user}`),
  };
}

/** Made up: users come with three items and take the one that pays best of some drawn ones. */
function syntheticLogs(
  options: { readonly items?: number; readonly categories?: number; readonly seed?: number },
  worded: (catalog: Catalog) => Catalog,
): WorldLogs {
  const { items, categories, seed } = options;
  const data = syntheticData({
    ...(items === undefined ? {} : { items }),
    ...(categories === undefined ? {} : { categories }),
    ...(seed === undefined ? {} : { seed }),
  });
  const rng = new Rng(SPLIT_SEED).fork('synthetic-logs');
  const { size } = data.catalog;
  const lists = Array.from({ length: SYNTHETIC_USERS }, (_, u) => {
    const draws = rng.fork(u);
    const { vector, liked } = data.drawUser(draws);
    const shown = Array.from(draws.sample(size, Math.min(size, SYNTHETIC_CHOICE))).filter((i) => !liked.includes(i));
    const best = shown.reduce((a, b) => (data.reward(vector, b) > data.reward(vector, a) ? b : a));
    return [...liked, best];
  });
  return sequenceLogs('synthetic', worded(data.catalog), Sequences.from(lists, { itemCount: size }), SPLIT_SEED);
}
