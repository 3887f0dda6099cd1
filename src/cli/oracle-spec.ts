import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { env } from 'node:process';
import { pathToFileURL } from 'node:url';
import { Option, InvalidArgumentError as WrongOption } from 'commander';
import type { Catalog } from '../catalog/catalog.js';
import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import { closest } from '../foundation/options.js';
import { MemoryStorage, type Storage } from '../foundation/storage.js';
import type { BudgetCaps, TokenPrices } from '../oracle/budget.js';
import { CachedOracle } from '../oracle/cached-oracle.js';
import { DebiasedOracle, type DebiasMethod } from '../oracle/debiased-oracle.js';
import type { LanguageModel } from '../oracle/language-model.js';
import { LikelihoodOracle } from '../oracle/likelihood-oracle.js';
import { LimitedOracle } from '../oracle/limited-oracle.js';
import { LlmOracle } from '../oracle/llm-oracle.js';
import type { Readout } from '../oracle/none-threshold.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import { type KeptBudget, openKeptBudget } from '../oracle/recorded-spending.js';
import { ReplayOracle } from '../oracle/replay-oracle.js';
import { SimulatedOracle } from '../oracle/simulated-oracle.js';
import { openQuestions } from '../train/plan-distil.js';
import { withoutCredentials } from './credentials.js';

/** Oracles without a model: one that reads text, and controls that must teach nothing. */
const SIMULATED = ['simulated', 'shuffled', 'random', 'none'] as const;

/** What else a spec may begin with, and what follows. */
const FORMS = {
  'llama-cpp': 'llama-cpp:FILE[,lora=FILE]',
  'openai-compatible': 'openai-compatible:URL#MODEL',
  'ai-sdk': 'ai-sdk:MODULE#EXPORT',
  recorded: 'recorded:FILE',
} as const;

/** A spec, read. */
export type OracleSpec =
  | { readonly kind: (typeof SIMULATED)[number] }
  | { readonly kind: 'llama-cpp'; readonly file: string; readonly lora?: string }
  | { readonly kind: 'openai-compatible'; readonly url: string; readonly model: string }
  | { readonly kind: 'ai-sdk'; readonly module: string; readonly exported: string }
  | { readonly kind: 'recorded'; readonly file: string };

/** A spec of a language model. */
export type ModelSpec = Extract<OracleSpec, { readonly kind: 'llama-cpp' | 'openai-compatible' | 'ai-sdk' }>;

/** Whether a language model answers: what says how one is asked means nothing to the others. */
export function isModelSpec(spec: OracleSpec): spec is ModelSpec {
  return spec.kind === 'llama-cpp' || spec.kind === 'openai-compatible' || spec.kind === 'ai-sdk';
}

/** The environment variable that holds the key of a server. Never an option: command lines are seen by others and kept in records. */
const API_KEY_VARIABLE = 'IALP_API_KEY';

/**
 * Reads what stands after `--oracle`.
 *
 * @throws {InvalidArgumentError} saying what is wrong with it and what it may be.
 */
