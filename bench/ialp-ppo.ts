import { ActorCritic } from '../src/agent/actor-critic.js';
import { useBackend } from '../src/compute/backend.js';
import { worldPreset } from '../src/experiment/presets.js';
import { readAmazon, readCoat } from '../src/node/read-data.js';
import { adapt } from '../src/train/adapt.js';
import { amazonWorld } from '../src/world/amazon-world.js';
import { coatWorld } from '../src/world/coat-world.js';
import { PPO, type PpoCase } from './cases.js';
import { type EngineSettings, kernelFacts } from './kernel-facts.js';
import { type CaseResult, peakRssMb } from './measure.js';

/**
 * PPO end to end with the library's defaults, from an untrained agent: acting, the environment and learning.
 *
 * @param folder - where the world's data set is.
 * @returns milliseconds for 1,000 environment steps, one number an epoch; the first, which warms up, is left out.
 */
export async function ialpPpo(
  { world: name, epochs }: PpoCase,
  engine: EngineSettings,
  folder: string,
): Promise<CaseResult> {
  await useBackend('wasm', engine);
  const world =
    name === 'coat' ? coatWorld({ data: await readCoat(folder) }) : amazonWorld({ data: await readAmazon(folder) });
  using agent = new ActorCritic(worldPreset(world).agent({ seed: 1 }));
  const env = world.batchEnv({ split: 'train', size: PPO.lanes, seed: 1 });
  const marks: number[] = [];
  const { policy, learner, fusedShare, curve } = await adapt({
    agent,
    env,
    steps: (1 + epochs) * PPO.stepsPerEpoch,
    stepsPerEpoch: PPO.stepsPerEpoch,
    seed: 1,
    afterEpoch: () => marks.push(performance.now()),
  });
  using _policy = policy;
  const ms = marks.slice(1).map((mark, i) => ((mark - (marks[i] as number)) * 1000) / PPO.stepsPerEpoch);
  const facts = { ...kernelFacts(learner.kernels), fusedShare, episodes: curve.length };
  return { ms, peakRssMb: peakRssMb(), facts };
}
