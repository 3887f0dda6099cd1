import { type Command, Option } from 'commander';
import { worldPreset } from '../experiment/presets.js';
import { formatCount } from '../experiment/report-html.js';
import { adaptOnWorld } from '../experiment/run-on-world.js';
import { linearSchedule } from '../foundation/schedules.js';
import type { LlmOnlineResult } from '../train/llm-online.js';
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
import { oracleSpecOption } from './oracle-spec.js';
import { folder, integer, real, risingIntegers } from './parse-options.js';
import { runTable } from './result-tables.js';
import { describeRun } from './run-progress.js';
import { loadSavedPolicy, savePolicy } from './saved-policy.js';
import { type CommonOptions, type OpenSession, withCommonOptions } from './session.js';

interface AdaptCommandOptions
  extends CommonOptions,
    WorldOptions,
    BackendOption,
    ModelOptions,
    DebiasOptions,
    BudgetOptions {
  readonly world: string;
  readonly from?: string;
  readonly scheme: 'fineTune' | 'mixture' | 'llmOnline';
  readonly oracle?: string;
  readonly candidates?: number;
  readonly algorithm: 'ppo' | 'replay' | 'paper';
  readonly steps: number;
  readonly alphaFrom?: number;
  readonly alphaTo?: number;
  readonly alphaSteps?: number;
  readonly handoverEntropy?: number;
  readonly lanes?: number;
  readonly marks?: number[];
  readonly checkpointEvery: number;
  readonly episodes?: number;
}

