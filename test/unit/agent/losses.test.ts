import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { a2cLoss } from '../../../src/agent/losses/a2c.js';
import {
  actorLoss,
  allActionLoss,
  clippedImportanceWeights,
  entropyBonus,
  reinforceLoss,
} from '../../../src/agent/losses/actor-losses.js';
import { criticLoss, discountsOf, dqnLoss, tdAdvantage, tdTarget } from '../../../src/agent/losses/critic-losses.js';
import { combineLosses } from '../../../src/agent/losses/loss.js';
import { learnerCotangent, mixtureLogProb } from '../../../src/agent/losses/mixture-log-prob.js';
import { ppoLoss } from '../../../src/agent/losses/ppo.js';
import { binaryCrossEntropy, listLoss } from '../../../src/agent/losses/supervised-losses.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { checkAgainstModel, expectClose } from './finite-differences.js';

const f64 = (...values: number[]): Float64Array => Float64Array.from(values);
const f32 = (...values: number[]): Float32Array => Float32Array.from(values);
const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('actorLoss', () => {
  it('equals hand arithmetic, Eqs. 6 and 9', () => {
    // -( -1 * 2  +  -3 * -0.5 ) / 2 = -(-2 + 1.5) / 2 = 0.25; slopes -2/2 = -1 and 0.5/2 = 0.25.
    const { loss, cotangents } = actorLoss(f64(-1, -3), f64(2, -0.5));
    expect(loss).toBe(0.25);
    expect([...cotangents.logProb]).toEqual([-1, 0.25]);
    // Eq. 6 as printed: advantages of 1 give the mean of -log pi, (1 + 3) / 2 = 2.
    expect(actorLoss(f64(-1, -3), f64(1, 1)).loss).toBe(2);
  });

  it('has the derivative of its plain form, with and without weights', () => {
    const [advantages, weights] = [
      [1.5, -2, 0.25, 3],
      [1, 0.5, 0, 0.75],
    ];
    for (const w of [undefined, weights]) {
      checkAgainstModel(
        [-0.3, -1.7, -4, -0.01],
        (x) => mean(x.map((logProb, i) => -logProb * at(advantages as number[], i) * (w === undefined ? 1 : at(w, i)))),
        (x) => {
          const { loss, cotangents } = actorLoss(x, f64(...(advantages as number[])), w && f64(...w));
          return { loss, cotangent: cotangents.logProb };
        },
      );
    }
  });

  it('stays finite where an action has become impossible but nothing is asked of it', () => {
    const { loss, cotangents } = actorLoss(f64(-Infinity, -1), f64(0, 1));
    expect(loss).toBe(0.5);
    expect(at(cotangents.logProb, 0)).toBeCloseTo(0);
  });

  it('names the length that does not fit', () => {
    expect(() => actorLoss(f32(-1), f32(1, 2))).toThrow(InvalidArgumentError);
    expect(() => actorLoss(f32(-1), f32(1), f32())).toThrow(/`weights` to have length 1, got 0/);
    expect(() => actorLoss(f32(), f32())).toThrow(/at least one row/);
  });
});

describe('reinforceLoss', () => {
  it('is the actor loss with return minus baseline', () => {
    // Advantages 3 - 1 = 2 and 0.5 - 1 = -0.5: the numbers above, loss 0.25.
    expect(reinforceLoss(f64(-1, -3), f64(3, 0.5), 1).loss).toBe(0.25);
    expect(reinforceLoss(f64(-1, -3), f64(3, 0.5), f64(1, 1)).loss).toBe(0.25);
    expect(() => reinforceLoss(f64(-1), f64(1), f64(1, 1))).toThrow(InvalidArgumentError);
  });

  it('has the derivative of its plain form', () => {
    const [returns, baseline] = [f64(4, 1, -2), f64(1, 1.5, 0)];
    checkAgainstModel(
      [-0.5, -2, -1],
      (x) => mean(x.map((logProb, i) => -logProb * (at(returns, i) - at(baseline, i)))),
      (x) => {
        const { loss, cotangents } = reinforceLoss(x, returns, baseline);
        return { loss, cotangent: cotangents.logProb };
      },
    );
  });
});

