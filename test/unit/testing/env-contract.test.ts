import { describe, expect, it, test } from 'vitest';
import type { BatchEnv, BatchReset, BatchStep } from '../../../src/env/batch-env.js';
import type { LaneEnv } from '../../../src/env/lane-env.js';
import { CheckpointError } from '../../../src/foundation/errors.js';
import { batchEnvContract, envContract } from '../../../src/testing/env-contract.js';
import { IdentityUserEnv, identityEnv, tinyCatalog } from '../../../src/testing/tiny-envs.js';

/** An identity environment with some members replaced; `inner` is the whole one. */
function broken(change: (inner: LaneEnv) => Partial<BatchEnv>): (request: { size: number; seed: number }) => BatchEnv {
  return ({ size, seed }) => {
    const inner = identityEnv({ size, seed, items: 6 });
    const { name, catalog, contextWidth, maxEpisodeSteps, historyCapacity, noRepeat } = inner;
    const whole: BatchEnv = {
      name,
      catalog,
      size,
      contextWidth,
      maxEpisodeSteps,
      historyCapacity,
      noRepeat,
      histories: () => inner.histories(),
      reset: (options) => inner.reset(options),
      step: (actions) => inner.step(actions),
      saveState: () => inner.saveState(),
      restoreState: (state) => inner.restoreState(state),
    };
    return { ...whole, ...change(inner) };
  };
}

async function failures(make: (request: { size: number; seed: number }) => BatchEnv): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of batchEnvContract(make)) {
    await run().catch(() => failed.push(name.replace('BatchEnv: ', '')));
  }
  return failed;
}

const edit = (
  inner: LaneEnv,
  change: (step: { rewards: Float32Array; terminated: Uint8Array; truncated: Uint8Array }) => void,
) => ({
  step(actions: Int32Array): BatchStep {
    const step = inner.step(actions);
    change(step);
    return step;
  },
});

const ENDS = 'gives finite rewards, and never terminated and truncated at once';
const cases: [string, string, (inner: LaneEnv) => Partial<BatchEnv>][] = [
  ['a reward that is not finite', ENDS, (inner) => edit(inner, (step) => step.rewards.fill(Number.NaN))],
  ['both flags at once', ENDS, (inner) => edit(inner, (step) => step.terminated.set(step.truncated))],
  [
    'resets of all rows',
    'resets only the rows flagged',
    (inner) => ({ reset: ({ seed }: BatchReset = {}) => inner.reset(seed === undefined ? {} : { seed }) }),
  ],
  [
    'a seed that is ignored',
    'differs under another seed',
    (inner) => ({ reset: ({ rows }: BatchReset = {}) => inner.reset(rows === undefined ? { seed: 1 } : { rows }) }),
  ],
  [
    'a history that does not grow',
    'begins and grows histories by one item a step',
    (inner) => ({ histories: () => ({ ...inner.histories(), lengths: new Int32Array(inner.size).fill(1) }) }),
  ],
  [
    'a claim of noRepeat that does not hold',
    'refuses a repeat where it says noRepeat, and accepts one where it does not',
    () => ({ noRepeat: true }),
  ],
  [
    'a state that is forgotten',
    'continues bit for bit from a saved state',
    (inner) => ({ restoreState: () => inner.reset({ seed: 99 }) }),
  ],
  [
    'a refusal that changes something',
    'refuses a damaged state and stays as it was',
    (inner) => ({
      restoreState: () => {
        inner.reset({ seed: 99 });
        throw new CheckpointError('no');
      },
    }),
  ],
  ['a cap that does not hold', 'ends every episode within maxEpisodeSteps', () => ({ maxEpisodeSteps: 2 })],
  [
    'actions that are not checked',
    'refuses an item that is none',
    (inner) => ({
      step: (actions: Int32Array) =>
        inner.step(actions.map((item, lane) => (inner.ended[lane] === 1 ? item : Math.abs(item) % 6))),
    }),
  ],
];

describe('batchEnvContract', () => {
  it('finds nothing wrong with a whole environment', async () => {
    expect(await failures(broken(() => ({})))).toEqual([]);
  });

  for (const [what, name, change] of cases) {
    it(`notices ${what}`, async () => {
      expect(await failures(broken(change))).toContain(name);
    });
  }
});

describe('envContract', () => {
  it('notices an environment that goes on from where it was', async () => {
    const shared = new IdentityUserEnv();
    let resets = 0;
    const make = () => ({
      catalog: shared.catalog,
      maxEpisodeSteps: 5,
      reset: () => ({ history: [shared.catalog.id(resets++ % 5)] }),
      step: () => ({ reward: 0, terminated: false, truncated: false }),
    });
    const failed: string[] = [];
    for (const { name, run } of envContract(make)) await run().catch(() => failed.push(name));
    expect(failed).toContain('Env: repeats everything under the same seed');
  });
});

const fixed = tinyCatalog(3);
const sameEpisode = {
  catalog: fixed,
  maxEpisodeSteps: 4,
  reset: () => ({ history: [] }),
  step: () => ({ reward: 0, terminated: false, truncated: false }),
};
for (const { name, run } of envContract(() => ({ ...sameEpisode }), { random: false }))
  test(`an Env without randomness: ${name}`, run);
