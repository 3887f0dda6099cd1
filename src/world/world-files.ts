import { z } from 'zod';
import { Catalog, type Item } from '../catalog/catalog.js';
import type { CoatData } from '../catalog/coat.js';
import { Sequences } from '../catalog/sequences.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { decodeNamedArrays, encodeNamedArrays, type NamedArray, type NamedArrays } from '../foundation/named-arrays.js';
import type { CoatModel } from './coat-model.js';
import type { CoatWorldOptions } from './coat-world.js';
import {
  type SequenceWorldSpec,
  sequenceWorldSpecSchema,
  WORLD_FITS,
  type WorldFit,
  type WorldFitName,
} from './sequence-world.js';
import type { StoredWorld } from './stored-world.js';
import type { SyntheticWorldOptions } from './synthetic-world.js';

/** Version of a world's folder: every JSON file in it says so. */
export const WORLD_FORMAT = 'ialp-world/1';

/** A file that a world was built from. */
export interface WorldInput {
  /** Its name in the data set's folder. */
  readonly file: string;
  /** SHA-256 of its bytes. */
  readonly sha256: string;
}

const WORLD = 'world.json';
const ITEMS = 'items.json';
const SEQUENCES = 'sequences.safetensors';
const COAT = 'coat.safetensors';
const modelKey = (split: WorldFitName, member: number): string => `models/${split}-${member + 1}.safetensors`;

/** Schema of a SHA-256. */
export const hashSchema = z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hexadecimal digits');
/** Schema of a {@link WorldInput}. */
export const inputSchema = z.strictObject({ file: z.string().min(1), sha256: hashSchema });
const json = z.custom<JsonValue>(() => true);
/** Schema of any JSON object. */
export const jsonRecordSchema = z.record(z.string(), json);
const share = z.number().min(0).max(1);
const fitSchema = z.strictObject({
  members: z.int().min(1).max(64),
  calibration: z.strictObject({ a: z.number(), b: z.number(), mean: z.number(), best: z.number() }),
  auc: share,
  hitRate10: share,
  epochs: z.array(z.int()),
});
const common = { format: z.literal(WORLD_FORMAT), name: z.string().min(1), inputs: z.array(inputSchema) };
const worldSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...common,
    kind: z.literal('sequence'),
    counts: z.strictObject({ items: z.int(), sequences: z.int(), interactions: z.int() }),
    spec: sequenceWorldSpecSchema,
    fits: z.partialRecord(z.enum(WORLD_FITS), fitSchema),
  }),
  z.strictObject({
    ...common,
    kind: z.literal('coat'),
    counts: z.strictObject({ users: z.int(), items: z.int(), trainRatings: z.int(), testRatings: z.int() }),
    options: jsonRecordSchema,
    userFeatureNames: z.array(z.string()),
    itemFeatureNames: z.array(z.string()),
    reward: z.union([
      z.enum(['truth', 'matrix']),
      z.strictObject({
        name: z.string(),
        saw: z.array(z.strictObject({ name: z.string(), fingerprint: z.string() })),
        facts: jsonRecordSchema,
      }),
    ]),
  }),
  z.strictObject({ ...common, kind: z.literal('synthetic'), options: jsonRecordSchema }),
]);
type WorldFile = z.output<typeof worldSchema>;
const catalogSchema = z.strictObject({
  scenario: z.string(),
  itemNoun: z.string(),
  behavior: z.string(),
  attributes: z.array(z.string()),
  extraAttributes: z.array(z.string()),
  ids: z.array(z.string()),
  /** One list an attribute, in the order of `attributes` and `extraAttributes`. */
  columns: z.array(z.array(z.string())),
});
/** Reads a file that the manifest lists, checked against it. */
export type ReadFile = (key: string) => Promise<Uint8Array>;

/** What every `world.json` begins with. */
export interface CommonFields {
  readonly format: typeof WORLD_FORMAT;
  readonly name: string;
  readonly inputs: readonly WorldInput[];
}

