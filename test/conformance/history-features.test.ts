/** The library's history features against their definition, item by item. */
import { describe, expect, it } from 'vitest';
import { historyBatch } from '../../src/compute/history-batch.js';
import { historyFeatures } from '../../src/encoder/history-features.js';
import { Rng } from '../../src/foundation/rng.js';

const A = 13;
const WIDTH = 6;
const REPEATS = 3;
const rng = new Rng('history features');

/** Unit rows; the last item has no text. */
const texts = Array.from({ length: A }, (_, a) => {
  const row = Array.from({ length: WIDTH }, () => (a === A - 1 ? 0 : rng.normal()));
  const norm = Math.hypot(...row) || 1;
  return row.map((x) => Math.fround(x / norm));
});
/** Item 5 has no category. */
const categories = Array.from({ length: A }, (_, a) => (a === 5 ? -1 : a % 4));
const histories = [
  [],
  [2],
  [5],
  [4, 5],
  [1, 12, 2, 2, 7],
  Array.from({ length: 45 }, (_, i) => (i < 9 ? 3 : (i * 5) % A)),
];

function cosine(a: number, b: number): number {
  return (texts[a] as number[]).reduce((sum, x, d) => sum + x * (texts[b]?.[d] as number), 0);
}

/** All planes of one history and item, by name. */
function definition(history: readonly number[], item: number): Record<string, number> {
  const newestFirst = history.toReversed();
  const recent = newestFirst.slice(0, 32);
  const values: Record<string, number> = {};
  for (let j = 1; j <= REPEATS; j++) values[`repeat${j}`] = newestFirst[j - 1] === item ? 1 : 0;
  const isSame = (other: number) => categories[item] !== -1 && categories[other] === categories[item];
  const weighted = (value: (other: number) => number): number => {
    const total = recent.reduce((sum, _, age) => sum + 0.8 ** age, 0);
    return total === 0 ? 0 : recent.reduce((sum, other, age) => sum + 0.8 ** age * value(other), 0) / total;
  };
  const last = newestFirst[0];
  values['category:last'] = last !== undefined && isSame(last) ? 1 : 0;
  values['category:recent'] = weighted((other) => (isSame(other) ? 1 : 0));
  values['text:last'] = last === undefined ? 0 : cosine(item, last);
  values['text:recent'] = weighted((other) => cosine(item, other));
  values['text:max'] = recent.length === 0 ? 0 : Math.max(...recent.map((other) => cosine(item, other)));
  return values;
}

describe('historyFeatures', () => {
  const features = historyFeatures({
    catalog: { size: A, attributes: ['category'], attributeCodes: () => Int32Array.from(categories) },
    features: { matrix: Float32Array.from(texts.flat()), width: WIDTH },
    repeats: REPEATS,
    attributes: ['category'],
  });

  it('are what they say for every history, item and plane', () => {
    const planes = features.planes(historyBatch(histories));
    let different = 0;
    histories.forEach((history, b) => {
      for (let a = 0; a < A; a++) {
        const wanted = definition(history, a);
        const shortened = definition(history.slice(0, -1), a);
        expect(Object.keys(wanted).toSorted()).toEqual([...features.names].toSorted());
        features.names.forEach((name, f) => {
          const got = planes[(f * histories.length + b) * A + a] as number;
          expect(got, `${name} of row ${b}, item ${a}`).toBeCloseTo(wanted[name] as number, 5);
          if (Math.abs(got - (shortened[name] as number)) > 1e-3) different++;
        });
      }
    });
    expect(different, 'the planes must depend on the last item').toBeGreaterThan(100);
  });

  it('have the z-score of a prior in every row, the empty history too', () => {
    const prior = Array.from({ length: A }, (_, a) => 3 + a * a);
    const catalog = { size: A, attributes: [], attributeCodes: () => new Int32Array(0) };
    const made = historyFeatures({ catalog, repeats: 1, prior });
    expect(made.names).toEqual(['repeat1', 'prior']);
    const plane = made.planes(historyBatch(histories)).subarray(histories.length * A);
    const mean = prior.reduce((sum, x) => sum + x, 0) / A;
    const deviation = Math.sqrt(prior.reduce((sum, x) => sum + (x - mean) ** 2, 0) / A);
    for (const [i, value] of plane.entries()) {
      expect(value).toBeCloseTo(((prior[i % A] as number) - mean) / deviation, 5);
    }
    // Equal numbers tell nothing, and must not become what is left of rounding.
    const flat = historyFeatures({ catalog, repeats: 0, prior: new Array<number>(A).fill(0.1) });
    expect(flat.planes(historyBatch([[1]])).every((value) => value === 0)).toBe(true);
    for (const wrong of [[1, 2], prior.map((x, i) => (i === 4 ? Number.NaN : x))]) {
      expect(() => historyFeatures({ catalog, prior: wrong })).toThrow(/`prior`/);
    }
  });

  it('compare texts by their exact terms where the features have them', () => {
    const terms = {
      offsets: Int32Array.from({ length: A + 1 }, (_, a) => 2 * a),
      terms: Int32Array.from({ length: 2 * A }, (_, i) => (i >> 1) + (i & 1)),
      weights: new Float32Array(2 * A).fill(Math.SQRT1_2),
      termCount: A + 1,
    };
    const catalog = { size: A, attributes: [], attributeCodes: () => new Int32Array(0) };
    const matrix = Float32Array.from(texts.flat());
    const planes = historyFeatures({ catalog, repeats: 0, features: { matrix, width: WIDTH, terms } }).planes(
      historyBatch([[4]]),
    );
    // Each item shares one of two equal terms with its neighbours.
    const last = Array.from(planes.subarray(0, A));
    for (const [a, value] of last.entries()) {
      expect(value).toBeCloseTo(a === 4 ? 1 : Math.abs(a - 4) === 1 ? 0.5 : 0, 5);
    }
  });
});
