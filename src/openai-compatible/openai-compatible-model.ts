import { z } from 'zod';
import { InvalidArgumentError, type OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { isPassingStatus, isRetryable } from '../oracle/back-end-failure.js';
import type {
  CompleteOptions,
  Completion,
  ContinuationScores,
  LabelScores,
  LanguageModel,
  ModelCallOptions,
} from '../oracle/language-model.js';
import { sleep } from '../oracle/model-calls.js';
import { type Fetch, HttpClient } from './http-client.js';
import { PROBE_CONTINUATIONS, PROBE_PREFIX, probePrompt } from './probe-prompts.js';
import {
  type Ask,
  type Dialect,
  dialects,
  type ModelSettings,
  type ServerName,
  type TemplateName,
  TOP_N,
} from './servers.js';
import { at, beginsOtherwise, isForm, type LabelForms, listAt, MissingFieldError, readLabels } from './wire.js';

/** Options of {@link OpenAICompatibleModel.connect}. */
export interface OpenAICompatibleOptions {
  /** Where the server is, e.g. `http://localhost:11434`; `/v1` at the end is allowed. There is no default: no prompt leaves unasked. */
  readonly url: string;
  /** The model's name as the server knows it. */
  readonly model: string;
  /** Whose fields are spoken. `auto` asks the server for its list of models, and takes an unknown one for `openai`. @default 'auto' */
  readonly server?: ServerName | 'auto';
  /** How prompts are put: continued as text, or as one user message; oracles write theirs accordingly. @default 'chat' for OpenAI, 'completion' for the others */
  readonly template?: TemplateName;
  /** Bearer token, or a function that gives it at each call. Stands in no error, id, log or record. @default none is sent */
  readonly apiKey?: string | (() => string | Promise<string>);
  /** Further headers of each request; treated as secrets. @default none */
  readonly headers?: Readonly<Record<string, string>>;
  /** Used instead of the platform's `fetch`: for a proxy or a certificate of your own. */
  readonly fetch?: Fetch;
  /** Time for one request, answer included, in ms. @default 60_000 */
  readonly timeoutMs?: number;
  /** Longest answer that is read, in bytes. @default 4_194_304 */
  readonly maxResponseBytes?: number;
  /** Most tokens of a text answer. A chat model ends by itself, after its thoughts. @default 16 in completion, 1_024 in chat */
  readonly maxTokens?: number;
  /** Enters the `id`: change it when the server's weights change under the same name. @default none */
  readonly revision?: string;
  /** Calls that the server takes at the same time. @default as many as the read-out's `concurrency` */
  readonly concurrency?: number;
  /** Told once, after the probe, what was found, in one line for a log. */
  readonly onReport?: (line: string) => void;
  /** Gives up the probe. */
  readonly signal?: AbortSignal;
}

/** What a server can do, found out once by the probe of {@link OpenAICompatibleModel.connect}. */
export interface ServerCapabilities {
  /** Whose fields are spoken. */
  readonly server: ServerName;
  /** `full`: each label's exact log-probability; `topN`: of those among the likeliest; `none`: only text. */
  readonly distribution: 'full' | 'topN' | 'none';
  /** Whether texts can be weighed: the `likelihood` read-out. */
  readonly likelihood: boolean;
  /** How prompts are put. */
  readonly template: TemplateName;
  /** `exact`: counted by the server's tokeniser; `estimated`: characters per token as the probe's usage tells them. */
  readonly tokens: 'exact' | 'estimated';
}

const WHERE = 'OpenAICompatibleModel.connect';

const optionsSchema = z.strictObject({
  url: z.string(),
  model: z.string().min(1).max(500),
  server: z.enum(['vllm', 'llamacpp', 'sglang', 'ollama', 'openai', 'auto']).default('auto'),
  template: z.enum(['completion', 'chat']).optional(),
  apiKey: z.unknown().optional(),
  headers: z.unknown().optional(),
  fetch: z.custom<Fetch>((value) => typeof value === 'function', 'expected a function like fetch').optional(),
  timeoutMs: z.number().min(1).max(3_600_000).default(60_000),
  maxResponseBytes: z.int().min(1_000).max(1_000_000_000).default(4_194_304),
  maxTokens: z.int().min(1).max(100_000).optional(),
  revision: z.string().min(1).max(200).optional(),
  concurrency: z.int().min(1).max(10_000).optional(),
  onReport: z.custom<(line: string) => void>((value) => typeof value === 'function', 'expected a function').optional(),
  signal: z.instanceof(AbortSignal).optional(),
});

/** Tries of each question of the probe, and the wait between them. */
const PROBE_TRIES = 3;
const PROBE_WAIT_MS = 250;
const LONGEST_PROBE_WAIT_MS = 10_000;

/** Where the server tells no usage. */
const CHARACTERS_PER_TOKEN = 4;

const LETTERS = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));

