import { z } from 'zod';
import type { Catalog, ItemId } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { initParameters } from '../compute/model.js';
import type { ParameterStore } from '../compute/parameter-store.js';
import type { StateEncoder } from '../compute/state-encoder.js';
import { encoderFromName } from '../encoder/encoder-from-name.js';
import { arrayDigest } from '../foundation/array-digest.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { decodeNamedArrays, encodeNamedArrays, type NamedArray } from '../foundation/named-arrays.js';
import { Rng } from '../foundation/rng.js';
import type { Storage } from '../foundation/storage.js';
import { type ActorCriticOptions, type ActorCriticSettings, resolveModel } from './agent-model.js';

const KEY = 'policy.safetensors';
const FORMAT = 'ialp-policy';
const VERSION = 1;
/** Parameters whose first dimension is the item: mapped by id, row by row. */
const ITEM_ROWS = /^(item|valueItem)\/id$|^(actor|critic)\/(id|bias)$/;

/** How the catalogue of a loaded policy differs from the one it was saved with. */
export interface CatalogChange {
  /** Items in both; their weights were kept. */
  readonly kept: number;
  /** Items that are new: they score by their text, or as the average item where the policy reads ids only. */
  readonly added: readonly ItemId[];
  /** Items that are gone; their weights were dropped. */
  readonly missing: readonly ItemId[];
  /** Whether items that stayed have another index. */
  readonly reordered: boolean;
}

const settingsSchema = z.strictObject({
  items: z.enum(['id', 'text', 'id+text']),
  historyFeatures: z.union([
    z.literal(false),
    z.strictObject({
      repeats: z.int(),
      attributes: z.array(z.string()),
      text: z.boolean(),
      // Absent where there is no item prior.
      priorScale: z.strictObject({ mean: z.number(), deviation: z.number().min(0) }).optional(),
    }),
  ]),
  algorithm: z.enum(['ppo', 'replay', 'paper']),
  critic: z.enum(['state', 'action']),
  valueEncoder: z.enum(['shared', 'separate']),
  valueHidden: z.int(),
  contextWidth: z.int(),
});

const policySchema = z.strictObject({
  settings: settingsSchema,
  encoder: z.string(),
  ids: z.array(z.string()).min(1),
  features: z
    .strictObject({
      name: z.string(),
      vocabulary: z.array(z.string()).nullable(),
      attributes: z.array(z.string()).nullable(),
    })
    .nullable(),
});

/** What of an agent is saved. */
export interface SavedParts {
  /** The items, whose ids are saved. */
  readonly catalog: Catalog;
  /** The encoder: its settings are saved, its parameters are in the store. */
  readonly encoder: StateEncoder;
  /** Item features, if any. */
  readonly features: ItemFeatures | undefined;
  /** The agent's settings. */
  readonly settings: ActorCriticSettings;
  /** The item prior, if any. */
  readonly prior: Float64Array | undefined;
  /** All parameters. */
  readonly store: ParameterStore;
}

/** Writes an agent in one atomic put. */
export async function savePolicy(storage: Storage, agent: SavedParts): Promise<void> {
  const { encoder, features, settings, catalog, prior } = agent;
  const policy: z.input<typeof policySchema> = {
    settings: settings as z.input<typeof settingsSchema>,
    encoder: encoder.name,
    ids: [...catalog.ids()],
    features: features
      ? {
          name: features.name,
          vocabulary: features.vocabulary ? [...features.vocabulary] : null,
          attributes: features.attributes ? [...features.attributes] : null,
        }
      : null,
  };
  const arrays: Record<string, NamedArray> = {};
  for (const [name, array] of Object.entries(agent.store.toNamedArrays())) arrays[`weights/${name}`] = array;
  for (const [name, array] of Object.entries(features?.toNamedArrays() ?? {})) arrays[`features/${name}`] = array;
  if (prior) arrays.prior = { shape: [prior.length], data: prior };
  const metadata = { format: FORMAT, version: String(VERSION), policy: canonicalJson(policy as JsonValue) };
  await storage.put(KEY, encodeNamedArrays(arrays, { ...metadata, digest: await arrayDigest(arrays, metadata) }));
}

/**
 * Reads an agent's parts and maps them onto a catalogue by item id.
 *
 * @throws {CheckpointError} when nothing is stored, or the file is damaged, of another version or needs an encoder or features
 * that are not given; {@link InvalidArgumentError} when those given are not the ones it was made with.
 */
