import { z } from 'zod';
import type { Catalog, ItemId } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { initParameters } from '../compute/model.js';
import type { ParameterStore } from '../compute/parameter-store.js';
import type { StateEncoder } from '../compute/state-encoder.js';
import { encoderFromName } from '../encoder/encoder-from-name.js';
import { CheckpointError } from '../foundation/errors.js';
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
    z.strictObject({ repeats: z.int(), attributes: z.array(z.string()), text: z.boolean() }),
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
  features: z.strictObject({ name: z.string(), vocabulary: z.array(z.string()).nullable() }).nullable(),
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
  /** All parameters. */
  readonly store: ParameterStore;
}

/** Writes an agent in one atomic put. */
export async function savePolicy(storage: Storage, agent: SavedParts): Promise<void> {
  const { encoder, features, settings, catalog } = agent;
  const policy: z.input<typeof policySchema> = {
    settings: settings as z.input<typeof settingsSchema>,
    encoder: {
      name: encoder.name,
      config: (encoder.config ?? null) as z.input<typeof policySchema>['encoder']['config'],
    },
    ids: [...catalog.ids()],
    features: features
      ? { name: features.name, vocabulary: features.vocabulary ? [...features.vocabulary] : null }
      : null,
  };
  const arrays: Record<string, NamedArray> = {};
  for (const [name, array] of Object.entries(agent.store.toNamedArrays())) arrays[`weights/${name}`] = array;
  for (const [name, array] of Object.entries(features?.toNamedArrays() ?? {})) arrays[`features/${name}`] = array;
  await storage.put(
    KEY,
    encodeNamedArrays(arrays, { format: FORMAT, version: String(VERSION), policy: canonicalJson(policy as JsonValue) }),
  );
}

/** Reads an agent's parts and maps them onto a catalogue by item id. */
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
  if (metadata['format'] !== FORMAT) throw new CheckpointError(`${KEY}: not a policy of this library`, { source: KEY });
  if (metadata['version'] !== String(VERSION)) {
    throw new CheckpointError(`${KEY}: expected format version ${VERSION}, got ${metadata['version']}`, {
      source: KEY,
      version: Number(metadata['version']),
    });
  }
  const policy = parsePolicy(metadata['policy']);
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
  const features = given.features ?? featuresFor(policy.features, part('features/'), catalog, origin);
  const options: ActorCriticOptions = { catalog, encoder, ...policy.settings, ...(features ? { features } : {}) };
  const store = initParameters(resolveModel(options).spec, new Rng(0));
  const weights = part('weights/');
  for (const name of store.names) {
    const array = weights[name];
    if (array && ITEM_ROWS.test(name)) weights[name] = mapRows(array, origin, policy.settings.items);
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

function featuresFor(
  saved: { readonly name: string; readonly vocabulary: readonly string[] | null } | null,
  arrays: Record<string, NamedArray>,
  catalog: Catalog,
  origin: Int32Array,
): ItemFeatures | undefined {
  if (!saved) return undefined;
  const before = ItemFeatures.restore({ name: saved.name, vocabulary: saved.vocabulary ?? undefined, arrays }, KEY);
  const after = before.transform(catalog, origin);
  if (!after) {
    throw new CheckpointError(
      `${KEY}: the catalogue has items the policy does not know, and its features (${saved.name}) cannot be made from text here: pass \`features\` for the whole catalogue`,
      { source: KEY },
    );
  }
  return after;
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