describe('allActionLoss and entropyBonus', () => {
  it('have cotangents -1/B and -weight/B', () => {
    const actor = allActionLoss(f64(2, 4));
    expect(actor.loss).toBe(-3);
    expect([...actor.cotangents.expectedScore]).toEqual([-0.5, -0.5]);
    // -0.1 * (1 + 2) / 2 = -0.15.
    const bonus = entropyBonus(f64(1, 2), 0.1);
    expect(bonus.loss).toBeCloseTo(-0.15, 15);
    expect([...bonus.cotangents.entropy]).toEqual([-0.05, -0.05]);
    expect(() => entropyBonus(f64(1), -1)).toThrow(/`weight` to be at least 0, got -1/);
  });

  it('have the derivatives of their plain forms', () => {
    const weights = f64(1, 0.2, 3);
    checkAgainstModel(
      [1, -2, 0.5],
      (x) => -mean(x.map((score, i) => score * at(weights, i))),
      (x) => {
        const { loss, cotangents } = allActionLoss(x, weights);
        return { loss, cotangent: cotangents.expectedScore };
      },
    );
    checkAgainstModel(
      [3, 0.1, 1],
      (x) => -0.03 * mean([...x]),
      (x) => {
        const { loss, cotangents } = entropyBonus(x, 0.03);
        return { loss, cotangent: cotangents.entropy };
      },
    );
  });
});

describe('clippedImportanceWeights', () => {
  it('is min(cap, pi / mu)', () => {
    // pi/mu = 0.2/0.4 = 0.5; 0.4/0.2 = 2 -> 1; impossible now -> 0.
    const weights = clippedImportanceWeights(
      f64(Math.log(0.2), Math.log(0.4), -Infinity),
      f64(Math.log(0.4), Math.log(0.2), Math.log(0.5)),
    );
    expectClose(weights, [0.5, 1, 0], 1e-15);
    expectClose(clippedImportanceWeights(f64(Math.log(0.4)), f64(Math.log(0.2)), 3), [2], 1e-15);
    expect(() => clippedImportanceWeights(f64(0), f64(0), 0)).toThrow(InvalidArgumentError);
  });
});

describe('tdTarget, tdAdvantage', () => {
  it('equal hand arithmetic, Eqs. 8 and 9', () => {
    // 1 + 0.9 * 10 = 10; the terminated one is its reward alone, whatever the next value, even not a number.
    const discounts = discountsOf(Uint8Array.of(0, 1, 1), 0.9);
    const targets = tdTarget({ rewards: f64(1, 2, 3), discounts, nextValues: f64(10, 10, Number.NaN) });
    expectClose(targets, [10, 2, 3], 1e-7);
    expectClose(tdAdvantage(targets, f64(9, 3, 3)), [1, -1, 0], 1e-6);
    expect(() => discountsOf(Uint8Array.of(0), 1.5)).toThrow(/from 0 to 1, got 1.5/);
  });
});

describe('criticLoss', () => {
  it('equals hand arithmetic, Eq. 8, in both readings', () => {
    // Errors 1 - 3 = -2 and 5 - 4 = 1: (4 + 1) / 2 = 2.5; slopes 2 * -2 / 2 = -2 and 2 * 1 / 2 = 1.
    const [predictions, targets] = [f64(1, 5), f64(3, 4)];
    const state = criticLoss({ critic: 'state', predictions, targets });
    expect(state.loss).toBe(2.5);
    expect([...state.cotangents.value]).toEqual([-2, 1]);
    const action = criticLoss({ critic: 'action', predictions, targets });
    expect([...action.cotangents.scores]).toEqual([-2, 1]);
    expect(Object.keys(action.cotangents)).toEqual(['scores']);
  });

  it('has the derivative of its plain form', () => {
    const [targets, weights] = [f64(1, -1, 4), f64(0.5, 1, 0.1)];
    checkAgainstModel(
      [0.3, 2, -1],
      (x) => mean(x.map((value, i) => at(weights, i) * (at(targets, i) - value) ** 2)),
      (x) => {
        const { loss, cotangents } = criticLoss({ critic: 'state', predictions: x, targets, weights });
        return { loss, cotangent: cotangents.value };
      },
    );
  });
});

