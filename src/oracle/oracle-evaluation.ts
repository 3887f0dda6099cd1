import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import type { Rng } from '../foundation/rng.js';
import { fitConditionalLogit, type LogitList, logitScores } from './conditional-logit.js';
import type { EvaluationList, Negatives } from './next-item-lists.js';
import { cutBetween, type NoneThreshold, noneMargin, noneThresholdOf, type Readout } from './none-threshold.js';
import type { Preference, PreferenceQuery } from './preference-oracle.js';
import { deviation, mean, pairedGain, type ShareInterval, wilson } from './shares.js';
import { textOracleScore } from './text-oracle-score.js';

/** Who answered the lists of a row. */
export const EVALUATED = ['model', 'random', 'popularity', 'text', 'textPlusModel'] as const;

/** One answerer on the lists; shares 0..1, null where there is nothing to tell. */
export interface OracleRow {
  /** The oracle under examination, chance, the most frequent candidate, the best text similarity, or similarity and oracle together. */
  readonly oracle: (typeof EVALUATED)[number];
  /** The examined oracle's read-out: the run that the row belongs to. */
  readonly readout: Readout;
  /** How the lists' negatives were drawn. */
  readonly negatives: Negatives;
  /** Lists answered. */
  readonly lists: number;
  /** Mean of 1 / K. */
  readonly chance: number;
  /** Share of lists whose answer was the true item; a None is a miss. */
  readonly hitAt1: number | null;
  /** Lower end of the 95 % Wilson interval of `hitAt1`. */
  readonly hitAt1Low: number | null;
  /** Upper end of it. */
  readonly hitAt1High: number | null;
  /** The same when None is no answer: the candidate of the best score. */
  readonly hitForced: number | null;
  /** `hitForced`, or `hitAt1` without scores, less that of `text` on the same lists. */
  readonly gain: number | null;
  /** Lower end of the 95 % interval of `gain`, paired by list. */
  readonly gainLow: number | null;
  /** Upper end of it. */
  readonly gainHigh: number | null;
  /** Share of None on lists that hold the true item: false alarms. */
  readonly noneRate: number | null;
  /** Share of None on lists that do not: right ones. */
  readonly noneHit: number | null;
  /** Share of answers that name nothing. */
  readonly invalidRate: number | null;
  /** Mean probability mass on the labels. */
  readonly labelMass: number | null;
  /** Standard deviation over places of the recall of a truth that stands there. */
  readonly recallSpread: number | null;
  /** Share of lists whose answer another order changes. */
  readonly flipRate: number | null;
  /** Input and output tokens of an answer. */
  readonly tokensPerAnswer: number | null;
  /** Wall time of an answer that was not on record, at the oracle's concurrency. */
  readonly secondsPerAnswer: number | null;
}