export async function loadPolicy(
  storage: Storage,
  given: { readonly catalog: Catalog; readonly encoder?: StateEncoder; readonly features?: ItemFeatures },
): Promise<{ options: ActorCriticOptions; store: ParameterStore; change: CatalogChange | undefined }> {
  const { catalog } = given;
  const bytes = await storage.get(KEY);
  if (!bytes)
    throw new CheckpointError(`${KEY}: no policy is stored here; write one with \`agent.save(storage)\``, {
      source: KEY,
    });
  const { arrays, metadata } = decodeNamedArrays(bytes, KEY);
  if (metadata.format !== FORMAT) throw new CheckpointError(`${KEY}: not a policy of this library`, { source: KEY });
  if (metadata.version !== String(VERSION)) {
    throw new CheckpointError(`${KEY}: expected format version ${VERSION}, got ${metadata.version}`, {
      source: KEY,
      version: Number(metadata.version),
    });
  }
  const { digest, ...signed } = metadata;
  if ((await arrayDigest(arrays, signed)) !== digest) {
    throw new CheckpointError(`${KEY}: its SHA-256 does not match its content`, { source: KEY });
  }
  const policy = parsePolicy(metadata.policy);
  if (given.encoder && given.encoder.name !== policy.encoder) {
    throw new InvalidArgumentError(
      `ActorCritic.load: expected \`encoder\` to be ${policy.encoder}, with which the policy was made, got ${given.encoder.name}`,
      { argument: 'encoder', wanted: policy.encoder, got: given.encoder.name },
    );
  }
  const encoder = given.encoder ?? encoderFromName(policy.encoder);
  if (!encoder) {
    throw new CheckpointError(
      `${KEY}: made with the encoder ${policy.encoder}, which is not this library's: pass it as \`encoder\``,
      {
        source: KEY,
      },
    );
  }
  const before = new Map(policy.ids.map((id, index) => [id, index]));
  // New index -> old index, -1 for an item the policy does not know.
  const origin = Int32Array.from(catalog.ids(), (id) => before.get(id) ?? -1);
  const change = changeOf(catalog, policy.ids, origin);
  const part = (prefix: string): Record<string, NamedArray> =>
    Object.fromEntries(
      Object.entries(arrays)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, array]) => [name.slice(prefix.length), array]),
    );
  const features = featuresFor(policy.features, part('features/'), policy.ids.length, { ...given, origin });
  const { historyFeatures } = policy.settings;
  const prior =
    historyFeatures !== false && historyFeatures.priorScale !== undefined
      ? mapPrior(arrays.prior, historyFeatures.priorScale.mean, policy.ids.length, origin)
      : undefined;
  const options: ActorCriticOptions = {
    catalog,
    encoder,
    ...policy.settings,
    ...(features ? { features } : {}),
    ...(historyFeatures && prior ? { historyFeatures: { ...historyFeatures, prior } } : {}),
  };
  const store = initParameters(resolveModel(options).spec, new Rng(0));
  const weights = part('weights/');
  for (const name of store.names) {
    const array = weights[name];
    if (!array || !ITEM_ROWS.test(name)) continue;
    if (array.shape[0] !== policy.ids.length) {
      throw new CheckpointError(
        `${KEY}: expected '${name}' to have a row for each of the ${policy.ids.length} items, got ${array.shape[0]}`,
        { source: KEY },
      );
    }
    weights[name] = mapRows(array, origin, policy.settings.items);
  }
  store.loadNamedArrays(weights, KEY);
  return { options, store, change };
}

function parsePolicy(text: string | undefined): z.output<typeof policySchema> {
  let value: unknown;
  try {
    value = JSON.parse(text ?? '');
  } catch (cause) {
    throw new CheckpointError(`${KEY}: its header is not JSON`, { source: KEY, cause });
  }
  const parsed = policySchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new CheckpointError(`${KEY}: header field \`${issue?.path.join('.')}\`: ${issue?.message}`, {
      source: KEY,
      cause: parsed.error,
    });
  }
  return parsed.data;
}

