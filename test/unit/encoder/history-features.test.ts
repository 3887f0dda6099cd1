import { describe, expect, it } from 'vitest';
import { historyBatch } from '../../../src/compute/history-batch.js';
import type { HistoryFeatureForm, HistoryFeatures } from '../../../src/compute/history-features.js';
import { historyFeatures } from '../../../src/encoder/history-features.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const A = 6;
const catalog = {
  size: A,
  attributes: ['category'],
  attributeCodes: () => Int32Array.of(0, 0, 1, 1, 2, -1),
};

/** Unit rows in the plane, at these angles. */
const angles = [0, 0.3, 1, 2, 3, 4];
const features = {
  width: 2,
  matrix: Float32Array.from(angles.flatMap((angle) => [Math.cos(angle), Math.sin(angle)])),
};
const cosine = (a: number, b: number): number => Math.cos((angles[a] as number) - (angles[b] as number));

function planesOf(
  made: ReturnType<typeof historyFeatures>,
  histories: number[][],
): (name: string, row: number) => number[] {
  const batch = historyBatch(histories);
  const values = made.planes(batch);
  expect(values.length).toBe(made.names.length * batch.size * A);
  return (name, row) => {
    const plane = made.names.indexOf(name);
    expect(plane).toBeGreaterThanOrEqual(0);
    const from = (plane * batch.size + row) * A;
    return [...values.slice(from, from + A)];
  };
}

describe('historyFeatures', () => {
  it('marks what was shown j steps ago', () => {
    const made = historyFeatures({ catalog, repeats: 3 });
    expect(made.names).toEqual(['repeat1', 'repeat2', 'repeat3']);
    const plane = planesOf(made, [[5, 4, 1, 2], [3], []]);
    expect(plane('repeat1', 0)).toEqual([0, 0, 1, 0, 0, 0]);
    expect(plane('repeat2', 0)).toEqual([0, 1, 0, 0, 0, 0]);
    expect(plane('repeat3', 0)).toEqual([0, 0, 0, 0, 1, 0]);
    expect(plane('repeat1', 1)).toEqual([0, 0, 0, 1, 0, 0]);
    expect(plane('repeat2', 1)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(plane('repeat1', 2)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('compares attributes with the last item and with the recent ones', () => {
    const made = historyFeatures({ catalog, repeats: 0, attributes: ['category'] });
    expect(made.names).toEqual(['category:last', 'category:recent']);
    // Categories, oldest first: 0, 1, 1; weights 0.64, 0.8, 1.
    const plane = planesOf(made, [
      [0, 2, 3],
      [4, 5],
    ]);
    expect(plane('category:last', 0)).toEqual([0, 0, 1, 1, 0, 0]);
    const total = 0.64 + 0.8 + 1;
    const share = [0.64, 0.64, 1.8, 1.8, 0, 0].map((weight) => weight / total);
    plane('category:recent', 0).forEach((value, item) => {
      expect(value).toBeCloseTo(share[item] as number, 6);
    });
    // An item without the attribute equals none, itself included.
    expect(plane('category:last', 1)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(plane('category:recent', 1)[4]).toBeCloseTo(0.8 / 1.8, 6);
    expect(plane('category:recent', 1)[5]).toBe(0);
  });

  it('gives text cosines to the last, the recent and the best match', () => {
    const made = historyFeatures({ catalog, features, repeats: 0 });
    expect(made.names).toEqual(['text:last', 'text:recent', 'text:max']);
    for (let again = 0; again < 2; again++) {
      const plane = planesOf(made, [[4, 1], []]);
      for (let item = 0; item < A; item++) {
        expect(plane('text:last', 0)[item]).toBeCloseTo(cosine(1, item), 5);
        expect(plane('text:recent', 0)[item]).toBeCloseTo((cosine(1, item) + 0.8 * cosine(4, item)) / 1.8, 5);
        expect(plane('text:max', 0)[item]).toBeCloseTo(Math.max(cosine(1, item), cosine(4, item)), 5);
      }
      expect(plane('text:max', 1)).toEqual([0, 0, 0, 0, 0, 0]);
    }
  });

  it('is as the definition says on long histories, where only the last 32 items count', () => {
    const made = historyFeatures({ catalog, features, repeats: 2, attributes: ['category'] });
    const history = Array.from({ length: 50 }, (_, i) => (i * 7 + 3) % A);
    const plane = planesOf(made, [history]);
    const recent = history.slice(-32).reverse();
    const total = recent.reduce((sum, _, age) => sum + 0.8 ** age, 0);
    for (let item = 0; item < A; item++) {
      const mean = recent.reduce((sum, other, age) => sum + 0.8 ** age * cosine(item, other), 0) / total;
      expect(plane('text:recent', 0)[item]).toBeCloseTo(mean, 5);
    }
  });

  it('carries a description of what it computes, which a copy with other planes does not', () => {
    const made = historyFeatures({ catalog, features, repeats: 2, attributes: ['category'] });
    expect(made.form).toEqual({
      repeats: 2,
      attributes: [catalog.attributeCodes()],
      text: { matrix: features.matrix, width: 2 },
      decay: 0.8,
      recent: 32,
    });
    const { repeats, attributes, text } = made.form as HistoryFeatureForm;
    expect(made.names.length).toBe(repeats + 2 * attributes.length + (text === undefined ? 0 : 3));
    expect(historyFeatures({ catalog, features, text: false }).form?.text).toBeUndefined();
    const own: HistoryFeatures = { ...made, planes: (batch) => new Float32Array(7 * batch.size * A) };
    expect(own.form).toBeUndefined();
  });

  it.each([
    ['an unknown attribute', () => historyFeatures({ catalog, attributes: ['brand'] })],
    ['text without features', () => historyFeatures({ catalog, text: true })],
    [
      'features of another catalogue',
      () => historyFeatures({ catalog, features: { width: 2, matrix: new Float32Array(8) } }),
    ],
    ['no plane at all', () => historyFeatures({ catalog, repeats: 0 })],
    ['an unknown option', () => historyFeatures({ catalog, repeat: 3 } as never)],
  ])('refuses %s', (_, call) => {
    expect(call).toThrow(InvalidArgumentError);
  });
});
