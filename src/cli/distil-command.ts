import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import type { Policy } from '../agent/policy.js';
import type { Catalog } from '../catalog/catalog.js';
import type { Sequences } from '../catalog/sequences.js';
import { imaginedStarts } from '../experiment/compare-methods.js';
import { worldPreset } from '../experiment/presets.js';
import { formatCount, formatDuration } from '../experiment/report-html.js';
import type { DistilRow } from '../experiment/result-schema.js';
import { OracleError } from '../foundation/errors.js';
import { readInteractions, readItems } from '../node/read-data.js';
import { batchOracleId, exportBatch, importBatch } from '../oracle/batch-files.js';
import { type DistilProgress, distil } from '../train/distil.js';
import type { DistilCost } from '../train/distil-cost.js';
import { openQuestions, planDistil } from '../train/plan-distil.js';
import type { QuestionPlanOptions } from '../train/question-plan.js';
import { answersStorage } from './keep-answers.js';
import { loadWorld, type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import {
  askingOptionsOf,
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
import { ANSWERS_KEY, openOracle, oracleSpecOption } from './oracle-spec.js';
import { integer, names, real } from './parse-options.js';
import type { ProgressState } from './progress-display.js';
import { loadSavedPolicy } from './saved-policy.js';
import { type CommonOptions, type OpenSession, type Session, withCommonOptions } from './session.js';
import { openWorldLogs } from './world-logs.js';

/** Where episodes begin. */
const HISTORIES = ['starts', 'logs', 'items'] as const;

interface DistilCommandOptions extends CommonOptions, WorldOptions, ModelOptions, DebiasOptions, BudgetOptions {
  readonly world?: string;
  readonly items?: string;
  readonly interactions?: string;
  readonly attributes?: string[];
  readonly scenario: string;
  readonly itemNoun: string;
  readonly behavior: string;
  readonly oracle: string;
  readonly count: number;
  readonly candidates: number;
  readonly histories?: (typeof HISTORIES)[number];
  readonly steps?: number;
  readonly emptyShare: number;
  readonly policy?: string;
  readonly maxInvalidRate: number;
  readonly retryInvalid?: boolean;
  readonly dryRun?: boolean;
  readonly exportBatch?: string;
  readonly importBatch?: string;
  readonly batchModel?: string;
  readonly batchEndpoint: 'chat' | 'completions';
}

/** `ialp distil`. */
export function addDistil(root: Command, open: OpenSession): void {
  const command = root.command('distil');
  withWorldOptions(
    withCommonOptions(command, 'ialp-answers')
      .description('asks an oracle many questions and keeps the answers, for `ialp pretrain --answers`')
      .addOption(worldOption())
      .option('--items <file>', 'your own items instead of a world: .csv, .tsv, .jsonl or .ndjson with an `id`')
      .option('--interactions <file>', 'what users did with --items: a file with `user` and `item`, oldest first'),
  )
    .option(
      '--attributes <names>',
      'what makes an item’s text, separated by commas: columns of --items, or of a world what --readout likelihood shows',
      names,
    )
    .option('--scenario <text>', 'what --items are of, as the oracle is told', 'recommendation')
    .option('--item-noun <word>', 'what one of --items is called', 'item')
    .option('--behavior <word>', 'what users do with --items', 'choosing')
    .addOption(oracleSpecOption().default('simulated'));
  withBudgetOptions(withDebiasOptions(withModelOptions(command)))
    .option('--count <n>', 'questions in all: a larger number later extends the set', integer(1, 10_000_000), 2000)
    .option('--candidates <k>', 'items of a question; the label read-out takes 25', integer(2, 1000), 10)
    .addOption(
      new Option(
        '--histories <kind>',
        'where episodes begin: as the world’s users do, in logs, or with one item (default: starts of a world, logs where there are --interactions, else items)',
      ).choices(HISTORIES),
    )
    .option(
      '--steps <n>',
      'questions of an episode, each going on from the answer before (default: 10; logs: 1)',
      integer(1, 1000),
    )
    .option('--empty-share <x>', 'share of episodes that begin with no history', real(0, 1), 0.05)
    .option('--policy <dir>', 'a policy that draws half of the candidates (default: all are uniform)')
    .option('--max-invalid-rate <x>', 'stop when a larger share of answers cannot be used', real(0, 1), 0.05)
    .option('--retry-invalid', 'ask again what could not be read; what was asked after it stays as it is')
    .option('--dry-run', 'count calls, tokens and cost, and ask nobody')
    .option('--export-batch <file>', 'write the open questions as OpenAI Batch requests instead of asking')
    .option('--import-batch <file>', 'read the output of such a batch')
    .option('--batch-model <name>', 'the model that the batch names')
    .addOption(
      new Option('--batch-endpoint <name>', 'what a batch asks').choices(['chat', 'completions']).default('chat'),
    )
    .action((options: DistilCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: DistilCommandOptions, open: OpenSession): Promise<void> {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const { world, items, exportBatch: exported, importBatch: imported, dryRun } = options;
  if ((world === undefined) === (items === undefined))
    refuse(`expected exactly one of --world NAME and --items FILE, got ${world === undefined ? 'neither' : 'both'}`);
  if ([exported, imported, dryRun].filter((way) => way !== undefined).length > 1)
    refuse('expected at most one of --dry-run, --export-batch and --import-batch');
  const isBatch = exported !== undefined || imported !== undefined;
  // The catalogue stays as it is: whoever learns from the answers has it from the same world.
  const attributes = world === undefined ? undefined : options.attributes;
  if (isBatch) refuseInBatch(command, options);
  else refuseUnheard(command, options.oracle, options, attributes);
  const { budget, prices } = budgetOf(command, options);
  const session = open(options);
  const { plan, close } = await planOf(command, options, session);
  try {
    if (isBatch) {
      await runBatch(options, session, plan);
      return;
    }
    const { seed, concurrency } = options;
    const out = options.out as string;
    const storage = answersStorage(out);
    const {
      oracle,
      languageModel,
      close: closeOracle,
    } = await openOracle(options.oracle, {
      ...askingOptionsOf(options),
      ...{ catalog: plan.catalog, seed, candidateCount: options.candidates, storage },
      ...{ attributes, budget, prices, isDry: dryRun },
      say: (line) => session.say(line),
      signal: session.signal,
    });
    try {
      session.say(`Oracle ${oracle.id}.`);
      const sized = dryRun ? { sample: 200 } : { sample: 20, countAll: false };
      const retryInvalid = options.retryInvalid ?? false;
      const dry = await planDistil({ ...plan, oracle, storage, prices, retryInvalid, ...sized });
      const canTell = dryRun !== true && oracle.estimate !== undefined;
      sayPlan(session, dry, prices !== undefined, canTell ? '--dry-run counts' : 'the oracle cannot tell');
      const none = { choices: 0, nones: 0, invalid: 0, failed: 0 };
      if (dryRun) {
        const row = { oracle: oracle.id, questions: dry.total, answered: dry.recorded, asked: 0, ...none };
        await finish(session, options, { job: 'plan', ...row, spent: null, toCome: costRow(dry.toCome) });
        return;
      }
      session.keepStateIn(out);
      const result = await distil({
        ...plan,
        ...{ oracle, storage, budget, prices },
        // No more streams than calls: a kill then loses no more questions than are in flight.
        ...(languageModel === undefined ? {} : { concurrency: concurrency ?? languageModel.concurrency ?? 4 }),
        ...{ maxInvalidRate: options.maxInvalidRate, retryInvalid },
        signal: session.signal,
        onProgress: (progress) => session.progress(describe(progress, prices !== undefined)),
        onWarning: session.warn,
      });
      session.keepStateIn(undefined);
      const { total, answered, asked, choices, nones, invalid, failed, failure, spent } = result;
      session.say(
        `${formatCount(answered)} of ${formatCount(total)} questions are answered, ${formatCount(asked)} of them now: ${formatCount(choices)} by an item, ${formatCount(nones)} by None, ${formatCount(invalid)} by nothing usable.`,
      );
      session.say(`Spent in all: ${describeCost(spent, prices !== undefined)}.`);
      session.say(`\nAnswers  ${join(out, ANSWERS_KEY)}   (ialp pretrain … --answers ${out})`);
      const row = { questions: total, answered, asked, choices, nones, invalid, failed };
      await finish(session, options, { job: 'distil', oracle: oracle.id, ...row, spent: costRow(spent), toCome: null });
      if (failed > 0) {
        throw new OracleError(
          `${formatCount(failed)} questions failed (${failure}); the same command asks them, and what follows from them, again`,
        );
      }
    } finally {
      await closeOracle();
    }
  } finally {
    close();
  }
}

/** Ends with wrong usage where an option is for asking now: a batch is asked elsewhere, by letter, and read as it comes back. */
function refuseInBatch(command: Command, options: DistilCommandOptions): void {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const { world, attributes, batchModel, readout, perMinute, retryInvalid } = options;
  if (world !== undefined && attributes !== undefined)
    refuse('--attributes of a world is for --readout likelihood, which no batch asks');
  if (batchModel === undefined) refuse('a batch needs --batch-model NAME, the model that it is for');
  const why = 'for an oracle that is asked now, not for a batch';
  refuseBudget(command, options, `are ${why}: the most that it asks is --count`);
  // How long item texts are is part of the requests.
  const { maxAttributeLength: _, ...asking } = options;
  refuseModelOptions(command, asking, `is ${why}`);
  if (readout === 'likelihood') refuse(`--readout likelihood is ${why}, which asks for labels`);
  if (perMinute !== undefined) refuse(`--per-minute is ${why}`);
  if (retryInvalid) refuse(`--retry-invalid is ${why}`);
  if (command.getOptionValueSource('maxInvalidRate') === 'cli') refuse(`--max-invalid-rate is ${why}`);
}

/** Which questions: the options' plan over the world's or the files' items. */
async function planOf(
  command: Command,
  options: DistilCommandOptions,
  session: Session,
): Promise<{ readonly plan: QuestionPlanOptions; readonly close: () => void }> {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const { world: place, items, interactions, count, candidates, steps, emptyShare, seed } = options;
  const numbers = { count, candidateCount: candidates, stepsPerEpisode: steps, emptyShare, seed };
  let catalog: Catalog;
  let histories: Sequences | undefined;
  let starts: ReturnType<typeof imaginedStarts> | undefined;
  if (place !== undefined) {
    if (interactions !== undefined) refuse('--interactions is for --items: a world has logs of its own');
    const kind = options.histories ?? 'starts';
    if (kind === 'starts') {
      await session.startBackend('auto');
      const world = await loadWorld(command, place, options, ['train']);
      catalog = world.catalog;
      starts = imaginedStarts(world, worldPreset(world).starts, seed);
    } else {
      const { attributes: _, ...own } = options;
      const logs = await openWorldLogs(command, place, own);
      catalog = logs.catalog;
      if (kind === 'logs')
        histories = logs.sequences?.('train') ?? refuse(`--histories logs: those of ${place} have no order`);
    }
  } else {
    const { attributes, scenario, itemNoun, behavior } = options;
    if (attributes === undefined)
      return refuse('--items needs --attributes NAMES, the columns that make an item’s text');
    if (options.data !== undefined) refuse('--data is for a world, not for --items');
    if (options.histories === 'starts') refuse('--histories starts is for a world: --items have logs, or single items');
    if (options.histories === 'logs' && interactions === undefined)
      refuse('--histories logs needs --interactions FILE');
    catalog = await readItems(items as string, { scenario, itemNoun, behavior, attributes });
    if (interactions !== undefined && options.histories !== 'items')
      histories = (await readInteractions(interactions, { catalog })).sequences;
  }
  session.say(
    `${formatCount(catalog.size)} items${histories === undefined ? '' : `, ${formatCount(histories.count)} logs`}.`,
  );
  if (options.policy === undefined) return { plan: { ...numbers, catalog, histories, starts }, close: () => {} };
  if (starts === undefined) await session.startBackend('auto');
  const { agent } = await loadSavedPolicy(options.policy, catalog, session.warn);
  const policy: Policy = agent;
  return { plan: { ...numbers, catalog, histories, starts, policy }, close: () => agent.dispose() };
}

/** Writes the open questions as a file, or reads what came back. */
async function runBatch(options: DistilCommandOptions, session: Session, plan: QuestionPlanOptions): Promise<void> {
  const { exportBatch: exported, importBatch: imported, batchEndpoint: endpoint } = options;
  const storage = answersStorage(options.out as string);
  const { maxAttributeLength } = options;
  const length = maxAttributeLength === undefined ? {} : { maxAttributeLength };
  const batch = { catalog: plan.catalog, model: options.batchModel as string, endpoint, ...length };
  const oracleId = batchOracleId(batch);
  const queries = await openQuestions({ ...plan, oracleId, storage });
  const row = { oracle: oracleId, questions: plan.count, asked: 0, spent: null, toCome: null };
  const none = { answered: 0, choices: 0, nones: 0, invalid: 0, failed: 0 };
  if (exported !== undefined) {
    const requests = await writeBatch(exported, { ...batch, queries });
    session.say(
      `${formatCount(requests)} requests in ${exported}: all that can be asked now of ${formatCount(plan.count)} questions.`,
    );
    if (requests > MOST_REQUESTS)
      session.warn(`OpenAI takes ${formatCount(MOST_REQUESTS)} requests a file: split it by lines`);
    await finish(session, options, { job: 'export', ...row, ...none });
    return;
  }
  const path = imported as string;
  const report = await importBatch({ ...batch, queries, storage, output: createReadStream(path), source: path });
  const { choices, nones, invalid, errors, missing, duplicates, alien, unreadable, firstErrors, firstUnreadable } =
    report;
  const answered = choices + nones + invalid;
  session.say(
    `${formatCount(answered)} of ${formatCount(report.requests)} requests are answered: ${formatCount(choices)} by an item, ${formatCount(nones)} by None, ${formatCount(invalid)} by nothing usable.`,
  );
  if (errors > 0) {
    const kinds = [
      ...new Set(firstErrors.map(({ status, code }) => [status, code].filter(Boolean).join(' ') || 'no answer in it')),
    ];
    session.warn(`${formatCount(errors)} requests were refused or came without an answer (${kinds.join(', ')})`);
  }
  if (missing > 0) session.warn(`of ${formatCount(missing)} requests the file says nothing`);
  if (duplicates > 0)
    session.warn(`${formatCount(duplicates)} lines answer what was answered before; the first answer counts`);
  if (alien > 0)
    session.warn(`${formatCount(alien)} lines are about no open request of this plan: answered before, or of another`);
  if (unreadable > 0)
    session.warn(`${formatCount(unreadable)} lines are no results (line ${firstUnreadable.join(', ')})`);
  if (errors + missing > 0) session.say('What is still open goes into the next --export-batch.');
  await finish(session, options, {
    job: 'import',
    ...row,
    answered,
    choices,
    nones,
    invalid,
    failed: errors + missing,
  });
}

/** Requests that OpenAI takes in one file. */
const MOST_REQUESTS = 50_000;

/** The file is there whole or not at all. */
async function writeBatch(path: string, options: Parameters<typeof exportBatch>[0]): Promise<number> {
  const temporary = `${path}.${process.pid}.tmp`;
  let requests = 0;
  async function* counted(): AsyncGenerator<string> {
    for await (const line of exportBatch(options)) {
      requests++;
      yield line;
    }
  }
  try {
    await pipeline(counted, createWriteStream(temporary, { mode: 0o600 }));
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return requests;
}

function sayPlan(
  session: Session,
  { total, recorded, toCome }: Awaited<ReturnType<typeof planDistil>>,
  isPriced: boolean,
  untold: string,
): void {
  const known = recorded === 0 ? '' : `, ${formatCount(recorded)} of them on record`;
  const cost = toCome === undefined ? `what it costs, ${untold}` : `about ${describeCost(toCome, isPriced)}`;
  session.say(`Plan: ${formatCount(total)} questions${known}; to come: ${cost}.`);
}

function describeCost({ calls, inputTokens, outputTokens, costUsd }: DistilCost, isPriced: boolean): string {
  const tokens = `${formatCount(Math.round(inputTokens))} tokens of prompts and ${formatCount(Math.round(outputTokens))} of answers`;
  const dollars = isPriced || costUsd > 0 ? `, ${costUsd.toFixed(costUsd < 1 ? 4 : 2)} US dollars` : '';
  return `${formatCount(Math.round(calls))} calls, ${tokens}${dollars}`;
}

function describe(progress: DistilProgress, isPriced: boolean): ProgressState {
  const { total, done, invalid, failed, perSecond, etaSeconds, spent, toCome } = progress;
  const parts = [
    `${formatCount(done)} / ${formatCount(total)} answers`,
    `${perSecond.toFixed(perSecond < 10 ? 1 : 0)} / s`,
  ];
  if (etaSeconds !== undefined && Number.isFinite(etaSeconds))
    parts.push(`${formatDuration(Math.round(etaSeconds))} to go`);
  if (isPriced) {
    const next = toCome === undefined ? '' : `, ${toCome.costUsd.toFixed(2)} to come`;
    parts.push(`${spent.costUsd.toFixed(2)} US dollars${next}`);
  } else if (spent.inputTokens > 0) parts.push(`${formatCount(Math.round(spent.inputTokens))} tokens`);
  if (invalid > 0) parts.push(`${formatCount(invalid)} unreadable`);
  if (failed > 0) parts.push(`${formatCount(failed)} failed`);
  return { label: 'asking', done: done / total, detail: parts.join(', ') };
}

function costRow(cost: DistilCost | undefined): DistilRow['spent'] {
  if (cost === undefined) return null;
  const { questions: _, ...rest } = cost;
  return rest;
}

async function finish(session: Session, options: DistilCommandOptions, row: DistilRow): Promise<void> {
  await session.finish({
    title: 'Answers of an oracle',
    summary: `${row.oracle}: ${formatCount(row.answered)} of ${formatCount(row.questions)} questions answered.`,
    seeds: [options.seed],
    rows: [row],
    kind: 'distil',
    file: 'distil.json',
  });
}
