import { Argument, type Command, Option } from 'commander';
import { formatCount } from '../experiment/report-html.js';
import type { JsonValue } from '../foundation/json.js';
import { fileStorage } from '../node/file-storage.js';
import { worldCard } from '../world/card.js';
import { typicalEpisodes } from '../world/episode-trace.js';
import { CARD_POLICIES, type CardPolicy, WORLD_SPLITS, type WorldSplit } from '../world/world.js';
import { saveWorldCard } from '../world/world-folder.js';
import { isWorldName, loadWorld, WORLD_NAMES, type WorldOptions, withWorldOptions, worldPlace } from './load-world.js';
import { integer, namesAmong } from './parse-options.js';
import { cardTable } from './result-tables.js';
import { seedList } from './seed-list.js';
import { type CommonOptions, type OpenSession, withCommonOptions } from './session.js';
import { addWorldBuild } from './world-build-command.js';

interface CardCommandOptions extends CommonOptions, WorldOptions {
  readonly split?: WorldSplit;
  readonly episodes?: number;
  readonly seeds: number;
  readonly policies?: CardPolicy[];
}

/** `ialp world card`. */
export function addWorld(root: Command, open: OpenSession): void {
  const world = root.command('world').description('make a world, and measure what it itself allows');
  addWorldBuild(world, open);
  const card = world
    .command('card')
    .description('measure the policies that need no training, from chance to those told the truth');
  withWorldOptions(withCommonOptions(card))
    .addArgument(
      new Argument('<world>', `${WORLD_NAMES.join(', ')}, or the folder of a built world`).argParser(worldPlace),
    )
    .addOption(
      new Option('--split <name>', 'whose users come (default: all for coat, else test)').choices(WORLD_SPLITS),
    )
    .option('--episodes <n>', 'episodes of each seed', integer(1))
    .option('--seeds <n>', 'how many seeds, from --seed on', integer(1, 1000), 5)
    .option('--policies <names>', `some of ${CARD_POLICIES.join(', ')}`, namesAmong(CARD_POLICIES))
    .action((place: string, options: CardCommandOptions) => measure(card, place, options, open));
}

async function measure(command: Command, place: string, options: CardCommandOptions, open: OpenSession): Promise<void> {
  const { split = place === 'coat' ? 'all' : 'test', episodes, policies } = options;
  const session = open(options);
  const seeds = seedList(options.seed, options.seeds);
  const world = await loadWorld(command, place, options, ['train', split]);
  const isFolder = !isWorldName(place);
  // What is fitted is scored by a backend.
  if (isFolder && 'dispose' in world) await session.startBackend('auto');
  session.say(world.description);
  const of = policies ?? world.policies;
  session.progress({ label: of[0] as string, done: 0 });
  const rows = await worldCard(world, {
    split,
    seeds,
    ...(episodes !== undefined ? { episodes } : {}),
    ...(policies ? { policies } : {}),
    signal: session.signal,
    onProgress: ({ done, total }) => session.progress({ label: of[done] ?? 'done', done: done / total }),
  });
  session.sayTable(
    `World card: ${world.name}, ${split} users, ${formatCount(episodes ?? world.cardEpisodes)} episodes x ${seeds.length} seeds`,
    (style) => cardTable(rows, style),
  );
  if (isFolder) {
    // Through JSON: what the public contract says of a row, and nothing else.
    const card = JSON.parse(JSON.stringify({ seeds, episodes: episodes ?? world.cardEpisodes, rows })) as JsonValue;
    await saveWorldCard(fileStorage(place), split, card);
    session.say(`\nThe card is kept in ${place}.`);
  }
  const summary = world.description;
  const traces = typicalEpisodes(world, { split, seed: seeds[0] as number });
  await session.finish({
    title: `World card: ${world.name}`,
    summary,
    seeds,
    rows,
    kind: 'card',
    file: 'card.json',
    episodes: traces,
  });
}