/** Every file of a world but the manifest, by key. */
export function worldFiles(stored: StoredWorld, common: CommonFields): Map<string, Uint8Array> {
  if (stored.kind === 'synthetic')
    return new Map([[WORLD, encodeJson({ ...common, kind: 'synthetic', options: { ...stored.options } })]]);
  if (stored.kind === 'coat') return coatFiles(stored.options, common);
  const { spec, data, fits } = stored.built;
  const { catalog, sequences } = data;
  const files = new Map<string, Uint8Array>([
    [ITEMS, encodeCatalog(catalog)],
    [SEQUENCES, encodeSequences(sequences)],
  ]);
  const described: Record<string, JsonValue> = {};
  for (const split of WORLD_FITS) {
    const fit = fits[split];
    if (fit === undefined) continue;
    const { members, calibration, auc, hitRate10, epochs } = fit;
    const { a, b, mean, best } = calibration;
    described[split] = { members: members.length, calibration: { a, b, mean, best }, auc, hitRate10, epochs };
    for (const [n, parameters] of members.entries()) files.set(modelKey(split, n), encodeNamedArrays(parameters));
  }
  const counts = { items: catalog.size, sequences: sequences.count, interactions: sequences.items.length };
  files.set(
    WORLD,
    encodeJson({ ...common, kind: 'sequence', counts, spec: spec as unknown as JsonValue, fits: described }),
  );
  return files;
}

async function readSequence(
  file: Extract<WorldFile, { kind: 'sequence' }>,
  splits: readonly WorldFitName[],
  read: ReadFile,
): Promise<StoredWorld> {
  const catalog = decodeCatalog(await read(ITEMS));
  const sequences = decodeSequences(await read(SEQUENCES), catalog.size);
  const fits: Partial<Record<WorldFitName, WorldFit>> = {};
  for (const split of splits) {
    const fit = file.fits[split];
    if (fit === undefined)
      throw refusal(WORLD, `expected a world with the split ${split}, it was built without: build it again`);
    const members: NamedArrays[] = [];
    for (let n = 0; n < fit.members; n++) {
      const key = modelKey(split, n);
      members.push(decodeNamedArrays(await read(key), key, { finite: true }).arrays);
    }
    fits[split] = { ...fit, members };
  }
  return { kind: 'sequence', built: { spec: file.spec as SequenceWorldSpec, data: { catalog, sequences }, fits } };
}

const COAT_ARRAYS = ['train', 'truth', 'test', 'userFeatures', 'itemFeatures'] as const;

function coatFiles({ data, reward = 'truth', ...options }: CoatWorldOptions, common: CommonFields) {
  const arrays: Record<string, NamedArray> = {};
  for (const name of COAT_ARRAYS) {
    const array = data[name];
    const rows = name === 'itemFeatures' ? data.items : data.users;
    if (array !== undefined) arrays[name] = { shape: [rows, array.length / rows], data: array };
  }
  const rewards = reward === 'truth' ? undefined : reward instanceof Float32Array ? reward : reward.rewards;
  if (rewards !== undefined) arrays.reward = { shape: [data.users, data.items], data: rewards };
  const { users, items, trainRatings, testRatings, userFeatureNames, itemFeatureNames } = data;
  const world = {
    ...common,
    kind: 'coat',
    counts: { users, items, trainRatings, testRatings },
    options,
    userFeatureNames,
    itemFeatureNames,
    reward:
      reward === 'truth'
        ? 'truth'
        : reward instanceof Float32Array
          ? 'matrix'
          : { name: reward.name, saw: reward.saw.map((seen) => ({ ...seen })), facts: reward.facts },
  };
  return new Map<string, Uint8Array>([
    [ITEMS, encodeCatalog(data.catalog)],
    [COAT, encodeNamedArrays(arrays)],
    [WORLD, encodeJson(world as unknown as JsonValue)],
  ]);
}

async function readCoat(file: Extract<WorldFile, { kind: 'coat' }>, read: ReadFile): Promise<StoredWorld> {
  const { arrays } = decodeNamedArrays(await read(COAT), COAT, { finite: true });
  const array = (name: string): Float32Array => {
    const data = arrays[name]?.data;
    if (data instanceof Float32Array) return data;
    throw refusal(
      COAT,
      `expected an array \`${name}\` of 32-bit floats, got ${data === undefined ? 'none' : 'others'}`,
    );
  };
  const { counts, userFeatureNames, itemFeatureNames, reward } = file;
  const data: CoatData = {
    catalog: decodeCatalog(await read(ITEMS)),
    ...counts,
    train: array('train'),
    truth: array('truth'),
    test: arrays.test === undefined ? undefined : array('test'),
    userFeatures: array('userFeatures'),
    userFeatureWidth: userFeatureNames.length,
    userFeatureNames,
    itemFeatures: array('itemFeatures'),
    itemFeatureWidth: itemFeatureNames.length,
    itemFeatureNames,
  };
  const rewards = (): CoatModel | Float32Array | 'truth' => {
    if (reward === 'truth') return 'truth';
    return reward === 'matrix' ? array('reward') : { ...reward, rewards: array('reward') };
  };
  return { kind: 'coat', options: { ...(file.options as object), data, reward: rewards() } };
}

