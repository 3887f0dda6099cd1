import { useBackend } from '../src/compute/backend.js';
import { identityEnv, chainEnv } from '../src/testing/tiny-envs.js';
import { ActorCritic } from '../src/agent/actor-critic.js';
import { mean } from '../src/encoder/mean-encoder.js';
import { adapt } from '../src/train/adapt.js';
import { evaluate } from '../src/metrics/evaluate.js';
await useBackend('wasm');
const make = (critic: 'state'|'action') => { const env = identityEnv({ size: 8 }); return new ActorCritic({ catalog: env.catalog, encoder: mean({ width: 8, historyLength: 1 }), items: 'id', historyFeatures: false, valueHidden: 8, seed: 1, critic }); };
for (const [label, algorithm, steps, critic] of [
  ['ppo', { name: 'ppo', rewardScale: 1, learningRate: 0.02 }, 2400, 'state'],
  ['ppo default', { name: 'ppo' }, 4000, 'state'],
  ['replay .01', { name: 'replay', rewardScale: 1, learningRate: 0.01 }, 4000, 'state'],
  ['replay .01 uf .25', { name: 'replay', rewardScale: 1, learningRate: 0.01, updatesPerStep: 0.25, bufferSize: 500 }, 4000, 'state'],
  ['replay .02 buf 500', { name: 'replay', rewardScale: 1, learningRate: 0.02, bufferSize: 500, updatesPerStep: .25 }, 4000, 'state'],
  ['paper state', { name: 'paper' }, 2400, 'state'],
  ['paper action', { name: 'paper' }, 2400, 'action'],
  ['paper action .01', { name: 'paper', learningRate: 0.01 }, 2400, 'action'],
] as const) {
  for (const seed of [1, 2]) {
    const agent = make(critic);
    const t0 = Date.now();
    const { policy, updates } = await adapt({ agent, env: identityEnv({ size: 8 }), steps, algorithm, seed });
    const t1 = Date.now();
    const rows = await evaluate({ policies: { policy }, env: identityEnv({ size: 16 }), episodes: 100 });
    console.log(label, seed, t1 - t0, 'ms', updates, rows.map((r) => `${r.mode} ${r.return.toFixed(2)}`).join(' '));
  }
}
