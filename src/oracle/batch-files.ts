import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { type TextSource, textLines } from '../catalog/text-source.js';
import { OracleError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { MAX_RAW_LENGTH } from './answer-log.js';
import { checkQueries } from './check-query.js';
import { catalogSchema, storageSchema } from './option-schemas.js';
import { LABEL_WORDS, parseAnswer } from './parser.js';
import type { Preference, PreferenceOracle, PreferenceQuery, Usage } from './preference-oracle.js';
import { renderTable1, type Table1Prompt, type Table1Style, TEMPLATE_VERSION, table1StyleShape } from './prompt.js';
import { RecordingOracle } from './recording-oracle.js';
import { decide, logSumExp } from './score-decision.js';

/** What a batch file is made of; the same for export and import. */
export interface BatchOptions extends Omit<Table1Style, 'mode'> {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** The questions. Candidates are shown in the order given, so draw them in random order (`openQuestions` does). */
  readonly queries: readonly PreferenceQuery[];
  /** The model's name at the server; part of the oracle's id. */
  readonly model: string;
  /** `chat`: `/v1/chat/completions` and Table 1's chat form. `completions`: `/v1/completions` and the form to the letter. @default 'chat' */
  readonly endpoint?: 'chat' | 'completions';
}

/** Options of {@link exportBatch}. */
export interface ExportBatchOptions extends BatchOptions {
  /** Fields that replace or join those of each request's body; null takes one out (`logprobs: null` for a server that refuses it). @default none */
  readonly body?: Readonly<Record<string, JsonValue>>;
}

/** Options of {@link importBatch}. */
export interface ImportBatchOptions extends BatchOptions {
  /** What the server gave back: JSON lines, in any order. */
  readonly output: TextSource;
  /** What errors call it. @default 'batch output' */
  readonly source?: string;
  /** Where the answers go; borrowed. */
  readonly storage: Storage;
  /** Key of the answers in the storage. @default 'answers.jsonl' */
  readonly key?: string;
}

/** A request that the server refused. */
export interface BatchError {
  /** `custom_id` of the request: SHA-256 of the prompt. */
  readonly customId: string;
  /** HTTP status, where there was one. */
  readonly status: number | undefined;
  /** The server's name for the error, where it gave one. */
  readonly code: string | undefined;
}

/** What {@link importBatch} found. Every request is counted once, under `choices`, `nones`, `invalid`, `errors` or `missing`. */
export interface BatchReport {
  /** Id under which the answers are on record. */
  readonly oracleId: string;
  /** Different prompts among the questions. */
  readonly requests: number;
  /** Answered by an item. */
  readonly choices: number;
  /** Answered by None. */
  readonly nones: number;
  /** Answered by something that is no label. */
  readonly invalid: number;
  /** Refused by the server; not recorded, so that they can be asked again. */
  readonly errors: number;
  /** The first 20 of those. */
  readonly firstErrors: readonly BatchError[];
  /** Requests of which the file says nothing. */
  readonly missing: number;
  /** Lines about a request that an earlier line had answered; the first answer counts. */
  readonly duplicates: number;
  /** Lines about requests that are none of ours. */
  readonly alien: number;
  /** Lines that are no result of a batch, or not JSON. */
  readonly unreadable: number;
  /** Numbers of the first 20 of those, from 1. */
  readonly firstUnreadable: readonly number[];
}

/** Entries of a report's lists. */
const MAX_LISTED = 20;
/** A label is one token; a model that writes `**b**` needs a few, where no probabilities are told. */
const MAX_TOKENS = 8;
/** Longest line of an output file, in UTF-16 code units. */
const MAX_LINE_LENGTH = 10_000_000;

const { mode: _, ...styleShape } = table1StyleShape;
const batchShape = {
  ...styleShape,
  catalog: catalogSchema,
  queries: z.custom<readonly PreferenceQuery[]>((value) => Array.isArray(value), 'expected an array of queries'),
  model: z.string().min(1).max(200),
  endpoint: z.enum(['chat', 'completions']).default('chat'),
};
const exportSchema = z.strictObject({ ...batchShape, body: z.record(z.string(), z.json()).default({}) });
const importSchema = z.strictObject({
  ...batchShape,
  output: z.custom<TextSource>((value) => value !== undefined && value !== null, 'expected text'),
  source: z.string().min(1).default('batch output'),
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
});
type CheckedBatch = Omit<z.output<typeof importSchema>, 'output' | 'source' | 'storage' | 'key'>;

/** What is read of a result line. Servers add fields of their own. */
const lineSchema = z.object({
  custom_id: z.string(),
  response: z.object({ status_code: z.number(), body: z.unknown() }).nullish(),
  error: z.object({ code: z.unknown() }).nullish(),
});
const listed = z.array(z.object({ token: z.string(), logprob: z.number() }));
const bodySchema = z.object({
  choices: z
    .array(
      z.object({
        text: z.string().optional(),
        message: z.object({ content: z.string().nullish() }).optional(),
        logprobs: z
          .object({
            content: z.array(z.object({ top_logprobs: listed })).nullish(),
            top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
          })
          .nullish(),
      }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: z.number().optional(), completion_tokens: z.number().optional() }).nullish(),
});

/** The id under which the answers of a batch are on record. */
export function batchOracleId(options: Omit<BatchOptions, 'queries'>): string {
  const { model, endpoint, quotes, maxAttributeLength, maxHistory } = checkOptions(
    z.strictObject({ ...batchShape, queries: batchShape.queries.optional() }),
    options,
    'batchOracleId',
  );
  return [
    `batch:${model}`,
    TEMPLATE_VERSION,
    'label',
    endpoint === 'chat' ? 'chat' : 'completion',
    quotes,
    `attribute<=${maxAttributeLength}`,
    `history<=${maxHistory}`,
    'as-given',
  ].join('|');
}

/**
 * Questions as requests in OpenAI's Batch form, one line each: `custom_id` is the SHA-256 of the prompt, the body asks for one label
 * and, where the server tells them, the probabilities of the 20 likeliest tokens. A prompt that comes twice is written once. Servers
 * cap a file (OpenAI: 50,000 requests, 200 MB): write several.
 *
 * @returns lines, each ended by a newline.
 * @throws {InvalidArgumentError} for a wrong option or a malformed query.
 */
export async function* exportBatch(options: ExportBatchOptions): AsyncGenerator<string, void, undefined> {
  const checked = checkOptions(exportSchema, options, 'exportBatch');
  const { queries, catalog, model, endpoint, body } = checked;
  checkQueries(queries, { itemCount: catalog.size }, 'exportBatch');
  const written = new Set<string>();
  for (const query of queries) {
    const { text } = render(checked, query);
    const customId = await sha256Hex(text);
    if (written.has(customId)) continue;
    written.add(customId);
    const asked =
      endpoint === 'chat'
        ? { messages: [{ role: 'user', content: text }], logprobs: true, top_logprobs: 20 }
        : { prompt: text, logprobs: 20 };
    const whole = { model, ...asked, max_tokens: MAX_TOKENS, temperature: 0, ...body };
    const kept = Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== null));
    const url = endpoint === 'chat' ? '/v1/chat/completions' : '/v1/completions';
    yield `${JSON.stringify({ custom_id: customId, method: 'POST', url, body: kept })}\n`;
  }
}

