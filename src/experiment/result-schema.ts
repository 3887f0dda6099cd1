import { z } from 'zod';
import { EVALUATED, type OracleRow } from '../oracle/oracle-evaluation.js';
import type { CardRow } from '../world/card.js';
import { CARD_POLICIES, WORLD_SPLITS, type WorldSplit } from '../world/world.js';

/**
 * The public JSON contract: what `--json` writes, and what `ialp/schema/runs.json` describes.
 * A field is never renamed or dropped within a major version; new ones may come.
 */

/** Methods of a run's table, the policies of the card among them. */
export const METHODS = [
  ...CARD_POLICIES,
  'rotation',
  'countingBandit',
  'content',
  'ratingOnly',
  'exploreThenCommit',
  'noiselessOracle',
  'untrained',
  'scratch',
  'dqn',
  'pg',
  'ialp',
  'ialpShuffledOracle',
  'wrongSign',
  'supervised',
  'fineTune',
  'mixture',
  'residual',
  'llmOnline',
  'oracle',
] as const;

/** Whether rewards are the recorded truth or those of a trained reward model. */
export const REWARD_SOURCES = ['truth', 'model'] as const;

/** Which leave rule looked back over which window: as published peers count, as the rule reads, or no window at all. */
export const WINDOWS = ['legacy', 'correct', 'none'] as const;

/** How actions were taken from the policy's distribution. */
export const MODES = ['sampled', 'argmax'] as const;

/** How a method learned; `none` for those that do not learn by one of these. */
export const ALGORITHMS = ['list', 'ppo', 'replay', 'paper', 'none'] as const;

/** Name of a method in a run's table. */
export type Method = (typeof METHODS)[number];
/** Origin of the rewards. */
export type RewardSource = (typeof REWARD_SOURCES)[number];
/** Window of the leave rule. */
export type Window = (typeof WINDOWS)[number];
/** Evaluation mode. */
export type Mode = (typeof MODES)[number];
/** Learning algorithm of a row. */
export type RowAlgorithm = (typeof ALGORITHMS)[number];

/** One method after some amount of learning. */
export interface RunRow {
  /** Name of the world. */
  readonly world: string;
  /** Users or sequences of the evaluation. */
  readonly split: WorldSplit;
  /** Origin of the rewards. */
  readonly reward: RewardSource;
  /** The method. */
  readonly method: Method;
  /** How it learned. */
  readonly algorithm: RowAlgorithm;
  /** How actions were taken. */
  readonly mode: Mode;
  /** Softmax temperature of the evaluation; null for a policy that has none. */
  readonly temperature: number | null;
  /** Mean return of an episode, in reward units. */
  readonly return: number;
  /** Lower end of the 95 % interval of `return`. */
  readonly returnLow: number;
  /** Upper end of the 95 % interval of `return`. */
  readonly returnHigh: number;
  /** Mean length of an episode, in steps. */
  readonly length: number;
  /** Mean return divided by mean length. */
  readonly averageReward: number;
  /** Share of the catalogue that was shown at least once, 0 to 1. */
  readonly coverage: number;
  /** Environment steps of learning before this evaluation. */
  readonly steps: number;
  /** Gradient updates of learning before this evaluation. */
  readonly updates: number;
  /** Answers asked of a preference oracle before this evaluation. */
  readonly oracleCalls: number;
  /** Mean return of each seed. */
  readonly perSeed: readonly number[];
  /** SHA-256 of the weights (the first seed's), lower-case hex; null where there are none. */
  readonly weightsSha256: string | null;
  /** Seconds of learning and evaluation behind this row. */
  readonly wallSeconds: number;
}

/** The object that `--json` writes. */
export interface Result<Row extends CardRow | RunRow = CardRow | RunRow> {
  /** The command line that made it. */
  readonly command: string;
  /** Version of the library. */
  readonly version: string;
  /** The seed given to the command. */
  readonly seed: number;
  /** The tfjs backend that computed, for example `wasm`; `none` where nothing was learned. */
  readonly backend: string;
  /** The kernels that made the updates. */
  readonly kernels: 'reference' | 'hybrid' | 'fused';
  /** Share of the updates that ran fused, 0 to 1. */
  readonly fusedShare: number;
  /** Seconds from start to end. */
  readonly wallSeconds: number;
  /** The table. */
  readonly rows: readonly Row[];
}

/** The object that `ialp oracle eval --json` writes. */
export interface OracleResult extends Omit<Result, 'rows'> {
  /** The id of the oracle that was examined. */
  readonly oracle: string;
  /** Whether it is worth using. */
  readonly isWorthUsing: boolean;
  /** The same and why, one sentence. */
  readonly verdict: string;
  /** The oracle and those who need no model, by kind of lists. */
  readonly rows: readonly OracleRow[];
}

/** What questions cost, in {@link DistilRow}. */
export interface DistilRowCost {
  /** Calls of the model. */
  readonly calls: number;
  /** Tokens of prompts. */
  readonly inputTokens: number;
  /** Tokens of answers. */
  readonly outputTokens: number;
  /** US dollars, where prices are known; else 0. */
  readonly costUsd: number;
}

