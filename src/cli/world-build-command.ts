import { basename, join } from 'node:path';
import { Argument, type Command, Option } from 'commander';
import { AMAZON_FILES } from '../catalog/amazon.js';
import { COAT_FILES } from '../catalog/coat.js';
import { LASTFM_FILES } from '../catalog/lastfm.js';
import { MOVIELENS_FILES } from '../catalog/movielens.js';
import { TRACKS_FILES, trackSequences } from '../catalog/tracks.js';
import type { TemperRule } from '../env/leave-rules.js';
import { DEMO } from '../experiment/demo.js';
import { formatCount } from '../experiment/report-html.js';
import type { Storage } from '../foundation/storage.js';
import { fileStorage } from '../node/file-storage.js';
import { sha256OfFile } from '../node/hash-file.js';
import {
  readAmazon,
  readCoat,
  readInteractions,
  readItems,
  readLastfm,
  readMovielens,
  readTracks,
} from '../node/read-data.js';
import { fitCoatModel } from '../world/coat-model.js';
import { customWorldSpec, movielensWorldSpec, tracksWorldSpec } from '../world/custom-world.js';
import { industryWorldSpec } from '../world/industry-world.js';
import { lfmWorldSpec } from '../world/lfm-world.js';
import type { SequenceWorldData, SequenceWorldSpec } from '../world/sequence-world.js';
import { disposeWorld, type StoredWorld, storedWorld } from '../world/stored-world.js';
import type { WorldInput } from '../world/world-files.js';
import { buildWorldFolder, saveWorldFolder } from '../world/world-folder.js';
import { folder, integer, names, real, worldSize } from './parse-options.js';
import type { CommonOptions, OpenSession, Session } from './session.js';

/** Worlds that can be built. */
const BUILDABLE = ['coat', 'industry', 'lfm', 'tracks', 'movielens', 'synthetic', 'custom'] as const;
type Buildable = (typeof BUILDABLE)[number];

interface BuildCommandOptions extends CommonOptions {
  readonly out: string;
  readonly data?: string;
  readonly diversity?: 'none' | 'soft' | 'hard';
  readonly fatigue?: number;
  readonly stochastic?: number;
  readonly repeats?: boolean;
  readonly maxSteps?: number;
  readonly meanReward?: number;
  readonly bestReward?: number;
  readonly members?: number;
  readonly maxEpochs?: number;
  readonly reward?: 'truth' | 'model';
  readonly window?: 'legacy' | 'correct' | 'none';
  readonly evaluation?: 'FB' | 'NX_0' | 'NX_10';
  readonly worldSize?: { readonly items: number; readonly categories: number };
  readonly order?: 'plays' | 'tags';
  readonly tracks?: number;
  readonly minCount?: number;
  readonly minRating?: number;
  readonly items?: string;
  readonly interactions?: string;
  readonly attributes?: string[];
  readonly category?: string;
  readonly idColumn?: string;
  readonly userColumn?: string;
  readonly itemColumn?: string;
  readonly timeColumn?: string;
  readonly ratingColumn?: string;
  readonly scenario?: string;
  readonly itemNoun?: string;
  readonly behavior?: string;
}

/** Options of every sequence world. */
const SEQUENCE = [
  'diversity',
  'fatigue',
  'stochastic',
  'repeats',
  'maxSteps',
  'meanReward',
  'bestReward',
  'members',
  'maxEpochs',
] as const;
/** Which options, beside those of every build, a world has. */
const FITTING: Readonly<Record<Buildable, readonly (keyof BuildCommandOptions)[]>> = {
  coat: ['data', 'reward', 'window', 'evaluation'],
  synthetic: ['worldSize', 'repeats', 'maxSteps'],
  industry: ['data', ...SEQUENCE],
  lfm: ['data', 'order', 'minCount', ...SEQUENCE],
  tracks: ['data', 'tracks', ...SEQUENCE],
  movielens: ['data', 'minCount', 'minRating', ...SEQUENCE],
  custom: [
    ...(['items', 'interactions', 'attributes', 'category', 'idColumn', 'userColumn', 'itemColumn'] as const),
    ...(['timeColumn', 'ratingColumn', 'minRating', 'scenario', 'itemNoun', 'behavior'] as const),
    ...SEQUENCE,
  ],
};
const ALWAYS: readonly string[] = ['out', 'seed', 'verbose'];
/** What `--data` holds, where a world needs it. */
const DATA_FILES: Readonly<Partial<Record<Buildable, readonly string[]>>> = {
  coat: Object.values(COAT_FILES),
  industry: Object.values(AMAZON_FILES),
  lfm: Object.values(LASTFM_FILES),
  tracks: Object.values(TRACKS_FILES),
  movielens: Object.values(MOVIELENS_FILES),
};

