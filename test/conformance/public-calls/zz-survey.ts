import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { useBackend } from '/work/main/src/index.js';
import { attempt } from '/work/main/test/conformance/public-calls/attempt.js';

const only = process.argv[2] ? new RegExp(process.argv[2]) : /./;
const scale = Number(process.argv[3] ?? 1);
await useBackend('wasm');
const calls = [];
for (const f of ['foundation', 'catalog', 'oracle', 'loss', 'compute', 'agent', 'env', 'train']) {
  const m = await import(`/work/main/test/conformance/public-calls/${f}-calls.ts`);
  calls.push(...(Object.values(m)[0] as any[]));
}
const mutation = fc.option(fc.record({ place: fc.nat(10_000), value: fc.nat(10_000), kind: fc.nat(99) }), { freq: 3 });
const started = Date.now();
for (const entry of calls) {
  if (!only.test(entry.name)) continue;
  const t0 = Date.now();
  const bugs = new Map<string, string>();
  const n: Record<string, number> = {};
  let before = -1;
  const samples = fc.sample(fc.tuple(entry.arguments, mutation), {
    numRuns: Math.ceil(entry.runs * scale),
    seed: Number(process.env.SEED ?? 3),
  });
  let slow = 0,
    slowest = '';
  for (const [args, m] of samples as any[]) {
    const t1 = performance.now();
    const got = await attempt(entry, args, m ?? undefined);
    const dt = performance.now() - t1;
    if (dt > slow) {
      slow = dt;
      slowest = `${got.mutated?.path} <- ${got.mutated?.as}`;
    }
    if (before < 0) before = tf.memory().numTensors;
    n[got.outcome] = (n[got.outcome] ?? 0) + 1;
    const isBug =
      ['untyped', 'hangs', 'took NaN'].includes(got.outcome) || (!got.mutated && got.outcome !== 'accepted');
    if (isBug) {
      const e: any = got.error;
      const where = String(e?.stack ?? '')
        .split('\n')
        .filter((l: string) => l.includes('/src/'))
        .slice(0, 1)
        .map((l: string) => l.replace(/.*\/src\//, 'src/').replace(/\)$/, ''))
        .join(' < ');
      const key = `${got.outcome} ${e?.constructor?.name}: ${String(e?.message).slice(0, 90)} @ ${where}`;
      if (!bugs.has(key)) bugs.set(key, `${got.mutated?.path ?? 'VALID'} <- ${got.mutated?.as}`);
    }
  }
  const leak = tf.memory().numTensors - before;
  console.log(
    `${entry.name}: ${JSON.stringify(n)} ${Date.now() - t0} ms, slowest ${slow.toFixed(0)} (${slowest})${leak ? ` LEAK ${leak}` : ''}`,
  );
  for (const [bug, at] of bugs) console.log(`   ${at}: ${bug}`);
}
console.log('total', Date.now() - started, 'ms', ({} as any).polluted);
process.exit(0);