describe('a2cLoss', () => {
  it('is L_A · A + L_Q, weights 1 : 1, in both readings (Eq. 10)', () => {
    // A = (3 - 1, 4 - 5) = (2, -1). L_A·A = -(-1*2 + -2*-1)/2 = 0. L_Q = (4 + 1)/2 = 2.5. Sum 2.5.
    const input = { logProb: f64(-1, -2), predictions: f64(1, 5), targets: f64(3, 4) };
    const state = a2cLoss({ critic: 'state', ...input });
    expect([state.loss, state.actor, state.critic]).toEqual([2.5, 0, 2.5]);
    expect([...state.advantages]).toEqual([2, -1]);
    expect([...state.cotangents.logProb]).toEqual([-1, 0.5]);
    expect([...state.cotangents.value]).toEqual([-2, 1]);
    const action = a2cLoss({ critic: 'action', ...input, valueWeight: 0.5 });
    expect(action.loss).toBe(1.25);
    expect([...action.cotangents.scores]).toEqual([-1, 0.5]);
    expect(Object.keys(action.cotangents).sort()).toEqual(['logProb', 'scores']);
  });

  it('has the derivatives of its plain form, the advantage being data', () => {
    const logProb = [-0.2, -1, -3];
    const predictions = [1, 0.5, -2];
    const [targets, weights] = [f64(2, -1, 0.3), f64(1, 0.4, 0.9)];
    const advantages = predictions.map((value, i) => at(targets, i) - value);
    const model = (lp: readonly number[], p: readonly number[]): number =>
      mean(
        lp.map(
          (value, i) => at(weights, i) * (-value * at(advantages, i) + 0.5 * ((p[i] as number) - at(targets, i)) ** 2),
        ),
      );
    for (const critic of ['state', 'action'] as const) {
      checkAgainstModel(
        logProb,
        (x) => model(x, predictions),
        (x) => {
          const input = {
            logProb: x,
            predictions: f64(...predictions) as typeof x,
            targets,
            weights,
            valueWeight: 0.5,
          };
          const { loss, cotangents } = a2cLoss({ critic, ...input });
          return { loss, cotangent: cotangents.logProb };
        },
      );
      // The loss itself moves with the prediction through the advantage as well; only its cotangent must not.
      const { cotangents } = a2cLoss({
        critic,
        logProb: f64(...logProb),
        predictions: f64(...predictions),
        targets,
        weights,
        valueWeight: 0.5,
      });
      const slope = predictions.map((value, i) => (0.5 * 2 * at(weights, i) * (value - at(targets, i))) / 3);
      expectClose(
        (cotangents as Record<string, Float64Array>)[critic === 'state' ? 'value' : 'scores'] as Float64Array,
        slope,
        1e-12,
      );
    }
  });
});

describe('dqnLoss', () => {
  it('equals hand arithmetic: a parabola, then a line', () => {
    // Errors 0.5 and -3: (0.5 * 0.25 + 1 * (3 - 0.5)) / 2 = (0.125 + 2.5) / 2 = 1.3125; slopes 0.25 and -0.5.
    const { loss, cotangents } = dqnLoss({ scores: f64(1.5, 1), targets: f64(1, 4) });
    expect(loss).toBe(1.3125);
    expect([...cotangents.scores]).toEqual([0.25, -0.5]);
  });

  it('has the derivative of its plain form, delta Infinity being half the squared error', () => {
    const targets = f64(1, 4, -2, 0);
    for (const delta of [0.7, 1, Infinity]) {
      checkAgainstModel(
        [1.3, 1, 2, -0.2],
        (x) =>
          mean(
            x.map((score, i) => {
              const size = Math.abs(score - at(targets, i));
              return size < delta ? (size * size) / 2 : delta * size - (delta * delta) / 2;
            }),
          ),
        (x) => {
          const { loss, cotangents } = dqnLoss({ scores: x, targets, delta });
          return { loss, cotangent: cotangents.scores };
        },
      );
    }
  });
});

