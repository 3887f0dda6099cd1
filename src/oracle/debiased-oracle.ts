import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import { checkPreference, checkPreferOptions, checkQueries, queryKey } from './check-query.js';
import type { LabelScores, ModelCallOptions } from './language-model.js';
import { catalogSchema, oracleSchema } from './option-schemas.js';
import { orAbort } from './or-abort.js';
import {
  type Meta,
  type Preference,
  type PreferenceOracle,
  type PreferenceQuery,
  type PreferOptions,
  preferInBatches,
  type Usage,
} from './preference-oracle.js';
import { decideInRange, logShare, logSumExp, type ScoreRange, scoreRange } from './score-decision.js';
import { addUsage } from './usage.js';

/** How a {@link DebiasedOracle} takes the labels' own weight out of the answers. */
export type DebiasMethod =
  /** Shows the candidates in an order drawn from seed and query: no label favours any item on average. One call. */
  | 'shuffle'
  /** Averages over cyclic shifts of the list, by log-probability, or by majority where the oracle tells none. `permutations` calls. */
  | 'cyclic'
  /** Divides by what the labels get where there is nothing to know (2102.09690). One call, and one more for each K. */
  | 'contextual'
  /** Divides by the labels' prior, estimated from all cyclic shifts of a calibration sample (PriDe, 2309.03882). One call. */
  | 'pride';

/** Who tells what the labels get where there is nothing to know: an `LlmOracle` of a model with `labelScores`. */
export interface ContentFree {
  /** `[K + 1]` log-probabilities by place, None's last, and which of them are only bounds. */
  contentFreeScores(candidateCount: number, options?: ModelCallOptions): Promise<LabelScores>;
}

/** Options of {@link DebiasedOracle.create}. */
export interface DebiasedOracleOptions {
  /** Who is asked, by labels; must show candidates as given: `new LlmOracle({ shuffle: false, … })`. Closed with this one. */
  readonly oracle: PreferenceOracle;
  /** Whose items the queries name; borrowed. */
  readonly catalog: Catalog;
  /** How. */
  readonly method: DebiasMethod;
  /** Shifts that `cyclic` averages over, evenly spaced, from 2; no more than K are made. @default K */
  readonly permutations?: number;
  /** None when log p(None) - logsumexp p(candidates) is above it; not of `shuffle`, where the oracle behind decides. @default plain arg-max */
  readonly noneThreshold?: number;
  /** Questions whose labels' prior `pride` estimates, K calls each: 2 to 5 % of those to come. At least one of each K. */
  readonly calibration?: readonly PreferenceQuery[];
  /** False: nothing is asked, and the oracle only estimates, for a dry run; of `pride`. @default true */
  readonly calibrate?: boolean;
  /** For `contextual`, where decorators stand between this oracle and the `LlmOracle`: the latter. @default `oracle` */
  readonly contentFree?: ContentFree;
  /** Seed of the orders. @default 0 */
  readonly seed?: number;
  /** Gives the calibration up: `create` rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

const schema = z
  .strictObject({
    oracle: oracleSchema.refine(
      ({ id }) => !/\|shuffle=-?\d+/u.test(id),
      'expected an oracle that shows candidates as given; make the LlmOracle with `shuffle: false`, for this one shuffles',
    ),
    catalog: catalogSchema,
    method: z.enum(['shuffle', 'cyclic', 'contextual', 'pride']),
    permutations: z.int().min(2).max(25).optional(),
    noneThreshold: z.number().optional(),
    calibration: z.custom<readonly PreferenceQuery[]>(Array.isArray, 'expected an array of queries').optional(),
    calibrate: z.boolean().default(true),
    contentFree: z
      .custom<ContentFree>(
        (value) => typeof (value as Partial<ContentFree> | null)?.contentFreeScores === 'function',
        'expected an object with `contentFreeScores`, such as an LlmOracle',
      )
      .optional(),
    seed: z.int().default(0),
    signal: z.instanceof(AbortSignal).optional(),
  })
  .superRefine(({ oracle, method, permutations, noneThreshold, calibration, contentFree }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (permutations !== undefined && method !== 'cyclic') refuse('permutations', `\`permutations\` is of 'cyclic'`);
    if (noneThreshold !== undefined && method === 'shuffle')
      refuse('noneThreshold', `with 'shuffle' the oracle behind decides on None: give \`noneThreshold\` to it`);
    if ((calibration !== undefined && calibration.length > 0) !== (method === 'pride'))
      refuse('calibration', `\`calibration\` is what 'pride' needs, and no other method: an array of questions`);
    if (contentFree !== undefined && method !== 'contextual')
      refuse('contentFree', `\`contentFree\` is of 'contextual'`);
    if (method === 'contextual' && contentFree === undefined && !isContentFree(oracle))
      refuse(
        'contentFree',
        `'contextual' needs \`contentFreeScores\`, which \`oracle\` lacks: give the LlmOracle here`,
      );
  });

/** Least log-prior that is divided by: where a model rules a label out, an infinity would decide everything. */
const LEAST_LOG_PRIOR = -30;

/**
 * Takes the bias of letters and places out of the `label` read-out (oracles.md 7): models prefer some letters whatever stands
 * behind them. Works on the answers' scores. Whatever the method, candidates are first put into an order drawn from seed and query.
 *
 * None keeps its label, the last, and its odds against all candidates together: shifts cannot tell a letter's weight from a true
 * None. Where its own letter is favoured, fit a `noneThreshold`.
 *
 * Of a label that the server did not list only a bound is known, in an answer or in the prior. Where the true numbers might change the
 * answer, it is invalid.
 */
export class DebiasedOracle implements PreferenceOracle {
  /** The id of the oracle behind, the method and its settings. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** Of all calls behind one answer. Absent where the oracle behind cannot tell. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #options: z.output<typeof schema>;
  /** `[K]` log-priors of the labels by K. */
  readonly #priors: Map<number, Promise<ScoreRange>>;