/** `ialp world build`. */
export function addWorldBuild(world: Command, open: OpenSession): void {
  const build = world
    .command('build')
    .description('make a world from data, once, into a folder that other commands take in place of a name')
    .addArgument(new Argument('<world>', 'which one').choices(BUILDABLE))
    .requiredOption('--out <dir>', 'folder of the world; an interrupted build in it goes on', folder)
    .option('--data <dir>', 'folder of the data set, as it was unpacked', folder)
    .option('--seed <n>', 'seed of the split and of the reward models', integer(0, 2_000_000_000), 1)
    .option('--verbose', 'show where in the code an error comes from');
  build
    .optionsGroup('Rule of a sequence world:')
    .addOption(
      new Option('--diversity <kind>', 'boredom with a category: none, soft (drop 1.5) or hard (drop 3)').choices([
        'none',
        'soft',
        'hard',
      ]),
    )
    .option('--fatigue <x>', 'each of the last 4 items of its category multiplies a reward by x', real(0, 1))
    .option(
      '--stochastic <scale>',
      'users leave by chance around the mark, temper units',
      real(0, 1000, { isOpen: true }),
    )
    .option('--repeats', 'items may be shown again')
    .option('--max-steps <n>', 'steps after which a visit is cut', integer(1, 10_000))
    .option('--mean-reward <x>', 'mean reward of random items', real(0, 5, { isOpen: true }))
    .option('--best-reward <x>', 'mean reward of each state’s best item', real(0, 5, { isOpen: true }))
    .option('--members <n>', 'reward models whose mean is taken', integer(1, 64))
    .option('--max-epochs <n>', 'most epochs of each', integer(1, 10_000));
  build
    .optionsGroup('Coat and synthetic:')
    .addOption(
      new Option('--reward <kind>', 'the completed ratings, or DeepFM fitted to train.ascii').choices([
        'truth',
        'model',
      ]),
    )
    .addOption(new Option('--window <kind>', 'window of the leave rule').choices(['legacy', 'correct', 'none']))
    .addOption(
      new Option('--evaluation <mode>', 'repeats (FB), none (NX_0), none and 10 steps (NX_10)').choices([
        'FB',
        'NX_0',
        'NX_10',
      ]),
    )
    .option(
      '--world-size <AxC>',
      `items and categories (default: ${DEMO.world.items}x${DEMO.world.categories})`,
      worldSize,
    );
  build
    .optionsGroup('lfm, tracks, movielens:')
    .addOption(new Option('--order <kind>', 'lfm: by play count or by first tag').choices(['plays', 'tags']))
    .option('--tracks <n>', 'tracks: how many (default: 18297)', integer(2, 1_000_000))
    .option(
      '--min-count <n>',
      'lfm: listeners an artist needs; movielens: ratings a film needs (default: 5)',
      integer(1),
    )
    .option('--min-rating <x>', 'movielens, custom: lower ratings are left out', real(0, 1_000_000));
  build
    .optionsGroup('custom:')
    .option('--items <file>', 'items, .csv, .tsv or .jsonl')
    .option('--interactions <file>', 'log, a line for each time a user took an item')
    .option('--attributes <names>', 'columns that make an item’s text', names)
    .option('--category <name>', 'column whose repetition bores')
    .option('--id-column <name>', 'column of the items that holds the id (default: id)')
    .option('--user-column <name>', 'column of the log that holds the user (default: user)')
    .option('--item-column <name>', 'column of the log that holds the item’s id (default: item)')
    .option('--time-column <name>', 'column of the log that grows with time (default: the order of lines)')
    .option('--rating-column <name>', 'column of the log that holds a rating, for --min-rating')
    .option('--scenario <text>', 'Table 1’s {scenario} (default: shopping)')
    .option('--item-noun <text>', 'Table 1’s {item} (default: item)')
    .option('--behavior <text>', 'Table 1’s {behavior} (default: interaction)');
  build.action((kind: Buildable, options: BuildCommandOptions) => run(build, kind, options, open));
}

