import * as tf from '@tensorflow/tfjs';
import { useBackend } from '../src/compute/backend.js';
import { createKernels } from '../src/compute/create-kernels.js';
import { historyBatch } from '../src/compute/history-batch.js';
import { initParameters } from '../src/compute/model.js';
import { Adam } from '../src/compute/optimiser.js';
import { historyFeatures } from '../src/encoder/history-features.js';
import { sasRec } from '../src/encoder/sasrec.js';
import { Rng } from '../src/foundation/rng.js';
console.log(await useBackend('wasm'));
const A = 250, B = 128, L = 10, D = 32;
const rng = new Rng(1);
const catalog = { size: A, attributes: ['c'], attributeCodes: () => Int32Array.from({ length: A }, (_, i) => i % 12) };
const spec = { itemCount: A, contextWidth: 0, encoder: sasRec({ width: D, blocks: 1, historyLength: L }), items: 'id' as const, historyFeatures: historyFeatures({ catalog, repeats: 8, attributes: ['c'] }), critic: 'state' as const, valueEncoder: 'separate' as const, valueHidden: 64 };
const store = initParameters(spec, rng.fork('init'));
const k = createKernels(spec, store);
const batches = Array.from({ length: 8 }, (_, n) => historyBatch(Array.from({ length: B }, (_, i) => Int32Array.from({ length: i % 12 }, () => rng.integer(A)))));
const acts = Int32Array.from({ length: B }, () => rng.integer(A));
const adam = new Adam();
const cot = new Float32Array(B).fill(1 / B);
function update(i: number) {
  const t0 = performance.now();
  k.forward(batches[i % 8]!, { logProbOf: acts, entropy: true, value: true });
  const t1 = performance.now();
  k.backward({ logProb: cot, entropy: cot, value: cot });
  const t2 = performance.now();
  k.step(adam);
  return [t1 - t0, t2 - t1, performance.now() - t2];
}
for (let i = 0; i < 30; i++) update(i);
const n0 = tf.memory().numTensors;
const ts = Array.from({ length: 60 }, (_, i) => update(i));
const med = (x: number[]) => x.sort((a, b) => a - b)[x.length >> 1]!.toFixed(2);
console.log('update fwd/bwd/step', med(ts.map((t) => t[0]!)), med(ts.map((t) => t[1]!)), med(ts.map((t) => t[2]!)), 'total', med(ts.map((t) => t[0]! + t[1]! + t[2]!)), 'tensors', tf.memory().numTensors - n0);
const small = historyBatch(Array.from({ length: 32 }, (_, i) => Int32Array.from({ length: i % 12 }, () => rng.integer(A))));
const u = rng.uniforms(32);
for (let i = 0; i < 30; i++) k.sample(small, u);
const ss = Array.from({ length: 100 }, () => { const t = performance.now(); k.sample(small, u); return performance.now() - t; });
console.log('sample B32', med(ss));
if (process.argv.includes('--profile')) {
  for (const [name, f] of [['fwd', () => k.forward(batches[0]!, { logProbOf: acts, entropy: true, value: true })], ['bwd', () => k.backward({ logProb: cot, entropy: cot, value: cot })]] as const) {
    const p = await tf.profile(() => { f(); return undefined as never; });
    const sum = new Map<string, [number, number]>();
    for (const e of p.kernels) { const [c, t] = sum.get(e.name) ?? [0, 0]; sum.set(e.name, [c + 1, t + Number((e as any).kernelTimeMs)]); }
    console.log(name, p.kernels.length, [...sum].sort((a, b) => b[1][1] - a[1][1]).map(([n, [c, t]]) => `${n}:${c}/${t.toFixed(2)}`).join(' '));
  }
}
