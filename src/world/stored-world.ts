import { checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import type { NamedArrayData } from '../foundation/named-arrays.js';
import { sha256Hex } from '../foundation/sha256.js';
import { type CoatWorldOptions, coatWorld } from './coat-world.js';
import { type BuiltSequenceWorld, sequenceWorld } from './sequence-world.js';
import { type SyntheticWorldOptions, syntheticWorld } from './synthetic-world.js';
import type { World } from './world.js';

/** What a world's folder can hold: everything a {@link World} is made of. */
export type StoredWorld = StoredSequenceWorld | StoredCoatWorld | StoredSyntheticWorld;

/** A sequence world with its fitted rewards. */
export interface StoredSequenceWorld {
  /** Which of the three. */
  readonly kind: 'sequence';
  /** All of it. */
  readonly built: BuiltSequenceWorld;
}

/** Coat: the data set, and the model reward where there is one. */
export interface StoredCoatWorld {
  /** Which of the three. */
  readonly kind: 'coat';
  /** All of it. */
  readonly options: CoatWorldOptions;
}

/** The embedded world: its options; the rest is generated. */
export interface StoredSyntheticWorld {
  /** Which of the three. */
  readonly kind: 'synthetic';
  /** All of it. */
  readonly options: SyntheticWorldOptions;
}

/**
 * A stored world as a {@link World}. One of kind `'sequence'` needs a backend before it is played, and memory that `dispose()` frees.
 *
 * @throws {InvalidArgumentError} when its parts do not fit together.
 */
export function storedWorld(stored: StoredWorld): World {
  checkObject('storedWorld', 'stored', stored);
  switch (stored.kind) {
    case 'sequence':
      return sequenceWorld(stored.built);
    case 'coat':
      return coatWorld(stored.options);
    case 'synthetic':
      return syntheticWorld(stored.options);
    default:
      throw new InvalidArgumentError(
        `storedWorld: expected \`stored.kind\` to be 'sequence', 'coat' or 'synthetic', got ${String((stored as { kind?: unknown }).kind)}`,
        { argument: 'stored.kind', got: (stored as { kind?: unknown }).kind },
      );
  }
}

/** Frees what a world may hold beside the garbage collector's. */
export function disposeWorld(world: World): void {
  if ('dispose' in world && typeof world.dispose === 'function') world.dispose();
}

/**
 * What tells stored worlds apart: SHA-256 of all that defines one, data and options; of nothing that is fitted, so that it is known before a
 * build.
 */
export async function storedWorldId(stored: StoredWorld): Promise<string> {
  return sha256Hex(canonicalJson({ kind: stored.kind, ...(await identity(stored)) }));
}

async function identity(stored: StoredWorld): Promise<Readonly<Record<string, JsonValue>>> {
  if (stored.kind === 'synthetic') return { options: { ...stored.options } as unknown as JsonValue };
  if (stored.kind === 'sequence') {
    const { spec, data } = stored.built;
    const { items, offsets } = data.sequences;
    return {
      spec: spec as unknown as JsonValue,
      catalog: await data.catalog.fingerprint(),
      sequences: await Promise.all([items, offsets].map(digestOf)),
    };
  }
  const { data, reward = 'truth', ...options } = stored.options;
  const rewards = reward === 'truth' ? undefined : reward instanceof Float32Array ? reward : reward.rewards;
  const arrays = [data.train, data.truth, data.test, data.userFeatures, data.itemFeatures, rewards];
  return {
    options: options as unknown as JsonValue,
    catalog: await data.catalog.fingerprint(),
    arrays: await Promise.all(arrays.map((array) => (array === undefined ? null : digestOf(array)))),
  };
}

function digestOf({ buffer, byteOffset, byteLength }: NamedArrayData): Promise<string> {
  return sha256Hex(new Uint8Array(buffer, byteOffset, byteLength));
}
