import { useBackend } from '../src/compute/backend.js';
import { createKernels } from '../src/compute/create-kernels.js';
import type { HistoryBatch } from '../src/compute/history-batch.js';
import { topHistories, updateModel } from './case-data.js';
import { TOP, type TopCase } from './cases.js';
import { type EngineSettings, kernelFacts } from './kernel-facts.js';
import { type CaseResult, measure, peakRssMb } from './measure.js';

/** Encodes one history, scores all items and takes the best, on one thread; beyond torch's it gives their probabilities. */
export async function ialpTop(benchCase: TopCase, engine: EngineSettings): Promise<CaseResult> {
  await useBackend('wasm', { ...engine, threads: 1 });
  const { spec, store } = updateModel(benchCase);
  const histories = topHistories(benchCase);
  using kernels = createKernels(spec, store);
  const items = histories.slice(0, TOP.warmUp).map((history) => kernels.topK(history, TOP.k).items);
  const { ms, leaked } = measure(TOP.calls, (call) => {
    kernels.topK(histories[TOP.warmUp + call] as HistoryBatch, TOP.k);
  });
  const facts = { ...kernelFacts(kernels), leaked };
  return { ms, items: [...(items[0] as Int32Array)], peakRssMb: peakRssMb(), facts };
}
