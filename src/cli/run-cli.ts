import { Command, CommanderError } from 'commander';
import { resultJsonSchema } from '../experiment/result-schema.js';
import { BudgetExceededError, CheckpointError, IalpError, InvalidDataError } from '../foundation/errors.js';
import { addAdapt } from './adapt-command.js';
import type { CliIo } from './cli-io.js';
import { hideCredentials } from './credentials.js';
import { addDemo } from './demo-command.js';
import { addDistil } from './distil-command.js';
import { addEvaluate } from './evaluate-command.js';
import { addOracle } from './oracle-command.js';
import { CAP_OPTIONS } from './oracle-options.js';
import { packageVersion } from './package-files.js';
import { addPretrain } from './pretrain-command.js';
import { type OpenSession, Session } from './session.js';
import { addWorld } from './world-card-command.js';

/**
 * The command line `ialp`.
 *
 * @param argv - what was typed after `ialp`.
 * @param io - the world outside.
 * @returns the exit code: 0 done, 1 failed (one message on stderr), 2 wrong usage, 3 a budget is used up, 130 stopped by `io.signal`.
 */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  let session: Session | undefined;
  const open: OpenSession = (options) => {
    session = new Session(io, argv, options);
    return session;
  };
  try {
    await program(argv, io, open).parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    session?.clearProgress();
    // commander has printed its message already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    // Any other error while stopping, such as a checkpoint that could not be written, is a failure: nothing was kept.
    if (io.signal.aborted && error === io.signal.reason) {
      const goOn = session?.stateFolder;
      io.stderr.write(
        goOn === undefined
          ? 'Stopped.\n'
          : `Stopped; the state is kept in ${goOn}. To go on, give the same command again:\n  ${session?.command}\n`,
      );
      return 130;
    }
    if (error instanceof BudgetExceededError) {
      io.stderr.write(describeBudget(error, session));
      return 3;
    }
    // Nor is it the kept state's fault then.
    const blamed = io.signal.aborted ? undefined : session;
    io.stderr.write(describeError(error, blamed, io.isVerbose || argv.includes('--verbose')));
    return 1;
  }
}

function program(argv: readonly string[], io: CliIo, open: OpenSession): Command {
  const root = new Command('ialp')
    .description('Recommendation policies from a language model’s preferences, then adapted online (iALP and A-iALP).')
    .version(packageVersion(), '-V, --version')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      // commander quotes what it refuses.
      outputError: (text, write) => write(hideCredentials(text, argv)),
      getOutHelpWidth: () => io.stdout.columns ?? 100,
      getErrHelpWidth: () => io.stderr.columns ?? 100,
      getOutHasColors: () => io.stdout.hasColors?.() === true,
      getErrHasColors: () => io.stderr.hasColors?.() === true,
    })
    .showHelpAfterError('(add --help for what there is)');
  addDemo(root, open);
  addWorld(root, open);
  addDistil(root, open);
  addPretrain(root, open);
  addAdapt(root, open);
  addEvaluate(root, open);
  addOracle(root, open);
  root
    .command('schema')
    .description('print the JSON Schema of what --json writes')
    .action(() => {
      io.stdout.write(`${JSON.stringify(resultJsonSchema(), null, 2)}\n`);
    });
  return root;
}

function describeBudget({ cap, limit, used }: BudgetExceededError, session: Session | undefined): string {
  const option = CAP_OPTIONS[cap] ?? cap;
  const unit = cap === 'wallMs' ? 60_000 : 1;
  const shown = (value: number): string => String(Number((value / unit).toPrecision(4)));
  const where = session?.stateFolder === undefined ? '' : ` in ${session.stateFolder}`;
  return [
    `The budget is used up: ${option} is ${shown(limit)}, ${shown(used)} are spent, and another question does not fit.`,
    `All that was asked is on record${where}. To go on, give the same command with a higher ${option}:`,
    `  ${session?.command}\n`,
  ].join('\n');
}

function describeError(error: unknown, session: Session | undefined, isVerbose: boolean): string {
  if (!(error instanceof Error)) return `error: ${String(error)}\n`;
  const isExpected = error instanceof IalpError || 'syscall' in error;
  const lines = [`error: ${error.message}`];
  const isOfState =
    error instanceof CheckpointError ||
    (error instanceof InvalidDataError && error.source.endsWith('measurements.jsonl'));
  if (isOfState && session?.stateFolder !== undefined) {
    lines.push(
      `An interrupted run's state is in ${session.stateFolder}: delete it to begin anew, or give another --out.`,
    );
  }
  if (error instanceof InvalidDataError && error.field === 'oracle' && error.source.endsWith('.jsonl'))
    lines.push('Each --out keeps the answers of one oracle, with its options and seed: give another --out.');
  if (isVerbose) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      lines.push(cause.stack ?? cause.message);
  } else if (!isExpected) lines.push('This should not happen; --verbose shows where it did.');
  return `${lines.join('\n')}\n`;
}
