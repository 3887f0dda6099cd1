import { z } from 'zod';
import { ActorCritic } from '../agent/actor-critic.js';
import { MixturePolicy } from '../agent/mixture-policy.js';
import type { Policy } from '../agent/policy.js';
import { RandomPolicy } from '../agent/random-policy.js';
import { InvalidDataError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { JsonlLog } from '../foundation/jsonl.js';
import type { Storage } from '../foundation/storage.js';
import { type EvaluationRow, evaluate } from '../metrics/evaluate.js';
import { confidenceInterval, mean } from '../metrics/statistics.js';
import type { World, WorldSplit } from '../world/world.js';
import type { ReportCurve } from './report.js';
import { ALGORITHMS, METHODS, type Method, MODES, type Mode, type RowAlgorithm, type RunRow } from './result-schema.js';

/** How far a method had learned when it was measured. */
export interface MeasuredAt {
  /** Seed of the run. */
  readonly seed: number;
  /** Environment steps of learning. */
  readonly steps: number;
  /** Gradient updates, those of pre-training included. */
  readonly updates: number;
  /** Questions put to an oracle. */
  readonly oracleCalls: number;
  /** How it learned. */
  readonly algorithm: RowAlgorithm;
  /** When learning began, as `Date.now()` says it. */
  readonly began: number;
}

const measuredSchema = z.object({
  method: z.enum(METHODS),
  mode: z.enum(MODES),
  algorithm: z.enum(ALGORITHMS),
  seed: z.int(),
  steps: z.int(),
  updates: z.int(),
  oracleCalls: z.int(),
  return: z.number(),
  returnLow: z.number(),
  returnHigh: z.number(),
  length: z.number(),
  lengthLow: z.number(),
  lengthHigh: z.number(),
  coverage: z.number(),
  sha256: z.string().nullable(),
  wallSeconds: z.number(),
});
type Measured = z.output<typeof measuredSchema>;

/** Options of {@link Measurements.open}. */
export interface MeasurementOptions {
  /** Where policies are measured. */
  readonly world: World;
  /** Whose users come. */
  readonly split: WorldSplit;
  /** Episodes of one measurement. */
  readonly episodes: number;
  /** Softmax temperature of the policies, > 0. @default 1 */
  readonly temperature?: number | undefined;
  /** Where measurements are kept as they are made, so that an interrupted run repeats none. */
  readonly storage?: Storage | undefined;
  /** What the run is, beside world, split and episodes: kept measurements of another run are refused. @default null */
  readonly run?: Readonly<Record<string, JsonValue>> | undefined;
  /** Stops between steps. */
  readonly signal?: AbortSignal | undefined;
}

/** Parallel users of a measurement: more only cost memory. */
const LANES = 64;
const KEY = 'measurements.jsonl';

/** Measures policies in a world, both modes each, keeps what it measured, and makes the table and the curves of it. */
export class Measurements {
  readonly #options: MeasurementOptions;
  readonly #log: JsonlLog | undefined;
  readonly #measured: Measured[];

  private constructor(options: MeasurementOptions, log: JsonlLog | undefined, measured: Measured[]) {
    this.#options = options;
    this.#log = log;
    this.#measured = measured;
  }

  /**
   * Begins, or goes on with what the storage holds.
   *
   * @throws {InvalidDataError} when the storage holds measurements of another run or something else.
   */
  static async open(options: MeasurementOptions): Promise<Measurements> {
    if (!options.storage) return new Measurements(options, undefined, []);
    const log = new JsonlLog(options.storage, KEY);
    const [header, ...records] = (await log.open()).records;
    const { split, episodes, temperature = 1, run = null } = options;
    const own: JsonValue = { world: await options.world.fingerprint(), split, episodes, temperature, run };
    if (header === undefined) await log.append(own);
    else if (canonicalJson(header) !== canonicalJson(own)) {
      const differing = differingFields(header, own).join(', ');
      throw new InvalidDataError(
        `these measurements belong to a run with another ${differing}; use another folder, or the same options to go on`,
        { source: KEY, line: 1 },
      );
    }
    const measured = records.map((record, i) => {
      const parsed = measuredSchema.safeParse(record);
      if (!parsed.success)
        throw new InvalidDataError('not a measurement', { source: KEY, line: i + 2, cause: parsed.error });
      return parsed.data;
    });
    // Two of the same would pass for two seeds.
    const first = new Map(measured.toReversed().map((one) => [keyOf(one), one]));
    return new Measurements(
      options,
      log,
      measured.filter((one) => first.get(keyOf(one)) === one),
    );
  }

  /** Plays whole episodes with a policy, sampled and argmax; a mode that is on record, were it alone, is not measured again. */
  async measure(method: Method, policy: Policy, at: MeasuredAt): Promise<void> {
    const missing = this.#missing(method, at);
    if (missing.length === 0) return;
    // Chance has no most probable item: breaking the tie of all by index would measure the order of the catalogue.
    const modes: readonly Mode[] = policy instanceof RandomPolicy ? ['sampled'] : missing;
    const { world, split, episodes, temperature = 1, signal } = this.#options;
    const rows = await evaluate({
      policies: { [method]: policy },
      env: world.batchEnv({ split, size: Math.min(episodes, LANES), seed: at.seed }),
      episodes,
      seeds: [at.seed],
      modes,
      temperature,
      ...(signal ? { signal } : {}),
    });
    const { began, ...facts } = at;
    const sha256 = await weightsHash(policy);
    const wallSeconds = (Date.now() - began) / 1000;
    for (const mode of missing) {
      const row = rows.find((one) => one.mode === mode) ?? (rows[0] as EvaluationRow);
      const { return: total, returnLow, returnHigh, length, lengthLow, lengthHigh, coverage } = row;
      const spread = { return: total, returnLow, returnHigh, length, lengthLow, lengthHigh, coverage };
      const measured: Measured = { method, mode, ...facts, ...spread, sha256, wallSeconds };
      await this.#log?.append(measured);
      this.#measured.push(measured);
    }
  }

  /** Whether a method was measured at these steps, in both modes. */
  has(method: Method, at: Pick<MeasuredAt, 'seed' | 'steps'>): boolean {
    return this.#missing(method, at).length === 0;
  }

  /** One row for each method, steps and mode, by method in the order first measured: means over seeds. */
  rows(): RunRow[] {
    const { world, split, temperature = 1 } = this.#options;
    return this.#groups().map((group) => {
      const first = group[0] as Measured;
      const [total, steps] = [spreadOf(group, 'return'), spreadOf(group, 'length')];
      return {
        world: world.name,
        split,
        reward: world.reward,
        method: first.method,
        algorithm: first.algorithm,
        mode: first.mode,
        temperature: first.sha256 === null ? null : temperature,
        steps: first.steps,
        updates: first.updates,
        oracleCalls: first.oracleCalls,
        return: total.mean,
        returnLow: total.low,
        returnHigh: total.high,
        length: steps.mean,
        averageReward: total.mean / steps.mean,
        coverage: mean(group.map(({ coverage }) => coverage)),
        perSeed: group.map((one) => one.return),
        weightsSha256: first.sha256,
        wallSeconds: mean(group.map(({ wallSeconds }) => wallSeconds)),
      };
    });
  }

  /**
   * Return and length, sampled, against steps.
   *
   * @param methods - which, in the order of the legend; each may name the method whose last point it starts from.
   */
  curves(methods: readonly (Method | readonly [Method, Method])[]): ReportCurve[] {
    const points = (method: Method) =>
      this.#groups()
        .filter(([one]) => one?.method === method && one.mode === 'sampled')
        .map((group) => {
          const [total, steps] = [spreadOf(group, 'return'), spreadOf(group, 'length')];
          const at = (group[0] as Measured).steps;
          return {
            steps: at,
            return: total.mean,
            low: total.low,
            high: total.high,
            length: steps.mean,
            lengthLow: steps.low,
            lengthHigh: steps.high,
          };
        });
    return methods
      .map((entry) => {
        const [method, start] = typeof entry === 'string' ? [entry] : entry;
        const before = start ? points(start).slice(-1) : [];
        return { method, points: [...before.map((point) => ({ ...point, steps: 0 })), ...points(method)] };
      })
      .filter((curve) => curve.points.length > 0);
  }

  #missing(method: Method, { seed, steps }: Pick<MeasuredAt, 'seed' | 'steps'>): Mode[] {
    const known = new Set(this.#measured.map(keyOf));
    return MODES.filter((mode) => !known.has(keyOf({ method, mode, steps, seed })));
  }

  #groups(): Measured[][] {
    const by = new Map<string, Measured[]>();
    for (const one of this.#measured) {
      const key = `${one.method}/${one.steps}/${one.mode}`;
      by.set(key, [...(by.get(key) ?? []), one]);
    }
    const order = (method: Method) => this.#measured.findIndex((one) => one.method === method);
    return [...by.values()].sort(([a], [b]) => {
      const [one, other] = [a as Measured, b as Measured];
      return (
        order(one.method) - order(other.method) ||
        one.steps - other.steps ||
        MODES.indexOf(one.mode) - MODES.indexOf(other.mode)
      );
    });
  }
}

