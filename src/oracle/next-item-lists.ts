import { z } from 'zod';
import type { ItemIndex } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { countsSchema } from './option-schemas.js';

/** One held-out question whose answer is known. */
export interface EvaluationList {
  /** x₁:ₜ, oldest first. */
  readonly history: readonly ItemIndex[];
  /** K distinct items, the true one among them. */
  readonly candidates: readonly ItemIndex[];
  /** What the user really took next. */
  readonly truth: ItemIndex;
  /** One more negative, none of the candidates: it takes the truth's place in the list whose answer is None. @default no such list */
  readonly replacement?: ItemIndex;
  /** Whose list it is; lists of one user are never divided between fitting and judging. @default a user of its own */
  readonly user?: string;
}

/** How the items beside the true one are drawn: each alike, or in proportion to how often it was taken. */
export type Negatives = 'uniform' | 'popularity';

/** Options of {@link nextItemLists}. */
export interface NextItemListOptions {
  /** What users took, oldest first. */
  readonly sequences: Sequences;
  /** K, from 2. @default 10 */
  readonly candidateCount?: number;
  /** Latest items before the true one shown as history. @default 10 */
  readonly historyLength?: number;
  /** How negatives are drawn; `'popularity'` needs `counts`. No item of the whole sequence is one. @default 'uniform' */
  readonly negatives?: Negatives;
  /** How often each item was taken by users a recommender may learn from, `[A]`. */
  readonly counts?: ArrayLike<number>;
  /** Which items of a sequence are asked for: its last, or any but the first. @default 'last' */
  readonly targets?: 'last' | 'any';
  /** Most lists. @default one for each target */
  readonly limit?: number;
  /** Seed of targets, negatives and the places of the truth. @default 0 */
  readonly seed?: number;
}

/** Ratings of users, for data without sequences. */
export interface RatedListOptions {
  /** `[U, A]` row-major ratings 1-5, 0 = not rated. */
  readonly ratings: ArrayLike<number>;
  /** A. */
  readonly itemCount: number;
  /** Numbers of the users who are asked about. */
  readonly users: ArrayLike<number>;
  /** Lowest rating that says the user likes an item. @default 4 */
  readonly likedFrom?: number;
  /** Highest rating that says the user dislikes an item, below `likedFrom`; what lies between is in no list. @default 2 */
  readonly dislikedUpTo?: number;
  /** K, from 2: one liked item and K - 1 disliked ones. @default 10 */
  readonly candidateCount?: number;
  /** Most lists; every user has one before any has two. @default one for each liked item */
  readonly limit?: number;
  /** Seed of the draws. @default 0 */
  readonly seed?: number;
}

const sequencesSchema = z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences');

const nextItemSchema = z
  .strictObject({
    sequences: sequencesSchema,
    candidateCount: z.int().min(2).default(10),
    historyLength: z.int().min(1).default(10),
    negatives: z.enum(['uniform', 'popularity']).default('uniform'),
    counts: countsSchema.optional(),
    targets: z.enum(['last', 'any']).default('last'),
    limit: z.int().min(1).optional(),
    seed: z.int().default(0),
  })
  .refine(({ negatives, counts }) => negatives === 'uniform' || counts !== undefined, {
    message: "negatives 'popularity' need `counts`, how often each item was taken",
    path: ['counts'],
  })
  .refine(({ counts, sequences }) => counts === undefined || counts.length === sequences?.catalogSize, {
    message: 'expected one count for each item of the catalogue',
    path: ['counts'],
  });

