/** What the learning tests have in common: a small agent, a run, and where it ends. */
import { ActorCritic } from '../../src/agent/actor-critic.js';
import type { Catalog } from '../../src/catalog/catalog.js';
import { mean } from '../../src/encoder/mean-encoder.js';
import type { BatchEnv, BatchStep } from '../../src/env/batch-env.js';

/** An agent that sees the last item only: for these worlds that is all there is to know. */
export function lastItemAgent(catalog: Catalog, seed: number, critic: 'state' | 'action' = 'state'): ActorCritic {
  return new ActorCritic({
    catalog,
    encoder: mean({ width: 8, historyLength: 1 }),
    items: 'id',
    historyFeatures: false,
    valueHidden: 8,
    critic,
    seed,
  });
}

/** `env` whose steps say something else. */
export function altered(env: BatchEnv, alter: (step: BatchStep) => BatchStep): BatchEnv {
  const step = env.step.bind(env);
  env.step = async (actions) => alter(await step(actions));
  return env;
}
