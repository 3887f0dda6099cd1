import { type Command, Option } from 'commander';
import type { BudgetCaps, TokenPrices } from '../oracle/budget.js';
import type { DebiasMethod } from '../oracle/debiased-oracle.js';
import type { Readout } from '../oracle/none-threshold.js';
import { isModelSpec, type OpenOracleOptions, parseOracleSpec } from './oracle-spec.js';
import { integer, real } from './parse-options.js';

/** Options that say how a model is read and called. */
export interface ModelOptions {
  /** How a model is read. */
  readonly readout: Readout;
  /** Where None begins. */
  readonly noneThreshold?: number;
  /** Standard deviation of the simulated oracles' noise. */
  readonly noise: number;
  /** Calls at the same time. */
  readonly concurrency?: number;
  /** Seconds for one call. */
  readonly timeout?: number;
  /** Threads of a model in this process. */
  readonly modelThreads?: number;
  /** Most characters of one attribute of an item. */
  readonly maxAttributeLength?: number;
  /** Whether likelihoods are taken by token. */
  readonly perToken?: boolean;
  /** How much of what a text is likely by itself is taken off. */
  readonly ownWeight?: number;
  /** Random histories that candidates are weighed against. */
  readonly baselineHistories?: number;
}

/** Adds the options that every command has that asks an oracle. */
export function withModelOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--readout <name>', "the paper's label, or each candidate's likelihood (works with small models)")
        .choices(['label', 'likelihood'])
        .default('label'),
    )
    .option('--none-threshold <x>', 'where None begins, as `ialp oracle eval` finds it for the read-out', signedReal)
    .option('--noise <x>', 'standard deviation of the simulated oracle’s noise', real(0, 1000), 0.1)
    .option('--concurrency <n>', 'calls of a model at the same time (default: what it takes, else 4)', integer(1, 64))
    .option('--timeout <seconds>', 'for one call of a model (default: 60; 300 for likelihood)', real(0.001, 3600))
    .option('--model-threads <n>', 'threads of a llama-cpp model (default: the idle cores)', integer(1, 512))
    .addOption(maxAttributeLengthOption())
    .option('--per-token', 'weigh texts by token, so that long ones have no larger scores; of --readout likelihood')
    .option(
      '--own-weight <w>',
      'how much of what a text is likely by itself is taken off, 0 to 1; of --readout likelihood (default: 1)',
      real(0, 1),
    )
    .option(
      '--baseline-histories <n>',
      'weigh texts against so many histories of random items, not against none; of --readout likelihood (default: 0)',
      integer(0, 100),
    );
}

/** `--max-attribute-length`, of those who show items to a model. */
export function maxAttributeLengthOption(): Option {
  const meaning =
    'most characters of one attribute of an item that a model is shown: shorter texts cost less (default: 200)';
  return new Option('--max-attribute-length <n>', meaning).argParser(integer(1, 10_000));
}

function signedReal(text: string): number {
  return text.startsWith('-') ? -real(0, 1e6)(text.slice(1)) : real(0, 1e6)(text);
}

/** Options that say how the label read-out is put right, and how fast it is asked. */
export interface DebiasOptions {
  /** What is done about favourite labels. */
  readonly debias: DebiasMethod;
  /** Orders of `cyclic`. */
  readonly permutations?: number;
  /** Questions put to a model a minute. */
  readonly perMinute?: number;
}

/** Adds the options of those who ask many questions. */
export function withDebiasOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--debias <method>', 'what is done about favourite labels and places, for --readout label')
        .choices(['shuffle', 'cyclic', 'contextual', 'pride'])
        .default('shuffle'),
    )
    .option(
      '--permutations <m>',
      'orders that --debias cyclic averages over (default: one a candidate)',
      integer(2, 25),
    )
    .option(
      '--per-minute <n>',
      'questions put to a model a minute, at most; a debiased answer may be several',
      integer(1),
    );
}

/** How a model is asked; a command may have no `--debias`. */
type HowToAsk = ModelOptions & Partial<DebiasOptions>;

/** Those given of the options that weigh texts. A default that is spelled out says nothing. */
function weighingOptions({ perToken = false, ownWeight = 1, baselineHistories = 0 }: ModelOptions): string[] {
  return [
    ...(perToken ? ['--per-token'] : []),
    ...(ownWeight === 1 ? [] : ['--own-weight']),
    ...(baselineHistories === 0 ? [] : ['--baseline-histories']),
  ];
}

/** Ends with wrong usage where an option is given that only a language model heeds, though none is asked. What says how fast may stay. */
export function refuseModelOptions(command: Command, options: HowToAsk, why: string): void {
  const { debias = 'shuffle', permutations, noneThreshold, maxAttributeLength } = options;
  const [given] = [
    ...(debias === 'shuffle' ? [] : ['--debias']),
    ...(permutations === undefined ? [] : ['--permutations']),
    ...(noneThreshold === undefined ? [] : ['--none-threshold']),
    ...(maxAttributeLength === undefined ? [] : ['--max-attribute-length']),
    ...weighingOptions(options),
  ];
  if (given !== undefined) command.error(`error: ${given} ${why}`, { exitCode: 2 });
}

