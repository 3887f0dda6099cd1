// Coat Shopping from its files: what is trivial there, what a policy learns from text answers alone, and then online.
//   npx tsx examples/coat.ts FOLDER [STEPS]
import {
  ActorCritic,
  adapt,
  coatWorld,
  evaluate,
  pretrain,
  SimulatedOracle,
  sasRec,
  worldCard,
  worldStarts,
} from 'ialp';
import { readCoat } from 'ialp/node';

const [folder, steps = '20000'] = process.argv.slice(2);
if (folder === undefined) throw new Error('Usage: npx tsx examples/coat.ts FOLDER [STEPS]');

// 1. The world: 290 shoppers, 300 coats. A shopper leaves at a coat too like one of the last seven.
const data = await readCoat(folder);
const world = coatWorld({ data, window: 'correct' });
console.log(world.description);

// 2. Rows that every table must show, on shoppers held out from training.
const policies = ['random', 'popularity', 'rotationTrain', 'oraclePersonal'] as const;
const card = await worldCard(world, { split: 'test', seeds: 1, episodes: 300, policies });
console.table(card, ['policy', 'return', 'length', 'averageReward', 'coverage']);

// 3. Pre-train from an oracle that reads text only. The shopper's features are the context of the state.
const { catalog } = world;
const { histories, contexts } = worldStarts(world, { split: 'train', count: 200, seed: 1 });
const starts = histories.map((history, i) => {
  return { history: Array.from(history, (item) => catalog.id(item)), context: contexts?.[i] };
});
const encoder = sasRec({ width: 32, historyLength: 8 });
using agent = new ActorCritic({ catalog, encoder, contextWidth: data.userFeatureWidth, seed: 1 });
const oracle = new SimulatedOracle({ catalog });
const { oracleCalls } = await pretrain({ agent, oracle, starts, budget: { calls: 1000 }, seed: 1 });

// 4. Adapt on the train shoppers, measure on the test shoppers. What reads alike looks alike, and shoppers leave at that:
// so text alone does worse than chance here, and the policy is flattened before it learns (`handoverEntropy`, in nats).
const env = world.batchEnv({ split: 'train', size: 16, seed: 1 });
const { policy, updates } = await adapt({ agent, env, steps: Number(steps), handoverEntropy: 3, seed: 1 });
const rows = await evaluate({
  policies: { [`ialp, ${oracleCalls} answers`]: agent, [`fine-tuned, ${updates} updates`]: policy },
  env: world.batchEnv({ split: 'test', size: 16, seed: 1 }),
  episodes: 100,
});
console.table(rows, ['policy', 'mode', 'return', 'length', 'coverage']);
policy.dispose();
