import { argumentError, checkObject } from './arguments.js';
import { InvalidArgumentError } from './errors.js';
import { describeValue } from './options.js';

/**
 * Where checkpoints, models and logs are kept: bytes under keys. Two forms ship, {@link MemoryStorage} and the file form
 * of `ialp/node`; any object of this shape that passes `storageContract` of `ialp/testing` will do.
 *
 * A key is one or more segments of `A-Z a-z 0-9 . _ -` joined by `/`, at most 200 characters, no segment `.` or `..`.
 * As in a file system, a key cannot also be the folder of another one (`a` beside `a/b`).
 */
export interface Storage {
  /**
   * Reads an entry.
   *
   * @param key - which entry.
   * @returns its bytes, a copy, or `undefined` when there is none.
   * @throws {CheckpointError} when what is stored is not what was put: torn or altered.
   * @throws {InvalidArgumentError} when the key is malformed.
   */
  get(key: string): Promise<Uint8Array | undefined>;
  /**
   * Replaces an entry as a whole: whatever happens, a later `get` gives the old bytes or the new ones.
   *
   * @param key - which entry.
   * @param bytes - copied before the promise resolves; not to be changed until then.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   * @throws {CheckpointError} when the bytes cannot be written.
   */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /**
   * Adds to the end of an entry, which is created when missing. Cut off half-way, it may leave part of the bytes.
   *
   * @param key - which entry.
   * @param bytes - what is added.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   * @throws {CheckpointError} when the bytes cannot be written.
   */
  append(key: string, bytes: Uint8Array): Promise<void>;
  /**
   * Lists the keys.
   *
   * @param prefix - text that the keys begin with; need not end at a `/`. @default ''
   * @returns the keys, sorted by UTF-16 code units.
   */
  list(prefix?: string): Promise<readonly string[]>;
  /**
   * Removes an entry.
   *
   * @param key - which entry; nothing happens when there is none.
   * @throws {InvalidArgumentError} when the key is malformed.
   */
  delete(key: string): Promise<void>;
}

const STORAGE_METHODS = ['get', 'put', 'append', 'list', 'delete'] as const satisfies readonly (keyof Storage)[];
const MAX_KEY_LENGTH = 200;
const KEY_SEGMENT = /^[A-Za-z0-9._-]+$/;

/**
 * @param key - checked to be a key as {@link Storage} says.
 * @throws {InvalidArgumentError} when it is not.
 */
export function checkStorageKey(key: string): void {
  if (
    typeof key === 'string' &&
    key.length <= MAX_KEY_LENGTH &&
    key.split('/').every((segment) => KEY_SEGMENT.test(segment) && segment !== '.' && segment !== '..')
  ) {
    return;
  }
  const wanted = `segments of A-Z a-z 0-9 . _ - joined by "/", none of them "." or "..", at most ${MAX_KEY_LENGTH} characters`;
  throw new InvalidArgumentError(`Expected a storage key to be ${wanted}, got ${describeValue(key)}`, {
    argument: 'key',
    wanted,
    got: key,
  });
}

/**
 * @param bytes - checked to be a `Uint8Array`.
 * @throws {InvalidArgumentError} when it is not.
 */
export function checkStorageBytes(bytes: Uint8Array): void {
  if (bytes instanceof Uint8Array) return;
  throw new InvalidArgumentError(`Expected the bytes to store to be a Uint8Array, got ${describeValue(bytes)}`, {
    argument: 'bytes',
    wanted: 'a Uint8Array',
    got: bytes,
  });
}

/** {@link Storage} in memory: for tests, browsers and runs that need not outlive the process. */
export class MemoryStorage implements Storage {
  /** Room is doubled when it runs out, so that many appends cost linear time. */
  readonly #entries = new Map<string, { bytes: Uint8Array; length: number }>();

  /**
   * Reads an entry.
   *
   * @param key - see {@link Storage}.
   * @returns a copy of its bytes, or `undefined` when there is none.
   * @throws {InvalidArgumentError} when the key is malformed.
   */
  async get(key: string): Promise<Uint8Array | undefined> {
    checkStorageKey(key);
    const entry = this.#entries.get(key);
    return entry?.bytes.slice(0, entry.length);
  }

