import type { LlamaContextSequence, LlamaGrammarEvaluationState, Token } from 'node-llama-cpp';
import { z } from 'zod';
import { argumentError } from '../foundation/arguments.js';
import { DisposedError, InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type {
  CompleteOptions,
  Completion,
  ContinuationScores,
  LabelScores,
  LanguageModel,
  ModelCallOptions,
} from '../oracle/language-model.js';
import { orAbort } from '../oracle/or-abort.js';
import { ContinuationTree } from './continuation-tree.js';
import { LogitReader } from './logit-reader.js';
import { type Engine, openEngine } from './open-engine.js';
import { reusable, SequencePool, type SequenceSlot } from './sequence-pool.js';

/** A LoRA adapter to be applied to the model. */
export interface LoraAdapter {
  /** The GGUF adapter file, made for this model. */
  readonly file: string;
  /** How strongly it is applied; 0 is not at all. @default 1 */
  readonly scale?: number;
  /** SHA-256 that the file must have, hexadecimal. @default not checked */
  readonly sha256?: string;
}

/** Options of {@link LlamaCppModel.load}. */
export interface LlamaCppModelOptions {
  /** The GGUF model file. */
  readonly file: string;
  /** SHA-256 that the file must have, hexadecimal. @default not checked */
  readonly sha256?: string;
  /** An adapter: its file, or file and scale. @default none */
  readonly lora?: string | LoraAdapter;
  /**
   * Prompts that are worked on at the same time, each with a memory of its own: 1 to 64. Several share the threads of a CPU; on a GPU ask
   * for 4 to 16. @default 1
   */
  readonly sequences?: number;
  /**
   * Further memories, 0 to 64, that only hold what was evaluated before: as many as there are beginnings of prompts that come again and
   * again beside the present one, such as the `baselineHistories` of a `LikelihoodOracle`. @default 0
   */
  readonly spareSequences?: number;
  /** Tokens that one prompt may have, 64 to 1,048,576; memory grows with it. @default 4,096, or what the model was trained for where that is less */
  readonly contextSize?: number;
  /**
   * Threads of the CPU, 1 to 512. Never more than there are idle cores: the threads wait for each other several hundred times an
   * evaluation, so that one which has to share its core can make it 100 times slower. @default the cores that were idle in the last minute, at least 1
   */
  readonly threads?: number;
  /** `'auto'` uses a GPU where there is one and its binary is installed. @default false; `'auto'` on Apple silicon, whose only binary it is */
  readonly gpu?: false | 'auto';
  /** Most tokens that {@link LlamaCppModel.complete} writes, 1 to 4,096. @default 16 */
  readonly maxTokens?: number;
}

const sha256Schema = z
  .string()
  .regex(/^[0-9a-f]{64}$/i)
  .describe('64 hexadecimal digits')
  .toLowerCase();
const loraSchema = z.strictObject({
  file: z.string().min(1),
  scale: z.number().min(-100).max(100).default(1),
  sha256: sha256Schema.optional(),
});

const optionsSchema = z.strictObject({
  file: z.string().min(1),
  sha256: sha256Schema.optional(),
  lora: z.union([z.string().min(1), loraSchema]).optional(),
  sequences: z.int().min(1).max(64).default(1),
  spareSequences: z.int().min(0).max(64).default(0),
  contextSize: z.int().min(64).max(1_048_576).optional(),
  threads: z.int().min(1).max(512).optional(),
  gpu: z.union([z.literal(false), z.literal('auto')]).optional(),
  maxTokens: z.int().min(1).max(4096).default(16),
});

/**
 * Tokens evaluated at once. A quantised model's numbers depend a little on how many tokens are evaluated together (0.3 % of a
 * log-likelihood was seen), so a prefix is always cut at multiples of this and evaluated without what follows it: no score depends on
 * what was asked before, or on the other continuations. Every evaluation costs some 20 ms beside its tokens (135 million parameters, two
 * cores), so that short chunks take longer than they spare: 32 by a tenth where nothing was held.
 */
export const CHUNK = 192;

/** A few words on which {@link LogitReader.choose} tries the engine: six tokens, for it reads the whole vocabulary at each. */
const TRIAL_TEXT = 'A customer bought: a pen';

/**
 * A language model in this process, from a GGUF file, by llama.cpp through the optional peer `node-llama-cpp`. It answers all
 * questions of a {@link LanguageModel}: exact label probabilities in one forward pass, log-likelihoods of continuations with the prefix
 * evaluated once, and text. Nothing is compiled or downloaded; nothing leaves the machine.
 *
 * Texts are tokenised with control tokens off: a title that contains `</s>` is only text.
 *
 * Keys and values of the tokens last evaluated are kept, so that consecutive calls with a common beginning evaluate it once, up to the
 * last multiple of 192 tokens, and the same beginning wholly. No answer depends on what was asked before; on what is evaluated at the
 * same time, in other sequences, it may by as little as rounding does.
 */
export class LlamaCppModel implements LanguageModel {
  /** `llama-cpp:<file name>#<16 digits of its SHA-256>`, with the adapter's hash and scale. */
  readonly id: string;
  /** Prompts are continued; no chat template is put around them. */
  readonly template = 'completion';
  /** As many calls as there are `sequences`. */
  readonly concurrency: number;
  readonly #engine: Engine;
  readonly #reader: LogitReader;
  readonly #pool: SequencePool;
  readonly #maxTokens: number;
  readonly #calls = new Set<AbortController>();
  #closing: Promise<void> | undefined;

  private constructor(
    engine: Engine,
    reader: LogitReader,
    sequences: readonly LlamaContextSequence[],
    { sequences: concurrency, maxTokens }: { readonly sequences: number; readonly maxTokens: number },
  ) {
    this.id = engine.id;
    this.concurrency = concurrency;
    this.#engine = engine;
    this.#reader = reader;
    this.#pool = new SequencePool(sequences, concurrency, CHUNK);
    this.#maxTokens = maxTokens;
  }

  /**
   * Loads a model file, and reads it whole once, for its hash enters the {@link LlamaCppModel.id}.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {BackendError} when `node-llama-cpp` or its binary for this machine is missing: the message has the install line.
   * @throws {InvalidDataError} when a file is missing, torn, no GGUF, not the one with that `sha256`, or an adapter of another model.
   */
  static async load(options: LlamaCppModelOptions): Promise<LlamaCppModel> {
    const checked = checkOptions(optionsSchema, options, 'LlamaCppModel.load');
    const { file, sha256, lora, contextSize, threads } = checked;
    const count = checked.sequences + checked.spareSequences;
    const isAppleSilicon = process.platform === 'darwin' && process.arch === 'arm64';
    const adapter = typeof lora === 'string' ? { file: lora, scale: 1 } : lora;
    const engine = await openEngine({
      file,
      sha256,
      lora: adapter,
      gpu: checked.gpu ?? (isAppleSilicon ? 'auto' : false),
      sequences: count,
      contextSize,
      threads,
    });
    try {
      const sequences = Array.from({ length: count }, () => engine.context.getSequence());
      const trial = engine.model.tokenize(TRIAL_TEXT, false).slice(0, 6);
      const reader = await LogitReader.choose(sequences[0] as LlamaContextSequence, trial);
      return new LlamaCppModel(engine, reader, sequences, checked);
    } catch (error) {
      await engine.dispose();
      throw error;
    }
  }

  /**
   * The `label` read-out: the log-probability of each `' ' + label` after the prompt, over the whole vocabulary. One forward pass where
   * each is a single token, which the tokenisers of oracles.md 1 have; otherwise each label's tokens count together.
   *
   * @throws {InvalidArgumentError} for an argument that is no text.
   * @throws {OracleError} when the prompt is longer than the context.
   * @throws {DisposedError} after {@link LlamaCppModel.close}.
   * @throws `signal.reason` on abort.
   */
  async labelScores(prompt: string, labels: readonly string[], options: ModelCallOptions = {}): Promise<LabelScores> {
    const continuations = textsOf('labelScores', 'labels', labels).map((label) => ` ${label}`);
    const { logLikelihoods, prefixTokens, evaluated, ms } = await this.#score(
      'labelScores',
      prompt,
      continuations,
      options,
    );
    const usage = {
      inputTokens: prefixTokens,
      cachedInputTokens: Math.max(0, prefixTokens - evaluated),
      outputTokens: 0,
      ms,
    };
    return { logProbs: logLikelihoods, usage };
  }

  /**
   * The `likelihood` read-out: log p(continuation | prefix) of each. The prefix is evaluated once, and so is whatever continuations
   * share; of `usage`, `inputTokens` are the prefix once and all continuations, `cachedInputTokens` those of them that needed no evaluation.
   *
   * @throws {InvalidArgumentError} for an argument that is no text.
   * @throws {OracleError} when the prefix and a continuation are longer than the context.
   * @throws {DisposedError} after {@link LlamaCppModel.close}.
   * @throws `signal.reason` on abort.
   */
  async continuationScores(
    prefix: string,
    continuations: readonly string[],
    options: ModelCallOptions = {},
  ): Promise<ContinuationScores> {
    const texts = textsOf('continuationScores', 'continuations', continuations);
    const { logLikelihoods, tokens, prefixTokens, evaluated, ms } = await this.#score(
      'continuationScores',
      prefix,
      texts,
      options,
    );
    const inputTokens = tokens.reduce((sum, count) => sum + count, prefixTokens);
    const usage = { inputTokens, cachedInputTokens: Math.max(0, inputTokens - evaluated), outputTokens: 0, ms };
    return { logLikelihoods, tokens, usage };
  }

  /**
   * Writes an answer of at most `maxTokens`, always the likeliest token. When `constrained`, a grammar lets it write a space and one of
   * the labels only.
   *
   * @throws {OracleError} when the prompt is longer than the context.
   * @throws {DisposedError} after {@link LlamaCppModel.close}.
   * @throws `signal.reason` on abort.
   */
  readonly complete = async (prompt: string, { signal, labels, constrained }: CompleteOptions): Promise<Completion> => {
    const started = performance.now();
    const tokens = this.#promptTokens('complete', prompt);
    this.#checkLength(tokens.length + this.#maxTokens);
    const last = tokens.length - 1;
    const prefix = tokens.slice(0, last);
    return this.#withSequence(prefix, signal, async (slot, stop) => {
      const { sequence } = slot;
      const reused = await evaluatePrefix(slot, prefix, stop);
      const grammar = constrained ? await this.#labelGrammar(labels) : undefined;
      const written: Token[] = [];
      const answer = sequence.evaluate(tokens.slice(last), {
        temperature: 0,
        ...(grammar === undefined ? {} : { grammarEvaluationState: grammar }),
      });
      for await (const token of answer) {
        written.push(token);
        stop.throwIfAborted();
        if (written.length === this.#maxTokens) break;
      }
      const text = this.#engine.model.detokenize(written, false, tokens);
      const usage = { inputTokens: tokens.length, cachedInputTokens: reused, outputTokens: written.length };
      return { text, usage: { ...usage, ms: performance.now() - started } };
    });
  };

  /** Tokens of a text as the prompt of a call, the beginning-of-text token included where the model wants one. */
  countTokens(text: string): number {
    this.#throwIfClosed();
    return this.#tokenise(textOf('countTokens', 'text', text)).length;
  }

  /** Ends what is in flight, whose calls reject with `DisposedError`, and frees the model's memory. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const call of this.#calls) call.abort(new DisposedError('LlamaCppModel'));
    await this.#pool.idle();
    await this.#engine.dispose();
  }

  async #score(
    where: string,
    prefix: string,
    continuations: readonly string[],
    { signal }: ModelCallOptions,
  ): Promise<{ logLikelihoods: number[]; tokens: number[]; prefixTokens: number; evaluated: number; ms: number }> {
    const started = performance.now();
    const prefixTokens = this.#promptTokens(where, prefix);
    const wholes = continuations.map((continuation) => this.#tokenise(prefix + continuation));
    const tree = new ContinuationTree(prefixTokens, wholes);
    if (tree.shared.length === 0)
      throw new InvalidArgumentError(
        `LlamaCppModel.${where}: expected the text before the first answer to be a token at least`,
      );
    this.#checkLength(tree.longest);
    // The last shared token's logits are needed, so that it is evaluated again even where its keys are held.
    const evaluated = await this.#withSequence(tree.shared.slice(0, -1), signal, (slot, stop) =>
      this.#evaluateTree(slot, tree, stop),
    );
    const logLikelihoods = tree.logLikelihoods();
    if (logLikelihoods.some(Number.isNaN))
      throw new OracleError('llama-cpp: the model gave a logit that is no number: its file or adapter is damaged');
    const tokens = wholes.map((whole) => whole.length - prefixTokens.length);
    return { logLikelihoods, tokens, prefixTokens: prefixTokens.length, evaluated, ms: performance.now() - started };
  }

  /** Evaluates each node of the tree once and writes its children's log-probabilities; returns how many tokens that took. */
  async #evaluateTree(slot: SequenceSlot, tree: ContinuationTree, stop: AbortSignal): Promise<number> {
    const { sequence } = slot;
    const { shared } = tree;
    const held = await evaluatePrefix(slot, shared.slice(0, -1), stop);
    let evaluated = shared.length - 1 - held;
    for (const { depth, nodes } of tree.runs()) {
      stop.throwIfAborted();
      await rewind(slot, depth);
      const input = nodes.map(({ token, children }) =>
        children.size === 0 ? token : this.#reader.item(token, [...children.keys()]),
      );
      const outputs = await sequence.controlledEvaluate(input);
      evaluated += nodes.length;
      nodes.forEach(({ children }, i) => {
        const logProbs = this.#reader.logProbs(outputs[i], [...children.keys()]);
        [...children.values()].forEach((child, j) => {
          child.logProb = logProbs[j] as number;
        });
      });
    }
    return evaluated;
  }

  /**
   * Runs `work`, which begins with evaluating `prefix`, on a sequence of its own. On abort the caller is told at once; the sequence is
   * free when the engine has finished.
   */
  async #withSequence<T>(
    prefix: readonly Token[],
    signal: AbortSignal | undefined,
    work: (slot: SequenceSlot, stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#throwIfClosed();
    signal?.throwIfAborted();
    const call = new AbortController();
    const onAbort = (): void => call.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#calls.add(call);
    const working = async (): Promise<T> => {
      const slot = await this.#pool.take(prefix, call.signal);
      try {
        return await work(slot, call.signal);
      } catch (error) {
        // What a failed evaluation leaves behind is not known.
        if (error !== call.signal.reason) {
          slot.prefix = [];
          await slot.sequence.clearHistory();
        }
        throw error;
      } finally {
        this.#pool.release(slot);
      }
    };
    try {
      return await orAbort(working(), call.signal);
    } catch (error) {
      if (call.signal.aborted) throw call.signal.reason;
      throw engineFailure(error);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#calls.delete(call);
    }
  }

  async #labelGrammar(labels: readonly string[]): Promise<LlamaGrammarEvaluationState> {
    const { createGrammar, startGrammar } = this.#engine;
    const rule = textsOf('complete', 'labels', labels)
      .map((label) => JSON.stringify(label))
      .join(' | ');
    return startGrammar(await createGrammar(`root ::= " " (${rule})`));
  }

  #promptTokens(where: string, text: string): Token[] {
    this.#throwIfClosed();
    const tokens = this.#tokenise(textOf(where, where === 'continuationScores' ? 'prefix' : 'prompt', text));
    if (tokens.length === 0)
      throw argumentError(`LlamaCppModel.${where}`, 'prompt', 'a text of one token at least', text);
    return tokens;
  }

  #tokenise(text: string): Token[] {
    const { model } = this.#engine;
    const tokens = model.tokenize(text, false);
    const { bos, shouldPrependBosToken } = model.tokens;
    if (shouldPrependBosToken && bos !== null) tokens.unshift(bos);
    return tokens;
  }

  #checkLength(tokens: number): void {
    // The engine keeps one place free, and drops the beginning of a text that is longer: never let it come to that.
    const most = this.#engine.context.contextSize - 1;
    if (tokens <= most) return;
    // As a server would say it: asking again does not help.
    throw new OracleError(
      `llama-cpp: expected prompt and answer to have at most ${most} tokens, got ${tokens}: ` +
        'load the model with a larger `contextSize`, or show shorter histories and texts',
      { status: 413 },
    );
  }

  #throwIfClosed(): void {
    if (this.#closing !== undefined) throw new DisposedError('LlamaCppModel');
  }
}