/** How well an oracle knows what users took, and how much of that is position. Shares are 0..1. */
export interface OracleEvaluation {
  /** The oracle's id. */
  readonly oracle: string;
  /** As given. */
  readonly readout: Readout;
  /** As given. */
  readonly negatives: Negatives;
  /** Lists asked about. */
  readonly lists: number;
  /** Mean of 1 / K: hit@1 of a random choice. */
  readonly chance: number;
  /** Share of answered lists (all but failed) whose choice was the truth, in the first order; a None is a miss. NaN when none was answered. */
  readonly hitAt1: number;
  /** Lower end of the 95 % Wilson interval of `hitAt1`. */
  readonly hitAt1Low: number;
  /** Upper end of the 95 % Wilson interval of `hitAt1`. */
  readonly hitAt1High: number;
  /** hit@1 of the best-scored candidate, None left out; undefined where the oracle tells no scores. */
  readonly hitForced: number | undefined;
  /** `hitAt1` over the lists answered by a choice: how often an item that was named was the truth. NaN when none was. */
  readonly hitWhenChosen: number;
  /** Share of answered lists answered by None though they hold the truth. */
  readonly noneRate: number;
  /** Share of None on lists without the truth. NaN when none was asked. */
  readonly noneHit: number;
  /**
   * How well the answers tell lists with the truth from lists without, whatever the threshold: the chance that of one of each the
   * former looks less like a None (area under the curve). 0.5 tells nothing; NaN without such lists.
   */
  readonly noneAuc: number;
  /** Lists without the truth that were answered: what `noneHit` and `noneAuc` are of. */
  readonly noneLists: number;
  /** Where None would best be drawn; undefined where the oracle tells no scores, or no list without the truth was asked. */
  readonly noneThreshold: NoneThreshold | undefined;
  /** Share of answered lists answered by nothing usable. */
  readonly invalidRate: number;
  /** Share of all lists that nobody answered. */
  readonly failedRate: number;
  /** `[max K]` hit@1 over the lists that have the truth at that place, counted over both orders; NaN where there is none. */
  readonly recallByPosition: readonly number[];
  /** Standard deviation of `recallByPosition` over places (RStd); 0 for an oracle that does not look at places, up to noise. */
  readonly recallSpread: number;
  /** Share of lists with a choice or None in both orders whose answers differ. NaN when there is no such list. */
  readonly flipRate: number;
  /** Lists with a choice or None in both orders: what `flipRate` is of. */
  readonly secondOrders: number;
  /** Mean probability mass on the labels, where the oracle tells it. */
  readonly labelMass: number | undefined;
  /** Input and output tokens of an answer, where the oracle tells them; of answers that were not on record. */
  readonly tokensPerAnswer: number | undefined;
  /** Wall time over answers that were not on record, seconds; undefined when all were. */
  readonly secondsPerAnswer: number | undefined;
  /** What those answers cost in US dollars, where the oracle tells it. */
  readonly costUsd: number | undefined;
  /** The oracle, and those who need no model, on the same answered lists: the rows of `ialp oracle eval`. */
  readonly rows: readonly OracleRow[];
}

/** What is asked of one list. */
export interface Asked {
  readonly list: EvaluationList;
  readonly first: PreferenceQuery;
  readonly second: PreferenceQuery | undefined;
  readonly without: PreferenceQuery | undefined;
}

/** One list with what came back. */
export interface Answered extends Asked {
  readonly answer: Preference;
  readonly secondAnswer: Preference | undefined;
  readonly withoutAnswer: Preference | undefined;
}

/** What answers that were not on record took. */
export interface AnswerSpending {
  readonly tokens: number | undefined;
  readonly seconds: number | undefined;
  readonly costUsd: number | undefined;
}

/** What an evaluation was told. */
export interface Circumstances {
  readonly oracle: string;
  readonly readout: Readout;
  readonly negatives: Negatives;
  readonly counts: ArrayLike<number> | undefined;
  readonly catalog: Catalog | undefined;
  readonly rng: Rng;
}

