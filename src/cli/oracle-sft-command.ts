import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { formatCount } from '../experiment/report-html.js';
import type { Negatives } from '../oracle/next-item-lists.js';
import { buildSftDataset, SFT_FORMATS, SFT_FORMS, type SftForm, type SftFormat } from '../oracle/sft-dataset.js';
import { type WorldOptions, withWorldOptions, worldOption } from './load-world.js';
import { folder, integer, names, namesAmong, real } from './parse-options.js';
import { type CommonOptions, type OpenSession, writeWhole } from './session.js';
import { openWorldLogs } from './world-logs.js';

interface SftCommandOptions extends CommonOptions, WorldOptions {
  readonly world: string;
  readonly out: string;
  readonly n: number;
  readonly candidates: number;
  readonly noneRate: number;
  readonly negatives: Negatives;
  readonly forms: SftForm[];
  readonly formats: SftFormat[];
  readonly attributes?: string[];
}

/** `ialp oracle sft`. */
export function addOracleSft(parent: Command, open: OpenSession): void {
  const command = parent
    .command('sft')
    .description('write interactions to fine-tune a language model on, of users who do not evaluate')
    .addOption(worldOption().makeOptionMandatory())
    .option('--seed <n>', 'seed of the draws', integer(0, 2_000_000_000), 1)
    .option('--out <dir>', 'folder for the files and their manifest', folder, 'ialp-sft')
    .option('--verbose', 'show where in the code an error comes from');
  withWorldOptions(command)
    .option('--n <n>', 'interactions', integer(1, 10_000_000), 1000)
    .option('--candidates <k>', 'items of a list', integer(2, 25), 10)
    .option(
      '--none-rate <x>',
      'share of lists without the true item, whose answer is None (default: 1/11)',
      real(0, 1),
      1 / 11,
    )
    .addOption(
      new Option('--negatives <kind>', 'how the items beside the true one are drawn')
        .choices(['uniform', 'popularity'])
        .default('uniform'),
    )
    .option('--forms <names>', `some of ${SFT_FORMS.join(', ')}`, namesAmong(SFT_FORMS), [...SFT_FORMS])
    .option('--formats <names>', `some of ${SFT_FORMATS.join(', ')}`, namesAmong(SFT_FORMATS), [...SFT_FORMATS])
    .option('--attributes <names>', "columns that make an item's text, separated by commas", names)
    .action((options: SftCommandOptions) => run(command, options, open));
}

async function run(command: Command, options: SftCommandOptions, open: OpenSession): Promise<void> {
  const session = open(options);
  const logs = await openWorldLogs(command, options.world, options);
  const { n, candidates, noneRate, negatives, seed, forms, formats, out } = options;
  if (!logs.negatives.includes(negatives)) {
    command.error(`error: --negatives ${negatives}: lists of ${logs.name} have ${logs.negatives.join(' and ')} only`, {
      exitCode: 2,
    });
  }
  const { files, manifest } = await buildSftDataset({
    catalog: logs.catalog,
    lists: logs.trainingLists({ candidateCount: candidates, negatives, limit: n, seed }),
    evaluationUsers: logs.users('test'),
    ...{ n, noneRate, negatives, seed, forms, formats },
    splitSeed: logs.splitSeed,
  });
  const { counts, users } = manifest;
  if (counts.examples < n)
    session.warn(`the train users give ${formatCount(counts.examples)} interactions, ${n} were wanted`);
  for (const { name, text } of files) await writeWhole(join(out, name), text);
  // Last: where it stands, all that it lists does too.
  await writeWhole(join(out, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  session.say(
    `${formatCount(counts.examples)} interactions of ${formatCount(users.drawn)} train users, ${formatCount(counts.none)} of them None; none of the ${formatCount(users.evaluation)} test users.`,
  );
  for (const { name } of files) session.say(`  ${resolve(out, name)}`);
  session.say(`  ${resolve(out, 'manifest.json')}`);
}