function encodeCatalog(catalog: Catalog): Uint8Array {
  const { scenario, itemNoun, behavior, attributes, extraAttributes } = catalog;
  const names = [...attributes, ...extraAttributes];
  const columns = names.map((name) => Array.from({ length: catalog.size }, (_, item) => catalog.attribute(item, name)));
  return encodeJson({ scenario, itemNoun, behavior, attributes, extraAttributes, ids: catalog.ids(), columns });
}

function decodeCatalog(bytes: Uint8Array): Catalog {
  const { ids, columns, ...options } = parseJson(bytes, ITEMS, catalogSchema);
  const names = [...options.attributes, ...options.extraAttributes];
  const items = ids.map((id, place) => {
    const values = names.map((name, column) => [name, columns[column]?.[place] ?? ''] as const);
    return Object.fromEntries([['id', id], ...values]) as Item;
  });
  return Catalog.fromItems(items, options);
}

function encodeSequences({ items, offsets, users }: Sequences): Uint8Array {
  const arrays: Record<string, NamedArray> = {
    items: { shape: [items.length], data: items },
    offsets: { shape: [offsets.length], data: offsets },
  };
  // Text in a file of arrays: ids separated as JSON does it.
  if (users !== undefined) {
    const text = encodeJson(users);
    arrays.users = { shape: [text.length], data: text };
  }
  return encodeNamedArrays(arrays);
}

function decodeSequences(bytes: Uint8Array, itemCount: number): Sequences {
  const { arrays } = decodeNamedArrays(bytes, SEQUENCES);
  const items = arrays.items?.data;
  const offsets = arrays.offsets?.data;
  if (!(items instanceof Int32Array) || !(offsets instanceof Int32Array))
    throw refusal(SEQUENCES, 'expected arrays `items` and `offsets` of integers');
  const lists = Array.from({ length: Math.max(0, offsets.length - 1) }, (_, i) =>
    items.subarray(offsets[i], offsets[i + 1]),
  );
  const users = arrays.users?.data;
  if (!(users instanceof Uint8Array)) return Sequences.from(lists, { itemCount });
  return Sequences.from(lists, { itemCount, users: parseJson(users, SEQUENCES, z.array(z.string())) });
}

/**
 * Reads the files of a world.
 *
 * @throws {CheckpointError} naming the file that is not as it was written.
 */
export async function readWorldFiles(
  read: ReadFile,
  splits: readonly WorldFitName[] | undefined,
): Promise<StoredWorld> {
  const file = parseJson(await read(WORLD), WORLD, worldSchema);
  try {
    if (file.kind === 'synthetic')
      return { kind: 'synthetic', options: file.options as unknown as SyntheticWorldOptions };
    if (file.kind === 'coat') return await readCoat(file, read);
    return await readSequence(file, splits ?? WORLD_FITS.filter((split) => file.fits[split] !== undefined), read);
  } catch (cause) {
    // What fits its digest but not the library was written by something else.
    if (cause instanceof InvalidArgumentError) throw refusal(WORLD, `not a world: ${cause.message}`, cause);
    throw cause;
  }
}

/** JSON as it is stored: keys sorted, one line. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${canonicalJson(value)}\n`);
}

/**
 * Reads JSON that was stored.
 *
 * @throws {CheckpointError} when it is none, of another version, or not of the schema.
 */
export function parseJson<S extends z.ZodType>(bytes: Uint8Array, key: string, schema: S): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refusal(key, 'torn or edited: not JSON', cause);
  }
  const format = typeof value === 'object' && value !== null && 'format' in value ? value.format : undefined;
  if (typeof format === 'string' && format !== WORLD_FORMAT) {
    const version = /^ialp-world\/(\d{1,9})$/.exec(format)?.[1];
    throw new CheckpointError(
      `${key}: expected format ${WORLD_FORMAT}, got ${JSON.stringify(format.slice(0, 40))}: build the world again with this version of ialp, or open it with the one that wrote it`,
      { source: key, version: version === undefined ? undefined : Number(version) },
    );
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw refusal(key, `field \`${issue?.path.join('.') ?? ''}\`: ${issue?.message ?? 'wrong'}`, parsed.error);
}

/** What is wrong with a file of a world. */
export function refusal(key: string, message: string, cause?: unknown): CheckpointError {
  return new CheckpointError(`${key}: ${message}`, { source: key, cause });
}
