import { useBackend } from '../src/compute/backend.js';
import { readAmazon, readCoat } from '../src/node/read-data.js';
import { coatWorld } from '../src/world/coat-world.js';
import { industryWorldSpec } from '../src/world/industry-world.js';
import { buildSequenceWorld, sequenceWorld } from '../src/world/sequence-world.js';
import type { World } from '../src/world/world.js';
import type { EnvCase } from './cases.js';
import { measureEnvSteps } from './env-steps.js';
import type { EngineSettings } from './kernel-facts.js';
import { type CaseResult, peakRssMb } from './measure.js';

/**
 * A world stepped by a random policy in one thread.
 *
 * @param folder - where the world's data set is.
 * @returns milliseconds for 1,000 environment steps, one number a round.
 */
export async function ialpEnv(
  { world: name, size }: EnvCase,
  engine: EngineSettings,
  folder: string,
): Promise<CaseResult> {
  await useBackend('wasm', { ...engine, threads: 1 });
  const world = name === 'coat' ? coatWorld({ data: await readCoat(folder) }) : await industryWorld(folder);
  const { perSecond, resetsPerStep } = measureEnvSteps(world.batchEnv({ split: 'train', size, seed: 1 }), {
    rounds: 3,
  });
  const facts = { world: name, lanes: size, threads: 1, resetsPerStep };
  return { ms: perSecond.map((rate) => 1e6 / rate), peakRssMb: peakRssMb(), facts };
}

/** How well the reward models are fitted makes no difference to how fast they are asked: one epoch. */
async function industryWorld(folder: string): Promise<World> {
  const spec = industryWorldSpec();
  const rewardModel = { ...spec.rewardModel, maxEpochs: 1 };
  return sequenceWorld(
    await buildSequenceWorld(await readAmazon(folder), { ...spec, rewardModel }, { splits: ['train'] }),
  );
}
