import { type Command, Option } from 'commander';
import { ActorCritic } from '../agent/actor-critic.js';
import { catalogPreset, worldPreset } from '../experiment/presets.js';
import { formatCount } from '../experiment/report-html.js';
import { plannedCalls, pretrainOnWorld } from '../experiment/run-on-world.js';
import { readItems } from '../node/read-data.js';
import { pretrain } from '../train/pretrain.js';
import { type BackendOption, backendOption } from './backend-option.js';
import { loadWorld, type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import { makeOracle, type OracleName, oracleOption } from './make-oracle.js';
import { integer, names, real } from './parse-options.js';
import { runTable } from './result-tables.js';
import { describeRun, describeTraining } from './run-progress.js';
import { savePolicy } from './saved-policy.js';
import { type CommonOptions, type OpenSession, type Session, withCommonOptions } from './session.js';
import { textTable } from './text-table.js';

interface PretrainCommandOptions extends CommonOptions, WorldOptions, BackendOption {
  readonly world?: string;
  readonly items?: string;
  readonly scenario: string;
  readonly itemNoun: string;
  readonly behavior: string;
  readonly attributes?: string[];
  readonly oracle: OracleName;
  readonly noise: number;
  readonly calls?: number;
  readonly epochs?: number;
  readonly algorithm: 'list' | 'paper';
  readonly checkpointEvery: number;
  readonly lanes?: number;
  readonly starts?: number;
  readonly episodes?: number;
}

/** `ialp pretrain`. */
export function addPretrain(root: Command, open: OpenSession): void {
  const command = root.command('pretrain');
  withWorldOptions(
    withCommonOptions(command, 'ialp-pretrain')
      .description('Algorithm 1: learn a policy from an oracle’s preferences, before any user is met')
      .addOption(worldOption())
      .option('--items <file>', 'your own items instead of a world: .csv, .tsv, .jsonl or .ndjson with an `id`'),
  )
    .option('--attributes <names>', 'columns of --items that make an item’s text, separated by commas', names)
    .option('--scenario <text>', 'what --items are of, as the oracle is told', 'recommendation')
    .option('--item-noun <word>', 'what one of --items is called', 'item')
    .option('--behavior <word>', 'what users do with --items', 'choosing')
    .addOption(oracleOption())
    .option('--noise <x>', 'standard deviation of the simulated oracle’s noise', real(0, 1000), 0.1)
    .option('--calls <n>', 'questions in all (default: 2000, or what --epochs asks)', integer(1))
    .option('--epochs <n>', 'ten steps from every start so many times; --calls caps them', integer(1, 1_000_000))
    .option('--starts <n>', 'simulated users’ beginnings of a world (default: 256)', integer(1, 1_000_000))
    .addOption(
      new Option('--algorithm <name>', 'how it learns from answers').choices(['list', 'paper']).default('list'),
    )
    .option('--lanes <n>', 'simulated users at once', integer(1, 65_536))
    .option('--checkpoint-every <n>', 'questions between checkpoints', integer(1), 500)
    .option('--episodes <n>', 'episodes of each measurement (default: 192)', integer(1))
    .addOption(backendOption())
    .action((options: PretrainCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: PretrainCommandOptions, open: OpenSession): Promise<void> {
  const { world, items } = options;
  if ((world === undefined) === (items === undefined)) {
    const got = world === undefined ? 'neither' : 'both';
    command.error(`error: expected exactly one of --world NAME and --items FILE, got ${got}`, { exitCode: 2 });
  }
  const session = open(options);
  if (world !== undefined) await onWorld(command, world, options, session);
  else await onItems(command, items as string, options, session);
}

async function onWorld(
  command: Command,
  place: string,
  options: PretrainCommandOptions,
  session: Session,
): Promise<void> {
  const { seed, noise, algorithm, checkpointEvery, lanes, calls, epochs, episodes } = options;
  const world = await loadWorld(command, place, options, ['train', 'test']);
  await session.startBackend(options.backend);
  session.say(world.description);
  const preset = worldPreset(world);
  const { starts = preset.starts } = options;
  const planned = plannedCalls({ calls, epochs, starts }, preset.calls);
  const { oracle, method } = makeOracle(options.oracle, { catalog: world.catalog, noise, seed });
  session.say(
    `Plan: ${formatCount(planned)} questions to ${oracle.id}, from ${formatCount(starts)} starts, learned from by '${algorithm}'.`,
  );
  const storage = await session.openState();
  const result = await pretrainOnWorld({
    ...{ world, oracle, method, seed, calls: planned, starts, algorithm, lanes, checkpointEvery, episodes, storage },
    onProgress: (progress) => session.progress(describeRun(progress)),
    onWarning: session.warn,
    signal: session.signal,
  });
  const { agent, facts, training, rows, kernels, fusedShare } = result;
  try {
    await savePolicy(session.openPolicy(), agent, facts);
  } finally {
    agent.dispose();
  }
  session.sayTable(`Pre-trained on ${world.name}, measured on its test users`, (style) => runTable(rows, style));
  session.say(`\nPolicy  ${session.policyFolder()}`);
  await session.finish({
    title: `Pre-training on ${world.name}`,
    summary: world.description,
    seeds: [seed],
    rows,
    kind: 'run',
    file: 'result.json',
    notes: [
      `${formatCount(training.oracleCalls)} questions to ${oracle.id}; ${formatCount(training.updates)} updates by '${algorithm}'.`,
    ],
    kernels,
    fusedShare,
  });
  await session.closeState();
}

async function onItems(
  command: Command,
  path: string,
  options: PretrainCommandOptions,
  session: Session,
): Promise<void> {
  const { seed, noise, algorithm, checkpointEvery, calls, epochs, attributes, scenario, itemNoun, behavior } = options;
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  if (attributes === undefined) return refuse('--items needs --attributes NAMES, the columns that make an item’s text');
  for (const name of ['data', 'starts', 'episodes', 'legacyWindow', 'worldSize'] as const) {
    if (options[name] !== undefined)
      refuse(`--${name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} is for a world, not for --items`);
  }
  const catalog = await readItems(path, { scenario, itemNoun, behavior, attributes });
  await session.startBackend(options.backend);
  const preset = catalogPreset(catalog);
  const planned = plannedCalls({ calls, epochs, starts: catalog.size }, preset.calls);
  const { oracle, method } = makeOracle(options.oracle, { catalog, noise, seed });
  session.say(`${formatCount(catalog.size)} items from ${path}.`);
  session.say(
    `Plan: ${formatCount(planned)} questions to ${oracle.id}, each start one item, learned from by '${algorithm}'.`,
  );
  const storage = await session.openState();
  using agent = new ActorCritic(preset.agent({ seed, ...(algorithm === 'paper' ? { algorithm } : {}) }));
  const { lanes = preset.lanes } = options;
  const { updates, oracleCalls, fusedShare } = await pretrain({
    ...{ agent, oracle, budget: { calls: planned }, algorithm, lanes, seed, checkpointEvery, storage },
    onProgress: (training) => {
      const done = training.steps / training.totalSteps;
      session.progress({ label: 'pre-training', done, detail: describeTraining(training) });
    },
    onWarning: session.warn,
    signal: session.signal,
  });
  await savePolicy(session.openPolicy(), agent, { method, algorithm, steps: 0, updates, oracleCalls });
  const first = catalog.id(0);
  const columns = [
    { title: 'id', align: 'left' },
    { title: 'text', align: 'left' },
    { title: 'probability', align: 'right' },
  ] as const;
  const best = agent.recommend({ history: [first], k: Math.min(5, catalog.size - 1) });
  const cells = best.map(({ id, probability }) => [id, catalog.text(catalog.indexOf(id)), probability.toFixed(3)]);
  session.sayTable(`What it recommends after ${first} (${catalog.text(0)})`, (style) =>
    textTable(columns, cells, style),
  );
  session.say(`\nPolicy  ${session.policyFolder()}`);
  await session.finish({
    title: `Pre-training on ${path}`,
    summary: `${formatCount(catalog.size)} items; no world, so nothing is measured.`,
    seeds: [seed],
    rows: [],
    kind: 'run',
    file: 'result.json',
    notes: [
      `${formatCount(oracleCalls)} questions to ${oracle.id}; ${formatCount(updates)} updates by '${algorithm}'.`,
      `Recommended after ${first}: ${best.map(({ id }) => id).join(', ')}.`,
    ],
    kernels: agent.kernels.kind,
    fusedShare,
  });
  await session.closeState();
}