async function run(command: Command, kind: Buildable, options: BuildCommandOptions, open: OpenSession): Promise<void> {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const flag = (name: string): string => `--${name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || ALWAYS.includes(name) || FITTING[kind].includes(name as keyof BuildCommandOptions))
      continue;
    refuse(`${flag(name)} is not for the world ${kind}; its options are ${FITTING[kind].map(flag).join(', ')}`);
  }
  const files = DATA_FILES[kind];
  if (files !== undefined && options.data === undefined)
    refuse(`the world ${kind} needs --data DIR, the folder with ${files.join(', ')}`);
  if (kind === 'custom') {
    for (const name of ['items', 'interactions', 'attributes'] as const)
      if (options[name] === undefined) refuse(`the world custom needs ${flag(name)}`);
    if (options.minRating !== undefined && options.ratingColumn === undefined)
      refuse('--min-rating needs --rating-column');
  }
  const session = open(options);
  const storage = fileStorage(options.out);
  const stored =
    kind === 'coat' || kind === 'synthetic'
      ? await buildPlain(kind, options, session, storage)
      : await buildSequences(kind, options, session, storage);
  session.clearProgress();
  session.say(summary(stored, options.out).join('\n'));
}

/** Worlds that are stored as they are read or generated. */
async function buildPlain(
  kind: 'coat' | 'synthetic',
  options: BuildCommandOptions,
  session: Session,
  storage: Storage,
): Promise<StoredWorld> {
  const { seed, worldSize, repeats, maxSteps } = options;
  if (kind === 'synthetic') {
    const stored: StoredWorld = {
      kind,
      options: {
        ...DEMO.world,
        seed,
        ...worldSize,
        ...(repeats ? { noRepeat: false } : {}),
        ...(maxSteps === undefined ? {} : { maxEpisodeSteps: maxSteps }),
      },
    };
    await saveWorldFolder(storage, stored);
    return stored;
  }
  const { window = 'correct', evaluation = 'FB', reward = 'truth', data: from = '' } = options;
  const data = await readCoat(from);
  const fitted =
    reward === 'truth'
      ? reward
      : await fitCoatModel({
          data,
          seed,
          signal: session.signal,
          onProgress: ({ done, total }) => session.progress({ label: 'fitting DeepFM', done: done / total }),
        });
  const stored: StoredWorld = { kind, options: { data, window, evaluation, reward: fitted, splitSeed: seed } };
  await saveWorldFolder(storage, stored, { inputs: await inputsOf(from, Object.values(COAT_FILES)) });
  return stored;
}

/** Worlds with reward models, which are kept as they are fitted. */
async function buildSequences(
  kind: Exclude<Buildable, 'coat' | 'synthetic'>,
  options: BuildCommandOptions,
  session: Session,
  storage: Storage,
): Promise<StoredWorld> {
  const data = await readData(kind, options, session);
  const inputs =
    kind === 'custom'
      ? await Promise.all([inputOf(options.items as string), inputOf(options.interactions as string)])
      : await inputsOf(options.data as string, DATA_FILES[kind] as readonly string[]);
  const { items, sequences, interactions, meanLength } = data.sequences.statistics();
  session.say(
    `Data: ${formatCount(items)} items, ${formatCount(sequences)} sequences of ${meanLength.toFixed(1)} on average, ${formatCount(interactions)} interactions.`,
  );
  const stored = await buildWorldFolder(storage, data, specOf(kind, data, options), {
    inputs,
    signal: session.signal,
    onClaim: (claim) => {
      if (claim === 'finished') session.say('This world is there already: nothing is fitted again.');
      else session.keepStateIn(options.out, claim === 'resumed');
    },
    onProgress: ({ split, member, epoch, done, total }) =>
      session.progress({ label: `fitting ${split} ${member}`, done: done / total, detail: `epoch ${epoch}` }),
  });
  session.keepStateIn(undefined);
  return stored;
}

async function readData(
  kind: Exclude<Buildable, 'coat' | 'synthetic'>,
  options: BuildCommandOptions,
  session: Session,
): Promise<SequenceWorldData> {
  const { data = '', minCount, minRating, order, tracks, seed } = options;
  switch (kind) {
    case 'industry':
      return readAmazon(data);
    case 'lfm': {
      const { rareArtists, ...read } = await readLastfm(data, { ...given({ order, minListeners: minCount }) });
      session.say(`Artists with too few listeners are left out: ${formatCount(rareArtists)}.`);
      return read;
    }
    case 'movielens': {
      const { rareFilms, ...read } = await readMovielens(data, { ...given({ minCount, minRating }) });
      session.say(`Films with too few ratings are left out: ${formatCount(rareFilms)}.`);
      return read;
    }
    case 'tracks': {
      const read = await readTracks(data, { ...given({ count: tracks }) });
      session.say('The sequences are synthetic: seeded walks over shared artists and tags.');
      return { catalog: read.catalog, sequences: trackSequences(read, { seed }) };
    }
    case 'custom': {
      const { items = '', interactions = '', attributes = [], category, idColumn } = options;
      const { scenario = 'shopping', itemNoun = 'item', behavior = 'interaction' } = options;
      const isHidden = category !== undefined && !attributes.includes(category);
      const catalog = await readItems(items, {
        ...{ scenario, itemNoun, behavior, attributes, extraAttributes: isHidden ? [category] : [] },
        ...given({ idColumn }),
      });
      const { userColumn, itemColumn, timeColumn, ratingColumn } = options;
      const { sequences, belowRating } = await readInteractions(interactions, {
        catalog,
        ...given({ userColumn, itemColumn, timestampColumn: timeColumn, ratingColumn, minRating }),
      });
      if (minRating !== undefined) session.say(`Ratings below ${minRating} are left out: ${formatCount(belowRating)}.`);
      return { catalog, sequences };
    }
  }
}

function specOf(
  kind: Exclude<Buildable, 'coat' | 'synthetic'>,
  data: SequenceWorldData,
  options: BuildCommandOptions,
): SequenceWorldSpec {
  const { category, seed, meanReward, bestReward, maxSteps, repeats, members, maxEpochs } = options;
  const changes = given({ meanReward, bestReward, maxEpisodeSteps: maxSteps });
  const common = { ...changes, splitSeed: seed, ...(repeats ? { noRepeat: false } : {}) };
  const base = {
    industry: () => industryWorldSpec(common),
    lfm: () => lfmWorldSpec(common),
    tracks: () => tracksWorldSpec(common),
    movielens: () => movielensWorldSpec(common),
    custom: () => customWorldSpec(data, { ...common, ...given({ category }) }),
  }[kind]();
  return {
    ...base,
    rule: ruleOf(base.rule, options),
    rewardModel: { ...base.rewardModel, ...given({ members, maxEpochs }) },
  };
}

const LOOKBACK = 4;

function ruleOf(rule: TemperRule, { diversity, fatigue, stochastic }: BuildCommandOptions): TemperRule {
  const { diversity: own, ...plain } = rule;
  const kept =
    diversity === undefined
      ? given({ diversity: own })
      : diversity === 'none'
        ? {}
        : { diversity: { lookback: LOOKBACK, repeats: 2, drop: diversity === 'soft' ? 1.5 : 3 } };
  return {
    ...plain,
    ...kept,
    ...(fatigue === undefined ? {} : { fatigue: { lookback: LOOKBACK, factor: fatigue } }),
    ...(stochastic === undefined ? {} : { stochastic: { scale: stochastic } }),
  };
}

/** Without what was not given. */
function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

async function inputOf(path: string): Promise<WorldInput> {
  return { file: basename(path), sha256: await sha256OfFile(path) };
}

async function inputsOf(from: string, files: readonly string[]): Promise<WorldInput[]> {
  const inputs: WorldInput[] = [];
  for (const file of files) {
    try {
      inputs.push({ file, sha256: await sha256OfFile(join(from, file)) });
    } catch (error) {
      // Coat's `test.ascii` may be left out; every other file has been read by now.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return inputs;
}

function summary(stored: StoredWorld, out: string): string[] {
  const world = storedWorld(stored);
  try {
    const lines = [`World   ${world.name}: ${world.description}`];
    if (stored.kind === 'sequence') {
      for (const [split, { auc, hitRate10, calibration, members }] of Object.entries(stored.built.fits))
        lines.push(
          `${split.padEnd(11)} ${members.length} models, held-out AUC ${auc.toFixed(3)}, HR@10 ${hitRate10.toFixed(3)}; reward 5 sigmoid(${calibration.a.toFixed(3)} (logit - ${calibration.b.toFixed(3)}))`,
        );
    }
    return [...lines, `Folder  ${out}`, `Next    ialp world card ${out}`];
  } finally {
    disposeWorld(world);
  }
}
