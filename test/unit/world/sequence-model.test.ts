import { beforeAll, describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { useBackend } from '../../../src/compute/backend.js';
import { type HistoryBatch, historyBatch, selectRows } from '../../../src/compute/history-batch.js';
import type { LogitModel } from '../../../src/env/reward-model.js';
import { DisposedError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { checkLeaks } from '../../../src/testing/index.js';
import {
  EnsembleModel,
  judgeSequenceModel,
  SequenceModel,
  type TrainedSequenceModel,
  trainSequenceModel,
} from '../../../src/world/sequence-model.js';
import { TINY_ITEMS, TINY_MODEL, tinySequences } from './tiny-sequences.js';

const A = TINY_ITEMS;
const form = { ...TINY_MODEL, itemCount: A, window: 6 };
const train = (seed: number, maxEpochs = TINY_MODEL.maxEpochs, negatives = TINY_MODEL.negatives) =>
  trainSequenceModel(tinySequences(300, 1), tinySequences(60, 2), {
    settings: { ...TINY_MODEL, maxEpochs, negatives },
    window: 6,
    seed,
  });

/** Histories of every length, longer than the window included. */
function someHistories(size: number): HistoryBatch {
  const rng = new Rng(5);
  return historyBatch(
    Array.from({ length: size }, (_, row) => Array.from({ length: row % 10 }, () => rng.integer(A))),
    { length: 12 },
  );
}

let fitted: TrainedSequenceModel;
let model: SequenceModel;

beforeAll(async () => {
  await useBackend('wasm');
  fitted = await train(1);
  model = new SequenceModel(form, fitted.parameters);
});

describe('SequenceModel', () => {
  it('scores one item as it scores all of them', () => {
    const histories = someHistories(37);
    const all = model.scoreAll(histories, new Float32Array(37 * A));
    const actions = Int32Array.from({ length: 37 }, (_, row) => (row * 7) % A);
    const one = model.score(histories, actions, new Float32Array(37));
    one.forEach((score, row) => {
      expect(score).toBeCloseTo(all[row * A + (actions[row] as number)] as number, 5);
    });
  });

  it('gives each row the same bits alone, among others, and in a batch of other width', () => {
    const histories = someHistories(37);
    const actions = Int32Array.from({ length: 37 }, (_, row) => (row * 7) % A);
    const together = model.score(histories, actions, new Float32Array(37));
    const all = model.scoreAll(histories, new Float32Array(37 * A));
    for (let row = 0; row < 37; row++) {
      const { items, lengths } = selectRows(histories, [row]);
      const alone = historyBatch([items.slice(0, lengths[0])]);
      expect(model.score(alone, actions.slice(row, row + 1), new Float32Array(1))[0]).toBe(together[row]);
      expect(model.scoreAll(alone, new Float32Array(A))).toEqual(all.slice(row * A, (row + 1) * A));
    }
  });

  it('leaves the output of idle rows alone', () => {
    const histories = someHistories(5);
    const whole = model.score(histories, Int32Array.of(1, 2, 3, 4, 5), new Float32Array(5));
    const some = model.score(histories, Int32Array.of(-1, 2, -1, 4, -1), new Float32Array(5).fill(9));
    expect(some).toEqual(Float32Array.of(9, whole[1] as number, 9, whole[3] as number, 9));
    const none = new Float32Array(5).fill(9);
    expect(model.score(histories, new Int32Array(5).fill(-1), none)).toEqual(new Float32Array(5).fill(9));
  });

  it('reads no more than the window', () => {
    const long = historyBatch([[9, 9, 1, 2, 3, 4, 5, 6]]);
    const short = historyBatch([[1, 2, 3, 4, 5, 6]]);
    const shorter = historyBatch([[2, 3, 4, 5, 6]]);
    const of = (histories: HistoryBatch) => model.scoreAll(histories, new Float32Array(A));
    expect(of(long)).toEqual(of(short));
    expect(of(shorter)).not.toEqual(of(short));
  });

  it('refuses parameters of another form', () => {
    expect(() => new SequenceModel({ ...form, width: 16 }, fitted.parameters)).toThrow(
      expect.objectContaining({ code: 'CHECKPOINT' }),
    );
  });

  it('leaves nothing behind, and is not used after dispose', async () => {
    const histories = someHistories(3);
    await checkLeaks(() => {
      using other = new SequenceModel(form, fitted.parameters);
      other.score(histories, Int32Array.of(1, 2, 3), new Float32Array(3));
    });
    const gone = new SequenceModel(form, fitted.parameters);
    gone.dispose();
    gone.dispose();
    expect(() => gone.score(histories, Int32Array.of(1, 2, 3), new Float32Array(3))).toThrow(DisposedError);
  });
});

describe('EnsembleModel', () => {
  it('is the mean of its members, idle rows left alone', async () => {
    const other = new SequenceModel(form, (await train(2, 2)).parameters);
    const histories = someHistories(9);
    const [x, y, both] = [model, other, new EnsembleModel([model, other])].map((one: LogitModel) =>
      one.scoreAll(histories, new Float32Array(9 * A)),
    ) as [Float32Array, Float32Array, Float32Array];
    both.forEach((score, i) => {
      expect(score).toBeCloseTo(((x[i] as number) + (y[i] as number)) / 2, 5);
    });
    const actions = Int32Array.of(1, -1, 3, 4, -1, 6, 7, 8, 9);
    const one = new EnsembleModel([model, other]).score(histories, actions, new Float32Array(9).fill(7));
    actions.forEach((item, row) => {
      expect(one[row]).toBe(item < 0 ? 7 : both[row * A + item]);
    });
  });

  it('refuses none', () => {
    expect(() => new EnsembleModel([])).toThrow(/at least one model/);
  });
});

describe('trainSequenceModel', () => {
  it('learns what comes next; an unfitted model and a shuffled truth do not know it', async () => {
    const judge = (one: LogitModel) => judgeSequenceModel(one, tinySequences(40, 3));
    const good = await judge(model);
    expect(good.auc).toBeGreaterThan(0.9);
    expect(good.hitRate10).toBeGreaterThan(0.8);
    // Negative control: the same model, its items renamed.
    const renamed: LogitModel = {
      name: 'renamed',
      itemCount: A,
      score: (_histories, _actions, out) => out,
      scoreAll(histories, out) {
        const { size } = histories;
        const scores = model.scoreAll(histories, new Float32Array(size * A));
        for (let i = 0; i < size * A; i++) out[i - (i % A) + (((i % A) * 7 + 3) % A)] = scores[i] as number;
        return out;
      },
    };
    expect((await judge(renamed)).auc).toBeLessThan(0.7);
  });

  it('gives the same bits for the same seed, and others for another', async () => {
    const [x, y, z] = await Promise.all([train(4, 2), train(4, 2), train(5, 2)]);
    expect(y).toEqual(x);
    expect(z.parameters).not.toEqual(x.parameters);
  });

  it('keeps the best epoch and stops some epochs after it', async () => {
    const losses: number[] = [];
    // The held-out part is random: nothing can be learned of it, so it soon gets worse.
    const rng = new Rng(9);
    const noise = Sequences.from(
      Array.from({ length: 60 }, () => Array.from({ length: 6 }, () => rng.integer(A))),
      { itemCount: A },
    );
    const { epoch, heldOutLoss } = await trainSequenceModel(tinySequences(300, 1), noise, {
      settings: { ...TINY_MODEL, maxEpochs: 30, patience: 2 },
      window: 6,
      seed: 1,
      onProgress: (progress) => losses.push(progress.heldOutLoss),
    });
    expect(heldOutLoss).toBe(Math.min(...losses));
    expect(losses[epoch - 1]).toBe(heldOutLoss);
    expect(losses).toHaveLength(epoch + 2);
  });

  it('draws negatives by popularity where asked: rare items score lower against uniform ones', async () => {
    // Items 0..4 are half of what is chosen, in no order that can be learned.
    const rng = new Rng(3);
    const draw = () => (rng.uniform() < 0.5 ? rng.integer(5) : rng.integer(A));
    const sequences = (count: number) =>
      Sequences.from(
        Array.from({ length: count }, () => Array.from({ length: 6 }, draw)),
        { itemCount: A },
      );
    const gap = async (negatives: 'uniform' | 'popularity'): Promise<number> => {
      const { parameters } = await trainSequenceModel(sequences(400), sequences(60), {
        settings: { ...TINY_MODEL, negatives },
        window: 6,
        seed: 1,
      });
      using one = new SequenceModel(form, parameters);
      const row = one.scoreAll(historyBatch([[20]]), new Float32Array(A));
      const mean = (scores: Float32Array) => scores.reduce((a, b) => a + b, 0) / scores.length;
      return mean(row.subarray(0, 5)) - mean(row.subarray(5));
    };
    const [uniform, popularity] = [await gap('uniform'), await gap('popularity')];
    expect(uniform).toBeGreaterThan(1);
    expect(popularity).toBeLessThan(uniform / 2);
  });

  it('stops by signal between updates, timers served meanwhile', async () => {
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('enough')), 60);
    await expect(
      trainSequenceModel(tinySequences(300, 1), tinySequences(60, 2), {
        settings: { ...TINY_MODEL, maxEpochs: 10_000, patience: 10_000 },
        window: 6,
        seed: 1,
        signal: abort.signal,
      }),
    ).rejects.toThrow('enough');
  });

  it('refuses settings out of range and sequences without a transition', async () => {
    const lonely = Sequences.from([[1], [2]], { itemCount: A });
    const options = { settings: TINY_MODEL, window: 6, seed: 1 };
    await expect(trainSequenceModel(lonely, tinySequences(5, 1), options)).rejects.toThrow(/at least 2 items/);
    const wrong = { ...options, settings: { ...TINY_MODEL, heads: 3 } };
    await expect(trainSequenceModel(tinySequences(5, 1), tinySequences(5, 1), wrong)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});

describe('judgeSequenceModel', () => {
  it('ranks by hand: second of the three not shown is an AUC of one half', async () => {
    const fixed: LogitModel = {
      name: 'fixed',
      itemCount: 4,
      score: (_histories, _actions, out) => out,
      scoreAll(histories, out) {
        for (let row = 0; row < histories.size; row++) out.set([9, 3, 2, 1], row * 4);
        return out;
      },
    };
    // After 0, item 2 comes: of 1 and 3 it beats one. The 0 that comes again counts for nothing.
    const { auc, hitRate10, count } = await judgeSequenceModel(fixed, Sequences.from([[0, 2, 0]], { itemCount: 4 }));
    expect([auc, hitRate10, count]).toEqual([0.5, 1, 1]);
  });
});