describe('combineLosses', () => {
  it('adds values and cotangents of one name', () => {
    const combined = combineLosses(
      [actorLoss(f32(-1, -3), f32(2, -0.5)), entropyBonus(f32(1, 2), 0.1), reinforceLoss(f32(-1, -3), f32(2, -0.5))],
      [1, 2, 3],
    );
    // 0.25 + 2 * -0.15 + 3 * 0.25 = 0.7; logProb: 4 times (-1, 0.25).
    expect(combined.loss).toBeCloseTo(0.7, 12);
    expectClose(combined.cotangents.logProb, [-4, 1], 1e-6);
    expectClose(combined.cotangents.entropy, [-0.1, -0.1], 1e-6);
    expect(() => combineLosses([])).toThrow(InvalidArgumentError);
    expect(() => combineLosses([actorLoss(f32(-1), f32(1))], [1, 2])).toThrow(InvalidArgumentError);
    expect(() => combineLosses([actorLoss(f32(-1), f32(1)), actorLoss(f32(-1, -1), f32(1, 1))])).toThrow(
      InvalidArgumentError,
    );
  });
});

describe('mixtureLogProb', () => {
  it('equals hand arithmetic, Eqs. 14 and 15', () => {
    // 0.75 * 0.2 + 0.25 * 0.6 = 0.3; the learner's share of it is 0.15 / 0.3 = 0.5.
    const { logMixture, share } = mixtureLogProb(f64(Math.log(0.6)), f64(Math.log(0.2)), 0.25);
    expectClose(logMixture, [Math.log(0.3)], 1e-14);
    expectClose(share, [0.5], 1e-14);
    expect([...learnerCotangent(f64(-4), f64(0.5))]).toEqual([-2]);
  });

  it('gives the learner no gradient at alpha 0, and is the learner alone at alpha 1', () => {
    const [beta, theta] = [f64(-1, -Infinity, -700), f64(-2, -3, Number.NaN)];
    const none = mixtureLogProb(beta, f64(-2, -3, -4), 0);
    expect([...none.logMixture]).toEqual([-2, -3, -4]);
    expect([...none.share]).toEqual([0, 0, 0]);
    expect([...learnerCotangent(f64(5, Infinity, 1), none.share)]).toEqual([0, 0, 0]);
    const all = mixtureLogProb(beta, theta, 1);
    expect([...all.logMixture]).toEqual([-1, -Infinity, -700]);
    expect([...all.share]).toEqual([1, 0, 1]);
  });

  it('is exact far below the smallest float', () => {
    // exp(-2000) is 0 in any float; the ratio of the parts is e^1 / (1 + e^1) all the same.
    const { logMixture, share } = mixtureLogProb(f64(-2000), f64(-2001), 0.5);
    expectClose(logMixture, [-2000 + Math.log((1 + Math.exp(-1)) / 2)], 1e-14);
    expectClose(share, [Math.E / (1 + Math.E)], 1e-12);
    const impossible = mixtureLogProb(f64(-Infinity), f64(-Infinity), 0.5);
    expect([...impossible.logMixture, ...impossible.share]).toEqual([-Infinity, 0]);
  });

  it('has share = d log mixture / d log pi_beta, one alpha a row', () => {
    const [theta, alpha, advantages] = [f64(-1, -0.2, -4), f64(0.1, 0.5, 0.9), f64(1, -2, 0.7)];
    checkAgainstModel(
      [-2, -1, -3],
      (x) =>
        -mean(
          x.map(
            (beta, i) =>
              at(advantages, i) * Math.log((1 - at(alpha, i)) * Math.exp(at(theta, i)) + at(alpha, i) * Math.exp(beta)),
          ),
        ),
      (x) => {
        // In float64 throughout but for x, so that only its own rounding differs.
        const { logMixture, share } = mixtureLogProb(Float64Array.from(x), theta, alpha);
        const { loss, cotangents } = actorLoss(logMixture, advantages);
        const cotangent = learnerCotangent(cotangents.logProb, share);
        return { loss, cotangent: x instanceof Float32Array ? Float32Array.from(cotangent) : cotangent };
      },
    );
    expect(() => mixtureLogProb(f64(-1), f64(-1), 1.1)).toThrow(/`alpha` to be from 0 to 1/);
    expect(() => mixtureLogProb(f64(-1), f64(-1), Number.NaN)).toThrow(InvalidArgumentError);
  });
});

