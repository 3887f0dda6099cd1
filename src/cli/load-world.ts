import { type Command, Option } from 'commander';
import { DEMO } from '../experiment/demo.js';
import { readAmazon, readCoat } from '../node/read-data.js';
import { amazonWorld } from '../world/amazon-world.js';
import { coatWorld } from '../world/coat-world.js';
import { syntheticWorld } from '../world/synthetic-world.js';
import type { World } from '../world/world.js';
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
  return new Option('--world <name>', 'where it learns and is measured').choices(WORLD_NAMES);
}

const FILES: Readonly<Record<'coat' | 'amazon', string>> = {
  coat: 'the unpacked Coat Shopping data set (train.ascii and the others)',
  amazon: 'Scientific.item.json and Scientific.inter.json',
};

/**
 * Loads a world.
 *
 * @param command - told of options that do not fit the world; it ends with wrong usage.
 */
export async function loadWorld(command: Command, name: WorldName, options: WorldOptions): Promise<World> {
  const { data, legacyWindow, worldSize: size } = options;
  const refuse = (message: string): never => command.error(`error: ${message}`, { exitCode: 2 });
  if (legacyWindow && name !== 'coat') refuse(`--legacy-window is for coat, ${name} has no window`);
  if (size && name !== 'synthetic') refuse(`--world-size is for the synthetic world, not for ${name}`);
  if (name === 'synthetic') {
    if (data !== undefined) refuse('--data is for coat and amazon: the synthetic world is generated');
    return syntheticWorld({ ...DEMO.world, ...size });
  }
  if (data === undefined) return refuse(`the world ${name} needs --data DIR, the folder with ${FILES[name]}`);
  if (name === 'amazon') return amazonWorld({ data: await readAmazon(data) });
  return coatWorld({ data: await readCoat(data), window: legacyWindow ? 'legacy' : 'correct' });
}