/**
 * A language model behind HTTP: vLLM, llama.cpp's server, SGLang, Ollama, OpenAI, and any server of OpenAI's shape, by plain `fetch`.
 *
 * One probe at the start finds out what the server really does, for servers drop fields in silence: methods that it cannot serve are
 * absent, so that the read-outs fall back to text. The probe sends invented text, never yours, and costs a few hundred tokens.
 */
export class OpenAICompatibleModel implements LanguageModel {
  /** Server, model, template, what is read, revision. No address, no secret. */
  readonly id: string;
  /** What the probe found. */
  readonly capabilities: ServerCapabilities;
  /** How prompts are put: that of the capabilities. */
  readonly template: TemplateName;
  /** Calls that the server takes at the same time, where the option says so. */
  declare readonly concurrency?: number;
  /** The `label` read-out; absent where the server gives no log-probabilities. */
  declare readonly labelScores?: (
    prompt: string,
    labels: readonly string[],
    options?: ModelCallOptions,
  ) => Promise<LabelScores>;
  /** The `likelihood` read-out; absent where the server gives no log-probabilities of a prompt. */
  declare readonly continuationScores?: (
    prefix: string,
    continuations: readonly string[],
    options?: ModelCallOptions,
  ) => Promise<ContinuationScores>;
  /** The server is asked once a continuation, and counts the prefix each time. */
  declare readonly continuationUsage?: NonNullable<LanguageModel['continuationUsage']>;
  readonly #client: HttpClient;
  readonly #dialect: Dialect;
  readonly #settings: ModelSettings;
  readonly #charactersPerToken: number;
  #constrains = true;