  /**
   * Replaces an entry as a whole.
   *
   * @param key - see {@link Storage}.
   * @param bytes - the new bytes; copied.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    this.#checkNewKey(key);
    checkStorageBytes(bytes);
    // Not `slice`: Node's Buffer would share its memory.
    this.#entries.set(key, { bytes: new Uint8Array(bytes), length: bytes.length });
  }

  /**
   * Adds to the end of an entry, which is created when missing.
   *
   * @param key - see {@link Storage}.
   * @param bytes - what is added.
   * @throws {InvalidArgumentError} when the key is malformed, or is the folder of another.
   */
  async append(key: string, bytes: Uint8Array): Promise<void> {
    this.#checkNewKey(key);
    checkStorageBytes(bytes);
    const entry = this.#entries.get(key) ?? { bytes: new Uint8Array(0), length: 0 };
    const length = entry.length + bytes.length;
    if (length > entry.bytes.length) {
      const roomier = new Uint8Array(Math.max(2 * entry.bytes.length, length));
      roomier.set(entry.bytes.subarray(0, entry.length));
      entry.bytes = roomier;
    }
    entry.bytes.set(bytes, entry.length);
    entry.length = length;
    this.#entries.set(key, entry);
  }

  /**
   * Lists the keys, sorted by UTF-16 code units.
   *
   * @param prefix - text that the keys begin with. @default ''
   * @returns the keys.
   */
  async list(prefix = ''): Promise<readonly string[]> {
    if (typeof prefix !== 'string') throw argumentError('MemoryStorage.list', 'prefix', 'a string', prefix);
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  /**
   * Removes an entry, if it is there.
   *
   * @param key - see {@link Storage}.
   * @throws {InvalidArgumentError} when the key is malformed.
   */
  async delete(key: string): Promise<void> {
    checkStorageKey(key);
    this.#entries.delete(key);
  }

  #checkNewKey(key: string): void {
    checkStorageKey(key);
    if (this.#entries.has(key)) return;
    for (let at = key.indexOf('/'); at >= 0; at = key.indexOf('/', at + 1)) {
      if (this.#entries.has(key.slice(0, at))) throw folderConflict(key, key.slice(0, at));
    }
    for (const other of this.#entries.keys()) if (other.startsWith(`${key}/`)) throw folderConflict(key, other);
  }
}

/**
 * The refusal of a key that is the folder of another, or lies in one that is an entry.
 *
 * @param key - the key that is refused.
 * @param other - the key in the way, where it is known.
 * @returns the error, to be thrown.
 */
export function folderConflict(key: string, other?: string): InvalidArgumentError {
  const among = other === undefined ? 'another key' : `\`${other}\``;
  return new InvalidArgumentError(`Storage key \`${key}\` conflicts with ${among}: a key cannot also be a folder`, {
    argument: 'key',
    got: key,
  });
}

/**
 * A part of a storage as a storage of its own.
 *
 * @param storage - where the entries really are; borrowed.
 * @param prefix - a key; every key of the result is stored under `prefix/key`.
 * @returns the part. Its keys are shorter by the prefix.
 * @throws {InvalidArgumentError} when the storage is none or the prefix is not a key.
 */
export function prefixedStorage(storage: Storage, prefix: string): Storage {
  checkObject('prefixedStorage', 'storage', storage, STORAGE_METHODS, 'a Storage');
  checkStorageKey(prefix);
  const whole = (key: string): string => {
    checkStorageKey(key);
    return `${prefix}/${key}`;
  };
  return {
    get: async (key) => storage.get(whole(key)),
    put: async (key, bytes) => storage.put(whole(key), bytes),
    append: async (key, bytes) => storage.append(whole(key), bytes),
    list: async (inner = '') => {
      const keys = await storage.list(`${prefix}/${inner}`);
      return keys.map((key) => key.slice(prefix.length + 1));
    },
    delete: async (key) => storage.delete(whole(key)),
  };
}
