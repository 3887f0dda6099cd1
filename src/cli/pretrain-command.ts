import { type Command, Option } from 'commander';
import { ActorCritic } from '../agent/actor-critic.js';
import type { Catalog } from '../catalog/catalog.js';
import { catalogPreset, worldPreset } from '../experiment/presets.js';
import { formatCount } from '../experiment/report-html.js';
import type { Method } from '../experiment/result-schema.js';
import { plannedCalls, pretrainOnWorld } from '../experiment/run-on-world.js';
import { readItemNumbers, readItems } from '../node/read-data.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import { type RecordedAnswer, readAnswers } from '../oracle/recorded-answers.js';
import { pretrain } from '../train/pretrain.js';
import { type BackendOption, backendOption } from './backend-option.js';
import { openKept } from './keep-answers.js';
import { loadWorld, type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import {
  type BudgetOptions,
  budgetOf,
  type DebiasOptions,
  type ModelOptions,
  refuseBudget,
  refuseModelOptions,
  refuseUnheard,
  withBudgetOptions,
  withDebiasOptions,
  withModelOptions,
} from './oracle-options.js';
import { oracleSpecOption, parseOracleSpec, recordIn } from './oracle-spec.js';
import { integer, names } from './parse-options.js';
import { runTable } from './result-tables.js';
import { describeRun, describeTraining } from './run-progress.js';
import { savePolicy } from './saved-policy.js';
import { type CommonOptions, type OpenSession, type Session, withCommonOptions } from './session.js';
import { textTable } from './text-table.js';

interface PretrainCommandOptions
  extends CommonOptions,
    WorldOptions,
    BackendOption,
    ModelOptions,
    DebiasOptions,
    BudgetOptions {
  readonly world?: string;
  readonly items?: string;
  readonly scenario: string;
  readonly itemNoun: string;
  readonly behavior: string;
  readonly attributes?: string[];
  readonly oracle?: string;
  readonly answers?: string;
  readonly itemPrior?: string;
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
    .addOption(oracleSpecOption())
    .option('--answers <dir>', 'answers that `ialp distil` made, instead of an oracle: their folder or file')
    .option(
      '--item-prior <file>',
      'one number for each item, such as `ialp oracle rate` writes: .jsonl or .csv with `id` and `rating`',
    );
  withBudgetOptions(withDebiasOptions(withModelOptions(command)))
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
  const { world, items, oracle = 'simulated', answers } = options;
  if ((world === undefined) === (items === undefined)) {
    const got = world === undefined ? 'neither' : 'both';
    command.error(`error: expected exactly one of --world NAME and --items FILE, got ${got}`, { exitCode: 2 });
  }
  if (options.oracle !== undefined && answers !== undefined)
    command.error('error: expected at most one of --oracle SPEC and --answers DIR, got both', { exitCode: 2 });
  if (answers !== undefined || parseOracleSpec(oracle).kind === 'recorded') {
    refuseBudget(command, options, 'are for an oracle that is asked, not for recorded answers');
    refuseModelOptions(command, options, 'is for an oracle that is asked, not for recorded answers');
  } else {
    budgetOf(command, options);
    refuseUnheard(command, oracle, options);
  }
  if (world !== undefined && options.attributes !== undefined)
    command.error('error: --attributes is for --items; `ialp distil` asks about a world in other words', {
      exitCode: 2,
    });
  const session = open(options);
  if (world !== undefined) await onWorld(command, world, options, session);
  else await onItems(command, items as string, options, session);
}

/** Who teaches: an open oracle, or answers that are there. */
interface Teacher {
  readonly oracle?: PreferenceOracle;
  readonly answers?: readonly RecordedAnswer[];
  /** In words, for plans and reports. */
  readonly described: string;
  readonly method: Method;
  readonly close: () => Promise<void>;
}

async function openTeacher(
  command: Command,
  catalog: Catalog,
  options: PretrainCommandOptions,
  session: Session,
): Promise<Teacher> {
  const { oracle: spec = 'simulated' } = options;
  const parsed = parseOracleSpec(spec);
  const path = options.answers ?? (parsed.kind === 'recorded' ? parsed.file : undefined);
  if (path !== undefined) {
    for (const name of ['calls', 'epochs', 'starts'] as const) {
      if (options[name] !== undefined)
        command.error(`error: --${name} is for an oracle that is asked, not for recorded answers`, { exitCode: 2 });
    }
    const { oracleId, answers, invalid } = await readAnswers({ catalog, ...(await recordIn(path)) });
    if (invalid > 0) session.say(`${formatCount(invalid)} answers that name nothing are left out.`);
    return {
      // The order in which answers came is chance; the policy is to follow from the set alone.
      answers: inOrder(answers),
      described: `${formatCount(answers.length)} answers of ${oracleId}`,
      method: 'ialp',
      close: async () => {},
    };
  }
  const { oracle, close } = await openKept(command, spec, options, catalog, session);
  const method = parsed.kind === 'shuffled' ? 'ialpShuffledOracle' : 'ialp';
  return { oracle, described: oracle.id, method, close };
}

function inOrder(answers: readonly RecordedAnswer[]): RecordedAnswer[] {
  const keyed = answers.map((answer) => ({
    answer,
    key: JSON.stringify([answer.history, answer.candidates, answer.text]),
  }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ answer }) => answer);
}