function changeOf(catalog: Catalog, ids: readonly string[], origin: Int32Array): CatalogChange | undefined {
  const added = catalog.ids().filter((_, index) => origin[index] === -1);
  const missing = ids.filter((id) => !catalog.has(id));
  const kept = origin.filter((old) => old >= 0);
  const reordered = kept.some((old, rank) => rank > 0 && old < (kept[rank - 1] as number));
  if (added.length === 0 && missing.length === 0 && !reordered) return undefined;
  return { kept: kept.length, added, missing, reordered };
}

/** A saved row and a given one of the same item agree on average at least this well, as cosines. */
const SAME_SPACE = 0.9;

function featuresFor(
  saved: z.output<typeof policySchema>['features'],
  arrays: Record<string, NamedArray>,
  itemCount: number,
  given: { readonly catalog: Catalog; readonly features?: ItemFeatures; readonly origin: Int32Array },
): ItemFeatures | undefined {
  if (!saved) return given.features;
  const { name, vocabulary, attributes } = saved;
  const parts = { name, vocabulary: vocabulary ?? undefined, attributes: attributes ?? undefined, arrays };
  const before = ItemFeatures.restore(parts, KEY);
  if (before.itemCount !== itemCount) {
    throw new CheckpointError(`${KEY}: expected features of ${itemCount} items, got ${before.itemCount}`, {
      source: KEY,
    });
  }
  if (given.features) {
    checkSameSpace(before, given.features, given.origin);
    return given.features;
  }
  const after = before.transform(given.catalog, given.origin);
  if (!after) {
    throw new CheckpointError(
      `${KEY}: the catalogue has items the policy does not know, and its features (${name}) cannot be made from text here: pass \`features\` for the whole catalogue`,
      { source: KEY },
    );
  }
  return after;
}

/** Learned weights read axes, and another embedding, or another catalogue's TF-IDF of the same width, has others. */
function checkSameSpace(before: ItemFeatures, given: ItemFeatures, origin: Int32Array): void {
  const kept = [...origin.keys()].filter((item) => (origin[item] as number) >= 0 && item < given.itemCount);
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, f) => sum + value * (b[f] as number), 0);
  const cosines = kept.map((item) => {
    const row = before.row(origin[item] as number);
    // A row of zeros says nothing of the axes.
    return given.width === before.width ? (dot(row, row) === 0 ? 1 : dot(row, given.row(item))) : 0;
  });
  const mean = cosines.reduce((sum, cosine) => sum + cosine, 0) / cosines.length;
  if (given.width === before.width && !(mean < SAME_SPACE)) return;
  const got =
    given.width === before.width ? `rows whose mean cosine with those is ${mean.toFixed(2)}` : `width ${given.width}`;
  throw new InvalidArgumentError(
    `ActorCritic.load: expected \`features\` to be made as those the policy learned with (${before.name}, width ${before.width}), got ${got}`,
    { argument: 'features', wanted: before.name, got: given.name },
  );
}

/** The prior by id; of a new item nothing is known: it has the mean, whose z-score is 0. */
function mapPrior(saved: NamedArray | undefined, mean: number, itemCount: number, origin: Int32Array): Float64Array {
  const { data } = saved ?? {};
  if (!(data instanceof Float64Array) || data.length !== itemCount || !data.every(Number.isFinite)) {
    throw new CheckpointError(`${KEY}: expected \`prior\` to be a finite Float64Array [${itemCount}]`, { source: KEY });
  }
  return Float64Array.from(origin, (old) => (old < 0 ? mean : (data[old] as number)));
}

/** Rows by id; a new item gets a zero id row beside its text, or the mean row where ids are all there is. */
function mapRows(array: NamedArray, origin: Int32Array, items: 'id' | 'text' | 'id+text'): NamedArray {
  const width = array.shape.slice(1).reduce((product, size) => product * size, 1);
  const rows = array.shape[0] as number;
  const isBias = array.shape.length === 1;
  const average = new Float32Array(width);
  if (items === 'id' || isBias) {
    for (let i = 0; i < array.data.length; i++)
      average[i % width] = (average[i % width] as number) + (array.data[i] as number) / rows;
  }
  const data = new Float32Array(origin.length * width);
  for (const [index, old] of origin.entries()) {
    data.set(old < 0 ? average : array.data.subarray(old * width, (old + 1) * width), index * width);
  }
  return { shape: [origin.length, ...array.shape.slice(1)], data };
}