describe('ppoLoss', () => {
  const hand = {
    // Ratios 1.5, 1.5, 0.5, 0.5, 1.1 with clip 0.2.
    logProb: f64(Math.log(0.3), Math.log(0.3), Math.log(0.1), Math.log(0.1), Math.log(0.22)),
    oldLogProb: f64(...new Array<number>(5).fill(Math.log(0.2))),
    advantages: f64(1, -1, 1, -1, 2),
    value: f64(1, 1, 1, 1, 1),
    returns: f64(2, 1, 1, 1, 1),
  };

  it('equals hand arithmetic and clips exactly the rows that have gone far enough', () => {
    const result = ppoLoss(hand);
    // min: 1.2, -1.5, 0.5, -0.8, 2.2: sum 1.6, policy -0.32. Value: 1 / 5 = 0.2. Loss -0.32 + 0.5 * 0.2 = -0.22.
    expect(result.policy).toBeCloseTo(-0.32, 12);
    expect(result.value).toBeCloseTo(0.2, 12);
    expect(result.loss).toBeCloseTo(-0.22, 12);
    expect(result.clipFraction).toBe(0.8);
    // Rows 0 and 3 are past the clip on the side their advantage favours; rows 1 and 2 must still be pulled back.
    expectClose(result.cotangents.logProb, [0, 1.5 / 5, -0.5 / 5, 0, -2.2 / 5], 1e-12);
    expect(at(result.cotangents.logProb, 0)).toBe(0);
    expectClose(result.cotangents.value, [0.5 * 2 * -1 * 0.2, 0, 0, 0, 0], 1e-12);
    expect(result.cotangents).not.toHaveProperty('entropy');
    const kl = mean([1.5, 1.5, 0.5, 0.5, 1.1].map((ratio) => ratio - 1 - Math.log(ratio)));
    expect(result.approxKl).toBeCloseTo(kl, 12);
  });

  it('negative control: without the clip those rows are pushed on', () => {
    const result = ppoLoss({ ...hand, clip: 100 });
    expectClose(result.cotangents.logProb, [-1.5 / 5, 1.5 / 5, -0.5 / 5, 0.5 / 5, -2.2 / 5], 1e-12);
    expect(result.clipFraction).toBe(0);
  });

  it('at ratio 1 is the policy gradient', () => {
    const advantages = f64(1, -2, 0.5);
    const logProb = f64(-1, -2, -3);
    const result = ppoLoss({ logProb, oldLogProb: logProb, advantages, value: f64(0, 0, 0), returns: f64(0, 0, 0) });
    expectClose(result.cotangents.logProb, actorLoss(logProb, advantages).cotangents.logProb, 1e-15);
    expect(result.approxKl).toBe(0);
  });

  it('has the derivatives of its plain form', () => {
    const oldLogProb = [-1, -1.2, -0.8, -2, -1, -1];
    const advantages = [1, -1, 2, -0.5, 1, -1];
    const logProb = [-0.95, -1.0, -1.3, -1.2, -0.4, -0.5];
    const value = [0.2, 1.9, -1, 3, 0.5, 0.1];
    const oldValue = [0.15, 1, -0.9, 3.5, 0.9, -0.4];
    const returns = [1, 2, -1.5, 2, 0, 1];
    const entropy = [1, 2, 0.5, 0.1, 3, 1];
    const options = { clip: 0.2, valueWeight: 0.7, valueClip: 0.3, entropyWeight: 0.02 };
    const model = (lp: readonly number[], v: readonly number[], h: readonly number[]): number =>
      mean(
        lp.map((value, i) => {
          const ratio = Math.exp(value - at(oldLogProb, i));
          const held = Math.max(0.8, Math.min(1.2, ratio));
          const surrogate = Math.min(ratio * at(advantages, i), held * at(advantages, i));
          const step = at(v, i) - at(oldValue, i);
          const heldValue = at(oldValue, i) + Math.max(-0.3, Math.min(0.3, step));
          const squared = Math.max((at(v, i) - at(returns, i)) ** 2, (heldValue - at(returns, i)) ** 2);
          return -surrogate + 0.7 * squared - 0.02 * at(h, i);
        }),
      );
    const ours = (lp: Float64Array, v: Float64Array, h: Float64Array) =>
      ppoLoss({
        logProb: lp,
        oldLogProb: f64(...oldLogProb),
        advantages: f64(...advantages),
        value: v,
        returns: f64(...returns),
        oldValue: f64(...oldValue),
        entropy: h,
        ...options,
      });
    const [lp, v, h] = [f64(...logProb), f64(...value), f64(...entropy)];
    // Both a flat and a steep value clip are among the rows: the model must see the difference.
    const slopes = ours(lp, v, h).cotangents.value;
    expect([...slopes].filter((slope) => slope === 0).length).toBeGreaterThan(0);
    checkAgainstModel(
      logProb,
      (x) => model(x, value, entropy),
      (x) => {
        const { loss, cotangents } = ours(x as Float64Array, v, h);
        return { loss, cotangent: cotangents.logProb };
      },
    );
    checkAgainstModel(
      value,
      (x) => model(logProb, x, entropy),
      (x) => {
        const { loss, cotangents } = ours(lp, x as Float64Array, h);
        return { loss, cotangent: cotangents.value };
      },
    );
    checkAgainstModel(
      entropy,
      (x) => model(logProb, value, x),
      (x) => {
        const { loss, cotangents } = ours(lp, v, x as Float64Array);
        return { loss, cotangent: cotangents.entropy ?? [] };
      },
    );
  });

  it('refuses options that contradict each other', () => {
    expect(() => ppoLoss({ ...hand, entropyWeight: 0.1 })).toThrow(InvalidArgumentError);
    expect(() => ppoLoss({ ...hand, entropy: hand.value })).toThrow(/exactly when/);
    expect(() => ppoLoss({ ...hand, valueClip: 0.2 })).toThrow(/`oldValue`/);
    expect(() => ppoLoss({ ...hand, clip: 0 })).toThrow(InvalidArgumentError);
    expect(() => ppoLoss({ ...hand, returns: f64(1) })).toThrow(/`returns`/);
  });
});

