import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { checkPreferOptions, checkQueries, queryKey } from './check-query.js';
import { catalogSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';
import { type TextScore, textOracleScore } from './text-oracle-score.js';

/** What a {@link SimulatedOracle} knows of how popular items are, beside their texts. */
export interface SimulatedPopularity {
  /** How often each item was taken, `[A]`, >= 0; for instance `sequences.counts()`. */
  readonly counts: ArrayLike<number>;
  /** c: what one standard deviation of log(1 + count) adds to a score. 0.05 to 0.2 in learning.md 3. */
  readonly weight: number;
  /** Correlation of the oracle's belief with the truth, -1..1; the rest is noise fixed per item. @default 1 */
  readonly belief?: number;
}

/** Options of {@link SimulatedOracle}. */
export interface SimulatedOracleOptions {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** Rates candidates by texts. @default the text oracle of learning.md 3, fitted on the catalogue ({@link textOracleScore}) */
  readonly score?: TextScore;
  /** Names `score` in the oracle's `id`: change it when `score` changes. @default 'text@1', or 'custom' with a `score` of your own */
  readonly scoreName?: string;
  /** Standard deviation of the Gaussian noise on each score. @default 0.1 */
  readonly noise?: number;
  /** Answers None when the best noisy score is below this; -Infinity for never. @default 0.2 */
  readonly noneBelow?: number;
  /** Adds knowledge of what is popular. @default none: the oracle reads only text */
  readonly popularity?: SimulatedPopularity;
  /** Seed of the noise and of random answers. @default 0 */
  readonly seed?: number;
  /**
   * Negative control: each item is read as another one, by a permutation of the texts drawn from this seed. What is learned from
   * such answers must be worth no more than an untrained policy. @default absent
   */
  readonly shuffledText?: number;
  /** Negative controls that read nothing: a uniform choice among the candidates, or always None. @default absent */
  readonly control?: 'random' | 'alwaysNone';
}

const simulatedSchema = z
  .strictObject({
    catalog: catalogSchema,
    score: z
      .custom<TextScore>(
        (value) => typeof value === 'function',
        'expected a function (historyTexts, candidateTexts) => scores',
      )
      .optional(),
    scoreName: z.string().min(1).max(200).optional(),
    noise: z.number().min(0).max(1e6).default(0.1),
    noneBelow: z.union([z.number(), z.literal(Number.NEGATIVE_INFINITY)]).default(0.2),
    popularity: z
      .strictObject({
        counts: z.custom<ArrayLike<number>>(
          (value) =>
            typeof value === 'object' && value !== null && typeof (value as ArrayLike<number>).length === 'number',
          'expected an array of counts, one per item',
        ),
        weight: z.number(),
        belief: z.number().min(-1).max(1).default(1),
      })
      .optional(),
    seed: z.int().default(0),
    shuffledText: z.int().optional(),
    control: z.enum(['random', 'alwaysNone']).optional(),
  })
  .refine(
    (options) => options.control === undefined || (options.shuffledText === undefined && options.score === undefined),
    {
      message: '`control` reads no text: leave out `shuffledText` and `score`',
    },
  );

/**
 * An oracle without a language model: takes the candidate whose text fits the history best, with noise, or None when none fits.
 * The quick start and the tests run on it; it knows what text tells and no more, unless `popularity` is given.
 *
 * The noise is a function of seed, history, context, candidate *set* and item: asking again, in any order of calls or of
 * candidates, gives the same answer, so a resumed run equals an unbroken one. With an empty history every text score is 0, and
 * the answer is mostly None.
 */
export class SimulatedOracle implements PreferenceOracle {
  /** Every option that an answer depends on. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  readonly #catalog: Catalog;
  readonly #texts: readonly string[];
  readonly #score: TextScore | undefined;
  readonly #bonus: Float64Array | undefined;
  readonly #noise: number;
  readonly #noneBelow: number;
  readonly #control: 'random' | 'alwaysNone' | undefined;
  readonly #rng: Rng;

  /**
   * @param options - only `catalog` is needed.
   * @throws {InvalidArgumentError} for a wrong option, contradictory controls, or counts of another length than the catalogue.
   */
  constructor(options: SimulatedOracleOptions) {
    const checked = checkOptions(simulatedSchema, options, 'SimulatedOracle');
    const { catalog, popularity, noise, noneBelow, seed, shuffledText, control } = checked;
    this.#catalog = catalog;
    this.#noise = noise;
    this.#noneBelow = noneBelow;
    this.#control = control;
    this.#rng = new Rng(seed).fork('simulated-oracle');
    const texts = catalog.texts();
    this.#texts = shuffledText === undefined ? texts : exchanged(texts, shuffledText);
    if (control === undefined) this.#score = checked.score ?? textOracleScore(texts);
    if (popularity !== undefined) {
      this.#bonus = popularityBonus(
        popularity.counts,
        popularity.weight,
        popularity.belief,
        catalog.size,
        this.#rng.fork('belief'),
      );
    }
    const name = control ?? checked.scoreName ?? (checked.score === undefined ? 'text@1' : 'custom');
    const parts = [`simulated:${name}`, `noise=${noise}`, `none<${noneBelow}`, `seed=${seed}`];
    if (shuffledText !== undefined) parts.push(`shuffledText=${shuffledText}`);
    if (popularity !== undefined) {
      parts.push(`popularity=${popularity.weight}x${popularity.belief}#${fingerprint(popularity.counts)}`);
    }
    this.itemCount = catalog.size;
    this.id = parts.join('|');
  }

  /**
   * Answers at once; `meta.scores` holds the noisy scores and, for None, `noneBelow`.
   *
   * @throws {InvalidArgumentError} when a query is malformed. Any number of candidates from 2 on is accepted.
   * @throws `signal.reason` when the signal is aborted already.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'SimulatedOracle.prefer');
    signal?.throwIfAborted();
    const itemCount = this.#catalog.size;
    checkQueries(queries, { itemCount, maxCandidates: itemCount }, 'SimulatedOracle.prefer');
    return queries.map((query, i) => {
      const preference = this.#answer(query);
      onResult?.(i, preference);
      return preference;
    });
  }

  #answer(query: PreferenceQuery): Preference {
    if (this.#control === 'alwaysNone') return { kind: 'none' };
    // Sorted by id, so that neither noise nor a random choice depends on the order of the candidates or of the catalogue.
    const id = (item: ItemIndex): string => this.#catalog.id(item);
    const candidates = [...query.candidates].sort((a, b) => (id(a) < id(b) ? -1 : 1));
    const rng = this.#rng.fork('answer').fork(queryKey(this.#catalog, { ...query, candidates }));
    if (this.#control === 'random')
      return { kind: 'choice', choice: candidates[rng.integer(candidates.length)] as ItemIndex };

    const scores = this.#scores(query, candidates);
    if (scores === undefined) {
      return {
        kind: 'failed',
        error: new OracleError(`SimulatedOracle: expected \`score\` to give ${candidates.length} finite numbers`),
      };
    }
    let best = 0;
    for (let c = 0; c < candidates.length; c++) {
      const noise = this.#noise === 0 ? 0 : this.#noise * rng.normal();
      scores[c] = (scores[c] as number) + (this.#bonus?.[candidates[c] as number] ?? 0) + noise;
      if ((scores[c] as number) > (scores[best] as number)) best = c;
    }
    const byItem = new Map(candidates.map((item, c) => [item, scores[c] as number]));
    const meta = { scores: [...query.candidates.map((item) => byItem.get(item) as number), this.#noneBelow] };
    if ((scores[best] as number) < this.#noneBelow) return { kind: 'none', meta };
    return { kind: 'choice', choice: candidates[best] as ItemIndex, meta };
  }

  /** Noiseless scores of the sorted candidates, a copy; undefined when the user's `score` gave something else. */
  #scores(query: PreferenceQuery, candidates: readonly ItemIndex[]): Float64Array | undefined {
    const text = (item: ItemIndex): string => this.#texts[item] as string;
    const given = (this.#score as TextScore)(query.history.map(text), candidates.map(text), query.context);
    if (given?.length !== candidates.length) return undefined;
    const scores = Array.from(given as ArrayLike<unknown>);
    return scores.every((score) => Number.isFinite(score)) ? Float64Array.from(scores as number[]) : undefined;
  }
}