async function priorOf({ itemPrior }: PretrainCommandOptions, catalog: Catalog): Promise<Float64Array | undefined> {
  return itemPrior === undefined ? undefined : readItemNumbers(itemPrior, { catalog });
}

async function onWorld(
  command: Command,
  place: string,
  options: PretrainCommandOptions,
  session: Session,
): Promise<void> {
  const { seed, algorithm, checkpointEvery, lanes, calls, epochs, episodes } = options;
  const world = await loadWorld(command, place, options, ['train', 'test']);
  await session.startBackend(options.backend);
  session.say(world.description);
  const preset = worldPreset(world);
  const itemPrior = await priorOf(options, world.catalog);
  const { starts = preset.starts } = options;
  const planned = plannedCalls({ calls, epochs, starts }, preset.calls);
  const storage = await session.openState();
  const { oracle, answers, described, method, close } = await openTeacher(command, world.catalog, options, session);
  session.say(
    answers
      ? `Plan: ${described}, learned from by '${algorithm}'.`
      : `Plan: ${formatCount(planned)} questions to ${described}, from ${formatCount(starts)} starts, learned from by '${algorithm}'.`,
  );
  const result = await pretrainOnWorld({
    ...{ world, oracle, answers, method, seed, algorithm, lanes, checkpointEvery, episodes, storage },
    ...(answers ? {} : { calls: planned, starts }),
    ...(itemPrior ? { itemPrior } : {}),
    onProgress: (progress) => session.progress(describeRun(progress)),
    onWarning: session.warn,
    signal: session.signal,
  }).finally(close);
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
      `${answers ? '' : `${formatCount(training.oracleCalls)} questions to `}${described}; ${formatCount(training.updates)} updates by '${algorithm}'.`,
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
  const { seed, algorithm, checkpointEvery, calls, epochs, attributes, scenario, itemNoun, behavior } = options;
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
  session.say(`${formatCount(catalog.size)} items from ${path}.`);
  const itemPrior = await priorOf(options, catalog);
  const storage = await session.openState();
  const { oracle, answers, described, method, close } = await openTeacher(command, catalog, options, session);
  session.say(
    answers
      ? `Plan: ${described}, learned from by '${algorithm}'.`
      : `Plan: ${formatCount(planned)} questions to ${described}, each start one item, learned from by '${algorithm}'.`,
  );
  using agent = new ActorCritic(preset.agent({ seed, itemPrior, ...(algorithm === 'paper' ? { algorithm } : {}) }));
  const { lanes = preset.lanes } = options;
  const { updates, oracleCalls, fusedShare } = await pretrain({
    ...{ agent, algorithm, lanes, seed, checkpointEvery, storage },
    ...(answers ? { answers } : { budget: { calls: planned } }),
    ...(oracle ? { oracle } : {}),
    onProgress: (training) => {
      const done = training.steps / training.totalSteps;
      session.progress({ label: 'pre-training', done, detail: describeTraining(training) });
    },
    onWarning: session.warn,
    signal: session.signal,
  }).finally(close);
  const answered = answers?.length ?? oracleCalls;
  await savePolicy(session.openPolicy(), agent, { method, algorithm, steps: 0, updates, oracleCalls: answered });
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
      `${answers ? '' : `${formatCount(oracleCalls)} questions to `}${described}; ${formatCount(updates)} updates by '${algorithm}'.`,
      `Recommended after ${first}: ${best.map(({ id }) => id).join(', ')}.`,
    ],
    kernels: agent.kernels.kind,
    fusedShare,
  });
  await session.closeState();
}
