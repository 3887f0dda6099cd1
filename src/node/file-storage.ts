import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { CheckpointError, IalpError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { checkStorageBytes, checkStorageKey, folderConflict, type Storage } from '../foundation/storage.js';
import { type DigestRecord, formatDigest, mismatch, parseDigest, sha256 } from './digest-file.js';

/** Settings of {@link fileStorage}. */
export interface FileStorageOptions {
  /**
   * When written bytes are forced to the disk: `'always'` before a call resolves, so that they outlive a power cut;
   * `'os'` leaves it to the operating system, which is faster and still outlives a killed process.
   * @default 'always'
   */
  readonly fsync?: 'always' | 'os' | undefined;
  /**
   * Whether files without a digest (put there by other programs) are read as they are. Otherwise they are refused,
   * except `*.jsonl` logs, whose readers repair them. A file whose digest does not fit is refused in any case.
   * @default false
   */
  readonly acceptUnverified?: boolean | undefined;
  /**
   * Permissions of new files, less the process's umask: `0o600` for what is personal, such as answers that hold histories. Windows
   * knows only whether a file may be written to.
   * @default 0o666
   */
  readonly mode?: number | undefined;
}

const fileStorageOptions = z.strictObject({
  fsync: z.enum(['always', 'os']).default('always'),
  acceptUnverified: z.boolean().default(false),
  mode: z
    .int()
    .max(0o777)
    .refine((mode) => (mode & 0o600) === 0o600, 'expected permissions that let the owner read and write')
    .default(0o666),
});

/** Not a character of keys: no key can name a digest file or a temporary file. */
const MARK = '~';
const DIGEST_SUFFIX = `${MARK}sha256`;
const TEMPORARY = /~(\d+)-(\d+)-[0-9a-f]+\.tmp$/;
/** A temporary file of a process id that is alive belongs to an earlier process of that id when it is this old. */
const STALE_MS = 3_600_000;
const READ_ATTEMPTS = 1000;

/**
 * {@link Storage} in a folder, one plain file a key (`models/theta.safetensors` opens in Python as it is), and beside it
 * its SHA-256 in the form of `sha256sum` (`theta.safetensors~sha256`; `sha256sum -c` reads it).
 *
 * `put` writes a temporary file in the same folder, forces it to the disk, renames it over the old one and forces the
 * folder to the disk. The digest file is replaced *before* the data and names both the new and the old digest, so a kill
 * at any moment leaves the old bytes or the new ones, and either is known. `get` hashes what it read and refuses
 * anything else. Once bytes were appended, the digest covers the part that was put and the reader of the log
 * (`JsonlLog`) sees to the tail.
 *
 * Any number of processes may read; one at a time may write a key. Calls for one key are done in call order.
 */
export class FileStorage implements Storage {
  /** The folder, absolute. */
  readonly folder: string;
  readonly #durable: boolean;
  readonly #acceptUnverified: boolean;
  readonly #mode: number;
  readonly #turns = new Map<string, Promise<unknown>>();
  #cleaned: Promise<void> | undefined;

  /**
   * @param folder - made when first written to. Temporary files that a killed process left are removed at first use.
   * @param options - see {@link FileStorageOptions}.
   * @throws {InvalidArgumentError} on a wrong option.
   */
  constructor(folder: string, options: FileStorageOptions = {}) {
    checkOptions(z.string().min(1), folder, 'FileStorage: folder');
    const checked = checkOptions(fileStorageOptions, options, 'FileStorage');
    this.folder = resolve(folder);
    this.#durable = checked.fsync === 'always';
    this.#acceptUnverified = checked.acceptUnverified;
    this.#mode = checked.mode;
  }

  /**
   * Reads an entry.
   *
   * @param key - see {@link Storage}.
   * @returns a copy of its bytes, or `undefined` when there is none.
   * @throws {InvalidArgumentError} when the key is malformed.
   * @throws {CheckpointError} when the file is torn, altered or without a digest, or cannot be read.
   */
  get(key: string): Promise<Uint8Array | undefined> {
    return this.#inTurn(key, 'read', (path) => this.#read(path, key));
  }

  /**
   * Replaces an entry as a whole.
   *
   * @param key - see {@link Storage}.
   * @param bytes - the new bytes; copied.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   * @throws {CheckpointError} when it cannot be written; the old bytes are still there.
   */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    checkStorageBytes(bytes);
    return this.#inTurn(key, 'write', async (path) => {
      const hex = sha256(bytes);
      await this.#makeFolder(dirname(path));
      const previous = await this.#currentDigest(path);
      const temporary = await this.#writeTemporary(path, bytes);
      try {
        if (await isFolder(path)) throw folderConflict(key);
        await this.#replaceDigest(path, { current: { hex, bytes: undefined }, previous });
        await rename(temporary, path);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
      await this.#syncFolder(dirname(path));
    });
  }

  /**
   * Adds to the end of an entry, which is created when missing.
   *
   * @param key - see {@link Storage}.
   * @param bytes - what is added.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   * @throws {CheckpointError} when it cannot be written, or what is there is damaged.
   */
  async append(key: string, bytes: Uint8Array): Promise<void> {
    checkStorageBytes(bytes);
    return this.#inTurn(key, 'append to', async (path) => {
      await this.#makeFolder(dirname(path));
      const isNew = await this.#openTail(path, key);
      const file = await open(path, 'a', this.#mode);
      try {
        const { size } = await file.stat();
        try {
          await file.appendFile(bytes);
          if (this.#durable) await file.sync();
        } catch (error) {
          // Best effort: a full disk should not leave half a record in the middle of a log.
          await file.truncate(size).catch(() => undefined);
          throw error;
        }
      } finally {
        await file.close();
      }
      if (isNew) await this.#syncFolder(dirname(path));
    });
  }

  /**
   * Lists the keys, sorted by UTF-16 code units.
   *
   * @param prefix - text that the keys begin with. @default ''
   * @returns the keys.
   * @throws {CheckpointError} when the folder cannot be read.
   */
  async list(prefix = ''): Promise<readonly string[]> {
    try {
      await this.#cleanOnce();
      const keys: string[] = [];
      for await (const path of filesBelow(this.folder, '')) {
        if (!path.includes(MARK) && path.startsWith(prefix) && isKey(path)) keys.push(path);
      }
      return keys.sort();
    } catch (error) {
      throw asCheckpointError(error, 'list', this.folder);
    }
  }

  /**
   * Removes an entry, if it is there.
   *
   * @param key - see {@link Storage}.
   * @throws {InvalidArgumentError} when the key is malformed.
   * @throws {CheckpointError} when it cannot be removed.
   */
  delete(key: string): Promise<void> {
    return this.#inTurn(key, 'delete', async (path) => {
      if ((await isFolder(path)) !== false) return;
      await rm(path, { force: true });
      await this.#syncFolder(dirname(path));
      // Last: a file without its digest would be refused, a digest without its file is nothing.
      await rm(path + DIGEST_SUFFIX, { force: true });
    });
  }

  async #inTurn<T>(key: string, verb: string, work: (path: string) => Promise<T>): Promise<T> {
    checkStorageKey(key);
    const before = this.#turns.get(key) ?? this.#cleanOnce();
    const result = before.then(() => work(join(this.folder, key)));
    const done = result.then(noop, noop);
    this.#turns.set(key, done);
    try {
      return await result;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOTDIR' || code === 'EISDIR' || code === 'EEXIST') throw folderConflict(key);
      throw asCheckpointError(error, verb, join(this.folder, key));
    } finally {
      if (this.#turns.get(key) === done) this.#turns.delete(key);
    }
  }

  async #read(path: string, key: string): Promise<Uint8Array | undefined> {
    let text = await readIfThere(path + DIGEST_SUFFIX);
    for (let attempt = 1; ; attempt++) {
      const bytes = await readIfThere(path);
      if (bytes === undefined) return undefined;
      if (text === undefined && (this.#acceptUnverified || key.endsWith('.jsonl'))) return bytes;
      const problem = text === undefined ? missingDigest : mismatch(bytes, parseDigest(text));
      if (problem === undefined) return bytes;
      // A digest that stayed the same over the read knows what was there, old or new: the file is damaged. If it changed,
      // another process has replaced both files meanwhile, and another look settles it.
      const now = await readIfThere(path + DIGEST_SUFFIX);
      if (sameBytes(text, now) || attempt === READ_ATTEMPTS) {
        throw new CheckpointError(`${path}: ${problem}`, { source: path });
      }
      text = now;
    }
  }

  /** The digest of the bytes that are there now, provided that they are what was once put or appended. */
  async #currentDigest(path: string): Promise<string | undefined> {
    const bytes = await readIfThere(path);
    const text = await readIfThere(path + DIGEST_SUFFIX);
    if (bytes === undefined || text === undefined) return undefined;
    return mismatch(bytes, parseDigest(text)) === undefined ? sha256(bytes) : undefined;
  }

  /** Makes the digest file say that bytes may follow those it covers. Returns whether the data file is new. */
  async #openTail(path: string, key: string): Promise<boolean> {
    const folder = await isFolder(path);
    if (folder === true) throw folderConflict(key);
    const isNew = folder === undefined;
    const text = isNew ? undefined : await readIfThere(path + DIGEST_SUFFIX);
    const digest = text === undefined ? undefined : parseDigest(text);
    if (digest?.current.bytes !== undefined && digest.previous === undefined) return isNew;
    const bytes = isNew ? new Uint8Array(0) : await this.#read(path, key);
    // A log from elsewhere has no digest; its tail is its reader's affair from the first byte.
    const covered = text === undefined || bytes === undefined ? new Uint8Array(0) : bytes;
    await this.#replaceDigest(path, { current: { hex: sha256(covered), bytes: covered.length }, previous: undefined });
    return isNew;
  }

  async #replaceDigest(path: string, digest: DigestRecord): Promise<void> {
    const target = path + DIGEST_SUFFIX;
    const temporary = await this.#writeTemporary(target, formatDigest(digest, basename(path)));
    try {
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    // Before the data is renamed: the disk may do the two renames in the other order.
    await this.#syncFolder(dirname(path));
  }

  async #writeTemporary(path: string, bytes: Uint8Array): Promise<string> {
    const temporary = `${path}${MARK}${process.pid}-${Date.now()}-${randomBytes(4).toString('hex')}.tmp`;
    let file: FileHandle | undefined;
    try {
      file = await open(temporary, 'wx', this.#mode);
      await file.writeFile(bytes);
      if (this.#durable) await file.sync();
      await file.close();
      return temporary;
    } catch (error) {
      await file?.close().catch(noop);
      await rm(temporary, { force: true }).catch(noop);
      throw error;
    }
  }

  async #makeFolder(path: string): Promise<void> {
    const first = await mkdir(path, { recursive: true });
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) await this.#syncFolder(dirname(made));
  }

  async #syncFolder(path: string): Promise<void> {
    if (!this.#durable) return;
    let folder: FileHandle | undefined;
    try {
      folder = await open(path, 'r');
      await folder.sync();
    } catch (error) {
      // Windows and some network file systems refuse it.
      if (!['EPERM', 'EACCES', 'EINVAL', 'EISDIR', 'ENOTSUP', 'ENOENT'].includes(codeOf(error) ?? '')) throw error;
    } finally {
      await folder?.close();
    }
  }

  #cleanOnce(): Promise<void> {
    this.#cleaned ??= removeStale(this.folder);
    return this.#cleaned;
  }
}

