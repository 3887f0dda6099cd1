import type { HistoryBatch } from '../compute/history-batch.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';

/** Scores items after histories on a scale of its own: how well an item would go down. A trained click model is one. */
export interface LogitModel {
  /** Short name, printed in cards. */
  readonly name: string;
  /** Number of items, A. */
  readonly itemCount: number;
  /**
   * One item a row.
   * @param actions - `[B]`; rows at -1 are skipped, their output keeps its value.
   * @param out - `[B]`, filled and returned.
   */
  score(histories: HistoryBatch, actions: Int32Array, out: Float32Array): Float32Array;
  /**
   * Every item in every row.
   * @param out - `[B, A]`, filled and returned.
   */
  scoreAll(histories: HistoryBatch, out: Float32Array): Float32Array;
}

/** A {@link LogitModel} whose scores are rewards, from 0 to 5. Bring your own by implementing it. */
export interface RewardModel extends LogitModel {
  /** Highest reward there is: 5 for the built-in one. */
  readonly maxReward: number;
}

/** Rewards of the calibrated worlds go from 0 to this. */
export const MAX_REWARD = 5;

/** `r = 5 sigmoid(a (logit - b))` (environments.md section 3). */
export class SigmoidReward implements RewardModel {
  /** Name of the model underneath. */
  readonly name: string;
  /** Number of items, A. */
  readonly itemCount: number;
  /** Always {@link MAX_REWARD}. */
  readonly maxReward = MAX_REWARD;
  /** Steepness a > 0. */
  readonly a: number;
  /** The logit whose reward is 2.5. */
  readonly b: number;
  readonly #model: LogitModel;

  /**
   * Borrows the model.
   *
   * @throws {InvalidArgumentError} when it is none, or the calibration is not two finite numbers, a above 0.
   */
  constructor(model: LogitModel, calibration: { readonly a: number; readonly b: number }) {
    checkObject('SigmoidReward', 'model', model, ['score', 'scoreAll'], 'a LogitModel');
    checkObject('SigmoidReward', 'calibration', calibration);
    checkNumber('SigmoidReward', 'calibration.a', calibration.a, { low: Number.MIN_VALUE });
    checkNumber('SigmoidReward', 'calibration.b', calibration.b);
    this.name = model.name;
    this.itemCount = model.itemCount;
    this.a = calibration.a;
    this.b = calibration.b;
    this.#model = model;
  }

  /** One reward a row; 0 in rows at -1. */
  score(histories: HistoryBatch, actions: Int32Array, out: Float32Array): Float32Array {
    this.#model.score(histories, actions, out);
    for (let i = 0; i < actions.length; i++)
      out[i] = (actions[i] as number) < 0 ? 0 : sigmoidReward(out[i] as number, this.a, this.b);
    return out;
  }

  /** Every item's reward in every row, `[B, A]`. */
  scoreAll(histories: HistoryBatch, out: Float32Array): Float32Array {
    this.#model.scoreAll(histories, out);
    const end = histories.size * this.itemCount;
    for (let i = 0; i < end; i++) out[i] = sigmoidReward(out[i] as number, this.a, this.b);
    return out;
  }
}

/** `5 sigmoid(a (logit - b))`. */
export function sigmoidReward(logit: number, a: number, b: number): number {
  return MAX_REWARD / (1 + Math.exp(-a * (logit - b)));
}
