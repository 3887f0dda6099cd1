import { beforeAll, describe, expect, it } from 'vitest';
import { PopularityPolicy } from '../../../src/agent/popularity-policy.js';
import { RandomPolicy } from '../../../src/agent/random-policy.js';
import { useBackend } from '../../../src/compute/backend.js';
import { Measurements } from '../../../src/experiment/measurements.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { syntheticWorld } from '../../../src/world/synthetic-world.js';

const KEY = 'measurements.jsonl';
const world = syntheticWorld({ items: 60, categories: 6 });
const policies = {
  random: new RandomPolicy({ itemCount: 60 }),
  popularity: new PopularityPolicy(world.popularity),
} as const;

beforeAll(async () => {
  await useBackend('cpu');
});

async function measured(storage: MemoryStorage): Promise<Measurements> {
  const measurements = await Measurements.open({ world, split: 'test', episodes: 8, storage });
  for (const method of ['random', 'popularity'] as const) {
    const at = { seed: 1, steps: 0, updates: 0, oracleCalls: 0, algorithm: 'none' as const, began: Date.now() };
    await measurements.measure(method, policies[method], at);
  }
  return measurements;
}

async function linesOf(storage: MemoryStorage): Promise<string[]> {
  const bytes = (await storage.get(KEY)) as Uint8Array;
  return new TextDecoder().decode(bytes).split('\n').slice(0, -1);
}

/** A log of these lines, cut off where the last one says. */
async function logOf(text: string): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  await storage.put(KEY, new TextEncoder().encode(text));
  return storage;
}

const timeless = (measurements: Measurements) => measurements.rows().map(({ wallSeconds: _, ...row }) => row);

describe('Measurements', () => {
  it.each([2, 3, 4, 5])('killed after %i lines, goes on to the rows and the log of an unbroken run', async (kept) => {
    const unbroken = new MemoryStorage();
    const rows = timeless(await measured(unbroken));
    expect(rows.map(({ method, mode }) => `${method} ${mode}`)).toEqual(
      ['random', 'popularity'].flatMap((method) => [`${method} sampled`, `${method} argmax`]),
    );
    const lines = await linesOf(unbroken);
    expect(lines.length).toBe(5);
    // The next record is torn, as a kill leaves it.
    const torn = `${lines.slice(0, kept).join('\n')}\n${(lines[kept] ?? '').slice(0, 40)}`;
    const storage = await logOf(torn);
    expect(timeless(await measured(storage))).toEqual(rows);
    const once = (all: readonly string[]) => all.map((line) => line.replace(/"wallSeconds":[^,}]*/, ''));
    expect(once(await linesOf(storage))).toEqual(once(lines));
  });

  it('takes a record that is there twice for one, never for another seed', async () => {
    const unbroken = new MemoryStorage();
    const rows = timeless(await measured(unbroken));
    const lines = await linesOf(unbroken);
    const twice = await logOf(`${[...lines.slice(0, 4), lines[3], ...lines.slice(1)].join('\n')}\n`);
    const again = await Measurements.open({ world, split: 'test', episodes: 8, storage: twice });
    expect(timeless(again)).toEqual(rows);
    // An interval over two equal seeds would have no width.
    const popular = again.rows().find(({ method, mode }) => method === 'popularity' && mode === 'sampled');
    expect(popular?.returnHigh).toBeGreaterThan(popular?.returnLow as number);
    expect(popular?.perSeed.length).toBe(1);
    // The control: another seed is another measurement.
    const other = await logOf(`${[...lines, lines[3]?.replace('"seed":1', '"seed":2')].join('\n')}\n`);
    const both = await Measurements.open({ world, split: 'test', episodes: 8, storage: other });
    expect(both.rows().find(({ method, mode }) => method === 'popularity' && mode === 'sampled')?.perSeed.length).toBe(
      2,
    );
  });
});
