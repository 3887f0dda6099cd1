import { z } from 'zod';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { canonicalJson, checkJson, type JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import { prefixedStorage, type Storage } from '../foundation/storage.js';
import {
  type BuildSequenceWorldOptions,
  type BuiltSequenceWorld,
  buildSequenceWorld,
  type SequenceWorldData,
  type SequenceWorldSpec,
  sequenceWorld,
  WORLD_FITS,
  type WorldFitName,
} from './sequence-world.js';
import { disposeWorld, type StoredWorld, storedWorld, storedWorldId } from './stored-world.js';
import {
  encodeJson,
  hashSchema,
  inputSchema,
  jsonRecordSchema,
  parseJson,
  type ReadFile,
  readWorldFiles,
  refusal,
  WORLD_FORMAT,
  type WorldInput,
  worldFiles,
} from './world-files.js';

/** Options of {@link saveWorldFolder}. */
export interface SaveWorldOptions {
  /** The files it was built from, kept as provenance. @default none are named */
  readonly inputs?: readonly WorldInput[];
}

/** Options of {@link openWorldFolder}. */
export interface OpenWorldOptions {
  /** Which rewards of a sequence world are read: training needs no `test`. @default all that are there */
  readonly splits?: readonly WorldFitName[];
}

/** What a build found where the world is to be: nothing, an interrupted build of the same world, or that world. */
export type WorldClaim = 'new' | 'resumed' | 'finished';

const MANIFEST = 'manifest.json';
const CARD = 'card.json';
/** Everything that is there only while a world is built. */
const BUILD = 'build';
const CLAIM = `${BUILD}/claim.json`;
const manifestSchema = z.strictObject({
  format: z.literal(WORLD_FORMAT),
  world: hashSchema,
  files: z.record(z.string().min(1), hashSchema),
  digest: hashSchema,
});
type Manifest = z.output<typeof manifestSchema>;
const claimSchema = z.strictObject({ format: z.literal(WORLD_FORMAT), world: hashSchema });
const openSchema = z.strictObject({ splits: z.array(z.enum(WORLD_FITS)).optional() });
const saveSchema = z.strictObject({ inputs: z.array(inputSchema).default([]) });

/**
 * Says, before a world is built, that this storage is for it, so that no other one is put over it.
 *
 * @returns `'new'` for an empty storage, `'resumed'` where a build of the same world was interrupted, `'finished'` where it is there already.
 * @throws {CheckpointError} when something else is there: another world, built or begun, or other files.
 */
export async function claimWorldFolder(storage: Storage, stored: StoredWorld): Promise<WorldClaim> {
  const world = await storedWorldId(stored);
  const manifest = await readManifest(storage, 'optional');
  if (manifest !== undefined) {
    if (manifest.world === world) return 'finished';
    throw refusal(MANIFEST, 'another world is here, of other data, options or seed: give another folder');
  }
  const claim = await storage.get(CLAIM);
  if (claim !== undefined) {
    if (parseJson(claim, CLAIM, claimSchema).world === world) return 'resumed';
    throw refusal(CLAIM, 'another world is being built here, of other data, options or seed: give another folder');
  }
  const [found] = await storage.list();
  if (found !== undefined)
    throw refusal(found, 'expected an empty folder or a world’s, found this: give another folder');
  await storage.put(CLAIM, encodeJson({ format: WORLD_FORMAT, world }));
  return 'new';
}

/** Options of {@link buildWorldFolder}. */
export interface BuildWorldFolderOptions extends SaveWorldOptions, Omit<BuildSequenceWorldOptions, 'storage'> {
  /** Told, before anything is fitted, whether the folder was empty, held an interrupted build, or holds the world. */
  readonly onClaim?: (claim: WorldClaim) => void;
}

/**
 * Builds a sequence world into a storage: what is fitted is kept there at once, so that the same call after a stop or a kill goes on, and the
 * same call after the end reads the world and fits nothing.
 *
 * @param storage - empty, holding this world, or an interrupted build of it.
 * @param data - items and sequences.
 * @param spec - every option.
 * @throws {CheckpointError} when something else is there.
 * @throws {InvalidArgumentError} as `buildSequenceWorld`.
 */
export async function buildWorldFolder(
  storage: Storage,
  data: SequenceWorldData,
  spec: SequenceWorldSpec,
  options: BuildWorldFolderOptions = {},
): Promise<StoredWorld> {
  checkStorage('buildWorldFolder', storage);
  checkObject('buildWorldFolder', 'options', options);
  const { inputs, onClaim, ...building } = options;
  const saving = checkOptions(saveSchema, { inputs }, 'buildWorldFolder');
  if (onClaim !== undefined && typeof onClaim !== 'function')
    throw argumentError('buildWorldFolder', 'onClaim', 'a function', onClaim);
  const draft: BuiltSequenceWorld = { spec, data, fits: {} };
  disposeWorld(sequenceWorld(draft));
  const claim = await claimWorldFolder(storage, { kind: 'sequence', built: draft });
  onClaim?.(claim);
  if (claim === 'finished') return openWorldFolder(storage);
  const built = await buildSequenceWorld(data, spec, { ...building, storage: prefixedStorage(storage, BUILD) });
  const stored: StoredWorld = { kind: 'sequence', built };
  await saveWorldFolder(storage, stored, saving);
  return stored;
}

/**
 * Writes a world: `world.json` (what it is and how it was built), the items, the data, each model, and last of all the manifest with the SHA-256
 * of every file. Until that is there the folder is no world, whatever happens.
 *
 * @param storage - empty, claimed for this world, or holding it.
 * @param stored - the world.
 * @throws {CheckpointError} when something else is there.
 * @throws {InvalidArgumentError} when the world's parts do not fit together.
 */
export async function saveWorldFolder(
  storage: Storage,
  stored: StoredWorld,
  options: SaveWorldOptions = {},
): Promise<void> {
  checkStorage('saveWorldFolder', storage);
  const { inputs } = checkOptions(saveSchema, options, 'saveWorldFolder');
  // Whatever cannot be opened is not written.
  const world = storedWorld(stored);
  try {
    const files = worldFiles(stored, {
      format: WORLD_FORMAT,
      name: world.name,
      inputs: inputs.map((input) => ({ ...input })),
    });
    const id = await storedWorldId(stored);
    if ((await claimWorldFolder(storage, stored)) === 'finished') {
      // It is no world while it is written again, but stays claimed.
      await storage.put(CLAIM, encodeJson({ format: WORLD_FORMAT, world: id }));
      await storage.delete(MANIFEST);
    }
    const digests: Record<string, string> = {};
    for (const [key, bytes] of files) {
      await storage.put(key, bytes);
      digests[key] = await sha256Hex(bytes);
    }
    await putManifest(storage, id, digests);
    for (const key of await storage.list(`${BUILD}/`)) await storage.delete(key);
  } finally {
    disposeWorld(world);
  }
}

/**
 * Reads a world; every byte is checked against the manifest before it is used.
 *
 * @param storage - that {@link saveWorldFolder} wrote.
 * @param options - which rewards are read.
 * @throws {CheckpointError} naming the file that is missing, torn or edited, or of an unknown version; when no world is there, when its build
 * was interrupted, or when it lacks a split that is asked for.
 */
export async function openWorldFolder(storage: Storage, options: OpenWorldOptions = {}): Promise<StoredWorld> {
  checkStorage('openWorldFolder', storage);
  const { splits } = checkOptions(openSchema, options, 'openWorldFolder');
  const manifest = (await readManifest(storage)) as Manifest;
  const read: ReadFile = async (key) => {
    const wanted = Object.hasOwn(manifest.files, key) ? manifest.files[key] : undefined;
    if (wanted === undefined) throw refusal(key, `expected ${MANIFEST} to list this file, it does not`);
    const bytes = await storage.get(key);
    if (bytes === undefined) throw refusal(key, 'the file is missing: build the world again');
    if ((await sha256Hex(bytes)) !== wanted)
      throw refusal(key, `torn or edited: its SHA-256 is not the one in ${MANIFEST}; build the world again`);
    return bytes;
  };
  return readWorldFiles(read, splits);
}

/**
 * Keeps a card with the world it was measured on, under a name such as its split; one of that name is replaced. A kill leaves the world with its
 * cards or without them, never torn.
 *
 * @throws {CheckpointError} when no world is there.
 * @throws {InvalidArgumentError} when the card is not JSON.
 */
export async function saveWorldCard(storage: Storage, name: string, card: JsonValue): Promise<void> {
  checkStorage('saveWorldCard', storage);
  checkOptions(z.string().min(1).max(100), name, 'saveWorldCard: name');
  checkJson(card, 'saveWorldCard');
  const { world, files } = (await readManifest(storage)) as Manifest;
  const cards = { ...(await readCards(storage, files)), [name]: card };
  const bytes = encodeJson(cards);
  // While it is replaced the manifest does not list it: what is not listed is not there.
  const { [CARD]: _, ...others } = files;
  if (Object.hasOwn(files, CARD)) await putManifest(storage, world, others);
  await storage.put(CARD, bytes);
  await putManifest(storage, world, { ...others, [CARD]: await sha256Hex(bytes) });
}

/**
 * The cards kept with a world, by name; none where it was not measured yet.
 *
 * @throws {CheckpointError} when no world is there, or the cards are torn or edited.
 */
export async function openWorldCards(storage: Storage): Promise<Readonly<Record<string, JsonValue>>> {
  checkStorage('openWorldCards', storage);
  return readCards(storage, ((await readManifest(storage)) as Manifest).files);
}

async function readCards(storage: Storage, files: Manifest['files']): Promise<Readonly<Record<string, JsonValue>>> {
  if (!Object.hasOwn(files, CARD)) return {};
  const bytes = await storage.get(CARD);
  if (bytes === undefined || (await sha256Hex(bytes)) !== files[CARD])
    throw refusal(CARD, `torn or edited: its SHA-256 is not the one in ${MANIFEST}; delete it and measure again`);
  return parseJson(bytes, CARD, jsonRecordSchema);
}

async function putManifest(storage: Storage, world: string, files: Manifest['files']): Promise<void> {
  const manifest = { format: WORLD_FORMAT, world, files } as const;
  await storage.put(MANIFEST, encodeJson({ ...manifest, digest: await sha256Hex(canonicalJson(manifest)) }));
}

async function readManifest(storage: Storage, presence?: 'optional'): Promise<Manifest | undefined> {
  const bytes = await storage.get(MANIFEST);
  if (bytes === undefined) {
    if (presence === 'optional') return undefined;
    const begun = (await storage.get(CLAIM)) !== undefined;
    throw begun
      ? refusal(
          CLAIM,
          'the build of this world was interrupted: give the same `ialp world build` again, and it goes on',
        )
      : refusal(MANIFEST, 'expected the folder of a world, as `ialp world build` writes it, found no manifest');
  }
  const { digest, ...manifest } = parseJson(bytes, MANIFEST, manifestSchema);
  const isWhole = sameBytes(bytes, encodeJson({ ...manifest, digest }));
  if (!isWhole || digest !== (await sha256Hex(canonicalJson(manifest))))
    throw refusal(MANIFEST, 'torn or edited: its digest does not fit; build the world again');
  return { ...manifest, digest };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function checkStorage(where: string, storage: Storage): void {
  checkObject(where, 'storage', storage, ['get', 'put', 'list', 'delete'], 'a Storage');
}
