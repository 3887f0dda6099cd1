import { z } from 'zod';
import { arrayDigest } from '../foundation/array-digest.js';
import { CheckpointError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { decodeNamedArrays, encodeNamedArrays, type NamedArrays } from '../foundation/named-arrays.js';
import type { Storage } from '../foundation/storage.js';

const FORMAT = 'ialp-checkpoint';
const VERSION = 1;
/** The newest and its predecessor: where the newest is refused, the run goes on from the one before and says so. */
const KEPT = 2;

/** One atomic unit: all that a run needs to go on as if it had never stopped. */
export interface Checkpoint {
  /** Steps taken when it was made. */
  readonly step: number;
  /** What the run is: options, seeds, catalogue. A checkpoint of another run is refused. */
  readonly identity: JsonValue;
  /** Counters, generators, the environment's episodes: plain JSON. */
  readonly state: JsonValue;
  /** Weights, optimiser moments and the replay buffer, each under its own prefix. */
  readonly arrays: NamedArrays;
}

const metadataSchema = z.object({
  format: z.literal(FORMAT),
  version: z.string(),
  step: z.string().regex(/^\d+$/),
  identity: z.string(),
  state: z.string(),
  digest: z.string(),
});

/** Checkpoints of one run in a {@link Storage}, under `checkpoint/`. */
export class CheckpointFile {
  readonly #storage: Storage;

  /** @param storage - of this run alone; borrowed. */
  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /**
   * Puts a checkpoint beside its predecessor and drops older ones, and those of later steps: a run that goes on from an
   * earlier checkpoint has passed over them as damaged.
   *
   * @returns its size in bytes.
   */
  async save(checkpoint: Checkpoint): Promise<number> {
    const metadata = {
      format: FORMAT,
      version: String(VERSION),
      step: String(checkpoint.step),
      identity: canonicalJson(checkpoint.identity),
      state: canonicalJson(checkpoint.state),
    };
    const digest = await arrayDigest(checkpoint.arrays, metadata);
    const bytes = encodeNamedArrays(checkpoint.arrays, { ...metadata, digest });
    const own = keyOf(checkpoint.step);
    await this.#storage.put(own, bytes);
    const keys = await this.#keys();
    const at = keys.indexOf(own);
    for (const key of [...keys.slice(0, at), ...keys.slice(at + KEPT)]) await this.#storage.delete(key);
    return bytes.length;
  }

  /**
   * The newest checkpoint that can be read.
   *
   * @param identity - what the run is now.
   * @param onRefused - told of each damaged checkpoint that was passed over.
   * @returns undefined when there is none.
   * @throws {CheckpointError} when the checkpoint belongs to another run, naming what differs, or when all are damaged.
   */
  async newest(identity: JsonValue, onRefused: (error: CheckpointError) => void): Promise<Checkpoint | undefined> {
    const keys = await this.#keys();
    let refused: CheckpointError | undefined;
    for (const key of keys) {
      let checkpoint: Checkpoint;
      try {
        checkpoint = await this.#read(key);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        refused = error;
        onRefused(error);
        continue;
      }
      const differing = firstDifference(checkpoint.identity, identity, '');
      if (differing !== undefined) {
        throw new CheckpointError(
          `${key}: this checkpoint belongs to a run with another ${differing}; use another folder, or the same options to go on, or delete \`checkpoint/\` to begin anew (recorded answers beside it stay)`,
          { source: key },
        );
      }
      return checkpoint;
    }
    if (refused) throw refused;
    return undefined;
  }

  async #read(key: string): Promise<Checkpoint> {
    const bytes = await this.#storage.get(key);
    if (!bytes) throw new CheckpointError(`${key}: vanished while it was read`, { source: key });
    const { arrays, metadata } = decodeNamedArrays(bytes, key);
    const parsed = metadataSchema.safeParse(metadata);
    if (!parsed.success)
      throw new CheckpointError(`${key}: not a checkpoint of this library`, { source: key, cause: parsed.error });
    const { version, step, identity, state } = parsed.data;
    if (Number(version) !== VERSION) {
      throw new CheckpointError(`${key}: expected format version ${VERSION}, got ${version}`, {
        source: key,
        version: Number(version),
      });
    }
    const { digest, ...signed } = metadata;
    if ((await arrayDigest(arrays, signed)) !== digest) {
      throw new CheckpointError(`${key}: its SHA-256 does not match its content`, { source: key });
    }
    try {
      return {
        step: Number(step),
        identity: JSON.parse(identity) as JsonValue,
        state: JSON.parse(state) as JsonValue,
        arrays,
      };
    } catch (cause) {
      throw new CheckpointError(`${key}: its header is not JSON`, { source: key, cause });
    }
  }

  /** Newest first. */
  async #keys(): Promise<string[]> {
    const keys = await this.#storage.list('checkpoint/');
    return keys.filter((key) => /^checkpoint\/\d{12}\.safetensors$/.test(key)).sort((a, b) => (a < b ? 1 : -1));
  }
}

function keyOf(step: number): string {
  return `checkpoint/${String(step).padStart(12, '0')}.safetensors`;
}

/** The path of the first field, in the order of `is`, in which two identities differ, with both values, for the message. */
function firstDifference(was: JsonValue, is: JsonValue, path: string): string | undefined {
  if (canonicalJson(was) === canonicalJson(is)) return undefined;
  const isRecord = (value: JsonValue): value is { readonly [key: string]: JsonValue } =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isRecord(was) && isRecord(is)) {
    for (const key of new Set([...Object.keys(is), ...Object.keys(was)])) {
      const inner = firstDifference(was[key] ?? null, is[key] ?? null, path === '' ? key : `${path}.${key}`);
      if (inner !== undefined) return inner;
    }
  }
  return `\`${path}\` (it has ${canonicalJson(was)}, this run ${canonicalJson(is)})`;
}