const ratedSchema = z
  .strictObject({
    ratings: countsSchema,
    itemCount: z.int().min(2),
    users: countsSchema,
    likedFrom: z.number().min(1).default(4),
    dislikedUpTo: z.number().min(1).default(2),
    candidateCount: z.int().min(2).default(10),
    limit: z.int().min(1).optional(),
    seed: z.int().default(0),
  })
  .refine(({ ratings, itemCount }) => ratings.length % itemCount === 0, {
    message: 'expected `ratings` to have a row of `itemCount` for each user',
    path: ['ratings'],
  })
  .refine(({ likedFrom, dislikedUpTo }) => dislikedUpTo < likedFrom, {
    message: 'expected `dislikedUpTo` below `likedFrom`',
    path: ['dislikedUpTo'],
  })
  .refine(
    ({ users, ratings, itemCount }) =>
      Array.from(users).every((user) => Number.isInteger(user) && user >= 0 && user < ratings.length / itemCount),
    { message: 'expected numbers of users with a row', path: ['users'] },
  );

const splitSchema = z.strictObject({ seed: z.int() });

/** Draws that may fail before a list is given up: where few items have a count, negatives in proportion to it do not suffice. */
const MOST_DRAWS = 10_000;

/** Users of the three parts, of one log. */
export interface UserParts {
  /** Who may be learned from: popularity, fine-tuning. */
  readonly train: Sequences;
  /** Who decides settings. */
  readonly validation: Sequences;
  /** Who judges. */
  readonly test: Sequences;
}

/**
 * Deals users into 70 % train, 10 % validation and 20 % test: the parts that evaluation and the fine-tuning export share, so that
 * nobody is in both. Where each user has one sequence these are the splits of the sequence worlds. Sequences without users count
 * as one user each, named by place.
 *
 * @throws {InvalidArgumentError} when there are too few to deal.
 */
export function splitUsers(sequences: Sequences, options: { readonly seed: number }): UserParts {
  checkOptions(sequencesSchema, sequences, 'splitUsers: sequences');
  const { seed } = checkOptions(splitSchema, options, 'splitUsers');
  const named =
    sequences.users !== undefined
      ? sequences
      : Sequences.from(
          Array.from({ length: sequences.count }, (_, i) => sequences.sequence(i)),
          {
            itemCount: sequences.catalogSize,
            users: Array.from({ length: sequences.count }, (_, i) => `sequence ${i}`),
          },
        );
  const [train, validation, test] = named.split({ seed, by: 'user', fractions: [0.7, 0.1, 0.2] });
  return { train, validation, test } as UserParts;
}

/**
 * Lists "the item this user really took next, among others" from sequences. Sequences of one item give none, nor do those that
 * leave too few other items. The true item stands at a uniformly drawn place.
 *
 * @returns at most `limit` lists, each with a `replacement` where another negative was to be had.
 * @throws {InvalidArgumentError} for a wrong option, also popularity negatives without counts.
 */
export function nextItemLists(options: NextItemListOptions): EvaluationList[] {
  const checked = checkOptions(nextItemSchema, options, 'nextItemLists');
  const { sequences, candidateCount, historyLength, negatives, counts, targets, limit, seed } = checked;
  const rng = new Rng(seed).fork('next-item-lists');
  const draw = negatives === 'uniform' ? uniformDraw(sequences.catalogSize) : weightedDraw(counts as ArrayLike<number>);
  const lists: EvaluationList[] = [];
  for (const { sequence: s, place } of targetsOf(sequences, targets, rng.fork('targets'))) {
    if (lists.length === limit) break;
    const sequence = Array.from(sequences.sequence(s));
    const truth = sequence[place] as ItemIndex;
    const draws = rng.fork(`${s}/${place}`);
    // One more than the list needs: the replacement.
    const others = drawOthers(new Set(sequence), candidateCount, draw, draws);
    if (others.length < candidateCount - 1) continue;
    lists.push({
      history: sequence.slice(Math.max(0, place - historyLength), place),
      ...listOf(truth, others, candidateCount, draws),
      user: sequences.users?.[s] ?? `sequence ${s}`,
    });
  }
  return lists;
}

