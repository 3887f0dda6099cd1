import { type Command, Option } from 'commander';
import { formatCount } from '../experiment/report-html.js';
import { evaluateOnWorld } from '../experiment/run-on-world.js';
import { WORLD_SPLITS, type WorldSplit } from '../world/world.js';
import { type BackendOption, backendOption } from './backend-option.js';
import { loadWorld, type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import { folder, integer, real } from './parse-options.js';
import { runTable } from './result-tables.js';
import { describeRun } from './run-progress.js';
import { loadSavedPolicy } from './saved-policy.js';
import { seedList } from './seed-list.js';
import { type CommonOptions, type OpenSession, withCommonOptions } from './session.js';

interface EvaluateCommandOptions extends CommonOptions, WorldOptions, BackendOption {
  readonly world: string;
  readonly policy: string;
  readonly split: WorldSplit;
  readonly episodes: number;
  readonly seeds: number;
  readonly temperature: number;
}

/** `ialp evaluate`. */
export function addEvaluate(root: Command, open: OpenSession): void {
  const command = root.command('evaluate');
  withWorldOptions(
    withCommonOptions(command)
      .description('measure a saved policy, and random beside it')
      .addOption(worldOption().makeOptionMandatory())
      .requiredOption('--policy <dir>', 'folder of a policy, or of the run that made it', folder),
  )
    .addOption(new Option('--split <name>', 'whose users come').choices(WORLD_SPLITS).default('test'))
    .option('--episodes <n>', 'episodes of each seed', integer(1), 192)
    .option('--seeds <n>', 'how many seeds, from --seed on', integer(1, 1000), 1)
    .option('--temperature <x>', 'divides the logits before the softmax', real(0, 1000, { isOpen: true }), 1)
    .addOption(backendOption())
    .action((options: EvaluateCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: EvaluateCommandOptions, open: OpenSession): Promise<void> {
  const { policy, split, episodes, temperature } = options;
  const session = open(options);
  const seeds = seedList(options.seed, options.seeds);
  const world = await loadWorld(command, options.world, options, ['train', split]);
  await session.startBackend(options.backend);
  session.say(world.description);
  const { agent, facts } = await loadSavedPolicy(policy, world.catalog, session.warn);
  try {
    const { rows, kernels } = await evaluateOnWorld({
      ...{ world, agent, facts, split, episodes, seeds, temperature },
      onProgress: (progress) => session.progress(describeRun(progress)),
      signal: session.signal,
    });
    session.sayTable(
      `${facts.method} on ${world.name}, ${split} users, ${formatCount(episodes)} episodes x ${seeds.length} seeds`,
      (style) => runTable(rows, style),
    );
    const title = `${facts.method} on ${world.name}`;
    await session.finish({ title, summary: world.description, seeds, rows, kind: 'run', file: 'result.json', kernels });
  } finally {
    agent.dispose();
  }
}