describe('listLoss', () => {
  it('equals hand arithmetic, None being the last column', () => {
    // Scores log 1, log 2, log 1: shares 1/4, 1/2, 1/4. Row 0 chose column 1: log 2. Row 1 chose None: log 4.
    const row = [0, Math.log(2), 0];
    const { loss, cotangents } = listLoss({ scores: f64(...row, ...row), width: 3, targets: Int32Array.of(1, 2) });
    expect(loss).toBeCloseTo((Math.log(2) + Math.log(4)) / 2, 12);
    expectClose(cotangents.scores, [1 / 8, -1 / 4, 1 / 8, 1 / 8, 1 / 4, -3 / 8], 1e-12);
  });

  it('takes a column of weight 0 out, and an unread answer with it', () => {
    const row = [0, Math.log(2), 0];
    const { loss, cotangents } = listLoss({
      scores: f64(...row, ...row),
      width: 3,
      targets: Int32Array.of(1, 0),
      weights: f64(1, 0),
      candidateWeights: f64(1, 1, 0, 1, 1, 1),
    });
    // Shares 1/3 and 2/3: log 1.5 over B = 2 rows.
    expect(loss).toBeCloseTo(Math.log(1.5) / 2, 12);
    expectClose(cotangents.scores, [1 / 6, -1 / 6, 0, 0, 0, 0], 1e-12);
  });

  it('has the derivative of its plain form, and survives large scores', () => {
    const targets = [2, 0, 3];
    const weights = [1, 0.5, 2];
    const times = [1, 2, 0.5, 1, 1, 1, 1, 3, 0, 1, 1, 0.25];
    checkAgainstModel(
      [0.1, -2, 3, 0.5, 1, 1, -1, 0, 5, 2, 0.3, -0.7],
      (x) =>
        mean(
          targets.map((target, b) => {
            const shares = [0, 1, 2, 3].map((c) => at(times, b * 4 + c) * Math.exp(at(x, b * 4 + c)));
            const total = shares.reduce((sum, share) => sum + share, 0);
            return -at(weights, b) * Math.log(at(shares, target) / total);
          }),
        ),
      (x) => {
        const { loss, cotangents } = listLoss({
          scores: x,
          width: 4,
          targets: Int32Array.from(targets),
          weights: f64(...weights),
          candidateWeights: f64(...times),
        });
        return { loss, cotangent: cotangents.scores };
      },
    );
    const large = listLoss({ scores: f64(2000, 1999, -3000), width: 3, targets: Int32Array.of(0) });
    expect(large.loss).toBeCloseTo(Math.log(1 + Math.exp(-1)), 12);
  });

  it('refuses a target that is no column', () => {
    const input = { scores: f64(0, 0), width: 2 };
    expect(() => listLoss({ ...input, targets: Int32Array.of(2) })).toThrow(/`targets\[0\]`/);
    expect(() => listLoss({ ...input, targets: Int32Array.of(-1) })).toThrow(InvalidArgumentError);
    expect(() => listLoss({ ...input, targets: Int32Array.of(0), candidateWeights: f64(0, 1) })).toThrow(
      InvalidArgumentError,
    );
    expect(() => listLoss({ scores: f64(0, 0, 0), width: 2, targets: Int32Array.of(0) })).toThrow(/length 2, got 3/);
  });
});