/**
 * Reads the output of a batch into a record of answers that `pretrain` learns from. A line is an answer when its `custom_id` is one
 * of ours and its status 200; the label is read from the probabilities where they are told and the answer begins with a label, else
 * from the text. Nothing in the file is trusted: what is no answer is counted and reported, and asked again by the next {@link exportBatch} of the open questions.
 *
 * @throws {InvalidArgumentError} for a wrong option or a malformed query.
 * @throws {InvalidDataError} for output that is no text, a line of more than 10 MB, or a record that is damaged or of another oracle.
 * @throws {CheckpointError} when an answer cannot be written down.
 */
export async function importBatch(options: ImportBatchOptions): Promise<BatchReport> {
  const checked = checkOptions(importSchema, options, 'importBatch');
  const { output, source, storage, key, ...batch } = checked;
  const { queries, catalog } = batch;
  checkQueries(queries, { itemCount: catalog.size }, 'importBatch');
  const asked = new Map<string, PreferenceQuery>();
  for (const query of queries) asked.set(await sha256Hex(render(batch, query).text), query);

  const answers = new Map<string, Preference>();
  const refused = new Map<string, BatchError>();
  const found = { duplicates: 0, alien: 0, unreadable: 0 };
  const firstUnreadable: number[] = [];
  for await (const lines of textLines(output, source, MAX_LINE_LENGTH)) {
    for (const { text, line: place } of lines) {
      if (text.trim() === '') continue;
      const line = readLine(text);
      if (line === undefined) {
        found.unreadable++;
        if (firstUnreadable.length < MAX_LISTED) firstUnreadable.push(place);
        continue;
      }
      const { custom_id: customId, response, error } = line;
      const query = asked.get(customId);
      if (query === undefined) found.alien++;
      else if (answers.has(customId)) found.duplicates++;
      else {
        const isAnswer = response?.status_code === 200 && (error ?? undefined) === undefined;
        const answer = isAnswer ? readBody(response.body, query, render(batch, query), customId) : undefined;
        if (answer !== undefined) answers.set(customId, answer);
        else refused.set(customId, { customId, status: response?.status_code, code: errorCode(error, response?.body) });
      }
    }
  }
  for (const customId of answers.keys()) refused.delete(customId);

  const oracle: PreferenceOracle = {
    id: batchOracleId(withoutQueries(batch)),
    prefer: async (some) =>
      Promise.all(
        some.map(async (query) => {
          const answer = answers.get(await sha256Hex(render(batch, query).text));
          return answer ?? { kind: 'failed', error: new OracleError('the batch has no answer to this question') };
        }),
      ),
  };
  // Two questions may be one prompt, as when a history is longer than what is shown: all of them get its answer.
  const recording = await RecordingOracle.open({ oracle, catalog, storage, key, keepQueries: true });
  await recording.prefer(queries);
  const counts = { choice: 0, none: 0, invalid: 0, failed: 0 };
  for (const { kind } of answers.values()) counts[kind]++;
  return {
    oracleId: oracle.id,
    requests: asked.size,
    choices: counts.choice,
    nones: counts.none,
    invalid: counts.invalid,
    errors: refused.size,
    firstErrors: [...refused.values()].slice(0, MAX_LISTED),
    missing: asked.size - answers.size - refused.size,
    ...found,
    firstUnreadable,
  };
}

