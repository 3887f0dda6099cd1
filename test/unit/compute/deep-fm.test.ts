import { describe, expect, it } from 'vitest';
import { DeepFm, type DeepFmOptions, type DeepFmRows } from '../../../src/compute/deep-fm.js';
import { DisposedError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { checkLeaks } from '../../../src/testing/leak-check.js';

describe('DeepFm', () => {
  const options: DeepFmOptions = {
    featureCount: 12,
    fieldCount: 2,
    embedding: 4,
    hidden: [8],
    l2: 0,
    learningRate: 0.03,
    batchSize: 18,
    epochs: 120,
    seed: 3,
  };
  // Two fields of six; the target is a product: no sum of single effects gives it.
  const pairs = Array.from({ length: 36 }, (_, n) => [n % 6, Math.floor(n / 6)] as const);
  const rows: DeepFmRows = {
    features: Int32Array.from(pairs.flatMap(([a, b]) => [a, 6 + b])),
    targets: Float32Array.from(pairs, ([a, b]) => (a < 3 ? 1 : -1) * (b % 2 === 0 ? 1 : -1)),
    weights: new Float32Array(36).fill(1),
  };
  const errorAfter = async (given: DeepFmOptions): Promise<number> => {
    const model = await DeepFm.fit(given, () => rows);
    const scores = model.predict(rows.features);
    model.dispose();
    return scores.reduce((sum, score, n) => sum + (score - (rows.targets[n] as number)) ** 2, 0) / 36;
  };

  it('learns a product of two fields, and nothing at rate 1e-6 or under a heavy penalty', async () => {
    expect(await errorAfter(options)).toBeLessThan(0.05);
    expect(await errorAfter({ ...options, learningRate: 1e-6 })).toBeGreaterThan(0.9);
    expect(await errorAfter({ ...options, l2: 1000 })).toBeGreaterThan(0.9);
  });

  it('gives the same bits under the same seed, others under another', async () => {
    const scores = async (seed: number): Promise<string> => {
      const model = await DeepFm.fit({ ...options, epochs: 3, seed }, () => rows);
      const text = model.predict(rows.features).join();
      model.dispose();
      return text;
    };
    expect(await scores(3)).toBe(await scores(3));
    expect(await scores(4)).not.toBe(await scores(3));
  });

  it('scores a row the same alone and among others', async () => {
    const model = await DeepFm.fit({ ...options, epochs: 3 }, () => rows);
    const together = model.predict(rows.features);
    for (const n of [0, 17, 35])
      expect(model.predict(rows.features.subarray(2 * n, 2 * n + 2))[0]).toBeCloseTo(together[n] as number, 5);
    model.dispose();
    expect(() => model.predict(rows.features)).toThrow(DisposedError);
  });

  it('leaves nothing behind, also when it is stopped or given rows that do not fit', async () => {
    await checkLeaks(async () => {
      (await DeepFm.fit({ ...options, epochs: 2 }, () => rows)).dispose();
      const abort = new AbortController();
      abort.abort(new Error('enough'));
      await expect(DeepFm.fit(options, () => rows, { signal: abort.signal })).rejects.toThrow('enough');
      const late = (epoch: number): DeepFmRows => (epoch === 0 ? rows : { ...rows, weights: new Float32Array(1) });
      await expect(DeepFm.fit(options, late)).rejects.toThrow(InvalidArgumentError);
    });
  });
});