/** What the answers say. */
export function summarise(all: readonly Answered[], spent: AnswerSpending, how: Circumstances): OracleEvaluation {
  const { oracle, readout, negatives } = how;
  const answered = all.filter(({ answer }) => answer.kind !== 'failed');
  const n = answered.length;
  const of = (kind: Preference['kind']): number => answered.filter(({ answer }) => answer.kind === kind).length;
  const hits = answered.map(({ answer, list }) => isHit(answer, list.truth));
  const interval = wilson(count(hits), n);
  const forced = forcedHits(answered);
  const nones = noneFacts(answered, readout);
  const positions = positionFacts(answered);
  const chance = mean(all.map(({ list }) => 1 / list.candidates.length));
  const masses = answered.flatMap(({ answer }) => {
    const mass = answer.kind === 'failed' ? undefined : answer.meta?.labelMass;
    return typeof mass === 'number' ? [mass] : [];
  });
  const labelMass = masses.length === 0 ? undefined : mean(masses);
  const noneRate = of('none') / n;
  const invalidRate = of('invalid') / n;
  const base = {
    readout,
    negatives,
    lists: n,
    chance: n === 0 ? chance : mean(answered.map(({ list }) => 1 / list.candidates.length)),
  };
  const model: OracleRow = {
    oracle: 'model',
    ...base,
    ...shares(interval),
    hitForced: forced === undefined ? null : orNull(count(forced) / n),
    ...NO_GAIN,
    noneRate: orNull(noneRate),
    noneHit: orNull(nones.noneHit),
    invalidRate: orNull(invalidRate),
    labelMass: labelMass ?? null,
    recallSpread: orNull(positions.recallSpread),
    flipRate: orNull(positions.flipRate),
    tokensPerAnswer: spent.tokens ?? null,
    secondsPerAnswer: spent.seconds ?? null,
  };
  return {
    oracle,
    readout,
    negatives,
    lists: all.length,
    chance,
    hitAt1: interval.share,
    hitAt1Low: interval.low,
    hitAt1High: interval.high,
    hitForced: forced === undefined ? undefined : count(forced) / n,
    hitWhenChosen: count(hits) / of('choice'),
    noneRate,
    ...nones,
    invalidRate,
    failedRate: (all.length - n) / all.length,
    ...positions,
    labelMass,
    tokensPerAnswer: spent.tokens,
    secondsPerAnswer: spent.seconds,
    costUsd: spent.costUsd,
    rows: rowsOf(model, answered, forced ?? hits, how),
  };
}

const NO_GAIN = { gain: null, gainLow: null, gainHigh: null } as const;

/** The model's row with those who need none, on the same lists. */
function rowsOf(
  model: OracleRow,
  answered: readonly Answered[],
  modelHits: readonly boolean[],
  { counts, catalog, rng }: Circumstances,
): OracleRow[] {
  const silent = {
    noneRate: null,
    noneHit: null,
    invalidRate: null,
    labelMass: null,
    recallSpread: null,
    flipRate: null,
    tokensPerAnswer: null,
    secondsPerAnswer: null,
  } as const;
  const { readout, negatives, lists, chance } = model;
  const row = (oracle: OracleRow['oracle'], hits: readonly boolean[], gain: Partial<OracleRow> = {}): OracleRow => {
    const interval = wilson(count(hits), hits.length);
    const base = { oracle, readout, negatives, lists, chance };
    return { ...base, ...shares(interval), hitForced: orNull(interval.share), ...NO_GAIN, ...gain, ...silent };
  };
  const chances = rng.fork('random');
  const random = answered.map(({ list }) => chances.integer(list.candidates.length) === 0);
  const rows = [model, row('random', random)];
  if (counts !== undefined) {
    const popular = answered.map(({ first, list }) =>
      isBest(
        first.candidates.map((item) => counts[item] as number),
        first.candidates.indexOf(list.truth),
      ),
    );
    rows.push(row('popularity', popular));
  }
  if (catalog === undefined) return rows;
  const texts = catalog.texts();
  const score = textOracleScore(texts);
  const textOf = (item: ItemIndex): string => texts[item] as string;
  const similarities = answered.map(({ first }) =>
    Array.from(score(first.history.map(textOf), first.candidates.map(textOf), undefined)),
  );
  const text = answered.map(({ first, list }, i) =>
    isBest(similarities[i] as number[], first.candidates.indexOf(list.truth)),
  );
  const both = textPlusModel(answered, similarities, rng.fork('halves'));
  rows[0] = { ...model, ...gainOver(text, modelHits) };
  rows.push(row('text', text), row('textPlusModel', both, gainOver(text, both)));
  return rows;
}

function gainOver(
  text: readonly boolean[],
  other: readonly boolean[],
): Pick<OracleRow, 'gain' | 'gainLow' | 'gainHigh'> {
  const { gain, low, high } = pairedGain(text, other);
  return { gain: orNull(gain), gainLow: orNull(low), gainHigh: orNull(high) };
}