/** What `ialp distil` did, or would do. */
export interface DistilRow {
  /** What was done: questions asked, a plan priced, a batch written or read, items rated. */
  readonly job: 'distil' | 'plan' | 'export' | 'import' | 'rate';
  /** Id of the oracle. */
  readonly oracle: string;
  /** Questions of the plan; items, where they are rated. */
  readonly questions: number;
  /** Of those, answered. */
  readonly answered: number;
  /** Asked by this command. */
  readonly asked: number;
  /** Answered by an item. */
  readonly choices: number;
  /** Answered by None. */
  readonly nones: number;
  /** Answered by nothing usable. */
  readonly invalid: number;
  /** Asked, and not answered. */
  readonly failed: number;
  /** What the answers on record cost; null where nothing was asked. */
  readonly spent: DistilRowCost | null;
  /** What the rest would cost; null where that is not known. */
  readonly toCome: DistilRowCost | null;
}

const count = z.int().min(0);
const share = z.number().min(0).max(1);
const seconds = z.number().min(0);
const name = z.string().min(1);

const measures = {
  return: z.number().describe('Mean return of an episode, in reward units'),
  returnLow: z.number().describe('Lower end of the 95 % interval of the return'),
  returnHigh: z.number().describe('Upper end of the 95 % interval of the return'),
  length: z.number().min(0).describe('Mean length of an episode, in steps'),
  averageReward: z.number().describe('Mean return divided by mean length'),
  coverage: share.describe('Share of the catalogue that was shown at least once'),
};

function end(which: 'Lower' | 'Upper', of: string): z.ZodNumber {
  return z.number().describe(`${which} end of the 95 % interval of the ${of}`);
}

const place = {
  world: name.describe('Name of the world'),
  split: z.enum(WORLD_SPLITS).describe('Users or sequences of the episodes'),
  reward: z.enum(REWARD_SOURCES).describe('Recorded truth, or a trained reward model'),
};

/** The interval's ends stand in order: the one rule of a row that JSON Schema cannot say. */
function isOrdered(row: { readonly returnLow: number; readonly returnHigh: number }): boolean {
  return row.returnLow <= row.returnHigh;
}
const disordered = { path: ['returnLow'], error: 'expected `returnLow` to be at most `returnHigh`' };

const cardRowSchema: z.ZodType<CardRow> = z
  .strictObject({
    ...place,
    window: z.enum(WINDOWS).describe('Window of the leave rule'),
    evaluation: z
      .enum(['FB', 'NX_0', 'NX_10'])
      .describe('Whether items may be shown again (FB), at most once an episode (NX_0), or so for ten steps (NX_10)'),
    policy: z.enum(CARD_POLICIES).describe('The policy'),
    ...measures,
    lengthLow: end('Lower', 'length'),
    lengthHigh: end('Upper', 'length'),
    averageRewardLow: end('Lower', 'average reward'),
    averageRewardHigh: end('Upper', 'average reward'),
    coverageLow: end('Lower', "coverage of one seed's episodes"),
    coverageHigh: end('Upper', "coverage of one seed's episodes"),
    diversity: z.number().nullable().describe('Mean over the pairs of an episode of 1 - cosine of their text'),
    diversityLow: end('Lower', 'diversity').nullable(),
    diversityHigh: end('Upper', 'diversity').nullable(),
    novelty: z.number().describe('Mean self-information of the items shown, in bits'),
    noveltyLow: end('Lower', 'novelty'),
    noveltyHigh: end('Upper', 'novelty'),
    episodes: count.describe('Number of episodes'),
  })
  .refine(isOrdered, disordered)
  .meta({ id: 'CardRow', description: 'One policy on a world card' });

const runRowSchema: z.ZodType<RunRow> = z
  .strictObject({
    ...place,
    method: z.enum(METHODS).describe('The method'),
    algorithm: z.enum(ALGORITHMS).describe('How it learned'),
    mode: z.enum(MODES).describe('How actions were taken'),
    temperature: z
      .number()
      .min(0)
      .nullable()
      .describe('Softmax temperature of the evaluation; null where there is none'),
    steps: count.describe('Environment steps of learning'),
    updates: count.describe('Gradient updates of learning'),
    oracleCalls: count.describe('Answers asked of a preference oracle'),
    ...measures,
    perSeed: z.array(z.number()).min(1).describe('Mean return of each seed'),
    weightsSha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .nullable()
      .describe('SHA-256 of the weights of the first seed; null where there are none'),
    wallSeconds: seconds.describe('Seconds of learning and evaluation behind this row'),
  })
  .refine(isOrdered, disordered)
  .meta({ id: 'RunRow', description: 'One method after some amount of learning' });

const header = {
  command: name.describe('The command line that made it'),
  version: name.describe('Version of the library'),
  seed: count.describe('The seed given to the command'),
  backend: name.describe('The tfjs backend that computed'),
  kernels: z.enum(['reference', 'hybrid', 'fused']).describe('The kernels that made the updates'),
  fusedShare: share.describe('Share of the updates that ran fused'),
  wallSeconds: seconds.describe('Seconds from start to end'),
};

