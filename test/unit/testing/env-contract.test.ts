import { describe, expect, it, test } from 'vitest';
import type { BatchEnv, BatchReset, BatchStep } from '../../../src/env/batch-env.js';
import { type CoatEnv, type CoatEvaluation, coatEnv } from '../../../src/env/coat-env.js';
import type { LaneEnv } from '../../../src/env/lane-env.js';
import { CheckpointError } from '../../../src/foundation/errors.js';
import { batchEnvContract, type EnvContractOptions, envContract } from '../../../src/testing/env-contract.js';
import { IdentityUserEnv, identityEnv, tinyCatalog } from '../../../src/testing/tiny-envs.js';
import { tinyCoat } from '../env/tiny-coat.js';

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

async function failures(
  make: (request: { size: number; seed: number }) => BatchEnv,
  options: EnvContractOptions = {},
): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, run } of batchEnvContract(make, options)) {
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

/** A Coat environment, whose users have attributes and whose rewards go from 1 to 5, with some members replaced. */
function brokenCoat(change: (inner: CoatEnv) => Partial<BatchEnv>, evaluation: CoatEvaluation = 'FB') {
  return ({ size, seed }: { size: number; seed: number }): BatchEnv => {
    const inner = coatEnv({ data: tinyCoat(), evaluation, size, seed });
    const { name, catalog, contextWidth, maxEpisodeSteps, historyCapacity, noRepeat } = inner;
    return {
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
      ...change(inner),
    };
  };
}

const RANGE = 'gives rewards within the range stated';
const CONTEXT = 'gives the context it announces, the same all episode long';
const REPEAT = 'refuses a repeat where it says noRepeat, and accepts one where it does not';
const APART = 'pays and ends a lane whatever the other lanes are shown';
const coatCases: [string, string, (inner: CoatEnv) => Partial<BatchEnv>, CoatEvaluation?][] = [
  [
    'a reward out of its range',
    RANGE,
    (inner) =>
      edit(inner, ({ rewards }) =>
        rewards.forEach((r, i) => {
          if (r === 5) rewards[i] = 5.5;
        }),
      ),
  ],
  [
    'a context that changes under way',
    CONTEXT,
    (inner) =>
      edit(inner, () => {
        const { context } = inner.histories();
        (context as Float32Array)[0] = ((context as Float32Array)[0] as number) + 1;
      }),
  ],
  [
    'a context that is not finite',
    CONTEXT,
    (inner) => ({
      reset: (options) => {
        inner.reset(options);
        inner.histories().context?.fill(Number.NaN);
      },
    }),
  ],
  ['a context of another width', CONTEXT, () => ({ contextWidth: 3 })],
  [
    'a reset that gives waiting users another context',
    CONTEXT,
    (inner) => ({
      reset: (options: BatchReset = {}) => {
        inner.reset(options);
        if (options.rows !== undefined) inner.histories().context?.fill(0.5);
      },
    }),
  ],
  [
    'a repeat that is let through',
    REPEAT,
    (inner) => ({ step: (actions: Int32Array) => inner.step(actions.map((item, lane) => unseen(inner, lane, item))) }),
    'NX_0',
  ],
  [
    'a reward that depends on the neighbour',
    APART,
    (inner) => ({
      step: (actions: Int32Array) => {
        const step = inner.step(actions);
        step.rewards[0] = (step.rewards[0] as number) + (actions[1] as number) / 100;
        return step;
      },
    }),
  ],
  [
    'a user who leaves with the neighbour',
    APART,
    (inner) =>
      edit(inner, ({ terminated, truncated }) => {
        if (terminated[1] === 1 && truncated[0] === 0) terminated[0] = 1;
      }),
  ],
];

function unseen(env: CoatEnv, lane: number, item: number): number {
  const { items, lengths, length } = env.histories();
  const shown = items.subarray(lane * length, lane * length + (lengths[lane] as number));
  if (item < 0 || item >= 16 || !shown.includes(item)) return item;
  return Array.from({ length: 16 }, (_, other) => other).find((other) => !shown.includes(other)) ?? item;
}

describe('batchEnvContract', () => {
  for (const evaluation of ['FB', 'NX_0', 'NX_10'] as const) {
    it(`finds nothing wrong with Coat, ${evaluation}`, async () => {
      expect(
        await failures(
          brokenCoat(() => ({}), evaluation),
          { rewards: { low: 1, high: 5 } },
        ),
      ).toEqual([]);
    });
  }

  for (const [what, name, change, evaluation] of coatCases) {
    it(`notices ${what}`, async () => {
      expect(await failures(brokenCoat(change, evaluation), { rewards: { low: 1, high: 5 } })).toContain(name);
    });
  }

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
