import { open } from 'node:fs/promises';
import os from 'node:os';
import { basename } from 'node:path';
import type { Llama, LlamaContext, LlamaGrammar, LlamaGrammarEvaluationState, LlamaModel } from 'node-llama-cpp';
import { BackendError, IalpError, InvalidDataError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';
import { sha256OfFile } from '../node/hash-file.js';

/** What {@link openEngine} opens. */
export interface EngineOptions {
  /** The GGUF file. */
  readonly file: string;
  /** SHA-256 that the file must have. */
  readonly sha256: string | undefined;
  /** Adapter, its scale and the SHA-256 that it must have. */
  readonly lora: { readonly file: string; readonly scale: number; readonly sha256?: string | undefined } | undefined;
  /** False: CPU only. */
  readonly gpu: false | 'auto';
  /** Sequences of the context. */
  readonly sequences: number;
  /** Tokens that each sequence holds. */
  readonly contextSize: number | undefined;
  /** Threads; undefined: one for each core that is good for arithmetic. */
  readonly threads: number | undefined;
}

/** The engine with model and adapter loaded. */
export interface Engine {
  /** Names the file, its hash and the adapter's. */
  readonly id: string;
  /** The loaded model. */
  readonly model: LlamaModel;
  /** The context, adapter applied. */
  readonly context: LlamaContext;
  /** A grammar in GBNF. */
  readonly createGrammar: (grammar: string) => Promise<LlamaGrammar>;
  /** The state of one answer under a grammar. */
  readonly startGrammar: (grammar: LlamaGrammar) => LlamaGrammarEvaluationState;
  /** Frees all; once. */
  readonly dispose: () => Promise<void>;
}

/** Tokens a sequence holds where the user does not say: Table 1 with 25 candidates and a long history takes about 2,000. */
const DEFAULT_CONTEXT_SIZE = 4096;
/** Magic, version and two counts. */
const HEADER_BYTES = 24;
/** Lines of the engine's log that an error quotes. */
const MAX_LOG_LINES = 3;

/**
 * Loads `node-llama-cpp`, a model file and an adapter. Never compiles, never downloads, prints nothing.
 *
 * @throws {BackendError} when the package or its binary is missing, or the context cannot be made.
 * @throws {InvalidDataError} when a file is missing, torn, of another kind or not the one expected.
 */
export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { file, lora } = options;
  const hash = await hashGguf(file, options.sha256);
  const loraHash = lora === undefined ? undefined : await hashGguf(lora.file, lora.sha256);
  const { library, llama, log } = await startLlama(options.gpu);
  log.length = 0;
  const model = await llama
    .loadModel({ modelPath: file, gpuLayers: options.gpu === false ? 0 : 'auto' })
    .catch(async (cause: unknown) => {
      const message = `expected a whole GGUF model that this llama.cpp can load; it says: ${await said(log, cause)}`;
      throw new InvalidDataError(message, { source: file, cause });
    });
  try {
    const context = await createContext(model, options, log);
    const adapter = lora === undefined ? '' : `+lora:${(loraHash as string).slice(0, 16)}@${lora.scale}`;
    return {
      id: `llama-cpp:${basename(file)}#${hash.slice(0, 16)}${adapter}`,
      model,
      context,
      createGrammar: (grammar) => llama.createGrammar({ grammar }),
      startGrammar: (grammar) => new library.LlamaGrammarEvaluationState({ model, grammar }),
      dispose: async () => {
        await context.dispose();
        await model.dispose();
      },
    };
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

/** The started library, and the last lines that it logged. */
interface StartedLlama {
  readonly library: typeof import('node-llama-cpp');
  readonly llama: Llama;
  readonly log: string[];
}

/**
 * One of each kind for the whole process, never disposed: it holds no model, and keeps no process alive. The library disposes one only
 * when every model that failed to load was collected as garbage, and then takes the log of its successor with it.
 */
const started = new Map<false | 'auto', Promise<StartedLlama>>();

async function startLlama(gpu: false | 'auto'): Promise<StartedLlama> {
  const known = started.get(gpu);
  if (known !== undefined) return known;
  const starting = importAndStart(gpu);
  started.set(gpu, starting);
  starting.catch(() => started.delete(gpu));
  return starting;
}

async function importAndStart(gpu: false | 'auto'): Promise<StartedLlama> {
  const library = await import('node-llama-cpp').catch((cause: unknown) => {
    throw missing('the package node-llama-cpp cannot be imported', cause);
  });
  const log: string[] = [];
  const llama = await library
    .getLlama({
      gpu,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      // No sharing of threads between models: each context has those that it was asked to have.
      maxThreads: 0,
      logLevel: library.LlamaLogLevel.error,
      logger: (_level, message) => {
        log.push(message.trim());
        if (log.length > MAX_LOG_LINES) log.shift();
      },
    })
    .catch((cause: unknown) => {
      throw missing(`node-llama-cpp has no binary for ${process.platform} ${process.arch} here`, cause);
    });
  return { library, llama, log };
}

function missing(what: string, cause: unknown): BackendError {
  const install = `npm i --omit=optional node-llama-cpp @node-llama-cpp/${binaryName()}`;
  return new BackendError(`ialp/llama-cpp: ${what}. It is an optional peer: run \`${install}\``, {
    backend: 'node-llama-cpp',
    install,
    cause,
  });
}

/** The package with the CPU binary of this machine (on Apple silicon, Metal's: there is no other). */
function binaryName(): string {
  const { platform, arch } = process;
  if (platform === 'darwin') return arch === 'arm64' ? 'mac-arm64-metal' : 'mac-x64';
  return `${platform === 'win32' ? 'win' : platform}-${arch === 'arm' ? 'armv7l' : arch}`;
}

/** Cores that nobody else was using in the last minute, at least 1: threads that have to share a core wait for each other all the time. */
function idleCores(): number {
  const [load = 0] = os.loadavg();
  return Math.max(1, Math.round(os.availableParallelism() - load));
}

async function createContext(model: LlamaModel, options: EngineOptions, log: string[]): Promise<LlamaContext> {
  const { lora, sequences } = options;
  const contextSize =
    options.contextSize ?? Math.min(model.trainContextSize ?? DEFAULT_CONTEXT_SIZE, DEFAULT_CONTEXT_SIZE);
  const create = (adapters: { filePath: string; scale: number }[]): Promise<LlamaContext> =>
    model.createContext({
      sequences,
      contextSize,
      // With a sliding window the engine would forget the keys that a shared prefix needs.
      swaFullCache: true,
      lora: { adapters },
      threads: options.threads ?? Math.min(idleCores(), model.llama.cpuMathCores),
    });
  try {
    return await create(lora === undefined ? [] : [{ filePath: lora.file, scale: lora.scale }]);
  } catch (cause) {
    // Which of the two failed is seen by leaving the adapter out.
    if (lora !== undefined && (await canCreate(() => create([])))) {
      const message = `expected a LoRA adapter made for ${basename(options.file)}; llama.cpp says: ${await said(log, cause)}`;
      throw new InvalidDataError(message, { source: lora.file, cause });
    }
    throw new BackendError(
      `ialp/llama-cpp: no context of ${sequences} x ${contextSize} tokens can be made: ${await said(log, cause)}. ` +
        'Ask for a smaller `contextSize`, or fewer `sequences` or `spareSequences`',
      { backend: 'node-llama-cpp', cause },
    );
  }
}

async function canCreate(create: () => Promise<LlamaContext>): Promise<boolean> {
  try {
    await (await create()).dispose();
    return true;
  } catch {
    return false;
  }
}

/** The last lines of the engine's log, or the error where it logged nothing. The lines come some turns after the failure. */
async function said(log: readonly string[], cause: unknown): Promise<string> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setTimeout(resolve, 4));
  const lines = log.filter((line) => line !== '');
  return lines.length > 0 ? lines.join('; ').slice(0, 400) : describeValue(cause);
}