/** Hits of the two-feature logit, each half of the users judged by the weights of the other. */
function textPlusModel(
  answered: readonly Answered[],
  similarities: readonly (readonly number[])[],
  rng: Rng,
): boolean[] {
  const lists = answered.map(({ first, list, answer }, i): LogitList => {
    const text = standardised(similarities[i] as readonly number[]);
    const model = standardised(modelScores(first, answer));
    return {
      features: text.map((value, k) => [value, model[k] as number]),
      truth: first.candidates.indexOf(list.truth),
    };
  });
  const users = new Map<string, number>();
  for (const [i, { list }] of answered.entries()) {
    const user = list.user ?? `list ${i}`;
    if (!users.has(user)) users.set(user, users.size);
  }
  const order = rng.shuffle([...users.keys()]);
  const half = new Map(order.map((user, place) => [user, place % 2]));
  const halves = answered.map(({ list }, i) => half.get(list.user ?? `list ${i}`) as number);
  const weights = [0, 1].map((side) =>
    fitConditionalLogit(
      lists.filter((_, i) => halves[i] !== side),
      2,
    ),
  );
  return lists.map((list, i) => isBest(logitScores(list, weights[halves[i] as number] as number[]), list.truth));
}

/** What the oracle says of each candidate: its scores, or 1 for the one it chose. */
function modelScores(query: PreferenceQuery, answer: Preference): number[] {
  const scores = candidateScores(answer, query.candidates.length);
  if (scores !== undefined) return scores;
  return query.candidates.map((item) => (isHit(answer, item) ? 1 : 0));
}

/** The scores of the K candidates, where the answer has them; what a model rules out stands a little below the rest. */
function candidateScores(answer: Preference | undefined, K: number): number[] | undefined {
  if (answer === undefined || answer.kind === 'failed' || answer.kind === 'invalid') return undefined;
  const scores = answer.meta?.scores;
  if (!Array.isArray(scores) || scores.length < K) return undefined;
  const own = (scores as readonly number[]).slice(0, K);
  const finite = own.filter((value) => Number.isFinite(value));
  if (finite.length === 0 || own.some((value) => typeof value !== 'number' || Number.isNaN(value))) return undefined;
  const lowest = Math.min(...finite) - 1;
  return own.map((value) => (Number.isFinite(value) ? value : lowest));
}

/** Values of one list with mean 0 and standard deviation 1; all 0 where they are alike. */
function standardised(values: readonly number[]): number[] {
  const centre = mean(values);
  const spread = deviation(values);
  return values.map((value) => (spread > 1e-12 ? (value - centre) / spread : 0));
}

/** Hits of the best-scored candidate; undefined unless every answer (but invalid ones, which miss) has scores. */
function forcedHits(answered: readonly Answered[]): boolean[] | undefined {
  const hits: boolean[] = [];
  for (const { answer, first, list } of answered) {
    const scores = candidateScores(answer, first.candidates.length);
    if (scores !== undefined) hits.push(isBest(scores, first.candidates.indexOf(list.truth)));
    else if (answer.kind === 'invalid') hits.push(false);
    else return undefined;
  }
  return hits.length === 0 ? undefined : hits;
}

type NoneFacts = Pick<OracleEvaluation, 'noneHit' | 'noneAuc' | 'noneLists' | 'noneThreshold'>;

function noneFacts(answered: readonly Answered[], readout: Readout): NoneFacts {
  const without = answered.flatMap(({ without, withoutAnswer }) =>
    without === undefined || withoutAnswer === undefined || withoutAnswer.kind === 'failed'
      ? []
      : [{ query: without, answer: withoutAnswer }],
  );
  const noneLists = without.length;
  if (noneLists === 0) return { noneHit: Number.NaN, noneAuc: Number.NaN, noneLists, noneThreshold: undefined };
  const noneHit = without.filter(({ answer }) => answer.kind === 'none').length / noneLists;
  const withTruth = answered.map(({ first, answer }) => ({ query: first, answer }));
  const margins = (pairs: readonly { query: PreferenceQuery; answer: Preference }[]): (number | undefined)[] =>
    pairs.map(({ query, answer }) => noneMargin(answer, query.candidates.length, readout));
  const high = margins(withTruth);
  const low = margins(without);
  const isTold = ![...high, ...low].includes(undefined);
  const cut = isTold ? cutBetween(high as number[], low as number[]) : undefined;
  if (cut !== undefined) {
    const noneAuc = areaUnderCurve(high as number[], low as number[]);
    return { noneHit, noneAuc, noneLists, noneThreshold: noneThresholdOf(cut, readout) };
  }
  const decisions = (pairs: readonly { answer: Preference }[]): number[] =>
    pairs.map(({ answer }) => (answer.kind === 'none' ? 0 : 1));
  const noneAuc = areaUnderCurve(decisions(withTruth), decisions(without));
  return { noneHit, noneAuc, noneLists, noneThreshold: undefined };
}