  private constructor(options: z.output<typeof schema>, settings: string, priors: ReadonlyMap<number, ScoreRange>) {
    const { oracle, catalog, method, seed, noneThreshold } = options;
    const none = noneThreshold === undefined ? '' : `,none>${noneThreshold}`;
    this.id = `${oracle.id}|debias=${method}${settings},seed=${seed}${none}`;
    this.itemCount = catalog.size;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    this.#options = options;
    this.#priors = new Map([...priors].map(([K, prior]) => [K, Promise.resolve(prior)]));
    if (oracle.estimate !== undefined) {
      this.estimate = async (queries) => {
        this.#check(queries, 'estimate');
        const asked = queries.map((query) => this.#asked(query));
        const usages = [...((await oracle.estimate?.(asked.flat())) ?? [])];
        return asked.map((part) =>
          usages.splice(0, part.length).reduce<Usage>((sum, usage) => addUsage(sum, usage) as Usage, {}),
        );
      };
    }
  }

  /**
   * Makes the oracle; with `pride` this asks the calibration questions, unless `calibrate` is false.
   *
   * @throws {InvalidArgumentError} for a wrong option, such as an oracle that shuffles.
   * @throws {OracleError} when a calibration question fails, or the oracle tells no scores.
   * @throws `signal.reason` on abort.
   */
  static async create(options: DebiasedOracleOptions): Promise<DebiasedOracle> {
    const checked = checkOptions(schema, options, 'DebiasedOracle.create');
    const { catalog, method, permutations, calibration = [], calibrate } = checked;
    checkQueries(calibration, { itemCount: catalog.size }, 'DebiasedOracle.create: calibration');
    if (method !== 'pride') {
      const shifts = method === 'cyclic' ? `:${permutations ?? 'K'}` : '';
      return new DebiasedOracle(checked, shifts, new Map());
    }
    const sample = await sha256Hex(canonicalJson(calibration.map((query) => queryKey(catalog, query))));
    const sizes = calibration.map(({ candidates }): [number, ScoreRange] => [candidates.length, scoreRange([])]);
    const priors = calibrate ? await estimatePriors(checked) : new Map(sizes);
    return new DebiasedOracle(checked, `:${sample.slice(0, 16)}`, priors);
  }

  /** What the calibration of `pride` costs, and nothing where a cache behind holds it; undefined where the oracle behind cannot tell. */
  async estimateCalibration(): Promise<Usage | undefined> {
    const { oracle, calibration = [] } = this.#options;
    const usages = await oracle.estimate?.(calibration.flatMap(inEveryOrder));
    return usages?.reduce<Usage>((sum, usage) => addUsage(sum, usage) as Usage, {});
  }

  /**
   * Asks a batch: each query once, or `permutations` times with `cyclic`.
   *
   * @throws {InvalidArgumentError} when a query is malformed, or has a K that `pride` was not calibrated for; nothing is asked.
   * @throws {OracleError} when an answer has no scores and the method needs them, or the oracle was made with `calibrate: false`.
   * @throws `signal.reason` on abort.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'DebiasedOracle.prefer');
    signal?.throwIfAborted();
    this.#check(queries, 'prefer', this.maxBatch);
    const { oracle, method, calibrate } = this.#options;
    if (method === 'pride' && !calibrate)
      throw new OracleError('DebiasedOracle.prefer: made with `calibrate: false`, it estimates and cannot be asked');
    const priors = await orAbort(
      Promise.all(queries.map(async ({ candidates }) => this.#priorOf(candidates.length))),
      signal,
    );
    const parts = queries.map((query) => this.#asked(query));
    const all = parts.flat();
    const owner = parts.flatMap((part, i) => part.map(() => i));
    const open = parts.map((part) => part.length);
    const answers = new Array<Preference | undefined>(all.length);
    const results = new Array<Preference | undefined>(queries.length);
    let asked = 0;
    const starts = parts.map(({ length }) => {
      asked += length;
      return asked - length;
    });
    const take = (position: number, given: unknown): void => {
      const i = owner[position];
      if (i === undefined || answers[position] !== undefined) return;
      answers[position] = checkPreference(all[position] as PreferenceQuery, given, oracle.id);
      open[i] = (open[i] as number) - 1;
      if (open[i] !== 0) return;
      const start = starts[i] as number;
      const part = parts[i] as readonly PreferenceQuery[];
      const answered = answers.slice(start, start + part.length) as Preference[];
      const result = this.#merge(queries[i] as PreferenceQuery, part, answered, priors[i]);
      results[i] = result;
      onResult?.(i, result);
    };
    const given = await preferInBatches(oracle, all, { ...(signal === undefined ? {} : { signal }), onResult: take });
    for (let position = 0; position < all.length; position++) take(position, given[position]);
    return results as Preference[];
  }

  /** Closes the oracle behind. */
  async close(): Promise<void> {
    await this.#options.oracle.close?.();
  }

  #check(queries: readonly PreferenceQuery[], method: string, maxBatch?: number): void {
    const bounds = { itemCount: this.itemCount };
    checkQueries(queries, maxBatch === undefined ? bounds : { ...bounds, maxBatch }, `DebiasedOracle.${method}`);
    if (this.#options.method !== 'pride') return;
    for (const [q, { candidates }] of queries.entries()) {
      if (this.#priors.has(candidates.length)) continue;
      const known = [...this.#priors.keys()].join(', ');
      throw new InvalidArgumentError(
        `DebiasedOracle.${method}: \`queries[${q}]\` has ${candidates.length} candidates, and \`calibration\` had questions of ${known}; add some of ${candidates.length}`,
        { argument: `queries[${q}].candidates`, got: candidates.length },
      );
    }
  }

  /** The questions behind a question. */
  #asked(query: PreferenceQuery): readonly PreferenceQuery[] {
    const { catalog, seed, method, permutations = query.candidates.length } = this.#options;
    const shown = new Rng(seed)
      .fork('debias')
      .fork(queryKey(catalog, query))
      .shuffle([...query.candidates]);
    return shifts(query, shown, method === 'cyclic' ? Math.min(permutations, shown.length) : 1);
  }

  #priorOf(K: number): undefined | Promise<ScoreRange> {
    const { method, contentFree, oracle } = this.#options;
    if (method !== 'contextual' && method !== 'pride') return undefined;
    let prior = this.#priors.get(K);
    if (prior === undefined) {
      // Shared by whoever asks meanwhile, hence without anybody's signal.
      prior = askPrior((contentFree ?? oracle) as ContentFree, K);
      prior.catch(() => this.#priors.delete(K));
      this.#priors.set(K, prior);
    }
    return prior;
  }

  #merge(
    query: PreferenceQuery,
    asked: readonly PreferenceQuery[],
    answers: readonly Preference[],
    prior: ScoreRange | undefined,
  ): Preference {
    const { method, noneThreshold, oracle } = this.#options;
    const failed = answers.find(({ kind }) => kind === 'failed');
    if (failed !== undefined) return failed;
    if (method === 'shuffle') {
      const [answer] = answers as [Exclude<Preference, { kind: 'failed' }>];
      const { candidates } = asked[0] as PreferenceQuery;
      return { ...answer, meta: { ...answer.meta, ...scoresByItem(answer.meta, candidates, query) } };
    }
    const meta = mergeMeta(answers);
    const usable = answers.flatMap((answer, p) =>
      answer.kind === 'choice' || answer.kind === 'none'
        ? [{ answer, shown: (asked[p] as PreferenceQuery).candidates }]
        : [],
    );
    const [first] = usable;
    if (first === undefined) return { ...(answers[0] as Extract<Preference, { kind: 'invalid' }>), meta };
    const rows = usable.map(({ answer, shown }) => scoresByItem(answer.meta, shown, query));
    if (!rows.every((row) => row !== undefined)) {
      if (method === 'cyclic') return { ...majority(usable.map(({ answer }) => answer)), meta };
      throw new OracleError(
        `DebiasedOracle: ${oracle.id} tells no scores, which '${method}' needs; take 'shuffle' or 'cyclic', or a \`languageModel\` with \`labelScores\``,
      );
    }
    const mean = meanOf(rows.map(({ scores, bounded }) => scoreRange(scores, bounded)));
    const divided = prior === undefined ? undefined : divideOut(mean, prior, query, first.shown);
    const weighed = divided?.candidates;
    const decision = decideInRange(mean, noneThreshold, weighed);
    const scores = divided?.scores ?? mean.high;
    const bounded = scores.map((_, i) => mean.low[i] !== mean.high[i] || weighed?.low[i] !== weighed?.high[i]);
    const isBounded = bounded.includes(true);
    const facts = { meta: { ...meta, scores, ...(isBounded ? { bounded } : {}) } };
    if (decision === 'none') return { kind: 'none', ...facts };
    if (decision === 'undecided') {
      const raw = isBounded ? 'which label is likeliest hangs on labels that are not listed' : 'no label is possible';
      return { kind: 'invalid', raw, ...facts };
    }
    return { kind: 'choice', choice: query.candidates[decision] as ItemIndex, ...facts };
  }
}

/** @throws {OracleError} when it tells something else than a log-probability a label. */
async function askPrior(contentFree: ContentFree, K: number): Promise<ScoreRange> {
  const told: unknown = await contentFree.contentFreeScores(K);
  const { logProbs, bounded } = (told ?? {}) as Partial<LabelScores>;
  const isScore = (score: unknown): boolean => typeof score === 'number' && score < Number.POSITIVE_INFINITY;
  if (Array.isArray(logProbs) && logProbs.length === K + 1 && logProbs.every(isScore))
    return scoreRange(logProbs.slice(0, K), Array.isArray(bounded) ? bounded : []);
  throw new OracleError(
    `DebiasedOracle: expected \`contentFreeScores(${K})\` to give { logProbs } with ${K + 1} log-probabilities, got ${describeValue(logProbs ?? told)}`,
  );
}

function isContentFree(oracle: PreferenceOracle): boolean {
  return typeof (oracle as Partial<ContentFree>).contentFreeScores === 'function';
}

/** A question with its candidates in `count` evenly spaced cyclic shifts of an order. */
function shifts(query: PreferenceQuery, shown: readonly ItemIndex[], count: number): readonly PreferenceQuery[] {
  return Array.from({ length: count }, (_, p) => {
    const by = Math.floor((p * shown.length) / count);
    return { ...query, candidates: [...shown.slice(by), ...shown.slice(0, by)] };
  });
}

function inEveryOrder(query: PreferenceQuery): readonly PreferenceQuery[] {
  return shifts(query, query.candidates, query.candidates.length);
}

/** PriDe, Eqs. 2-4: the softmax over labels of the mean over shifts of log p(label), averaged over the sample; in logs, by K. */
async function estimatePriors({
  oracle,
  calibration = [],
  signal,
}: z.output<typeof schema>): Promise<ReadonlyMap<number, ScoreRange>> {
  const parts = calibration.map(inEveryOrder);
  const answers = await preferInBatches(oracle, parts.flat(), signal === undefined ? {} : { signal });
  const sums = new Map<number, { readonly low: number[]; readonly high: number[]; n: number }>();
  let start = 0;
  for (const part of parts) {
    const K = part.length;
    const rows = part.map(({ candidates }, p) => {
      const answer = checkPreference({ history: [], candidates }, answers[start + p], oracle.id);
      if (answer.kind === 'failed')
        throw new OracleError(`DebiasedOracle: a calibration question failed: ${answer.error.message}`, {
          cause: answer.error,
        });
      const told = scoresByItem(answer.meta, candidates, { history: [], candidates });
      if (told === undefined)
        throw new OracleError(`DebiasedOracle: ${oracle.id} tells no scores, which 'pride' needs`);
      const { low, high } = scoreRange(told.scores.slice(0, K), told.bounded);
      return { low: low.map(asDivisor), high: high.map(asDivisor) };
    });
    start += K;
    const { low, high } = meanOf(rows);
    const sum = sums.get(K) ?? { low: new Array<number>(K).fill(0), high: new Array<number>(K).fill(0), n: 0 };
    for (let j = 0; j < K; j++) {
      sum.low[j] = (sum.low[j] as number) + Math.exp(logShare(j, low, high));
      sum.high[j] = (sum.high[j] as number) + Math.exp(logShare(j, high, low));
    }
    sum.n++;
    sums.set(K, sum);
  }
  const mean = (of: readonly number[], n: number): number[] => of.map((p) => Math.log(p / n));
  return new Map([...sums].map(([K, { low, high, n }]) => [K, { low: mean(low, n), high: mean(high, n) }]));
}

/** A log-prior as it is divided by. */
function asDivisor(logPrior: number): number {
  return Math.max(LEAST_LOG_PRIOR, logPrior);
}

/**
 * Divides the candidates' probabilities by their labels' prior.
 *
 * @returns `candidates` `[K]`, in the order of the query, and `scores` `[K + 1]`, one number each, bounds as they stand: there the
 * candidates' sum, hence None's odds against them, is as before.
 */
function divideOut(
  scores: ScoreRange,
  prior: ScoreRange,
  query: PreferenceQuery,
  shown: readonly ItemIndex[],
): { readonly candidates: ScoreRange; readonly scores: readonly number[] } {
  const K = query.candidates.length;
  const divide = (by: readonly number[], score: readonly number[]): number[] =>
    query.candidates.map((item, i) => (score[i] as number) - asDivisor(by[shown.indexOf(item)] as number));
  // The more a label weighs, the less its item has.
  const candidates = { low: divide(prior.high, scores.low), high: divide(prior.low, scores.high) };
  const told = divide(prior.high, scores.high);
  const after = logSumExp(told);
  if (after === Number.NEGATIVE_INFINITY) return { candidates, scores: scores.high };
  const before = logSumExp(scores.high.slice(0, K));
  return { candidates, scores: [...told.map((score) => score + before - after), scores.high[K] as number] };
}

/** Scores of one answer in the order of the query, None's last, and which are bounds; undefined where it tells none. */
function scoresByItem(
  meta: Meta | undefined,
  shown: readonly ItemIndex[],
  query: PreferenceQuery,
): { readonly scores: readonly number[]; readonly bounded?: readonly boolean[] } | undefined {
  const { scores, bounded } = meta ?? {};
  if (scores === undefined || scores.length !== shown.length + 1) return undefined;
  const places = [...query.candidates.map((item) => shown.indexOf(item)), shown.length];
  return {
    scores: places.map((place) => scores[place] as number),
    ...(Array.isArray(bounded) && bounded.includes(true)
      ? { bounded: places.map((place) => bounded[place] === true) }
      : {}),
  };
}

/** Mean of log-probabilities, place by place: a label's weight adds the same to every item over all shifts, and cancels. */
function meanOf(rows: readonly ScoreRange[]): ScoreRange {
  const [first] = rows as readonly [ScoreRange];
  const mean = (end: 'low' | 'high'): number[] =>
    first[end].map((_, j) => rows.reduce((sum, row) => sum + (row[end][j] as number), 0) / rows.length);
  return { low: mean('low'), high: mean('high') };
}

/** The answer given most often; of equals the one given first. */
function majority(
  answers: readonly Extract<Preference, { kind: 'choice' | 'none' }>[],
): Extract<Preference, { kind: 'choice' | 'none' }> {
  const votes = new Map<ItemIndex | 'none', number>();
  for (const answer of answers) {
    const vote = answer.kind === 'choice' ? answer.choice : 'none';
    votes.set(vote, (votes.get(vote) ?? 0) + 1);
  }
  const most = Math.max(...votes.values());
  const [winner] = [...votes].find(([, count]) => count === most) as [ItemIndex | 'none', number];
  return winner === 'none' ? { kind: 'none' } : { kind: 'choice', choice: winner };
}

/** What the calls behind one answer cost together, and their mean label mass. */
function mergeMeta(answers: readonly Preference[]): Meta {
  let usage: Usage | undefined;
  let isCached = true;
  const masses: number[] = [];
  for (const answer of answers) {
    const meta = answer.kind === 'failed' ? undefined : answer.meta;
    if (meta?.cached !== true) {
      isCached = false;
      usage = addUsage(usage, { ...meta?.usage, calls: meta?.usage?.calls ?? 1 });
    }
    if (meta?.labelMass !== undefined) masses.push(meta.labelMass);
  }
  return {
    ...(masses.length === 0 ? {} : { labelMass: masses.reduce((sum, mass) => sum + mass, 0) / masses.length }),
    ...(usage === undefined ? {} : { usage }),
    ...(isCached ? { cached: true } : {}),
  };
}
