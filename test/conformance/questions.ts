/** What the tests ask of a case, and what the loop model answers. */
import type { Cotangents, Want } from '../../src/compute/kernels.js';
import type { Rng } from '../../src/foundation/rng.js';
import type { Case } from './cases.js';
import type { Float64Scores } from './float64-model.js';

/** Items listed in each row by `scoresOf`. */
const LISTED = 4;

/** Outputs by name. */
export type Answers = Readonly<Record<string, ArrayLike<number>>>;

/** What is asked of one case in two forwards, and the cotangents that are sent back. */
export interface Questions {
  readonly actor: { readonly want: Want; readonly cotangents: Cotangents };
  readonly critic?: { readonly want: Want; readonly cotangents: Cotangents };
}

/** What a question depends on. */
export interface Asked {
  readonly batch: { readonly size: number };
  readonly model: Pick<Case['model'], 'critic' | 'itemCount'>;
  readonly rows: Pick<Case['rows'], 'allowed'>;
}

/** Random questions that use everything the case's model can answer. */
export function askEverything(test: Asked, rng: Rng): Questions {
  const B = test.batch.size;
  const { critic, itemCount } = test.model;
  const normals = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  const listed = (count: number): Int32Array => Int32Array.from({ length: B * LISTED }, () => rng.integer(count));
  const actions = Int32Array.from(test.rows.allowed, (allowed) => {
    const choices = allowed.flatMap((isAllowed, a) => (isAllowed ? [a] : []));
    return choices[rng.integer(choices.length)] as number;
  });
  const actorItems = listed(itemCount + 1);
  actorItems[LISTED - 1] = itemCount; // None is always among them.
  return {
    actor: {
      want: {
        logProbOf: actions,
        scoresOf: { head: 'actor', items: actorItems, width: LISTED },
        maxScore: 'actor',
        entropy: true,
        ...(critic === 'state' ? { value: true } : {}),
        ...(critic === 'action' ? { expectedScore: true } : {}),
      },
      cotangents: {
        logProb: normals(B),
        scores: normals(B * LISTED),
        entropy: normals(B),
        ...(critic === 'state' ? { value: normals(B) } : {}),
        ...(critic === 'action' ? { expectedScore: normals(B) } : {}),
      },
    },
    ...(critic === 'action'
      ? {
          critic: {
            want: { scoresOf: { head: 'critic', items: listed(itemCount), width: LISTED }, maxScore: 'critic' },
            cotangents: { scores: normals(B * LISTED) },
          },
        }
      : {}),
  };
}

/** What the loop model answers. Q inside E_pi[Q] is `heldQ` where given: no derivative goes through it. */
export function answer(
  test: Case,
  scores: Float64Scores,
  want: Want,
  heldQ?: Float64Scores['q'],
): Record<string, number[]> {
  const answers: Record<string, number[]> = {};
  const { logProbOf, scoresOf, maxScore } = want;
  const head = (name: 'actor' | 'critic') => (name === 'actor' ? scores.logits : scores.q);
  if (logProbOf !== undefined) answers.logProb = scores.logProb.map((row, b) => row[logProbOf[b] as number] as number);
  if (scoresOf !== undefined) {
    answers.scores = Array.from(scoresOf.items, (item, i) =>
      item === test.model.itemCount
        ? scores.noneLogit
        : (head(scoresOf.head)[Math.floor(i / scoresOf.width)]?.[item] as number),
    );
  }
  if (maxScore !== undefined) {
    answers.maxScore = head(maxScore).map((row, b) =>
      Math.max(...row.filter((_, a) => test.rows.allowed[b]?.[a] === true)),
    );
  }
  if (want.expectedScore === true) {
    const q = heldQ ?? scores.q;
    answers.expectedScore = scores.probability.map((row, b) =>
      row.reduce((total, probability, a) => total + probability * (q[b]?.[a] as number), 0),
    );
  }
  if (want.entropy === true) answers.entropy = [...scores.entropy];
  if (want.value === true) answers.value = [...scores.value];
  return answers;
}