  private constructor(client: HttpClient, found: Found) {
    const { capabilities, settings, labels } = found;
    this.#client = client;
    this.#dialect = dialects[capabilities.server];
    this.#settings = settings;
    this.#charactersPerToken = found.charactersPerToken;
    this.capabilities = capabilities;
    this.template = capabilities.template;
    this.id = found.id;
    if (found.concurrency !== undefined) this.concurrency = found.concurrency;
    if (capabilities.distribution !== 'none') {
      this.labelScores = async (prompt, wanted, { signal } = {}) => {
        const forms = wanted.map((letter) => labels.get(letter) ?? formsOf(letter, settings.template));
        const { listed, usage } = await this.#dialect.distribution(this.#ask(signal), settings, prompt, forms);
        const scores = readLabels(listed, forms);
        // These were asked for one by one: the least of them bounds nothing.
        if (capabilities.distribution === 'full' && scores.bounded?.includes(true))
          throw new MissingFieldError('log-probability of each label, which it gave when it was opened');
        // In a completion the label is what comes next; in chat an answer may begin with other words.
        const isOther = settings.template === 'chat' && beginsOtherwise(listed, forms);
        return { ...scores, ...(isOther ? { beginsOtherwise: true } : {}), usage };
      };
    }
    const { likelihoods } = this.#dialect;
    if (capabilities.likelihood && likelihoods !== undefined) {
      this.continuationScores = (prefix, continuations, { signal } = {}) =>
        likelihoods(this.#ask(signal), settings, prefix, continuations);
      this.continuationUsage = (prefixTokens, texts) => {
        const prefixes = prefixTokens * texts.length;
        const tokens = texts.reduce((sum, count) => sum + count, 0);
        // llama.cpp's server writes the text itself; the others read it and write one token more.
        return capabilities.server === 'llamacpp'
          ? { inputTokens: prefixes, outputTokens: tokens }
          : { inputTokens: prefixes + tokens, outputTokens: texts.length };
      };
    }
  }

  /**
   * Finds out what the server can do.
   *
   * @throws {InvalidArgumentError} for a wrong option; it holds no value of `url`, `apiKey` and `headers`.
   * @throws {OracleError} when the server cannot be reached, refuses the key, or does not have the model.
   * @throws `signal.reason` on abort.
   */
  static async connect(options: OpenAICompatibleOptions): Promise<OpenAICompatibleModel> {
    const checked = checkConnectOptions(options);
    const client = new HttpClient(checked);
    try {
      await client.checkKey(checked.signal);
      const found = await probe(client, checked);
      checked.onReport?.(describe(client.origin, found));
      return new OpenAICompatibleModel(client, found);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Writes an answer at temperature 0. `constrained` uses the server's own way to enforce a label, where it has one.
   *
   * @throws {OracleError} with `status` and `retryAfterMs`, where the server gave them; without prompt and key.
   */
  async complete(prompt: string, { signal, labels, constrained }: CompleteOptions): Promise<Completion> {
    const ask = this.#ask(signal);
    const plain = (): Promise<Completion> => this.#dialect.complete(ask, this.#settings, prompt, undefined);
    const isConstrained = constrained && this.#constrains && labels.every((label) => /^[a-z]$/u.test(label));
    if (!isConstrained) return plain();
    try {
      return await this.#dialect.complete(ask, this.#settings, prompt, labels);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // It was the constraint that was refused only if the prompt is answered without it.
      const completion = await plain();
      this.#constrains = false;
      return completion;
    }
  }

  /** Tokens of a text: asked of the server's tokeniser, or estimated from its characters; see {@link ServerCapabilities.tokens}. */
  async countTokens(text: string): Promise<number> {
    if (this.capabilities.tokens === 'estimated') return Math.ceil(text.length / this.#charactersPerToken);
    const [tokens] = (await this.#dialect.tokenize?.(this.#ask(undefined), this.#settings, [text])) ?? [];
    return tokens?.length ?? 0;
  }

  /** Ends what is in flight, which rejects with `DisposedError`; later calls do too. Safe to call twice. */
  async close(): Promise<void> {
    this.#client.close();
  }

  /** What may be written down: no key, no address. */
  toJSON(): Pick<OpenAICompatibleModel, 'id' | 'capabilities'> {
    return { id: this.id, capabilities: this.capabilities };
  }

  #ask(signal: AbortSignal | undefined): Ask {
    return (path, body) => this.#client.request('POST', path, body, signal);
  }
}

type Checked = Omit<z.output<typeof optionsSchema>, 'apiKey' | 'headers' | 'fetch'> & {
  readonly root: string;
  readonly apiKey: OpenAICompatibleOptions['apiKey'] | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: Fetch | undefined;
};

/** What the probe found. */
interface Found {
  readonly id: string;
  readonly capabilities: ServerCapabilities;
  readonly settings: ModelSettings;
  readonly labels: ReadonlyMap<string, LabelForms>;
  readonly charactersPerToken: number;
  readonly concurrency: number | undefined;
}

/** @throws {InvalidArgumentError} that carries no value: a key may stand in the wrong place. */
function checkConnectOptions(options: OpenAICompatibleOptions): Checked {
  let checked: z.output<typeof optionsSchema>;
  try {
    checked = checkOptions(optionsSchema, options, WHERE);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new InvalidArgumentError(error.message, { argument: error.argument, wanted: error.wanted });
  }
  const { apiKey, headers = {}, fetch } = checked;
  const refuse = (argument: string, wanted: string): InvalidArgumentError =>
    new InvalidArgumentError(`${WHERE}: expected \`${argument}\` to be ${wanted}`, { argument, wanted });
  const isKey = typeof apiKey === 'function' || (typeof apiKey === 'string' && apiKey !== '');
  if (apiKey !== undefined && !isKey)
    throw refuse('apiKey', 'a text that is not empty, or a function that returns one');
  if (typeof headers !== 'object' || headers === null || Object.values(headers).some((v) => typeof v !== 'string'))
    throw refuse('headers', 'an object of texts');
  let url: URL;
  try {
    url = new URL(checked.url);
  } catch {
    throw refuse('url', 'a URL such as http://localhost:11434');
  }
  const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (!/^https?:$/u.test(url.protocol) || !isPlain)
    throw refuse(
      'url',
      'an http or https URL without user name, password and query; keys belong in `apiKey` or `headers`',
    );
  const root = `${url.origin}${url.pathname.replace(/\/+$/u, '').replace(/\/v1$/u, '')}`;
  return {
    ...checked,
    root,
    apiKey: apiKey as OpenAICompatibleOptions['apiKey'],
    headers: headers as Readonly<Record<string, string>>,
    fetch,
  };
}

/** The server understood, and will not: no failure that passes, and none of key or budget. */
function isRefusal(error: unknown): boolean {
  const { status } = error as Partial<OracleError>;
  return status !== undefined && !isPassingStatus(status) && status !== 401 && status !== 403;
}

/** Runs a question of the probe until it is answered or refused: a passing failure must not decide what the server can do. */
async function patiently<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await run();
    } catch (error) {
      signal?.throwIfAborted();
      if (tries >= PROBE_TRIES || !isRetryable(error)) throw error;
      if (error instanceof MissingFieldError) continue;
      const { retryAfterMs = PROBE_WAIT_MS * tries } = error as Partial<OracleError>;
      await sleep(Math.min(retryAfterMs, LONGEST_PROBE_WAIT_MS), signal);
    }
  }
}

/** The answer; undefined where the server refuses the question, or answers another one. */
async function ifServed<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T | undefined> {
  try {
    return await patiently(run, signal);
  } catch (error) {
    if (isRefusal(error) || error instanceof MissingFieldError) return undefined;
    throw error;
  }
}

async function probe(client: HttpClient, options: Checked): Promise<Found> {
  const { model, signal, revision, concurrency } = options;
  const ask: Ask = (path, body) => client.request('POST', path, body, signal);
  const { server, served } = await detect(client, options);
  const dialect = dialects[server];
  const template = options.template ?? (server === 'openai' ? 'chat' : 'completion');
  let settings: ModelSettings = {
    model,
    template,
    maxTokens: options.maxTokens ?? (template === 'chat' ? 1024 : 16),
    topN: TOP_N,
    reasoning: false,
  };
  const prompt = probePrompt(template);

  const labels = await labelTokens(ask, dialect, settings, signal);
  const tokens = labels === undefined ? 'estimated' : 'exact';
  const forms = LETTERS.map((letter) => labels?.get(letter) ?? formsOf(letter, template));

  const distributionAt = async (topN: number) =>
    ifServed(() => dialect.distribution(ask, { ...settings, topN }, prompt, forms), signal);
  let listing = await distributionAt(TOP_N);
  if (listing === undefined && server === 'openai') {
    listing = await distributionAt(5);
    if (listing !== undefined) settings = { ...settings, topN: 5 };
  }
  const listed = listing?.listed ?? [];
  const named = forms.filter((form) => listed.some((token) => isForm(token, form))).length;
  // A list without any label is that of a model that thinks first, or of another tokeniser: its text is worth more.
  // All 26 in a list of 20: they are there because they were asked for.
  const distribution = named === 0 ? 'none' : named > TOP_N && server !== 'llamacpp' ? 'full' : 'topN';

  let { usage } = listing ?? {};
  if (distribution === 'none') {
    let text = await ifServed(() => dialect.complete(ask, settings, prompt, undefined), signal);
    if (text === undefined && server === 'openai' && template === 'chat') {
      const reasoning = { ...settings, reasoning: true };
      text = await ifServed(() => dialect.complete(ask, reasoning, prompt, undefined), signal);
      if (text !== undefined) settings = reasoning;
    }
    // Refused for good: the first refusal says why.
    text ??= await dialect.complete(ask, settings, prompt, undefined);
    usage = text.usage;
  }
  const capabilities: ServerCapabilities = {
    server,
    distribution,
    likelihood: template === 'completion' && (await weighs(ask, dialect, settings, signal)),
    template,
    tokens,
  };
  const parts = [`openai-compatible:${server}:${model}`, template, distribution, `max=${settings.maxTokens}`];
  if (settings.reasoning) parts.push('thinks');
  if (served !== undefined && served !== model) parts.push(`served=${served}`);
  if (revision !== undefined) parts.push(`revision=${revision}`);
  const charactersPerToken = usage?.inputTokens ? prompt.length / usage.inputTokens : CHARACTERS_PER_TOKEN;
  return { id: parts.join('|'), capabilities, settings, labels: labels ?? new Map(), charactersPerToken, concurrency };
}

/** Whose server it is, by the owner in its list of models; and, where the server ignores `model`, what it really serves. */
async function detect(
  client: HttpClient,
  { server, signal }: Checked,
): Promise<{ server: ServerName; served?: string }> {
  const get = (path: string): Promise<unknown> =>
    ifServed(() => client.request('GET', path, undefined, signal), signal);
  if (server !== 'auto' && server !== 'llamacpp') return { server };
  const models = await get('/v1/models');
  const owner = at(models, 'data', 0, 'owned_by');
  const name = String(at(listAt(models, 'data')[0], 'id') ?? '');
  // A file's folder is nobody's business.
  const served = /[^/\\]{1,200}$/u.exec(name)?.[0].replace(/[^\x21-\x7e]/gu, '') || undefined;
  if (server === 'llamacpp' || owner === 'llamacpp')
    return { server: 'llamacpp', ...(served === undefined ? {} : { served }) };
  if (owner === 'vllm' || owner === 'sglang') return { server: owner };
  // Ollama names a model's publisher as its owner.
  const version = owner === 'library' || typeof at(await get('/api/version'), 'version') === 'string';
  return { server: version ? 'ollama' : 'openai' };
}

function describe(origin: string, { capabilities, id }: Found): string {
  const { server, distribution, likelihood, template, tokens } = capabilities;
  const labels = {
    full: 'exact label probabilities',
    topN: 'label probabilities of the likeliest tokens',
    none: 'text only',
  };
  const weighs = likelihood ? 'weighs texts' : 'does not weigh texts';
  return `${id}: ${server} at ${origin}, template ${template}, ${labels[distribution]}, ${weighs}, tokens ${tokens}`;
}

function formsOf(letter: string, template: TemplateName): LabelForms {
  const capital = letter.toUpperCase();
  return { texts: template === 'chat' ? [letter, ` ${letter}`, capital, ` ${capital}`] : [` ${letter}`] };
}

/** The labels with their token ids, found by what `" a"` adds to a text (oracles.md 1); undefined where the server cannot tokenise. */
async function labelTokens(
  ask: Ask,
  { tokenize }: Dialect,
  settings: ModelSettings,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, LabelForms> | undefined> {
  if (tokenize === undefined) return undefined;
  // In chat a label begins the answer, in several forms: they are told by their texts.
  const letters = settings.template === 'chat' ? [] : LETTERS;
  const texts = [PROBE_PREFIX, ...letters.map((letter) => `${PROBE_PREFIX} ${letter}`)];
  const lists = await ifServed(() => tokenize(ask, settings, texts), signal);
  if (lists === undefined) return undefined;
  const [before = [], ...after] = lists;
  return new Map(
    letters.map((letter, i) => {
      const ids = after[i] ?? [];
      const isOne = ids.length === before.length + 1 && before.every((id, place) => id === ids[place]);
      return [letter, { ...formsOf(letter, settings.template), id: isOne ? ids[before.length] : undefined }];
    }),
  );
}

/** Whether the server weighs texts: a likelihood below 1 for each, and more than one of them. */
async function weighs(
  ask: Ask,
  { likelihoods }: Dialect,
  settings: ModelSettings,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (likelihoods === undefined) return false;
  const found = await ifServed(() => likelihoods(ask, settings, PROBE_PREFIX, PROBE_CONTINUATIONS), signal);
  const values = found?.logLikelihoods ?? [];
  return values.length === PROBE_CONTINUATIONS.length && values.every((value) => value < 0) && new Set(values).size > 1;
}