function withoutQueries({ queries: _queries, ...rest }: CheckedBatch): Omit<CheckedBatch, 'queries'> {
  return rest;
}

function render(batch: CheckedBatch, { history, candidates, context }: PreferenceQuery): Table1Prompt {
  const { catalog, endpoint, quotes, maxAttributeLength, maxHistory } = batch;
  const mode = endpoint === 'chat' ? 'chat' : 'completion';
  const asked = context === undefined ? { history, candidates } : { history, candidates, context };
  return renderTable1({ catalog, ...asked, mode, quotes, maxAttributeLength, maxHistory });
}

function readLine(text: string): z.output<typeof lineSchema> | undefined {
  try {
    return lineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** What a body says to a question; undefined when it is no completion at all. */
function readBody(
  body: unknown,
  query: PreferenceQuery,
  { labels }: Table1Prompt,
  promptHash: string,
): Preference | undefined {
  const { data } = bodySchema.safeParse(body);
  const [choice] = data?.choices ?? [];
  const text = choice?.message?.content ?? choice?.text;
  if (choice === undefined || typeof text !== 'string') return undefined;
  const { prompt_tokens: inputTokens, completion_tokens: outputTokens } = data?.usage ?? {};
  const usage: Usage = {
    calls: 1,
    ...(inputTokens === undefined ? {} : { inputTokens }),
    ...(outputTokens === undefined ? {} : { outputTokens }),
  };
  const tokens =
    choice.logprobs?.content?.[0]?.top_logprobs ??
    Object.entries(choice.logprobs?.top_logprobs?.[0] ?? {}).map(([token, logprob]) => ({ token, logprob }));
  const read = tokens.length === 0 ? undefined : scoresOf(tokens, labels);
  const place = read === undefined ? 'undecided' : decide(read.scores, undefined, read.bounded);
  const told = { promptHash, usage };
  const meta = {
    ...told,
    ...(read === undefined ? {} : { scores: read.scores, labelMass: read.labelMass }),
    ...(read?.bounded.includes(true) ? { bounded: read.bounded } : {}),
  };
  const parsed = parseAnswer(text, labels);
  // `**c**`, or "A good one is c": what the first token's list says of the labels is not the answer.
  const isByText = place === 'undecided' || read?.beginsWithLabel !== true;
  if (isByText && parsed.kind !== 'invalid') {
    const own = place === 'undecided' ? meta : told;
    if (parsed.kind === 'none') return { kind: 'none', meta: own };
    return { kind: 'choice', choice: query.candidates[parsed.index] as ItemIndex, meta: own };
  }
  if (place === 'none') return { kind: 'none', meta };
  if (place !== 'undecided') return { kind: 'choice', choice: query.candidates[place] as ItemIndex, meta };
  return { kind: 'invalid', raw: text.slice(0, MAX_RAW_LENGTH), meta };
}

/** Log-probability of each label over its spellings (`a`, ` a`, `A`, ` A`; for None's also `None`). One that is not listed has at most that of the last one listed. */
function scoresOf(
  tokens: readonly { readonly token: string; readonly logprob: number }[],
  labels: readonly string[],
): {
  readonly scores: readonly number[];
  readonly bounded: readonly boolean[];
  readonly labelMass: number;
  readonly beginsWithLabel: boolean;
} {
  const lowest = Math.min(...tokens.map(({ logprob }) => logprob));
  const highest = Math.max(...tokens.map(({ logprob }) => logprob));
  const found = labels.map((label, i) => {
    const spellings = i === labels.length - 1 ? [label, 'none'] : [label];
    return tokens.filter(({ token }) => spellings.includes(token.trim().toLowerCase())).map(({ logprob }) => logprob);
  });
  return {
    scores: found.map((spellings) => (spellings.length === 0 ? lowest : logSumExp(spellings))),
    bounded: found.map((spellings) => spellings.length === 0),
    labelMass: Math.min(1, Math.exp(logSumExp(found.flat()))),
    beginsWithLabel:
      found.flat().includes(highest) &&
      !tokens.some(({ token, logprob }) => logprob === highest && LABEL_WORDS.includes(token.trim())),
  };
}

/** The server's short name of an error. Its message may quote the prompt, so it is left where it is. */
function errorCode(error: { readonly code: unknown } | null | undefined, body: unknown): string | undefined {
  const inBody = z.object({ error: z.object({ code: z.unknown() }) }).safeParse(body).data?.error.code;
  return [error?.code, inBody].find((code): code is string => typeof code === 'string' && /^[\w.-]{1,64}$/.test(code));
}