export function parseOracleSpec(text: string): OracleSpec {
  const simulated = SIMULATED.find((name) => name === text);
  if (simulated !== undefined) return { kind: simulated };
  const [, name = text, rest] = /^([\w-]*):(.*)$/s.exec(text) ?? [];
  switch (name) {
    case 'llama-cpp': {
      const [, file, lora] = /^(.+?)(?:,lora=(.+))?$/s.exec(rest ?? '') ?? [];
      if (file === undefined || file.endsWith(',lora=')) throw wrongForm(text, name);
      return lora === undefined ? { kind: name, file } : { kind: name, file, lora };
    }
    case 'openai-compatible': {
      const [, url, model] = /^([^#]+)#(.+)$/s.exec(rest ?? '') ?? [];
      if (url === undefined || model === undefined) throw wrongForm(text, name);
      checkUrl(url, text);
      return { kind: name, url, model };
    }
    case 'ai-sdk': {
      const [, module, exported] = /^([^#]+)#(.+)$/s.exec(rest ?? '') ?? [];
      if (module === undefined || exported === undefined) throw wrongForm(text, name);
      return { kind: name, module, exported };
    }
    case 'recorded':
      if (rest === undefined || rest === '') throw wrongForm(text, name);
      return { kind: name, file: rest };
    default: {
      const near = closest(name, [...SIMULATED, ...Object.keys(FORMS)]);
      const hint = near === undefined ? '' : ` Did you mean ${near}?`;
      const wanted = `${SIMULATED.join(', ')}, ${Object.values(FORMS).join(', ')}`;
      const got = withoutCredentials(name);
      throw new InvalidArgumentError(`There is no oracle '${got}'.${hint} Allowed are ${wanted}.`, {
        argument: 'oracle',
        wanted,
        got,
      });
    }
  }
}

function wrongForm(text: string, name: keyof typeof FORMS): InvalidArgumentError {
  const wanted = FORMS[name];
  const got = withoutCredentials(text);
  return new InvalidArgumentError(`Expected ${wanted}, got '${got}'.`, { argument: 'oracle', wanted, got });
}

function checkUrl(address: string, spec: string): void {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:')) {
    if (url.username === '' && url.password === '') return;
    // Not repeated in the message: it is a secret.
    throw new InvalidArgumentError(
      `Expected a URL without user and password; put the key into the environment variable ${API_KEY_VARIABLE}.`,
      { argument: 'oracle' },
    );
  }
  // The whole spec: where a # stands in a password, the address ends in the middle of it.
  const got = withoutCredentials(spec);
  throw new InvalidArgumentError(`Expected a URL such as http://localhost:11434/v1, got '${got}'.`, {
    argument: 'oracle',
    wanted: 'a URL that begins with http:// or https://',
    got,
  });
}

/** `--oracle`, with its forms. */
export function oracleSpecOption(): Option {
  const forms = Object.values(FORMS).join(', ');
  return new Option(
    '--oracle <spec>',
    `who is asked: ${forms}; or simulated, which reads text, and the controls shuffled, random, none, which must teach nothing`,
  ).argParser((text: string) => {
    try {
      parseOracleSpec(text);
    } catch (error) {
      throw new WrongOption(error instanceof Error ? error.message : String(error));
    }
    return text;
  });
}

/** How an oracle is opened. */
export interface OpenOracleOptions {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** How a model is read. @default 'label' */
  readonly readout?: Readout | undefined;
  /** Seed of orders and of the simulated noise. @default 0 */
  readonly seed?: number | undefined;
  /** Standard deviation of the simulated oracles' noise. @default 0.1 */
  readonly noise?: number | undefined;
  /** Where None begins: `noneBelow` of the likelihood read-out, `noneThreshold` of label. @default as those have it */
  readonly noneThreshold?: number | undefined;
  /** Whether the label read-out draws an order of candidates of its own. @default true, unless debiasing sees to it */
  readonly shuffle?: boolean | undefined;
  /** What is done about favourite labels and places; of label. @default 'shuffle' */
  readonly debias?: DebiasMethod | undefined;
  /** Orders that `cyclic` averages over, from 2. @default as many as candidates */
  readonly permutations?: number | undefined;
  /** Candidates of the questions to come: what `pride` is calibrated on. @default 10 */
  readonly candidateCount?: number | undefined;
  /** Questions put to a model a minute, at most, further tries apart; a debiased answer may be several. @default no limit */
  readonly perMinute?: number | undefined;
  /** Calls at the same time. @default what the back-end takes, else 4 */
  readonly concurrency?: number | undefined;
  /** Time for one call of a model, in ms. @default 60_000, of the likelihood read-out 300_000 */
  readonly timeoutMs?: number | undefined;
  /** Most characters of one attribute of an item that a model is shown. @default 200 */
  readonly maxAttributeLength?: number | undefined;
  /** What makes an item's text, where the likelihood read-out is to show another than the catalogue's. @default the catalogue's */
  readonly attributes?: readonly string[] | undefined;
  /** Whether the likelihood read-out takes the mean over tokens. @default false */
  readonly perToken?: boolean | undefined;
  /** How much of what an item's text is likely by itself the likelihood read-out takes off, 0 to 1. @default 1 */
  readonly ownWeight?: number | undefined;
  /** Histories of random items that the likelihood read-out weighs candidates against. @default 0: against no history */
  readonly baselineHistories?: number | undefined;
  /** Threads of a model in this process. @default the idle cores */
  readonly modelThreads?: number | undefined;
  /** Where the items' own likelihoods, and the calls behind debiased answers, are kept from run to run; borrowed. @default in memory only */
  readonly storage?: Storage | undefined;
  /** Caps on the calls of `pride`, whose calibration comes before any question; what `storage` holds is counted. @default none */
  readonly budget?: BudgetCaps | undefined;
  /** US dollars for a million tokens. @default nothing is known */
  readonly prices?: TokenPrices | undefined;
  /** A dry run: the oracle only estimates, and nobody is asked beyond the probe of a server. @default false */
  readonly isDry?: boolean | undefined;
  /** Told what was found out about a server. */
  readonly say?: ((line: string) => void) | undefined;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** An open oracle. */
export interface OpenedOracle {
  /** Who answers. */
  readonly oracle: PreferenceOracle;
  /** The model behind, where there is one. */
  readonly languageModel?: LanguageModel;
  /** Closes both. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Opens the oracle of a spec, with its read-out. Back-ends are loaded only when they are asked for; the key of a server comes from the
 * environment variable `IALP_API_KEY`, never from a command line.
 *
 * @throws {InvalidArgumentError} for a wrong spec, or a model that cannot be read in that way.
 * @throws {BackendError} when a package is missing: the message has the line that installs it.
 * @throws {InvalidDataError} for a file that is missing or damaged.
 * @throws {OracleError} when a server cannot be reached, or refuses.
 */
export async function openOracle(spec: string, options: OpenOracleOptions): Promise<OpenedOracle> {
  const parsed = parseOracleSpec(spec);
  const { catalog, seed = 0, noise = 0.1 } = options;
  const base = { catalog, seed, noise };
  switch (parsed.kind) {
    case 'simulated':
      return opened(new SimulatedOracle(base));
    case 'shuffled':
      return opened(new SimulatedOracle({ ...base, shuffledText: seed }));
    case 'random':
      return opened(new SimulatedOracle({ ...base, control: 'random' }));
    case 'none':
      return opened(new SimulatedOracle({ ...base, control: 'alwaysNone' }));
    case 'recorded':
      return opened(await ReplayOracle.open({ catalog, ...(await recordIn(parsed.file)) }));
    default: {
      const languageModel = await openModel(parsed, options);
      try {
        const { oracle, end } = await readBy(languageModel, options);
        return opened(oracle, languageModel, end);
      } catch (error) {
        await languageModel.close?.();
        throw error;
      }
    }
  }
}

/**
 * Opens the language model of a spec, for those who ask it something else than preferences.
 *
 * @returns the model; the caller closes it.
 * @throws as {@link openOracle}; also for a spec without a model.
 */
export async function openLanguageModel(
  spec: string,
  options: Omit<OpenModelOptions, 'baselineHistories'>,
): Promise<LanguageModel> {
  const parsed = parseOracleSpec(spec);
  if (isModelSpec(parsed)) return openModel(parsed, options);
  const wanted = [FORMS['llama-cpp'], FORMS['openai-compatible'], FORMS['ai-sdk']].join(', ');
  throw new InvalidArgumentError(`Expected a language model, one of ${wanted}; got '${spec}', which is none.`, {
    argument: 'oracle',
    wanted,
    got: spec,
  });
}

/** Contexts, each of the model's whole length in memory, that hold beginnings. */
const MOST_SPARE = 4;

type OpenModelOptions = Pick<
  OpenOracleOptions,
  'concurrency' | 'timeoutMs' | 'modelThreads' | 'baselineHistories' | 'say' | 'signal'
>;

async function openModel(
  spec: ModelSpec,
  { concurrency, timeoutMs, modelThreads, baselineHistories, say, signal }: OpenModelOptions,
): Promise<LanguageModel> {
  switch (spec.kind) {
    case 'llama-cpp': {
      for (const file of [spec.file, spec.lora]) if (file !== undefined) checkFile(file);
      const { LlamaCppModel } = await import('../llama-cpp/llama-cpp-model.js');
      return LlamaCppModel.load({
        file: spec.file,
        ...(spec.lora === undefined ? {} : { lora: spec.lora }),
        ...(concurrency === undefined ? {} : { sequences: concurrency }),
        ...(modelThreads === undefined ? {} : { threads: modelThreads }),
        // So that the beginnings that the baselines share are evaluated once, not once a question.
        ...(baselineHistories === undefined ? {} : { spareSequences: Math.min(MOST_SPARE, baselineHistories) }),
      });
    }
    case 'openai-compatible': {
      const { OpenAICompatibleModel } = await import('../openai-compatible/openai-compatible-model.js');
      return OpenAICompatibleModel.connect({
        url: spec.url,
        model: spec.model,
        // Looked up at each call, and kept nowhere.
        ...(env[API_KEY_VARIABLE] ? { apiKey: () => env[API_KEY_VARIABLE] ?? '' } : {}),
        ...(concurrency === undefined ? {} : { concurrency }),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...(say === undefined ? {} : { onReport: say }),
        ...(signal === undefined ? {} : { signal }),
      });
    }
    case 'ai-sdk': {
      const { aiSdkModel } = await import('../ai-sdk/ai-sdk-model.js');
      const model = (await importOwn(spec)) as Parameters<typeof aiSdkModel>[0]['model'];
      return aiSdkModel({ model });
    }
  }
}

/** A read-out, and what is to be done when it is needed no more. */
interface OpenedReadout {
  readonly oracle: PreferenceOracle;
  readonly end?: () => Promise<void>;
}

/** The read-out of a model; around it the limit, and around that debiasing. Budget and record come around all of it. */
async function readBy(languageModel: LanguageModel, options: OpenOracleOptions): Promise<OpenedReadout> {
  const { debias = 'shuffle', perMinute } = options;
  const read = openReadout(languageModel, options);
  // Below the debiasing, which asks several times for one answer.
  const limited =
    perMinute === undefined ? read : new LimitedOracle({ oracle: read, intervalMs: 60_000, intervalCap: perMinute });
  return debias === 'shuffle' ? { oracle: limited } : debiased(limited, read, debias, options);
}

/** Questions that calibrate `pride`; each is asked in every order of its candidates. */
const CALIBRATION_QUESTIONS = 40;

async function debiased(
  limited: PreferenceOracle,
  read: PreferenceOracle,
  method: Exclude<DebiasMethod, 'shuffle'>,
  options: OpenOracleOptions,
): Promise<OpenedReadout> {
  const { catalog, seed = 0, noneThreshold, permutations, candidateCount = 10, storage, signal } = options;
  const { isDry = false, say } = options;
  const budgeted = method === 'pride' ? await capped(limited, options) : undefined;
  const asked = budgeted?.oracle ?? limited;
  const cached = storage === undefined ? asked : await openCalls(asked, catalog, storage);
  const calibration =
    method === 'pride'
      ? await openQuestions({
          ...{ catalog, candidateCount, stepsPerEpisode: 1, seed },
          ...{ count: CALIBRATION_QUESTIONS, oracleId: 'calibration', storage: new MemoryStorage() },
        })
      : [];
  const oracle = await DebiasedOracle.create({
    ...{ oracle: cached, catalog, method, seed, calibrate: !isDry },
    ...(method === 'pride' ? { calibration } : {}),
    ...(method === 'contextual' && read instanceof LlmOracle ? { contentFree: read } : {}),
    ...(permutations === undefined || method !== 'cyclic' ? {} : { permutations }),
    ...(noneThreshold === undefined ? {} : { noneThreshold }),
    ...(signal === undefined ? {} : { signal }),
  }).catch(async (error: unknown) => {
    await budgeted?.end();
    throw error;
  });
  const opened = { oracle, ...(budgeted === undefined ? {} : { end: budgeted.end }) };
  if (method !== 'pride' || !isDry) return opened;
  const { calls = 0, inputTokens = 0 } = (await oracle.estimateCalibration()) ?? {};
  if (calls > 0)
    say?.(`Before the first question pride is calibrated: about ${calls} calls, ${inputTokens} tokens of prompts.`);
  return opened;
}

const CALLS_KEY = 'calls.jsonl';

/** One answer is many calls: those that were paid before a kill are not paid again. */
function openCalls(oracle: PreferenceOracle, catalog: Catalog, storage: Storage): Promise<CachedOracle> {
  return CachedOracle.open({ oracle, catalog, storage, key: CALLS_KEY, maxEntries: 10_000_000 });
}

/** Calls under the caps: those of a calibration are no question of a job, whose own budget does not see them. */
async function capped(
  oracle: PreferenceOracle,
  { budget, prices, catalog, storage }: OpenOracleOptions,
): Promise<KeptBudget | undefined> {
  if (budget === undefined) return undefined;
  const record = storage === undefined ? undefined : await openCalls(oracle, catalog, storage);
  return openKeptBudget({
    ...{ storage: storage ?? new MemoryStorage(), key: CALLS_KEY, record },
    ...{ oracle, caps: budget },
    ...(prices === undefined ? {} : { prices }),
  });
}

function openReadout(languageModel: LanguageModel, options: OpenOracleOptions): PreferenceOracle {
  const { catalog, readout = 'label', debias = 'shuffle', seed = 0, noneThreshold, storage } = options;
  const { maxAttributeLength, concurrency, timeoutMs, shuffle = debias === 'shuffle' } = options;
  const asked = {
    ...(maxAttributeLength === undefined ? {} : { maxAttributeLength }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  if (readout === 'likelihood') {
    if (languageModel.continuationScores === undefined) {
      throw new InvalidArgumentError(
        `--readout likelihood needs log-probabilities of a prompt, which ${languageModel.id} does not tell; read it by label, or serve the model with vLLM, SGLang or llama-cpp:FILE`,
        { argument: 'readout' },
      );
    }
    return new LikelihoodOracle({
      ...{ catalog, languageModel, ...asked },
      ...(noneThreshold === undefined ? {} : { noneBelow: noneThreshold }),
      ...(options.attributes === undefined ? {} : { attributes: options.attributes }),
      ...(options.perToken === undefined ? {} : { perToken: options.perToken }),
      ...(options.ownWeight === undefined ? {} : { ownWeight: options.ownWeight }),
      ...(options.baselineHistories === undefined ? {} : { baselineHistories: options.baselineHistories }),
      ...(storage === undefined ? {} : { storage }),
    });
  }
  return new LlmOracle({
    ...{ catalog, languageModel, seed, shuffle, ...asked },
    // Around debiased scores the threshold is that of the debiasing.
    ...(noneThreshold === undefined || debias !== 'shuffle' ? {} : { noneThreshold }),
  });
}

function opened(oracle: PreferenceOracle, languageModel?: LanguageModel, end?: () => Promise<void>): OpenedOracle {
  const close = async (): Promise<void> => {
    await oracle.close?.();
    await languageModel?.close?.();
    await end?.();
  };
  return languageModel === undefined ? { oracle, close } : { oracle, languageModel, close };
}

/** Name of the record in the folder that `ialp distil` makes. */
export const ANSWERS_KEY = 'answers.jsonl';

/**
 * A record of answers, given as its file or as the folder that `ialp distil` made. A copy in memory: what is only read stays as it is,
 * a torn last line included.
 *
 * @throws {InvalidDataError} when there is no such file.
 */
export async function recordIn(path: string): Promise<{ readonly storage: Storage; readonly key: string }> {
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, ANSWERS_KEY) : path;
  checkFile(file);
  const storage = new MemoryStorage();
  await storage.put(ANSWERS_KEY, await readFile(file));
  return { storage, key: ANSWERS_KEY };
}

function checkFile(file: string): void {
  if (existsSync(file) && statSync(file).isFile()) return;
  throw new InvalidDataError('expected a file that can be read: there is none', { source: file });
}

/** What a module of the user's exports; a function is called for it. */
async function importOwn({
  module,
  exported,
}: {
  readonly module: string;
  readonly exported: string;
}): Promise<unknown> {
  const path = resolve(module);
  const isFile = existsSync(path) && statSync(path).isFile();
  if (!isFile) {
    throw new InvalidDataError('expected a module that exports an AI SDK model: there is no such file', {
      source: module,
    });
  }
  const names = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  const found = Object.hasOwn(names, exported) ? names[exported] : undefined;
  const model: unknown = typeof found === 'function' ? await (found as () => unknown)() : found;
  if (typeof model === 'object' && model !== null) return model;
  const near = closest(exported, Object.keys(names));
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  throw new InvalidArgumentError(
    `Expected ${module} to export a model as '${exported}', or a function that gives one; it exports ${Object.keys(names).join(', ') || 'nothing'}.${hint}`,
    { argument: 'oracle', got: exported },
  );
}
