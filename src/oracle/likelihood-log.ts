import { z } from 'zod';
import { JsonlLog } from '../foundation/jsonl.js';
import type { Storage } from '../foundation/storage.js';
import { parseRecord } from './answer-log.js';

const FORMAT = 'ialp-likelihoods@1';
const headerSchema = z.object({ format: z.literal(FORMAT) });
const recordSchema = z.object({
  key: z.string().regex(/^[0-9a-f]{64}$/),
  logLikelihood: z.number(),
  tokens: z.int().min(1),
});

/** How likely a text is by itself. */
export interface TextLikelihood {
  /** Sum of natural log-probabilities over its tokens. */
  readonly logLikelihood: number;
  /** Its tokens, from 1. */
  readonly tokens: number;
}

/**
 * Likelihoods of texts that depend on nothing but model and wording, kept for ever: append-only JSONL, a header line, then one line a
 * text by its hash. Holds no text. A last line torn by a crash is dropped. Read when it is first looked into.
 */
export class LikelihoodLog {
  readonly #log: JsonlLog;
  #opened: Promise<Map<string, TextLikelihood>> | undefined;

  /**
   * @param storage - where it is; borrowed.
   * @param key - its key in the storage.
   */
  constructor(storage: Storage, key: string) {
    this.#log = new JsonlLog(storage, key);
  }

  /**
   * @param key - SHA-256 of model, wording and text.
   * @throws {InvalidDataError} when the log is damaged.
   */
  async find(key: string): Promise<TextLikelihood | undefined> {
    return (await this.#texts()).get(key);
  }

  /** Keeps likelihoods; when the promise resolves the storage has them. */
  async keep(records: readonly (TextLikelihood & { readonly key: string })[]): Promise<void> {
    const texts = await this.#texts();
    await Promise.all(records.map((record) => this.#log.append(record)));
    for (const { key, logLikelihood, tokens } of records) texts.set(key, { logLikelihood, tokens });
  }

  #texts(): Promise<Map<string, TextLikelihood>> {
    // A storage that failed once may be asked again.
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }

  async #open(): Promise<Map<string, TextLikelihood>> {
    const source = this.#log.key;
    const { records } = await this.#log.open();
    const [header, ...rest] = records;
    if (header === undefined) await this.#log.append({ format: FORMAT });
    else parseRecord(headerSchema, header, source, 1, 'a header of kept likelihoods');
    const texts = new Map<string, TextLikelihood>();
    for (const [i, value] of rest.entries()) {
      const { key, logLikelihood, tokens } = parseRecord(recordSchema, value, source, i + 2, 'a kept likelihood');
      texts.set(key, { logLikelihood, tokens });
    }
    return texts;
  }
}
