import { useBackend } from '../src/compute/backend.js';
import { createKernels } from '../src/compute/create-kernels.js';
import { Adam } from '../src/compute/optimiser.js';
import { type Model, type UpdateBatch, updateBatches, updateModel } from './case-data.js';
import { COMPARED, type UpdateCase } from './cases.js';
import { type EngineSettings, kernelFacts } from './kernel-facts.js';
import { type CaseResult, measure, peakRssMb } from './measure.js';
import { touchEveryRow } from './touch-every-row.js';

/** Discount of the target. */
export const DISCOUNT = 0.9;

/**
 * A2C with Q(s, ·) by this library: `max Q(s')` for the target, log pi(a|s) and Q(s, a) forward and backward, one Adam
 * step, with a fresh batch every time.
 */
export async function ialpUpdate(benchCase: UpdateCase, engine: EngineSettings): Promise<CaseResult> {
  await useBackend('wasm', engine);
  const { spec, store }: Model = updateModel(benchCase);
  const batches = updateBatches(benchCase);
  using kernels = createKernels(spec, store);
  const adam = new Adam({ learningRate: 1e-3, clipNorm: Number.POSITIVE_INFINITY });

  function update(call: number): number {
    const { before, after, actions, rewards } = batches[call] as UpdateBatch;
    const { logProb, scores, next } = kernels.forward(before, {
      logProbOf: actions,
      scoresOf: { head: 'critic', items: actions, width: 1 },
      next: { histories: after, maxScore: 'critic' },
    });
    let loss = 0;
    const advantages = scores.map((q, row) => (rewards[row] as number) + DISCOUNT * (next.maxScore[row] as number) - q);
    const B = advantages.length;
    advantages.forEach((advantage, row) => {
      loss += (advantage * advantage - advantage * (logProb[row] as number)) / B;
    });
    kernels.backward({
      logProb: advantages.map((advantage) => -advantage / B),
      scores: advantages.map((advantage) => (-2 * advantage) / B),
    });
    kernels.step(adam);
    return loss;
  }

  const losses = Array.from({ length: COMPARED }, (_, call) => update(call));
  touchEveryRow(kernels, adam);
  const { ms, leaked } = measure(benchCase.updates, (call) => update(COMPARED + call));
  return { ms, losses, peakRssMb: peakRssMb(), facts: { ...kernelFacts(kernels), leaked } };
}
