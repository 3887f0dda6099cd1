import { Argument, type Command, Option } from 'commander';
import { formatCount } from '../experiment/report-html.js';
import { worldCard } from '../world/card.js';
import { typicalEpisodes } from '../world/episode-trace.js';
import { CARD_POLICIES, type CardPolicy, WORLD_SPLITS, type WorldSplit } from '../world/world.js';
import { loadWorld, WORLD_NAMES, type WorldName, type WorldOptions, withWorldOptions } from './load-world.js';
import { integer, namesAmong } from './parse-options.js';
import { cardTable } from './result-tables.js';
import { seedList } from './seed-list.js';
import { type CommonOptions, type OpenSession, withCommonOptions } from './session.js';

interface CardCommandOptions extends CommonOptions, WorldOptions {
  readonly split?: WorldSplit;
  readonly episodes?: number;
  readonly seeds: number;
  readonly policies?: CardPolicy[];
}

/** `ialp world card`. */
export function addWorld(root: Command, open: OpenSession): void {
  const world = root.command('world').description('what a world itself allows');
  const card = world
    .command('card')
    .description('measure the policies that need no training, from chance to those told the truth');
  withWorldOptions(withCommonOptions(card))
    .addArgument(new Argument('<world>', 'which world').choices(WORLD_NAMES))
    .addOption(
      new Option('--split <name>', 'whose users come (default: all for coat, else test)').choices(WORLD_SPLITS),
    )
    .option('--episodes <n>', 'episodes of each seed', integer(1))
    .option('--seeds <n>', 'how many seeds, from --seed on', integer(1, 1000), 5)
    .option('--policies <names>', `some of ${CARD_POLICIES.join(', ')}`, namesAmong(CARD_POLICIES))
    .action((name: WorldName, options: CardCommandOptions) => measure(card, name, options, open));
}

async function measure(
  command: Command,
  name: WorldName,
  options: CardCommandOptions,
  open: OpenSession,
): Promise<void> {
  const { split = name === 'coat' ? 'all' : 'test', episodes, policies } = options;
  const session = open(options);
  const seeds = seedList(options.seed, options.seeds);
  const world = await loadWorld(command, name, options);
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
