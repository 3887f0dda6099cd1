import { type Command, Option } from 'commander';
import { formatCount, formatDuration } from '../experiment/report-html.js';
import { sha256Hex } from '../foundation/sha256.js';
import { DebiasedOracle, type DebiasMethod } from '../oracle/debiased-oracle.js';
import { evaluateOracle } from '../oracle/evaluate-oracle.js';
import { LlmOracle } from '../oracle/llm-oracle.js';
import type { EvaluationList, Negatives } from '../oracle/next-item-lists.js';
import type { OracleEvaluation } from '../oracle/oracle-evaluation.js';
import { judgeOracle } from '../oracle/oracle-verdict.js';
import type { PreferenceOracle, PreferenceQuery } from '../oracle/preference-oracle.js';
import { answersStorage, keepAnswers } from './keep-answers.js';
import { type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import {
  askingOptionsOf,
  type BudgetOptions,
  budgetOf,
  type ModelOptions,
  refuseUnheard,
  withBudgetOptions,
  withModelOptions,
} from './oracle-options.js';
import { openOracle, oracleSpecOption } from './oracle-spec.js';
import { integer, names } from './parse-options.js';
import { oracleTable } from './result-tables.js';
import { type CommonOptions, type OpenSession, type Session, withCommonOptions } from './session.js';
import { LOG_PARTS, type LogPart, openWorldLogs, type WorldLogs } from './world-logs.js';

/** Lists in a second order where the read-out does not look at places: enough to see that it does not. */
const LIKELIHOOD_ORDERS = 10;

interface EvalCommandOptions extends CommonOptions, WorldOptions, ModelOptions, BudgetOptions {
  readonly world: string;
  readonly oracle: string;
  readonly lists: number;
  readonly candidates: number;
  readonly noneLists?: number;
  readonly orders?: number;
  readonly negatives: Negatives | 'both';
  readonly debias: 'none' | DebiasMethod;
  readonly split: LogPart;
  readonly attributes?: string[];
}

/** `ialp oracle eval`. */
export function addOracleEval(parent: Command, open: OpenSession): void {
  const command = parent.command('eval');
  const asking = withWorldOptions(
    withCommonOptions(command, 'ialp-oracle-eval')
      .description('what an oracle knows of held-out users, beside those who need no model')
      .addOption(worldOption().makeOptionMandatory())
      .addOption(oracleSpecOption().makeOptionMandatory()),
  );
  withBudgetOptions(withModelOptions(asking))
    .option('--lists <n>', 'lists of each kind of negatives', integer(1, 1_000_000), 200)
    .option('--candidates <k>', 'items of a list', integer(2, 1000), 10)
    .addOption(
      new Option('--negatives <kind>', 'how the items beside the true one are drawn')
        .choices(['both', 'uniform', 'popularity'])
        .default('both'),
    )
    .option(
      '--none-lists <n>',
      'of the lists, how many are asked again without the true item (default: a quarter)',
      integer(0),
    )
    .option(
      '--orders <n>',
      `of the lists, how many are asked again in another order (default: all for label, ${LIKELIHOOD_ORDERS} for likelihood)`,
      integer(0),
    )
    .addOption(
      new Option('--debias <method>', 'how the weight of letters and places is taken out of the label read-out')
        .choices(['none', 'shuffle', 'cyclic', 'contextual', 'pride'])
        .default('none'),
    )
    .option('--attributes <names>', "columns that make an item's text, separated by commas", names)
    .addOption(new Option('--split <name>', 'whose lists').choices(LOG_PARTS).default('test'))
    .action((options: EvalCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: EvalCommandOptions, open: OpenSession): Promise<void> {
  const { debias, noneThreshold: threshold, ...asking } = options;
  // Where a method decides on None itself, the threshold is its own.
  const decides = debias !== 'none' && debias !== 'shuffle';
  const noneThreshold = decides ? undefined : threshold;
  // Debiasing comes around any oracle here, also around one without a model.
  refuseUnheard(command, options.oracle, noneThreshold === undefined ? asking : { ...asking, noneThreshold });
  const session = open(options);
  const logs = await openWorldLogs(command, options.world, options);
  const kinds = negativesOf(command, options, logs);
  const { budget, prices } = budgetOf(command, options);
  if (debias !== 'none' && options.readout === 'likelihood') {
    command.error('error: --debias is for --readout label: the likelihood has no labels', { exitCode: 2 });
  }
  const { catalog } = logs;
  const { readout, seed } = options;
  const out = options.out as string;
  const storage = answersStorage(out);
  const lists = new Map(kinds.map((negatives) => [negatives, listsOf(logs, negatives, options, session)]));
  const opened = await openOracle(options.oracle, {
    // Debiasing comes around the record, so that all methods share it: the oracle itself shows what is asked.
    ...askingOptionsOf({ ...options, debias: 'shuffle' }),
    ...{ catalog, seed, noneThreshold, storage, signal: session.signal },
    shuffle: false,
    say: (line: string) => session.say(line),
  });
  const { oracle, languageModel } = opened;
  // Several oracles may be examined into one folder; each has its own record, and is never asked anything twice.
  const key = `answers-${(await sha256Hex(oracle.id)).slice(0, 12)}.jsonl`;
  const kept = await keepAnswers(opened, { catalog, out, key, budget, prices, onWarning: session.warn });
  const debiased = (method: DebiasMethod): Promise<PreferenceOracle> =>
    DebiasedOracle.create({
      ...{ oracle: kept.oracle, catalog, method, seed, signal: session.signal },
      ...(decides && threshold !== undefined ? { noneThreshold: threshold } : {}),
      ...(method === 'pride' ? { calibration: calibrationOf(logs, [...lists.values()].flat(), options) } : {}),
      ...(method === 'contextual' && oracle instanceof LlmOracle ? { contentFree: oracle } : {}),
    });
  try {
    session.keepStateIn(out);
    const examined = debias === 'none' ? kept.oracle : await debiased(debias);
    session.say(`${logs.name}: ${logs.described}.\nOracle ${examined.id}.`);
    const evaluations: OracleEvaluation[] = [];
    for (const [i, negatives] of kinds.entries()) {
      const evaluation = await evaluateOracle({
        oracle: examined,
        lists: lists.get(negatives) as EvaluationList[],
        ...{ catalog, counts: logs.counts, readout, negatives, seed, limit: options.lists },
        ...(prices === undefined ? {} : { prices }),
        noneLists: options.noneLists ?? Math.ceil(options.lists / 4),
        secondOrders: options.orders ?? (readout === 'label' ? options.lists : LIKELIHOOD_ORDERS),
        signal: session.signal,
        onProgress: ({ done, total }) =>
          session.progress({
            label: `asking, ${negatives} negatives`,
            done: (i + done / total) / kinds.length,
            detail: `${formatCount(done)} / ${formatCount(total)} answers`,
          }),
      });
      evaluations.push(evaluation);
      session.sayTable(`${formatCount(evaluation.lists)} lists of ${logs.name}, ${negatives} negatives`, (style) =>
        oracleTable(evaluation.rows, style),
      );
      for (const fact of facts(evaluation, languageModel !== undefined)) session.say(fact);
    }
    session.keepStateIn(undefined);
    const { isWorthUsing, sentence } = judgeOracle(evaluations);
    session.say(`\n${sentence}`);
    await session.finish({
      title: `What ${examined.id} knows of ${logs.name}`,
      summary: sentence,
      seeds: [seed],
      rows: evaluations.flatMap(({ rows }) => rows),
      kind: 'oracle',
      found: { oracle: examined.id, isWorthUsing, verdict: sentence },
      file: 'oracle.json',
      notes: evaluations.flatMap((evaluation) => facts(evaluation, languageModel !== undefined)),
    });
  } finally {
    await kept.close();
  }
}

function negativesOf(command: Command, { negatives }: EvalCommandOptions, logs: WorldLogs): readonly Negatives[] {
  if (negatives === 'both') return logs.negatives;
  if (logs.negatives.includes(negatives)) return [negatives];
  return command.error(
    `error: --negatives ${negatives}: lists of ${logs.name} have ${logs.negatives.join(' and ')} negatives only`,
    { exitCode: 2 },
  );
}

function listsOf(
  logs: WorldLogs,
  negatives: Negatives,
  options: EvalCommandOptions,
  session: Session,
): EvaluationList[] {
  const { candidates, lists: limit, seed, split } = options;
  const lists = logs.lists(split, { candidateCount: candidates, negatives, limit, seed });
  if (lists.length < limit) {
    session.warn(`the ${split} users give ${lists.length} lists with ${negatives} negatives, ${limit} were wanted`);
  }
  return lists;
}

/**
 * Questions of users who do not judge, for the labels' prior: of every length that will be asked, those without a truth and
 * without a replacement for it being one shorter.
 */
function calibrationOf(
  logs: WorldLogs,
  lists: readonly EvaluationList[],
  { candidates, split, seed }: EvalCommandOptions,
): PreferenceQuery[] {
  const part = split === 'validation' ? 'train' : 'validation';
  const sizes = new Set(
    lists.flatMap(({ candidates: { length }, replacement }) =>
      replacement === undefined && length > 2 ? [length, length - 1] : [length],
    ),
  );
  const each = Math.max(4, Math.ceil((0.05 * lists.length) / sizes.size));
  const drawn = logs.lists(part, { candidateCount: candidates, negatives: 'uniform', limit: 20 * each, seed });
  return [...sizes].flatMap((size) =>
    drawn
      .filter((list) => list.candidates.length >= size)
      .slice(0, each)
      .map(({ history, candidates: shown }) => ({ history, candidates: shown.slice(0, size) })),
  );
}

/** What the table has no column for. */
function facts(evaluation: OracleEvaluation, hasModel: boolean): string[] {
  const { negatives, noneAuc, noneThreshold, recallByPosition, failedRate, costUsd, secondsPerAnswer } = evaluation;
  const said: string[] = [];
  const recalls = recallByPosition.map((recall) => (Number.isNaN(recall) ? '–' : recall.toFixed(2))).join(' ');
  said.push(`Recall by place of the true item: ${recalls}.`);
  if (!Number.isNaN(noneAuc)) {
    said.push(
      `None: tells lists with the true item from lists without at an area under the curve of ${noneAuc.toFixed(2)}.`,
    );
  }
  // Thresholds are options of the oracles that ask a model.
  if (hasModel && noneThreshold !== undefined && Number.isFinite(noneThreshold.value)) {
    const { option, value, noneRate, noneHit } = noneThreshold;
    said.push(
      `None would best be drawn with ${option} ${value.toFixed(2)}: ${percent(noneRate)} None with the true item, ${percent(noneHit)} without.`,
    );
  }
  if (failedRate > 0) said.push(`${percent(failedRate)} of the lists got no answer.`);
  if (secondsPerAnswer !== undefined) said.push(`${formatDuration(secondsPerAnswer)} an answer.`);
  if (costUsd !== undefined) said.push(`Cost: ${costUsd.toFixed(4)} US dollars.`);
  return said.map((fact) => `${negatives}: ${fact}`);
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