/** What a measurement is of: there is one of each. */
function keyOf({ method, mode, steps, seed }: Pick<Measured, 'method' | 'mode' | 'steps' | 'seed'>): string {
  return [method, mode, steps, seed].join('/');
}

/** Names of the fields in which two headers differ, those of `run` without its name before them. */
function differingFields(was: JsonValue, is: JsonValue): string[] {
  const fields = (header: JsonValue): Readonly<Record<string, JsonValue>> => {
    if (!isRecord(header)) return { header };
    const { run = null, ...own } = header;
    return { ...own, ...(isRecord(run) ? run : {}) };
  };
  const [before, now] = [fields(was), fields(is)];
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.filter((name) => canonicalJson(before[name] ?? null) !== canonicalJson(now[name] ?? null));
}

function isRecord(value: JsonValue): value is { readonly [field: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Over seeds where there are several; else over the episodes of the one. */
function spreadOf(group: readonly Measured[], what: 'return' | 'length') {
  if (group.length > 1) return confidenceInterval(group.map((one) => one[what]));
  const one = group[0] as Measured;
  return { mean: one[what], low: one[`${what}Low`], high: one[`${what}High`] };
}

async function weightsHash(policy: Policy): Promise<string | null> {
  if (policy instanceof MixturePolicy) return policy.learner.sha256();
  return policy instanceof ActorCritic ? policy.sha256() : null;
}
