import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { formatCount } from '../experiment/report-html.js';
import { fileStorage } from '../node/file-storage.js';
import { type RatingMethod, rateItems } from '../oracle/rate-items.js';
import { type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import { type BudgetOptions, budgetOf, maxAttributeLengthOption, withBudgetOptions } from './oracle-options.js';
import { openLanguageModel, oracleSpecOption } from './oracle-spec.js';
import { integer, names } from './parse-options.js';
import { type CommonOptions, type OpenSession, withCommonOptions, writeWhole } from './session.js';
import { openWorldLogs } from './world-logs.js';

interface RateCommandOptions extends CommonOptions, WorldOptions, BudgetOptions {
  readonly world: string;
  readonly oracle: string;
  readonly method?: RatingMethod;
  readonly users?: string;
  readonly attributes?: string[];
  readonly concurrency?: number;
  readonly modelThreads?: number;
  readonly maxAttributeLength?: number;
}

/** Items that are shown at either end. */
const SHOWN = 5;

/** `ialp oracle rate`. */
export function addOracleRate(parent: Command, open: OpenSession): void {
  const command = parent.command('rate');
  withWorldOptions(
    withCommonOptions(command, 'ialp-ratings')
      .description('asks a model how popular each item is: the `itemPrior` of pre-training')
      .addOption(worldOption().makeOptionMandatory())
      .addOption(oracleSpecOption().makeOptionMandatory()),
  )
    .addOption(
      new Option(
        '--method <name>',
        'five levels, or how much likelier a text is among popular items than among others',
      ).choices(['levels', 'contrast']),
    )
    .option('--users <text>', 'who the users are, in a few words')
    .option('--attributes <names>', "columns that make an item's text, separated by commas", names)
    .option('--concurrency <n>', 'calls of the model at the same time', integer(1, 64))
    .option('--model-threads <n>', 'threads of a llama-cpp model (default: the idle cores)', integer(1, 512))
    .addOption(maxAttributeLengthOption());
  withBudgetOptions(command).action((options: RateCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: RateCommandOptions, open: OpenSession): Promise<void> {
  const { method, users, maxAttributeLength, concurrency, seed } = options;
  const { budget, prices } = budgetOf(command, options);
  const session = open(options);
  const logs = await openWorldLogs(command, options.world, options);
  const { catalog, counts } = logs;
  const languageModel = await openLanguageModel(options.oracle, {
    ...{ concurrency, modelThreads: options.modelThreads, signal: session.signal },
    say: (line) => session.say(line),
  });
  try {
    const out = options.out as string;
    session.keepStateIn(out);
    const result = await rateItems({
      ...{ catalog, languageModel, counts, storage: fileStorage(out, { fsync: 'os' }) },
      ...(method === undefined ? {} : { method }),
      ...(users === undefined ? {} : { users }),
      ...(maxAttributeLength === undefined ? {} : { maxAttributeLength }),
      ...(concurrency === undefined ? {} : { concurrency }),
      ...(budget === undefined ? {} : { budget }),
      ...(prices === undefined ? {} : { prices }),
      signal: session.signal,
      onProgress: ({ done, total }) =>
        session.progress({
          label: 'rating',
          done: done / total,
          detail: `${formatCount(done)} / ${formatCount(total)} items`,
        }),
    });
    session.keepStateIn(undefined);
    const { ratings, unreadable, asked, rankCorrelation, usage } = result;
    const order = Array.from(ratings.keys()).sort((a, b) => (ratings[b] as number) - (ratings[a] as number));
    const named = (items: readonly number[]): string =>
      items.map((item) => `  ${(ratings[item] as number).toFixed(2)}  ${catalog.text(item)}`).join('\n');
    session.say(`${formatCount(catalog.size)} items rated by ${result.method}, ${formatCount(asked)} of them now.`);
    session.say(`Highest:\n${named(order.slice(0, SHOWN))}\nLowest:\n${named(order.slice(-SHOWN))}`);
    if (unreadable > 0) session.warn(`${formatCount(unreadable)} answers could not be read: those items have the mean`);
    session.say(
      rankCorrelation === undefined
        ? 'There is nothing to compare the ratings with.'
        : `Rank correlation with the log counts of train users: ${rankCorrelation.toFixed(3)}.`,
    );
    const file = join(out, 'item-ratings.jsonl');
    const lines = Array.from(ratings, (rating, item) => `${JSON.stringify({ id: catalog.id(item), rating })}\n`);
    await writeWhole(file, lines.join(''));
    session.say(`\nRatings  ${file}; learn with them: ialp pretrain --item-prior ${file}`);
    const { calls = 0, inputTokens = 0, outputTokens = 0, costUsd = 0 } = usage;
    await session.finish({
      title: `Ratings of ${logs.name}`,
      summary: `${formatCount(catalog.size)} items by ${languageModel.id}.`,
      seeds: [seed],
      rows: [
        {
          ...{ job: 'rate', oracle: languageModel.id, questions: catalog.size, answered: catalog.size, asked },
          ...{ choices: catalog.size - unreadable, nones: 0, invalid: unreadable, failed: 0, toCome: null },
          spent: { calls, inputTokens, outputTokens, costUsd },
        },
      ],
      kind: 'distil',
      file: 'ratings.json',
      notes: rankCorrelation === undefined ? [] : [`Rank correlation with log counts: ${rankCorrelation.toFixed(3)}.`],
    });
  } finally {
    await languageModel.close?.();
  }
}