/** Each text in another item's place: one cycle through all of them, so that no item keeps its own. */
function exchanged(texts: readonly string[], seed: number): readonly string[] {
  const order = new Rng(seed).fork('shuffled-text').shuffle(Array.from(texts.keys()));
  const result = [...texts];
  for (let i = 0; i < order.length; i++) {
    result[order[i] as number] = texts[order[(i + 1) % order.length] as number] as string;
  }
  return result;
}

/** c times (r z + sqrt(1 - r²) noise), z the z-score of log(1 + count) over items. `[A]` */
function popularityBonus(counts: ArrayLike<number>, weight: number, belief: number, A: number, rng: Rng): Float64Array {
  if (counts.length !== A) {
    throw new InvalidArgumentError(
      `SimulatedOracle: expected \`popularity.counts\` to have ${A} entries, one per item, got ${counts.length}`,
      {
        argument: 'popularity.counts',
        wanted: `${A} entries`,
        got: counts.length,
      },
    );
  }
  const logs = Float64Array.from({ length: A }, (_, i) => {
    const count: unknown = counts[i];
    return typeof count === 'number' ? Math.log1p(count) : Number.NaN;
  });
  const bad = logs.findIndex((log) => !(log >= 0 && Number.isFinite(log)));
  if (bad >= 0) {
    throw new InvalidArgumentError(
      `SimulatedOracle: expected \`popularity.counts[${bad}]\` to be a number >= 0, got ${describeValue(counts[bad])}`,
      {
        argument: `popularity.counts[${bad}]`,
        wanted: 'a number >= 0',
        got: counts[bad],
      },
    );
  }
  const mean = logs.reduce((sum, log) => sum + log, 0) / A;
  const deviation = Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / A) || 1;
  const rest = Math.sqrt(1 - belief * belief);
  return logs.map((log) => weight * (belief * ((log - mean) / deviation) + (rest === 0 ? 0 : rest * rng.normal())));
}

/** FNV-1a of the counts: tells the popularity of one data set from another's in `id`. */
function fingerprint(counts: ArrayLike<number>): string {
  let hash = 0x811c9dc5;
  for (const character of Array.from(counts).join(','))
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, '0');
}