/** Schema of what `ialp world card --json` writes. */
export const cardResultSchema: z.ZodType<Result<CardRow>> = z
  .strictObject({ ...header, rows: z.array(cardRowSchema) })
  .meta({ id: 'CardResult', description: 'A world card: what the world itself allows' });

/** Schema of what `ialp demo`, `pretrain`, `adapt` and `evaluate` write. */
export const runResultSchema: z.ZodType<Result<RunRow>> = z
  .strictObject({ ...header, rows: z.array(runRowSchema) })
  .meta({ id: 'RunResult', description: 'A table of methods' });

const orNothing = share.nullable();
const gain = z.number().min(-1).max(1).nullable();
const oracleRowSchema: z.ZodType<OracleRow> = z
  .strictObject({
    oracle: z.enum(EVALUATED).describe('The examined oracle, or who needs no model, or text and oracle together'),
    readout: z.enum(['label', 'likelihood']).describe('How the examined oracle reads its model'),
    negatives: z.enum(['uniform', 'popularity']).describe('How the items beside the true one were drawn'),
    lists: count.describe('Lists answered'),
    chance: share.describe('hit@1 of a random choice'),
    hitAt1: orNothing.describe('Share of lists whose answer was the true item; None is a miss'),
    hitAt1Low: orNothing.describe('Lower end of the 95 % interval of hitAt1'),
    hitAt1High: orNothing.describe('Upper end of the 95 % interval of hitAt1'),
    hitForced: orNothing.describe('The same for the best-scored candidate, None left out'),
    gain: gain.describe('What it hits more than text similarity on the same lists'),
    gainLow: gain.describe('Lower end of the 95 % interval of the gain, paired by list'),
    gainHigh: gain.describe('Upper end of the 95 % interval of the gain'),
    noneRate: orNothing.describe('Share of None on lists that hold the true item'),
    noneHit: orNothing.describe('Share of None on lists that do not'),
    invalidRate: orNothing.describe('Share of answers that name nothing'),
    labelMass: z.number().min(0).nullable().describe('Mean probability mass on the labels'),
    recallSpread: z.number().min(0).nullable().describe('Standard deviation of recall over places'),
    flipRate: orNothing.describe('Share of lists whose answer another order changes'),
    tokensPerAnswer: z.number().min(0).nullable().describe('Input and output tokens of an answer'),
    secondsPerAnswer: seconds.nullable().describe('Wall time of an answer that was not on record'),
  })
  .meta({ id: 'OracleRow', description: 'One answerer on held-out lists' });

/** Schema of what `ialp oracle eval` writes. */
export const oracleResultSchema: z.ZodType<OracleResult> = z
  .strictObject({
    ...header,
    oracle: name.describe('Id of the oracle that was examined'),
    isWorthUsing: z.boolean().describe('Whether it is worth using'),
    verdict: name.describe('The same and why, in a sentence'),
    rows: z.array(oracleRowSchema),
  })
  .meta({ id: 'OracleResult', description: 'What an oracle knows of held-out users' });

const amount = z.number().min(0);
const distilCostSchema = z
  .strictObject({ calls: amount, inputTokens: amount, outputTokens: amount, costUsd: amount })
  .nullable();
const distilRowSchema: z.ZodType<DistilRow> = z
  .strictObject({
    job: z.enum(['distil', 'plan', 'export', 'import', 'rate']).describe('What was done'),
    oracle: name.describe('Id of the oracle'),
    questions: count.describe('Questions of the plan, or items to be rated'),
    answered: count.describe('Of those, answered'),
    asked: count.describe('Asked by this command'),
    choices: count.describe('Answered by an item'),
    nones: count.describe('Answered by None'),
    invalid: count.describe('Answered by nothing usable'),
    failed: count.describe('Asked, and not answered'),
    spent: distilCostSchema.describe('What the answers on record cost'),
    toCome: distilCostSchema.describe('What the rest would cost'),
  })
  .meta({ id: 'DistilRow', description: 'Questions to an oracle' });

/** Schema of what `ialp distil` writes. */
export const distilResultSchema: z.ZodType<Omit<Result, 'rows'> & { readonly rows: readonly DistilRow[] }> = z
  .strictObject({ ...header, rows: z.array(distilRowSchema) })
  .meta({ id: 'DistilResult', description: 'A set of answers' });

/** Schema of any `--json` output. */
export const resultSchema: z.ZodType<
  Result<CardRow> | Result<RunRow> | OracleResult | z.output<typeof distilResultSchema>
> = z.union([cardResultSchema, runResultSchema, oracleResultSchema, distilResultSchema]).meta({
  title: 'ialp result',
  description: 'What the commands of ialp write with --json: one object with a table of rows',
});

/**
 * The contract as JSON Schema (draft 2020-12): the package's `ialp/schema/runs.json`.
 *
 * @returns a new JSON object.
 */
export function resultJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(resultSchema, { target: 'draft-2020-12' }) };
}