/** Chance that a value of `high` lies above one of `low`, ties counted half. */
function areaUnderCurve(high: readonly number[], low: readonly number[]): number {
  const sorted = [...high.map((at) => ({ at, is: 1 })), ...low.map((at) => ({ at, is: 0 }))].sort(
    (a, b) => a.at - b.at,
  );
  let lowBelow = 0;
  let wins = 0;
  for (let i = 0; i < sorted.length; ) {
    const { at } = sorted[i] as { at: number };
    let highs = 0;
    let lows = 0;
    for (; i < sorted.length && sorted[i]?.at === at; i++) {
      if (sorted[i]?.is === 1) highs++;
      else lows++;
    }
    wins += highs * (lowBelow + lows / 2);
    lowBelow += lows;
  }
  return wins / (high.length * low.length);
}

type PositionFacts = Pick<OracleEvaluation, 'recallByPosition' | 'recallSpread' | 'flipRate' | 'secondOrders'>;

function positionFacts(answered: readonly Answered[]): PositionFacts {
  const widest = Math.max(0, ...answered.map(({ list }) => list.candidates.length));
  const asked = new Int32Array(widest);
  const recalled = new Int32Array(widest);
  let secondOrders = 0;
  let flips = 0;
  for (const { list, first, second, answer, secondAnswer } of answered) {
    for (const [query, given] of [
      [first, answer],
      [second, secondAnswer],
    ] as const) {
      if (query === undefined || given === undefined || given.kind === 'failed') continue;
      const place = query.candidates.indexOf(list.truth);
      asked[place] = (asked[place] as number) + 1;
      if (isHit(given, list.truth)) recalled[place] = (recalled[place] as number) + 1;
    }
    const a = decision(answer);
    const b = secondAnswer === undefined ? undefined : decision(secondAnswer);
    if (a === undefined || b === undefined) continue;
    secondOrders++;
    if (a !== b) flips++;
  }
  const recallByPosition = Array.from(recalled, (hits, place) => hits / (asked[place] as number));
  return {
    recallByPosition,
    recallSpread: deviation(recallByPosition.filter((recall) => !Number.isNaN(recall))),
    flipRate: flips / secondOrders,
    secondOrders,
  };
}

/** Whether a place has the highest score, the first of equals counting: places are drawn, so ties are broken by chance. */
function isBest(scores: readonly number[], place: number): boolean {
  let best = 0;
  for (let k = 1; k < scores.length; k++) if ((scores[k] as number) > (scores[best] as number)) best = k;
  return best === place;
}

function isHit(answer: Preference, truth: ItemIndex): boolean {
  return answer.kind === 'choice' && answer.choice === truth;
}

/** The item, -1 for None, undefined where there is no decision. */
function decision(answer: Preference): number | undefined {
  if (answer.kind === 'choice') return answer.choice;
  return answer.kind === 'none' ? -1 : undefined;
}

function count(hits: readonly boolean[]): number {
  return hits.filter(Boolean).length;
}

function shares({ share, low, high }: ShareInterval): Pick<OracleRow, 'hitAt1' | 'hitAt1Low' | 'hitAt1High'> {
  return { hitAt1: orNull(share), hitAt1Low: orNull(low), hitAt1High: orNull(high) };
}

function orNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
