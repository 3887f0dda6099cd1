import { type Command, Option } from 'commander';
import type { ComparisonProgress } from '../experiment/compare-methods.js';
import { DEMO, demoWorld, runDemo } from '../experiment/demo.js';
import { formatCount } from '../experiment/report-html.js';
import { typicalEpisodes } from '../world/episode-trace.js';
import { type BackendOption, backendOption } from './backend-option.js';
import { integer } from './parse-options.js';
import type { ProgressState } from './progress-display.js';
import { cardTable, comparisonTable } from './result-tables.js';
import { seedList } from './seed-list.js';
import { type CommonOptions, type OpenSession, withCommonOptions } from './session.js';

interface DemoCommandOptions extends CommonOptions, BackendOption {
  readonly seeds: number;
  readonly steps: number;
  readonly calls: number;
  readonly episodes: number;
}

/** `ialp demo`. */
export function addDemo(root: Command, open: OpenSession): void {
  const hidden = (flags: string, value: number): Option =>
    new Option(flags).argParser(integer(1)).default(value).hideHelp();
  withCommonOptions(root.command('demo'), 'ialp-demo')
    .description('pre-train and adapt on the embedded synthetic world: every method, a table, a report')
    .option('--seeds <n>', 'how many seeds, from --seed on', integer(1, 1000), 1)
    .addOption(backendOption())
    .addOption(hidden('--steps <n>', DEMO.steps))
    .addOption(hidden('--calls <n>', DEMO.calls))
    .addOption(hidden('--episodes <n>', DEMO.episodes))
    .action((options: DemoCommandOptions) => demo(options, open));
}

async function demo(options: DemoCommandOptions, open: OpenSession): Promise<void> {
  const { steps, calls, episodes, backend } = options;
  const session = open(options);
  const seeds = seedList(options.seed, options.seeds);
  const world = demoWorld();
  session.say(`ialp ${session.version}: iALP and A-iALP on the embedded synthetic world.`);
  await session.startBackend(backend);
  session.say(world.description);
  const storage = await session.openState();
  session.say(
    `Pre-training asks a simulated oracle that reads only text ${formatCount(calls)} questions; then scratch, fineTune and mixture\n` +
      `learn online by ${DEMO.algorithm} for ${formatCount(steps)} steps each; ${seeds.length === 1 ? `seed ${seeds[0]}` : `seeds ${seeds.join(', ')}`}.`,
  );
  const result = await runDemo({
    seeds,
    steps,
    calls,
    episodes,
    storage,
    signal: session.signal,
    onWarning: session.warn,
    onProgress: (progress) => session.progress(describe(progress, seeds.length)),
    onCard: (card) => session.sayTable('World card: what the world itself allows', (style) => cardTable(card, style)),
  });
  const { rows, curves, card, fusedShare } = result;
  session.sayTable(
    `All methods: mean return of ${formatCount(episodes)} test episodes${seeds.length > 1 ? ` x ${seeds.length} seeds` : ''}, by environment steps of learning`,
    (style) => comparisonTable(rows, style),
  );
  session.say('Interval (95 %), length and coverage are those at the last step count of each line.');
  await session.finish({
    title: 'iALP on the synthetic world',
    summary: world.description,
    seeds,
    rows,
    kind: 'run',
    file: 'result.json',
    curves,
    card,
    episodes: typicalEpisodes(world),
    notes: [
      `The oracle is simulated and reads only the items' texts. Every method learns online by the same algorithm, ${DEMO.algorithm}.`,
      'Controls: ialpShuffledOracle learned from answers about other items’ texts; wrongSign has the pre-trained taste turned around.',
      `fineTune and mixture learn from ialp flattened to a mean entropy of ${DEMO.handoverEntropy} nats, so their first steps are below ialp’s own point.`,
      'The oracle row is the card’s best planner, which is told the rewards.',
    ],
    fusedShare,
    kernels: fusedShare > 0 ? 'fused' : 'reference',
  });
  await session.closeState();
}

function describe({ method, seed, done, training }: ComparisonProgress, seeds: number): ProgressState {
  const label = `${method}${seeds > 1 ? `, seed ${seed}` : ''}`;
  if (!training) return { label, done };
  const { phase, steps, totalSteps } = training;
  return {
    label,
    done,
    detail: `${formatCount(steps)} / ${formatCount(totalSteps)} ${phase === 'pretrain' ? 'answers' : 'steps'}`,
  };
}
