// Times the two exports of each module given, interleaved; prints the median and the best in milliseconds.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import process from 'node:process';

const [A, B, K] = [2304, 128, 64];
const ROUNDS = 300;
const [T, S, Z, M] = [1 << 20, 8 << 20, 12 << 20, 30 << 20];
const contestants = process.argv.slice(2).map((path) => {
  const memory = new WebAssembly.Memory({ initial: 1024 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(path)), { env: { memory } });
  const numbers = new Float32Array(memory.buffer);
  for (let i = 0; i < A * K; i++) numbers[T / 4 + i] = Math.sin(i);
  for (let i = 0; i < K * B; i++) numbers[S / 4 + i] = Math.cos(i);
  return { name: basename(path, '.wasm'), exports, times: { product: [], softmax: [] } };
});
for (let round = 0; round < ROUNDS; round++) {
  for (const { exports, times } of contestants) {
    for (const [name, at] of [
      ['product', [T, S, Z]],
      ['softmax', [Z, M, 0]],
    ]) {
      const start = performance.now();
      exports[name](...at, A, B, K);
      times[name].push(performance.now() - start);
    }
  }
}
for (const { name, times } of contestants) {
  for (const [loop, all] of Object.entries(times)) {
    const sorted = all.slice(ROUNDS / 10).sort((a, b) => a - b);
    console.log(
      `${name.padEnd(12)} ${loop.padEnd(8)} median ${sorted[sorted.length >> 1].toFixed(3)} ms, best ${sorted[0].toFixed(3)} ms`,
    );
  }
}