/**
 * Ends with wrong usage where an option would do nothing with an oracle: of a model where none is asked, or of another read-out.
 *
 * @param spec - what stands after `--oracle`.
 * @param attributes - `--attributes` of a world, where the command has it.
 */
export function refuseUnheard(command: Command, spec: string, options: HowToAsk, attributes?: readonly string[]): void {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  const parsed = parseOracleSpec(spec);
  const { debias = 'shuffle', permutations, ownWeight, baselineHistories = 0 } = options;
  const isWeighed = isModelSpec(parsed) && options.readout === 'likelihood';
  if (attributes !== undefined && !isWeighed) {
    refuse(
      '--attributes of a world is for --readout likelihood of a language model: the others read the texts that the world has',
    );
  }
  if (!isModelSpec(parsed)) {
    refuseModelOptions(command, options, `is for a language model, which --oracle ${parsed.kind} is not`);
    return;
  }
  if (isWeighed && debias !== 'shuffle')
    refuse(`--debias ${debias} is for --readout label: likelihood shows no labels`);
  if (permutations !== undefined && debias !== 'cyclic')
    refuse('--permutations is for --debias cyclic, which averages over so many orders');
  const [weighing] = weighingOptions(options);
  if (weighing !== undefined && !isWeighed)
    refuse(`${weighing} is for --readout likelihood: labels have no texts to weigh`);
  if (ownWeight === 0 && baselineHistories > 0)
    refuse('--baseline-histories is not for --own-weight 0: nothing is weighed against them');
}

/** What of these options `openOracle` takes. */
export function askingOptionsOf({
  readout,
  debias,
  permutations,
  perMinute,
  noneThreshold,
  noise,
  concurrency,
  timeout,
  modelThreads,
  maxAttributeLength,
  perToken,
  ownWeight,
  baselineHistories,
}: ModelOptions & DebiasOptions): Omit<OpenOracleOptions, 'catalog'> {
  const timeoutMs = timeout === undefined ? undefined : 1000 * timeout;
  const asked = { readout, debias, permutations, perMinute, noneThreshold, maxAttributeLength };
  return { ...asked, perToken, ownWeight, baselineHistories, noise, concurrency, timeoutMs, modelThreads };
}

/** Options that cap what a job may cost. */
export interface BudgetOptions {
  /** Calls of the model. */
  readonly maxCalls?: number;
  /** Tokens of prompts. */
  readonly maxTokens?: number;
  /** US dollars. */
  readonly maxUsd?: number;
  /** Minutes of this run. */
  readonly maxMinutes?: number;
  /** US dollars a million tokens of prompts. */
  readonly priceInput?: number;
  /** US dollars a million tokens of answers. */
  readonly priceOutput?: number;
}

/** Adds the options of {@link budgetOf}. */
export function withBudgetOptions(command: Command): Command {
  return command
    .option('--max-calls <n>', 'stop before more calls of the model, earlier runs included', integer(1))
    .option('--max-tokens <n>', 'stop before more tokens of prompts, earlier runs included', integer(1, 1e12))
    .option('--max-usd <x>', 'stop before more US dollars, earlier runs included; needs the prices', real(0, 1e6))
    .option('--max-minutes <x>', 'stop after so many minutes of this run', real(0, 1e6))
    .option('--price-input <x>', 'US dollars for a million tokens of prompts', real(0, 1e6))
    .option('--price-output <x>', 'US dollars for a million tokens of answers', real(0, 1e6));
}

/** Ends with wrong usage where a cap or a price is given though nobody is asked. */
export function refuseBudget(
  command: Command,
  { maxCalls, maxTokens, maxUsd, maxMinutes, priceInput, priceOutput }: BudgetOptions,
  why: string,
): void {
  if ([maxCalls, maxTokens, maxUsd, maxMinutes, priceInput, priceOutput].every((value) => value === undefined)) return;
  command.error(`error: --max-calls, --max-tokens, --max-usd, --max-minutes and the prices ${why}`, { exitCode: 2 });
}

/** Which option raises which cap. */
export const CAP_OPTIONS: Readonly<Record<string, string>> = {
  calls: '--max-calls',
  inputTokens: '--max-tokens',
  usd: '--max-usd',
  wallMs: '--max-minutes',
};

/**
 * The caps and prices that the options say.
 *
 * @param command - told of options that do not fit together; it ends with wrong usage.
 */
export function budgetOf(
  command: Command,
  { maxCalls, maxTokens, maxUsd, maxMinutes, priceInput, priceOutput }: BudgetOptions,
): { readonly budget: BudgetCaps | undefined; readonly prices: TokenPrices | undefined } {
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  if ((priceInput === undefined) !== (priceOutput === undefined))
    refuse('expected both of --price-input and --price-output, or neither');
  const prices =
    priceInput === undefined || priceOutput === undefined
      ? undefined
      : { inputPerMillion: priceInput, outputPerMillion: priceOutput };
  if (maxUsd !== undefined && prices === undefined)
    refuse('--max-usd needs --price-input and --price-output: no prices are built in');
  const caps = {
    calls: maxCalls,
    inputTokens: maxTokens,
    usd: maxUsd,
    wallMs: maxMinutes === undefined ? undefined : 60_000 * maxMinutes,
  };
  return { budget: Object.values(caps).some((cap) => cap !== undefined) ? caps : undefined, prices };
}
