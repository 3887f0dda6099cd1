import { existsSync, statSync } from 'node:fs';
import { type Command, Option, InvalidArgumentError as WrongOption } from 'commander';
import { DEMO } from '../experiment/demo.js';
import { closest } from '../foundation/options.js';
import { fileStorage } from '../node/file-storage.js';
import { readAmazon, readCoat } from '../node/read-data.js';
import { amazonWorld } from '../world/amazon-world.js';
import { coatWorld } from '../world/coat-world.js';
import type { WorldFitName } from '../world/sequence-world.js';
import { storedWorld } from '../world/stored-world.js';
import { syntheticWorld } from '../world/synthetic-world.js';
import type { World, WorldSplit } from '../world/world.js';
import { openWorldFolder } from '../world/world-folder.js';
import { folder, worldSize } from './parse-options.js';

/** Worlds a command knows. */
export const WORLD_NAMES = ['synthetic', 'coat', 'amazon'] as const;
/** One of {@link WORLD_NAMES}. */
export type WorldName = (typeof WORLD_NAMES)[number];

/** Options that say where a world comes from. */
export interface WorldOptions {
  /** Folder of the data set. */
  readonly data?: string;
  /** Coat's leave rule as published peers count it. */
  readonly legacyWindow?: boolean;
  /** Size of the synthetic world. */
  readonly worldSize?: { readonly items: number; readonly categories: number };
}

/** Adds the options of {@link loadWorld}. */
export function withWorldOptions(command: Command): Command {
  return command
    .option('--data <dir>', 'folder of the data set, for coat and amazon', folder)
    .option('--legacy-window', "Coat's leave rule with the window as published peers count it")
    .option(
      '--world-size <AxC>',
      `items and categories of the synthetic world (default: ${DEMO.world.items}x${DEMO.world.categories})`,
      worldSize,
    );
}

/** `--world`, with its names. */
export function worldOption(): Option {
  return new Option(
    '--world <name>',
    `where it learns and is measured: ${WORLD_NAMES.join(', ')}, or the folder of a built world`,
  ).argParser(worldPlace);
}

/** A world's name, or the folder of one that `ialp world build` made. */
export function worldPlace(text: string): string {
  if (isWorldName(text)) return text;
  if (existsSync(text)) {
    if (statSync(text).isDirectory()) return text;
    throw new WrongOption('Expected the folder of a built world, this is a file.');
  }
  const near = closest(text, WORLD_NAMES);
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  throw new WrongOption(
    `There is no such world and no such folder.${hint} Allowed are ${WORLD_NAMES.join(', ')}, and the folder of a world that \`ialp world build\` made.`,
  );
}

/** Whether what was typed is a name rather than a folder; a folder of that name is `./coat`. */
export function isWorldName(text: string): text is WorldName {
  return WORLD_NAMES.some((name) => name === text);
}

const FILES: Readonly<Record<'coat' | 'amazon', string>> = {
  coat: 'the unpacked Coat Shopping data set (train.ascii and the others)',
  amazon: 'Scientific.item.json and Scientific.inter.json',
};

/**
 * Loads a world, by name or from its folder.
 *
 * @param command - told of options that do not fit the world; it ends with wrong usage.
 * @param place - as {@link worldPlace} let it through.
 * @param splits - whose users will come; of a built world no other rewards are read.
 */
export async function loadWorld(
  command: Command,
  place: string,
  options: WorldOptions,
  splits: readonly WorldSplit[],
): Promise<World> {
  const { data, legacyWindow, worldSize: size } = options;
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  if (!isWorldName(place)) {
    const given = [
      [data, '--data'],
      [legacyWindow, '--legacy-window'],
      [size, '--world-size'],
    ].find(([value]) => value !== undefined);
    if (given !== undefined)
      refuse(`${String(given[1])} is said when a world is built, not for the folder of a built one`);
    const fits = new Set(splits.map((split): WorldFitName => (split === 'all' ? 'test' : split)));
    return storedWorld(await openWorldFolder(fileStorage(place), { splits: [...fits] }));
  }
  if (legacyWindow && place !== 'coat') refuse(`--legacy-window is for coat, ${place} has no window`);
  if (size && place !== 'synthetic') refuse(`--world-size is for the synthetic world, not for ${place}`);
  if (place === 'synthetic') {
    if (data !== undefined) refuse('--data is for coat and amazon: the synthetic world is generated');
    return syntheticWorld({ ...DEMO.world, ...size });
  }
  if (data === undefined) return refuse(`the world ${place} needs --data DIR, the folder with ${FILES[place]}`);
  if (place === 'amazon') return amazonWorld({ data: await readAmazon(data) });
  return coatWorld({ data: await readCoat(data), window: legacyWindow ? 'legacy' : 'correct' });
}
