import { type BatchEnv, type BatchStep, isBatchEnv } from '../env/batch-env.js';
import { type Env, liftEnv } from '../env/env.js';
import { IalpError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { Rng } from '../foundation/rng.js';
import type { ContractCheck } from './oracle-contract.js';

/** How a contract wants its environment made. */
export interface BatchEnvRequest {
  /** Number of lanes, B. */
  readonly size: number;
  /** Seed of the episodes. */
  readonly seed: number;
}

/** What cannot be asked of every environment. */
export interface EnvContractOptions {
  /** Whether episodes of another seed must be other episodes. @default true */
  readonly random?: boolean;
  /** The rewards there may be; the built-in ones promise 0 to 5, or the range of their matrix. @default any finite one */
  readonly rewards?: {
    /** Lowest. */
    readonly low: number;
    /** Highest. */
    readonly high: number;
  };
}

/** Steps a check plays at most: enough for several episodes of every built-in environment. */
const STEPS = 64;
const LANES = 3;

/**
 * What every `BatchEnv` must do, as plain checks for any test runner:
 * `for (const { name, run } of batchEnvContract((options) => myBatchEnv(options))) test(name, run);`
 *
 * @param makeBatchEnv - makes a fresh environment of the size and seed asked for; called several times a check.
 * @param options - what cannot be asked of every environment.
 */
export function batchEnvContract(
  makeBatchEnv: (request: BatchEnvRequest) => BatchEnv | Promise<BatchEnv>,
  options: EnvContractOptions = {},
): readonly ContractCheck[] {
  const make = async (size = LANES, seed = 1): Promise<BatchEnv> => makeBatchEnv({ size, seed });
  const check = (name: string, run: () => Promise<void>): ContractCheck => ({ name: `BatchEnv: ${name}`, run });
  return [
    check('says what it is', async () => {
      const env = await make();
      expectThat(isBatchEnv(env), 'it lacks methods or counts of BatchEnv');
      expectThat(env.size === LANES, `size is ${env.size}, asked for ${LANES}`);
      expectThat(
        env.maxEpisodeSteps >= 1 && env.historyCapacity >= env.maxEpisodeSteps,
        'historyCapacity is below maxEpisodeSteps',
      );
    }),
    check('repeats everything under the same seed', async () => {
      expectSame(await play(await make(), { seed: 7 }), await play(await make(), { seed: 7 }), 'two environments');
    }),
    check('repeats everything after reset({ seed }) of a used environment', async () => {
      const env = await make();
      const first = await play(env, { seed: 7 });
      await play(env, { seed: 8 });
      expectSame(first, await play(env, { seed: 7 }), 'the same environment twice');
    }),
    check('differs under another seed', async () => {
      // 16 lanes: that all of them agree by chance is out of the question wherever anything is random.
      const first = await play(await make(16), { seed: 7 });
      const second = await play(await make(16), { seed: 8 });
      if (options.random === false) return;
      expectThat(first.join() !== second.join(), 'seeds 7 and 8 gave the same episodes');
    }),
    check('begins and grows histories by one item a step', async () => {
      const env = await make();
      await walk(env, { seed: 3 }, async ({ before, actions }) => {
        const after = histories(env);
        after.forEach((history, lane) => {
          expectThat(
            history.length === (before[lane] as number[]).length + 1,
            `lane ${lane} grew from ${(before[lane] as number[]).length} to ${history.length} items`,
          );
          expectThat(
            history.at(-1) === actions[lane],
            `lane ${lane} ends with ${history.at(-1)}, shown was ${actions[lane]}`,
          );
        });
      });
    }),
    check('gives rewards within the range stated', async () => {
      const { low = Number.NEGATIVE_INFINITY, high = Number.POSITIVE_INFINITY } = options.rewards ?? {};
      const env = await make();
      await walk(env, { seed: 14 }, async ({ step }) => {
        step.rewards.forEach((reward, lane) => {
          expectThat(reward >= low && reward <= high, `the reward of lane ${lane} is ${reward}, not ${low} to ${high}`);
        });
      });
    }),
    check('gives the context it announces, the same all episode long', async () => {
      const env = await make();
      let contexts: number[][] = [];
      const begun = (): void => {
        const now = contextsOf(env);
        now.forEach((context, lane) => {
          expectThat(context.length === env.contextWidth, `lane ${lane} has ${context.length} numbers of context`);
          expectThat(context.every(Number.isFinite), `the context of lane ${lane} is not finite`);
          // A lane that another one's reset passed over keeps its own.
          const passedOver = contexts[lane] !== undefined && !flags[lane];
          if (passedOver)
            expectSame(contexts[lane] as number[], context, `the contexts of lane ${lane} at a reset of others`);
        });
        contexts = now;
      };
      let flags: boolean[] = [];
      await walk(
        env,
        { seed: 15 },
        async ({ step }) => {
          contextsOf(env).forEach((context, lane) => {
            expectSame(contexts[lane] as number[], context, `the contexts of lane ${lane} during an episode`);
          });
          flags = Array.from({ length: env.size }, (_, lane) => ended(step, lane));
        },
        begun,
      );
    }),
    check('pays and ends a lane whatever the other lanes are shown', async () => {
      const [a, b] = [await make(), await make()];
      await a.reset({ seed: 16 });
      await b.reset({ seed: 16 });
      const [rng, otherRng] = [new Rng(1), new Rng(2)];
      for (let t = 0; t < STEPS; t++) {
        const actions = actionsFor(a, rng);
        const others = actionsFor(b, otherRng);
        others[0] = actions[0] as number;
        const [stepA, stepB] = [await a.step(actions), await b.step(others)];
        const outcome = ({ rewards, terminated, truncated }: BatchStep): number[] =>
          [rewards, terminated, truncated].map((values) => values[0] as number);
        expectSame(outcome(stepA), outcome(stepB), 'the outcomes of lane 0 beside other actions in the others');
        await resetEnded(a, stepA);
        await resetEnded(b, stepB);
        expectSame(histories(a)[0] as number[], histories(b)[0] as number[], 'the histories of lane 0');
      }
    }),
    check('gives finite rewards, and never terminated and truncated at once', async () => {
      const env = await make();
      await walk(env, { seed: 4 }, async ({ step }) => {
        for (let lane = 0; lane < env.size; lane++) {
          expectThat(Number.isFinite(step.rewards[lane]), `the reward of lane ${lane} is ${step.rewards[lane]}`);
          const flags = [step.terminated[lane], step.truncated[lane]];
          expectThat(
            flags.every((flag) => flag === 0 || flag === 1),
            `the flags of lane ${lane} are ${flags.join()}`,
          );
          expectThat(flags[0] === 0 || flags[1] === 0, `lane ${lane} is terminated and truncated`);
        }
      });
    }),
    check('ends every episode within maxEpisodeSteps', async () => {
      const env = await make();
      const steps = new Int32Array(env.size);
      await walk(env, { seed: 5 }, async ({ step }) => {
        for (let lane = 0; lane < env.size; lane++) {
          const count = (steps[lane] as number) + 1;
          expectThat(count <= env.maxEpisodeSteps, `lane ${lane} took ${count} steps`);
          steps[lane] = ended(step, lane) ? 0 : count;
        }
      });
    }),
    check('resets only the rows flagged', async () => {
      const env = await make();
      await env.reset({ seed: 6 });
      await env.step(actionsFor(env, new Rng(1)));
      const before = histories(env);
      const rows = new Uint8Array(env.size);
      rows[0] = 1;
      await env.reset({ rows });
      const after = histories(env);
      expectThat((after[0] as number[]).length < (before[0] as number[]).length, 'the flagged lane kept its history');
      for (let lane = 1; lane < env.size; lane++)
        expectSame(before[lane] as number[], after[lane] as number[], `lane ${lane}, which was not flagged`);
    }),
    check("draws a lane's episodes whatever the other lanes do", async () => {
      const [a, b] = [await make(), await make()];
      await a.reset({ seed: 9 });
      await b.reset({ seed: 9 });
      const others = new Uint8Array(b.size).fill(1);
      others[0] = 0;
      await b.reset({ rows: others });
      expectSame(histories(a)[0] as number[], histories(b)[0] as number[], 'lane 0 after a reset of the others');
      await a.reset({ rows: flag(a, 0) });
      await b.reset({ rows: flag(b, 0) });
      expectSame(histories(a)[0] as number[], histories(b)[0] as number[], 'the second episode of lane 0');
    }),
    check('refuses an item that is none', async () => {
      for (const wrong of [-1, 2 ** 30]) {
        const env = await make();
        await env.reset({ seed: 1 });
        const actions = actionsFor(env, new Rng(1));
        const before = histories(env);
        actions[1] = wrong;
        await refused(async () => env.step(actions), `action ${wrong}`);
        expectSame(before.flat(), histories(env).flat(), `the histories after refusing action ${wrong}`);
      }
    }),
    check('refuses actions of another length', async () => {
      const env = await make();
      await env.reset({ seed: 1 });
      await refused(async () => env.step(new Int32Array(env.size + 1)), 'too many actions');
    }),
    check('refuses a step before reset, and in a lane that has ended', async () => {
      const fresh = await make();
      await refused(async () => fresh.step(new Int32Array(fresh.size)), 'a step before reset');
      const env = await make(1);
      await env.reset({ seed: 2 });
      const rng = new Rng(2);
      for (let done = false; !done; ) done = ended(await env.step(actionsFor(env, rng)), 0);
      await refused(async () => env.step(actionsFor(env, rng)), 'a step after the end');
      const idle = await env.step(Int32Array.of(-1));
      expectThat(idle.rewards[0] === 0 && !ended(idle, 0), 'an idle lane got a reward or a flag');
    }),
    check('refuses seed and rows together, and rows of another length', async () => {
      const env = await make();
      await refused(async () => env.reset({ seed: 1, rows: new Uint8Array(env.size) }), 'seed and rows');
      await refused(async () => env.reset({ rows: new Uint8Array(env.size + 1) }), 'too many rows');
    }),
    check('refuses a repeat where it says noRepeat, and accepts one where it does not', async () => {
      const env = await make(1);
      let tried = 0;
      for (let seed = 1; seed <= 16 && tried < 4; seed++) {
        await env.reset({ seed });
        const start = histories(env)[0] as number[];
        const step = await env.step(actionsFor(env, new Rng(seed)));
        if (ended(step, 0)) continue;
        tried++;
        const last = (histories(env)[0] as number[]).at(-1) as number;
        if (!env.noRepeat) await env.step(Int32Array.of(last));
        else for (const item of [...start, last]) await refused(async () => env.step(Int32Array.of(item)), 'a repeat');
      }
    }),
    check('continues bit for bit from a saved state', async () => {
      const env = await make();
      if (env.saveState === undefined) {
        expectThat(env.restoreState === undefined, 'it restores but does not save');
        return;
      }
      await play(env, { seed: 11 });
      const state = JSON.parse(JSON.stringify(env.saveState())) as JsonValue;
      const expected = await play(env, {});
      const other = await make();
      await play(other, { seed: 12 });
      other.restoreState?.(state);
      expectSame(expected, await play(other, {}), 'the steps after restoring');
    }),
    check('refuses a damaged state and stays as it was', async () => {
      const env = await make();
      if (env.saveState === undefined) return;
      await play(env, { seed: 13 });
      const state = env.saveState();
      const wrongs: JsonValue[] = [null, {}, [], { ...(state as Record<string, JsonValue>), name: 'another' }];
      for (const wrong of wrongs) {
        await refused(async () => env.restoreState?.(wrong), `the state ${JSON.stringify(wrong).slice(0, 40)}`);
        expectSame([JSON.stringify(state)], [JSON.stringify(env.saveState())], 'the state after a refusal');
      }
    }),
  ];
}

/**
 * What an `Env` of your own must do, as plain checks: those of {@link batchEnvContract} that apply, through `liftEnv`, which also
 * checks every value it returns.
 *
 * @param makeEnv - makes a fresh environment; called for every lane.
 * @param options - what cannot be asked of every environment.
 */
export function envContract(makeEnv: () => Env, options: EnvContractOptions = {}): readonly ContractCheck[] {
  return batchEnvContract(({ size, seed }) => liftEnv(() => makeEnv(), { size, seed }), options).map(
    ({ name, run }) => ({
      name: name.replace('BatchEnv', 'Env'),
      run,
    }),
  );
}

interface Moment {
  readonly before: number[][];
  readonly actions: Int32Array;
  readonly step: BatchStep;
}

/** Random allowed actions for some dozens of steps, lanes being reset as they end; without a seed it goes on from where the lanes are. */
async function walk(
  env: BatchEnv,
  options: { readonly seed?: number },
  visit: (moment: Moment) => Promise<void>,
  afterReset: () => void = () => {},
): Promise<void> {
  const rng = new Rng(17);
  if (options.seed !== undefined) {
    await env.reset({ seed: options.seed });
    afterReset();
  }
  for (let t = 0; t < STEPS; t++) {
    const before = histories(env);
    const actions = actionsFor(env, rng);
    const step = await env.step(actions);
    await visit({ before, actions, step });
    if (await resetEnded(env, step)) afterReset();
  }
}

async function resetEnded(env: BatchEnv, step: BatchStep): Promise<boolean> {
  const rows = Uint8Array.from({ length: env.size }, (_, lane) => (ended(step, lane) ? 1 : 0));
  if (!rows.includes(1)) return false;
  await env.reset({ rows });
  return true;
}

/** Everything that can be seen of a {@link walk}, as numbers. */
async function play(env: BatchEnv, options: { readonly seed?: number }): Promise<number[]> {
  const seen: number[] = [];
  await walk(env, options, async ({ before, step }) => {
    seen.push(
      ...before.flat(),
      ...(env.histories().context ?? []),
      ...step.rewards,
      ...step.terminated,
      ...step.truncated,
    );
  });
  return seen;
}

function histories(env: BatchEnv): number[][] {
  const { items, lengths, length } = env.histories();
  return Array.from(lengths, (count, lane) => Array.from(items.subarray(lane * length, lane * length + count)));
}

function contextsOf(env: BatchEnv): number[][] {
  const { context, contextWidth } = env.histories();
  return Array.from({ length: env.size }, (_, lane) =>
    Array.from(context?.subarray(lane * contextWidth, (lane + 1) * contextWidth) ?? []),
  );
}

function actionsFor(env: BatchEnv, rng: Rng): Int32Array {
  return Int32Array.from(histories(env), (history) => {
    for (;;) {
      const item = rng.integer(env.catalog.size);
      if (!history.includes(item) || history.length >= env.catalog.size) return item;
    }
  });
}

function flag(env: BatchEnv, lane: number): Uint8Array {
  const rows = new Uint8Array(env.size);
  rows[lane] = 1;
  return rows;
}

function ended(step: BatchStep, lane: number): boolean {
  return ((step.terminated[lane] as number) | (step.truncated[lane] as number)) === 1;
}

async function refused(call: () => Promise<unknown>, what: string): Promise<void> {
  try {
    await call();
  } catch (error) {
    expectThat(error instanceof IalpError, `${what} was refused with an untyped error: ${String(error)}`);
    return;
  }
  throw new Error(`contract: ${what} was accepted`);
}

function expectSame(expected: readonly (number | string)[], got: readonly (number | string)[], what: string): void {
  const differs = expected.length !== got.length || expected.some((value, i) => !Object.is(value, got[i]));
  expectThat(!differs, `${what} differ`);
}

function expectThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(`contract: ${otherwise}`);
}