describe('binaryCrossEntropy', () => {
  it('equals hand arithmetic on the logit', () => {
    // sigmoid(0) = 1/2: log 2 for either label; slopes (1/2 - 1) / 2 and (1/2 - 0) / 2.
    const { loss, cotangents } = binaryCrossEntropy({ scores: f64(0, 0), labels: f64(1, 0) });
    expect(loss).toBeCloseTo(Math.log(2), 14);
    expect([...cotangents.scores]).toEqual([-0.25, 0.25]);
  });

  it('has the derivative of its plain form, and is finite at any logit', () => {
    const [labels, weights] = [f64(1, 0, 0.3, 1), f64(1, 2, 1, 0.5)];
    checkAgainstModel(
      [2, -1, 0.5, -3],
      (x) =>
        mean(
          x.map((logit, i) => {
            const p = 1 / (1 + Math.exp(-logit));
            return -at(weights, i) * (at(labels, i) * Math.log(p) + (1 - at(labels, i)) * Math.log(1 - p));
          }),
        ),
      (x) => {
        const { loss, cotangents } = binaryCrossEntropy({ scores: x, labels, weights });
        return { loss, cotangent: cotangents.scores };
      },
    );
    const extreme = binaryCrossEntropy({ scores: f64(1e4, -1e4), labels: f64(0, 1) });
    expect(extreme.loss).toBe(1e4);
    expect([...extreme.cotangents.scores]).toEqual([0.5, -0.5]);
  });
});

describe('random inputs', () => {
  const numbers = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 8, maxLength: 8 });

  it('a mixture lies between its arms, its share between 0 and 1', () => {
    fc.assert(
      fc.property(numbers, numbers, fc.double({ min: 0, max: 1, noNaN: true }), (beta, theta, alpha) => {
        const { logMixture, share } = mixtureLogProb(f64(...beta), f64(...theta), alpha);
        beta.forEach((value, i) => {
          const [low, high] = [Math.min(value, at(theta, i)), Math.max(value, at(theta, i))];
          expect(at(logMixture, i)).toBeGreaterThanOrEqual(low - 1e-12);
          expect(at(logMixture, i)).toBeLessThanOrEqual(high + 1e-12);
          expect(at(share, i)).toBeGreaterThanOrEqual(0);
          expect(at(share, i)).toBeLessThanOrEqual(1);
        });
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  it('list cotangents of a row sum to 0', () => {
    fc.assert(
      fc.property(numbers, fc.integer({ min: 0, max: 7 }), (scores, target) => {
        const { cotangents } = listLoss({ scores: f64(...scores), width: 8, targets: Int32Array.of(target) });
        expect(Math.abs([...cotangents.scores].reduce((sum, slope) => sum + slope, 0))).toBeLessThan(1e-12);
      }),
      { seed: 7, numRuns: 200 },
    );
  });
});