/** Lets a sequence forget all but its first `length` tokens; returns how many it holds then. */
async function rewind({ sequence }: SequenceSlot, length: number): Promise<number> {
  const { nextTokenIndex } = sequence;
  if (nextTokenIndex > length) await sequence.eraseContextTokenRanges([{ start: length, end: nextTokenIndex }]);
  if (sequence.nextTokenIndex !== length)
    throw new OracleError(`llama-cpp: expected the engine to hold ${length} tokens, got ${sequence.nextTokenIndex}`);
  return length;
}

/** Sees to it that a sequence holds exactly `prefix`; returns how many tokens of it were held already. */
async function evaluatePrefix(slot: SequenceSlot, prefix: readonly Token[], stop: AbortSignal): Promise<number> {
  const held = reusable(slot, prefix, CHUNK);
  await rewind(slot, held);
  slot.prefix = prefix.slice(0, held);
  while (slot.prefix.length < prefix.length) {
    stop.throwIfAborted();
    const end = slot.prefix.length + CHUNK;
    await slot.sequence.controlledEvaluate(prefix.slice(slot.prefix.length, end));
    slot.prefix = prefix.slice(0, end);
  }
  stop.throwIfAborted();
  return held;
}

/** An error of the library as one of ours; it may quote nothing of the prompt. */
function engineFailure(error: unknown): unknown {
  if (error instanceof OracleError || error instanceof InvalidArgumentError || error instanceof DisposedError)
    return error;
  const message = error instanceof Error ? error.message : String(error);
  return new OracleError(`llama-cpp: the engine failed: ${message.slice(0, 300)}`, { cause: error });
}

function textOf(where: string, argument: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw argumentError(`LlamaCppModel.${where}`, argument, 'a text', value);
}

function textsOf(where: string, argument: string, value: unknown): readonly string[] {
  if (Array.isArray(value) && value.length > 0 && value.every((text) => typeof text === 'string')) return value;
  throw argumentError(`LlamaCppModel.${where}`, argument, 'texts, at least one', value);
}