/**
 * Lists "one item that this user likes against those that they dislike" from ratings, for data without sequences. The history is
 * what else the user likes, in drawn order, the ratings having none. Users who like one item, or dislike fewer than K - 1, give no list.
 *
 * @returns at most `limit` lists of K items, each with a `replacement` where more than K - 1 are disliked.
 * @throws {InvalidArgumentError} for a wrong option.
 */
export function ratedLists(options: RatedListOptions): EvaluationList[] {
  const checked = checkOptions(ratedSchema, options, 'ratedLists');
  const { ratings, itemCount, users, likedFrom, dislikedUpTo, candidateCount, limit, seed } = checked;
  const rng = new Rng(seed).fork('rated-lists');
  const rows = rng.fork('users').shuffle(Array.from(users));
  const byUser = rows.map((user) => {
    const draws = rng.fork(user);
    const liked: ItemIndex[] = [];
    const disliked: ItemIndex[] = [];
    for (let item = 0; item < itemCount; item++) {
      const rating = ratings[user * itemCount + item] as number;
      if (rating >= likedFrom) liked.push(item);
      else if (rating > 0 && rating <= dislikedUpTo) disliked.push(item);
    }
    if (liked.length < 2 || disliked.length < candidateCount - 1) return [];
    return draws.shuffle(liked).map((truth, i): EvaluationList => {
      const others = draws.shuffle([...disliked]).slice(0, candidateCount);
      return { history: liked.toSpliced(i, 1), ...listOf(truth, others, candidateCount, draws), user: `user ${user}` };
    });
  });
  const lists: EvaluationList[] = [];
  for (let round = 0; byUser.some((own) => own.length > round); round++) {
    for (const own of byUser) {
      const list = own[round];
      if (list !== undefined && lists.length !== limit) lists.push(list);
    }
  }
  return lists;
}

/** The truth at a drawn place among the first `size - 1` others; the next one is the replacement. */
function listOf(
  truth: ItemIndex,
  others: readonly ItemIndex[],
  size: number,
  rng: Rng,
): Pick<EvaluationList, 'candidates' | 'truth' | 'replacement'> {
  const candidates = others.slice(0, size - 1);
  candidates.splice(rng.integer(size), 0, truth);
  const replacement = others[size - 1];
  return replacement === undefined ? { candidates, truth } : { candidates, truth, replacement };
}

/** Places to ask for, in drawn order. */
function targetsOf(
  sequences: Sequences,
  targets: 'last' | 'any',
  rng: Rng,
): { readonly sequence: number; readonly place: number }[] {
  const places: { sequence: number; place: number }[] = [];
  for (let s = 0; s < sequences.count; s++) {
    const last = sequences.sequence(s).length - 1;
    for (let place = targets === 'last' ? Math.max(1, last) : 1; place <= last; place++) {
      places.push({ sequence: s, place });
    }
  }
  return rng.shuffle(places);
}

type Draw = (rng: Rng) => ItemIndex;

function uniformDraw(size: number): Draw {
  return (rng) => rng.integer(size);
}

/** Inverse CDF over counts. */
function weightedDraw(counts: ArrayLike<number>): Draw {
  const sums = new Float64Array(counts.length);
  let total = 0;
  for (let i = 0; i < counts.length; i++) {
    total += counts[i] as number;
    sums[i] = total;
  }
  if (total === 0) {
    const message = 'nextItemLists: expected `counts` of which one is above 0, to draw by; all are 0';
    throw new InvalidArgumentError(message, { argument: 'counts' });
  }
  return (rng) => {
    const at = rng.uniform() * total;
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sums[middle] as number) > at) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}

function drawOthers(taken: Set<ItemIndex>, wanted: number, draw: Draw, rng: Rng): ItemIndex[] {
  const others: ItemIndex[] = [];
  for (let draws = 0; others.length < wanted && draws < MOST_DRAWS; draws++) {
    const item = draw(rng);
    if (taken.has(item)) continue;
    taken.add(item);
    others.push(item);
  }
  return others;
}
