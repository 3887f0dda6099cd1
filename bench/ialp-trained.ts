import { ppoLoss } from '../src/agent/losses/ppo.js';
import { useBackend } from '../src/compute/backend.js';
import { createKernels } from '../src/compute/create-kernels.js';
import { Adam } from '../src/compute/optimiser.js';
import { type TrainedBatch, trainedBatches, trainedModel } from './case-data.js';
import { COMPARED, type TrainedCase } from './cases.js';
import { type EngineSettings, kernelFacts } from './kernel-facts.js';
import { type CaseResult, measure, peakRssMb } from './measure.js';
import { touchEveryRow } from './touch-every-row.js';

/**
 * One PPO update by this library with what training really uses: clipped ratio, value and entropy, a sliding window with
 * padding, history features, mask, clipped norm; dropout in the measured updates, none in those whose losses are compared.
 */
export async function ialpTrained(benchCase: TrainedCase, engine: EngineSettings): Promise<CaseResult> {
  await useBackend('wasm', engine);
  const { spec, store } = trainedModel(benchCase);
  const batches = trainedBatches(benchCase);
  using kernels = createKernels(spec, store);
  const adam = new Adam({ learningRate: 3e-3, clipNorm: 1 });

  function update(call: number, dropoutSeed?: number): number {
    const { histories, actions, ...data } = batches[call] as TrainedBatch;
    const scores = kernels.forward(
      histories,
      { logProbOf: actions, entropy: true, value: true },
      { mask: { noRepeat: true }, ...(dropoutSeed === undefined ? {} : { dropoutSeed }) },
    );
    const settings = { clip: 0.2, valueWeight: 0.5, entropyWeight: 0.01 };
    const { loss, cotangents } = ppoLoss({ ...scores, ...data, ...settings });
    kernels.backward(cotangents);
    kernels.step(adam);
    return loss;
  }

  const losses = Array.from({ length: COMPARED }, (_, call) => update(call));
  touchEveryRow(kernels, adam);
  const { ms, leaked } = measure(benchCase.updates, (call) => update(COMPARED + call, call + 1));
  return { ms, losses, peakRssMb: peakRssMb(), facts: { ...kernelFacts(kernels), leaked } };
}