/** SHA-256 of a GGUF file, after a look at its first bytes. */
async function hashGguf(file: string, expected: string | undefined): Promise<string> {
  let hash: string;
  try {
    await checkHeader(file);
    hash = await sha256OfFile(file);
  } catch (cause) {
    if (cause instanceof IalpError) throw cause;
    const { code } = cause as { readonly code?: unknown };
    const found = code === 'ENOENT' ? 'there is none' : code === 'EISDIR' ? 'it is a folder' : describeValue(cause);
    throw new InvalidDataError(`expected a GGUF file: ${found}`, { source: file, cause });
  }
  if (expected === undefined || hash === expected) return hash;
  throw new InvalidDataError(`expected SHA-256 ${expected}, got ${hash}: not the file it should be`, { source: file });
}

/** @throws {InvalidDataError} when the file does not begin as GGUF 2 or 3 does: the library would print a warning and go on. */
async function checkHeader(file: string): Promise<void> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0);
    const isGguf = bytesRead === HEADER_BYTES && buffer.toString('latin1', 0, 4) === 'GGUF';
    if (isGguf && [2, 3].includes(buffer.readUInt32LE(4))) return;
    throw new InvalidDataError('expected a GGUF file of version 2 or 3, and it does not begin as one', {
      source: file,
    });
  } finally {
    await handle.close();
  }
}
