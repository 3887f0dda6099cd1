import { InvalidDataError } from './errors.js';
import { checkJson, type JsonValue } from './json.js';
import type { Storage } from './storage.js';

/** What {@link parseJsonl} read. */
export interface JsonlContent {
  /** One value a line, in order. */
  readonly records: JsonValue[];
  /** Length of a torn last line that was dropped; 0 when the data ends well. */
  readonly tornBytes: number;
}

const NEWLINE = 10;

/**
 * Reads JSON lines, forgiving what a crash may leave: a last line that has no newline, or that is not JSON, was torn
 * while it was written; it is dropped and its length reported. Lines of white space are skipped.
 *
 * @param bytes - UTF-8 text, one JSON value a line, each ended by a newline.
 * @param source - file or key, for messages.
 * @returns the records, and how much was dropped.
 * @throws {InvalidDataError} naming the line when one that is not the last is not JSON.
 */
export function parseJsonl(bytes: Uint8Array, source: string): JsonlContent {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const records: JsonValue[] = [];
  let start = 0;
  for (let line = 1; start < bytes.length; line++) {
    const newline = bytes.indexOf(NEWLINE, start);
    if (newline < 0) break;
    try {
      const text = decoder.decode(bytes.subarray(start, newline));
      if (text.trim() !== '') records.push(JSON.parse(text) as JsonValue);
    } catch (cause) {
      if (newline === bytes.length - 1) break;
      const reason = cause instanceof SyntaxError ? cause.message : 'not UTF-8';
      throw new InvalidDataError(`expected one JSON value on the line (${reason})`, { source, line, cause });
    }
    start = newline + 1;
  }
  return { records, tornBytes: bytes.length - start };
}

/**
 * A log of JSON records in a {@link Storage}: one record, one line; records that wait for the storage at the same time
 * are appended together. It survives being killed at any moment:
 * opening it drops a torn last line and reports its length. One writer at a time.
 */
export class JsonlLog {
  /** The key the log is stored under. */
  readonly key: string;
  readonly #storage: Storage;
  /** Whether the stored bytes are known to end with a whole line. */
  #clean = false;
  #last: Promise<unknown> = Promise.resolve();
  #waiting: { readonly lines: Uint8Array[]; readonly written: Promise<void> } | undefined;

  /**
   * @param storage - where the log is; borrowed.
   * @param key - its key, by custom ending in `.jsonl`.
   */
  constructor(storage: Storage, key: string) {
    this.#storage = storage;
    this.key = key;
  }

  /**
   * Reads the whole log, and removes a torn last line from the storage.
   *
   * @returns the records, and how many bytes were dropped. A log that does not exist is empty.
   * @throws {InvalidDataError} naming the line when one that is not the last is damaged; nothing is changed then.
   * @throws {CheckpointError} when the storage finds its bytes altered.
   */
  open(): Promise<JsonlContent> {
    return this.#inTurn(() => this.#repair());
  }

  /**
   * Adds one record; when the promise resolves the storage has it. Calls may overlap: records are written in call order.
   * A log that was not opened is repaired first.
   *
   * @param record - a JSON value, taken as it is at the call.
   * @throws {InvalidArgumentError} when JSON would lose something of it, such as `NaN`.
   * @throws {CheckpointError} when it cannot be written; the next append repairs the log first, and whether this record is in it is open.
   */
  async append(record: unknown): Promise<void> {
    checkJson(record, 'JsonlLog.append');
    const line = new TextEncoder().encode(`${JSON.stringify(record)}\n`);
    this.#waiting ??= this.#writeWaiting();
    this.#waiting.lines.push(line);
    await this.#waiting.written;
  }

  /** Lines may join until their turn comes. */
  #writeWaiting(): { readonly lines: Uint8Array[]; readonly written: Promise<void> } {
    const lines: Uint8Array[] = [];
    const written = this.#inTurn(async () => {
      this.#waiting = undefined;
      if (!this.#clean) await this.#repair();
      this.#clean = false;
      await this.#storage.append(this.key, joined(lines));
      this.#clean = true;
    });
    return { lines, written };
  }

  async #repair(): Promise<JsonlContent> {
    const bytes = (await this.#storage.get(this.key)) ?? new Uint8Array(0);
    const content = parseJsonl(bytes, this.key);
    if (content.tornBytes > 0) await this.#storage.put(this.key, bytes.subarray(0, bytes.length - content.tornBytes));
    this.#clean = true;
    return content;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

function joined(lines: readonly Uint8Array[]): Uint8Array {
  if (lines.length === 1) return lines[0] as Uint8Array;
  const all = new Uint8Array(lines.reduce((total, line) => total + line.length, 0));
  let offset = 0;
  for (const line of lines) {
    all.set(line, offset);
    offset += line.length;
  }
  return all;
}