/** `ialp adapt`. */
export function addAdapt(root: Command, open: OpenSession): void {
  const command = root.command('adapt');
  withWorldOptions(
    withCommonOptions(command, 'ialp-adapt')
      .description('Algorithm 2: adapt a policy online to a world’s train users, measured on its test users')
      .addOption(worldOption().makeOptionMandatory()),
  );
  withBudgetOptions(withDebiasOptions(withModelOptions(command)))
    .option('--from <dir>', 'folder of a policy, or of the run that made it (default: from scratch)', folder)
    .addOption(
      new Option(
        '--scheme <name>',
        'fine-tune, mix the frozen policy with a learner (Eq. 14), or let --oracle choose among the policy’s candidates (section 6.3)',
      )
        .choices(['fineTune', 'mixture', 'llmOnline'])
        .default('fineTune'),
    )
    .addOption(new Option('--algorithm <name>', 'how it learns').choices(['ppo', 'replay', 'paper']).default('ppo'))
    .option('--steps <n>', 'environment steps, all users together', integer(1), 20_000)
    .option('--alpha-from <x>', 'the learner’s share in a mixture at the start (default: 0.1)', real(0, 1))
    .option('--alpha-to <x>', 'its share at the end (default: 1)', real(0, 1))
    .option('--alpha-steps <n>', 'steps between the two (default: 6000, or --steps where fewer)', integer(1))
    .option(
      '--handover-entropy <x>',
      'flatten a sharper pre-trained policy to so many nats (default: 3)',
      real(0, 100, { isOpen: true }),
    )
    .option('--lanes <n>', 'users at once', integer(1, 65_536))
    .option(
      '--marks <list>',
      'steps at which it is measured, separated by commas (default: six, the last at the end)',
      risingIntegers,
    )
    .option('--checkpoint-every <n>', 'steps between checkpoints', integer(1), 1000)
    .option('--episodes <n>', 'episodes of each measurement (default: 192)', integer(1))
    .addOption(oracleSpecOption())
    .option('--candidates <k>', 'candidates that --oracle chooses among (default: 10)', integer(2, 1000))
    .addOption(backendOption())
    .action((options: AdaptCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: AdaptCommandOptions, open: OpenSession): Promise<void> {
  const { from, scheme, algorithm, steps, alphaFrom, alphaTo, alphaSteps, marks, seed } = options;
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const hasAlpha = [alphaFrom, alphaTo, alphaSteps].some((value) => value !== undefined);
  if (hasAlpha && scheme !== 'mixture') refuse('--alpha-from, --alpha-to and --alpha-steps are for --scheme mixture');
  if (marks !== undefined && (marks.at(-1) as number) > steps)
    refuse(`--marks go to ${marks.at(-1)}, past the ${steps} --steps`);
  const asks = scheme === 'llmOnline';
  if (asks !== (options.oracle !== undefined))
    refuse(asks ? '--scheme llmOnline needs --oracle SPEC' : '--oracle is for --scheme llmOnline');
  if (options.candidates !== undefined && !asks) refuse('--candidates is for --scheme llmOnline');
  if (options.oracle === undefined) {
    refuseBudget(command, options, 'are for --scheme llmOnline');
    refuseModelOptions(command, options, 'is for --scheme llmOnline');
  } else {
    budgetOf(command, options);
    refuseUnheard(command, options.oracle, options);
  }
  const session = open(options);
  const world = await loadWorld(command, options.world, options, ['train', 'test']);
  await session.startBackend(options.backend);
  session.say(world.description);
  const given = from === undefined ? undefined : await loadSavedPolicy(from, world.catalog, session.warn);
  const preset = worldPreset(world);
  const alpha = linearSchedule({
    from: alphaFrom ?? 0.1,
    to: alphaTo ?? 1,
    steps: alphaSteps ?? Math.min(preset.alphaSteps, steps),
  });
  const opened =
    options.oracle === undefined ? undefined : await openKept(command, options.oracle, options, world.catalog, session);
  if (opened !== undefined) session.say(`At every step ${opened.oracle.id} chooses: ${formatCount(steps)} questions.`);
  session.say(
    `Plan: ${given ? `${scheme} of the policy in ${from}` : `${scheme === 'mixture' ? 'a mixture with an untrained policy' : 'from scratch'}`}, by ${algorithm}, ${formatCount(steps)} steps.`,
  );
  const { lanes, checkpointEvery, episodes, handoverEntropy } = options;
  try {
    const storage = await session.openState();
    const result = await adaptOnWorld({
      ...{ world, agent: given?.agent, facts: given?.facts, scheme, algorithm, steps, marks, seed, storage },
      ...{ lanes, checkpointEvery, episodes, handoverEntropy, alpha: scheme === 'mixture' ? alpha : undefined },
      ...{ oracle: opened?.oracle, candidateCount: options.candidates },
      onProgress: (progress) => session.progress(describeRun(progress)),
      onWarning: session.warn,
      signal: session.signal,
    });
    const { learner, facts, training, rows, curves, kernels, fusedShare } = result;
    try {
      await savePolicy(session.openPolicy(), learner, facts);
    } finally {
      result.dispose();
    }
    const asked = 'oracleSeconds' in training ? (training as LlmOnlineResult) : undefined;
    const lastAlpha = scheme === 'mixture' ? alpha.at(training.steps) : 1;
    const notes = [
      `${formatCount(training.steps)} steps, ${formatCount(training.updates)} updates by '${algorithm}', ${formatCount(training.episodes)} episodes.`,
      ...(asked === undefined
        ? []
        : [
            `${formatCount(asked.oracleCalls)} questions in ${asked.oracleSeconds.toFixed(0)} of ${asked.wallSeconds.toFixed(0)} s: ${formatCount(asked.chosen)} answered by an item, ${formatCount(asked.nones)} by None, ${formatCount(asked.unusable)} unusable.`,
          ]),
      ...(lastAlpha < 1
        ? [
            `The saved policy is the learner alone; what was measured last is a mixture that takes it with alpha = ${lastAlpha}.`,
          ]
        : []),
    ];
    session.sayTable(`Adapted on ${world.name}, measured on its test users`, (style) => runTable(rows, style));
    session.say(['', ...notes, `Policy  ${session.policyFolder()}`].join('\n'));
    await session.finish({
      title: `Adapting on ${world.name}`,
      summary: world.description,
      seeds: [seed],
      rows,
      kind: 'run',
      file: 'result.json',
      curves,
      notes,
      kernels,
      fusedShare,
    });
    await session.closeState();
  } finally {
    given?.agent.dispose();
    await opened?.close();
  }
}
