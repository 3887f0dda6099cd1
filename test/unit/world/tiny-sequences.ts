import { Catalog } from '../../../src/catalog/catalog.js';
import { Sequences } from '../../../src/catalog/sequences.js';
import { SYNTHETIC_TEMPER } from '../../../src/env/leave-rules.js';
import { Rng } from '../../../src/foundation/rng.js';
import { industryWorldSpec } from '../../../src/world/industry-world.js';
import { SEQUENCE_MODEL, type SequenceModelSettings } from '../../../src/world/sequence-model.js';
import type { SequenceWorldSpec } from '../../../src/world/sequence-world.js';

/** Items of {@link tinySequences}. */
export const TINY_ITEMS = 40;

/** A model that is fitted in a second. */
export const TINY_MODEL: SequenceModelSettings = {
  ...SEQUENCE_MODEL,
  width: 8,
  dropout: 0.1,
  members: 2,
  learningRate: 1e-2,
  batchSize: 64,
  maxEpochs: 6,
};

/** A world that is built in a few seconds. */
export function tinySpec(changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  return industryWorldSpec({
    name: 'tiny',
    category: 'kind',
    window: 6,
    rule: SYNTHETIC_TEMPER,
    maxEpisodeSteps: 14,
    rewardModel: TINY_MODEL,
    meanReward: 0.5,
    bestReward: 4,
    ...changes,
  });
}

/** Forty things of five kinds, those of a kind side by side. */
export function tinyKinds(): Catalog {
  return Catalog.fromItems(
    Array.from({ length: TINY_ITEMS }, (_, i) => ({
      id: `thing-${i}`,
      title: `Thing ${i}`,
      kind: `kind ${Math.floor(i / 8)}`,
    })),
    { scenario: 'test', itemNoun: 'thing', behavior: 'testing', attributes: ['title'], extraAttributes: ['kind'] },
  );
}

/** Sequences in which item i is followed by i + 1, or seldom by any: easy to learn. */
export function tinySequences(count: number, seed: number): Sequences {
  const rng = new Rng(seed);
  const lists = Array.from({ length: count }, () => {
    const list = [rng.integer(TINY_ITEMS)];
    while (list.length < 6)
      list.push(rng.uniform() < 0.9 ? ((list.at(-1) as number) + 1) % TINY_ITEMS : rng.integer(TINY_ITEMS));
    return list;
  });
  return Sequences.from(lists, { itemCount: TINY_ITEMS });
}