/**
 * @param folder - where the files are; made when first written to.
 * @param options - see {@link FileStorageOptions}.
 * @returns a storage in that folder.
 * @throws {InvalidArgumentError} on a wrong option.
 */
export function fileStorage(folder: string, options: FileStorageOptions = {}): FileStorage {
  return new FileStorage(folder, options);
}

const missingDigest =
  'it has no digest file beside it, so it cannot be told from a torn one; copy `~sha256` files along, or read foreign files with `acceptUnverified: true`';

function noop(): void {}

async function readIfThere(path: string): Promise<Uint8Array | undefined> {
  try {
    const buffer = await readFile(path);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  } catch (error) {
    // A key below an entry, or one that is a folder, is no entry.
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

function sameBytes(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;
}

async function isFolder(path: string): Promise<boolean | undefined> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

function isKey(path: string): boolean {
  try {
    checkStorageKey(path);
    return true;
  } catch {
    return false;
  }
}

async function* filesBelow(folder: string, prefix: string): AsyncGenerator<string> {
  let entries: Awaited<ReturnType<typeof readEntries>>;
  try {
    entries = await readEntries(join(folder, prefix));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  for (const entry of entries) {
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) yield* filesBelow(folder, `${path}/`);
    else if (entry.isFile()) yield path;
  }
}

function readEntries(folder: string) {
  return readdir(folder, { withFileTypes: true });
}

async function removeStale(folder: string): Promise<void> {
  try {
    for await (const path of filesBelow(folder, '')) {
      const match = TEMPORARY.exec(path);
      if (match !== null && isStale(Number(match[1]), Number(match[2]))) await rm(join(folder, path), { force: true });
    }
  } catch {
    // A folder that cannot be cleaned can still be read; what cannot is reported by the call itself.
  }
}

function isStale(pid: number, writtenAt: number): boolean {
  // Ours when written since this process began (another worker thread may be writing it).
  if (pid === process.pid) return writtenAt < Date.now() - process.uptime() * 1000 - 1000;
  try {
    process.kill(pid, 0);
    return Date.now() - writtenAt > STALE_MS;
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function asCheckpointError(error: unknown, verb: string, path: string): Error {
  if (error instanceof IalpError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new CheckpointError(`${path}: cannot ${verb} it: ${reason}`, { source: path, cause: error });
}
