/** Wrong options. */
import {
  ActorCritic,
  Adam,
  adapt,
  amazonWorld,
  Catalog,
  ContentPolicy,
  CountingBanditPolicy,
  categorical,
  coatWorld,
  DotProductModel,
  type Env,
  epsilonGreedy,
  evaluate,
  exponentialSchedule,
  historyBatch,
  InvalidArgumentError,
  ItemFeatures,
  LlmOracle,
  liftEnv,
  linearSchedule,
  MemoryStorage,
  MixturePolicy,
  mean,
  PopularityPolicy,
  parseAnswer,
  parseInteractions,
  pretrain,
  RandomPolicy,
  RecordingOracle,
  ReplayBuffer,
  Rng,
  RotationPolicy,
  ScriptedOracle,
  Sequences,
  SimulatedOracle,
  sasRec,
  syntheticWorld,
  useBackend,
  worldCard,
} from '../../../src/index.js';
import { fileStorage, readItems } from '../../../src/node/index.js';
import { agentOptions, catalog, ITEMS, sequences, smallAgent } from '../public-calls/fixtures.js';
import { any, badInputs, folder, words } from './case.js';

const agent = smallAgent();
const batch = historyBatch([[1], [2]]);
const scripted = new ScriptedOracle(() => 0);
const own: Env = {
  catalog,
  reset: () => ({ history: [] }),
  step: () => ({ reward: 1, terminated: true, truncated: false }),
};
const random = new RandomPolicy({ itemCount: ITEMS });
const options = { agent, oracle: scripted, budget: { calls: 4 }, candidateCount: 2, stepsPerEpisode: 1, lanes: 1 };

/** Wrong options. */
export const wrongOptions = badInputs(InvalidArgumentError, [
  [
    'Catalog: an unknown attribute',
    () => Catalog.fromItems(any([{ id: 'a', titel: 'x' }, { id: 'b' }]), words),
    { argument: 'items[0] (id "a")' },
    /did you mean "title"/,
  ],
  [
    'Catalog: an id twice',
    () => Catalog.fromItems([{ id: 'a' }, { id: 'a' }], words),
    { argument: 'items[1].id' },
    /which items\[0\] has too/,
  ],
  [
    'Catalog: an attribute called id',
    () => Catalog.fromItems([{ id: 'a' }, { id: 'b' }], { ...words, attributes: ['id'] }),
    { argument: 'attributes[0]' },
    /other than "id"/,
  ],
  ['Catalog: an unknown id', () => catalog.indexOf('item-99'), { argument: 'id' }, /did you mean "item-9"/],
  ['Catalog: __proto__ as id', () => catalog.indexOf('__proto__'), { argument: 'id' }, /the catalogue has 14 items/],
  [
    'Catalog: constructor as attribute',
    () => catalog.attributeCodes('constructor'),
    { argument: 'attribute' },
    /known are "title"/,
  ],
  [
    'Sequences: an index out of range',
    () => Sequences.from([[1], [2, 14]], { itemCount: 14 }),
    { argument: 'lists[1][1]' },
    /from 0 to 13, got 14/,
  ],
  [
    'Sequences: fractions of 0.9',
    () => sequences.split({ seed: 1, fractions: [0.5, 0.4] }),
    { argument: 'fractions' },
    /sum to 1/,
  ],
  [
    'ItemFeatures: NaN',
    () => ItemFeatures.fromMatrix(Float32Array.of(1, Number.NaN), { width: 2 }),
    { argument: 'matrix[1] (row 0, column 1)' },
    /a finite number/,
  ],
  [
    'ItemFeatures: an embedding too short',
    () => ItemFeatures.embed(catalog, async (texts) => texts.map((_, i) => (i === 3 ? [1] : [1, 2]))),
    { argument: 'the embedding of item 3 (id "item-3")' },
    /2 numbers long/,
  ],
  [
    'parseInteractions: minRating alone',
    () => parseInteractions('', { catalog, format: 'csv', minRating: 3 }),
    { argument: 'ratingColumn' },
    /ratingColumn/,
  ],
  ['readItems: an ending that tells nothing', () => readItems('items.xml', words), { argument: 'format' }, /\.jsonl/],
  ['Rng: a NaN seed', () => new Rng(Number.NaN), { argument: 'seed' }, /a finite number or a string, got NaN/],
  [
    'linearSchedule: 0 steps',
    () => linearSchedule({ from: 0, to: 1, steps: 0 }),
    { argument: 'steps' },
    /at least 1, got 0/,
  ],
  [
    'exponentialSchedule: from 0',
    () => exponentialSchedule({ from: 0, to: 1, steps: 5 }),
    { argument: 'from' },
    /greater than 0/,
  ],
  ['useBackend: an unknown name', () => useBackend(any('wasmm')), { argument: 'name' }, /did you mean 'wasm'/],
  [
    'storage: a key with ..',
    () => new MemoryStorage().get('../secret'),
    { argument: 'key' },
    /none of them "\." or "\.\."/,
  ],
  [
    'storage: an absolute key',
    () => fileStorage(folder).put('/etc/passwd', new Uint8Array(1)),
    { argument: 'key' },
    /storage key/,
  ],
  [
    'storage: a key as a folder',
    async () => {
      const s = new MemoryStorage();
      await s.put('a', new Uint8Array(1));
      await s.put('a/b', new Uint8Array(1));
    },
    { argument: 'key' },
    /cannot also be a folder/,
  ],
  [
    'sasRec: 3 heads of width 32',
    () => sasRec({ width: 32, heads: 3 }),
    { argument: 'width' },
    /a multiple of `heads` \(3\)/,
  ],
  ['mean: a decay of 0', () => mean({ decay: 0 }), { argument: 'decay' }, /greater than 0/],
  ['mean: a misspelt option', () => mean(any({ widht: 4 })), { argument: 'widht' }, /did you mean `width`/],
  [
    'ActorCritic: no catalogue',
    () => new ActorCritic(any({ encoder: mean() })),
    { argument: 'catalog' },
    /expected a Catalog/,
  ],
  [
    'ActorCritic: an array as catalogue',
    () => new ActorCritic(any({ ...agentOptions, catalog: [] })),
    { argument: 'catalog' },
    /expected a Catalog/,
  ],
  [
    'ActorCritic: a critic of another kind',
    () => smallAgent(any({ critic: 'both' })),
    { argument: 'critic' },
    /"state", "action"/,
  ],
  [
    'ActorCritic: features of another catalogue',
    () => smallAgent({ items: 'text', features: ItemFeatures.fromMatrix([1, 2], { width: 1 }) }),
    { argument: 'features' },
    /for the 14 items/,
  ],
  [
    'ActorCritic: a history feature of no attribute',
    () => smallAgent({ historyFeatures: { attributes: ['colour'] } }),
    { argument: 'attributes' },
    /got 'colour'/,
  ],
  [
    'recommend: an unknown item',
    () => agent.recommend({ history: ['item-99'] }),
    { argument: 'id' },
    /did you mean "item-9"/,
  ],
  ['recommend: more items than there are', () => agent.recommend({ k: 15 }), { argument: 'k' }, /the 14 items left/],
  [
    'recommend: a context nobody asked for',
    () => agent.recommend({ context: [1] }),
    { argument: 'context' },
    /0 numbers, got 1/,
  ],
  [
    'act: too few uniforms',
    () => random.act(batch, { mode: 'sampled', uniforms: Float64Array.of(0.1) }),
    { argument: 'uniforms' },
    /each of the 2 rows/,
  ],
  [
    'act: everything masked',
    () =>
      random.act(batch, {
        mode: 'argmax',
        uniforms: new Float64Array(2),
        mask: { exclude: Int32Array.from({ length: ITEMS }, (_, i) => i) },
      }),
    { argument: 'mask' },
    /excludes all 14 items of row 0/,
  ],
  [
    'historyBatch: a NaN context',
    () => historyBatch([[1]], { context: [[Number.NaN]] }),
    { argument: 'context[0][0]' },
    /finite, got NaN/,
  ],
  ['Adam: a NaN rate', () => new Adam({ learningRate: Number.NaN }), { argument: 'learningRate' }, /greater than 0/],
  [
    'MixturePolicy: alpha 1.5',
    () => new MixturePolicy({ pretrained: agent, learner: agent, alpha: 1.5 }),
    { argument: 'alpha' },
    /from 0 to 1, got 1.5/,
  ],
  ['ReplayBuffer: 10^18 transitions', () => new ReplayBuffer({ lanes: 1e9, stepsPerLane: 1e9 }), {}, /lanes/],
  [
    'ReplayBuffer: a step of other lanes',
    () => new ReplayBuffer({ lanes: 3, stepsPerLane: 2 }).add(any({ histories: batch })),
    { argument: 'histories.size' },
    /3, the lanes, got 2/,
  ],
  [
    'PopularityPolicy: a NaN count',
    () => new PopularityPolicy([1, Number.NaN]),
    { argument: 'counts' },
    /NaN for item 1/,
  ],
  [
    'RotationPolicy: an item twice',
    () => new RotationPolicy({ items: [1, 1], itemCount: 3 }),
    { argument: 'items' },
    /distinct/,
  ],
  [
    'ContentPolicy: a window of 0',
    () => new ContentPolicy(ItemFeatures.tfidf(catalog), { window: 0 }),
    { argument: 'window' },
    /at least 1/,
  ],
  [
    'CountingBanditPolicy: a NaN reward',
    () =>
      new CountingBanditPolicy({ itemCount: 3 }).observe({
        actions: Int32Array.of(1),
        rewards: Float32Array.of(Number.NaN),
      }),
    { argument: 'actions' },
    /a finite reward/,
  ],
  ['epsilonGreedy: epsilon 2', () => epsilonGreedy({ epsilon: 2, itemCount: 3 }), { argument: 'epsilon' }, /./],
  ['categorical: temperature 0', () => categorical(0), { argument: 'temperature' }, /above 0/],
  [
    'pretrain: nobody to ask',
    () => pretrain({ agent }),
    { argument: 'oracle' },
    /exactly one of `oracle` and `answers`, got neither/,
  ],
  [
    'pretrain: 26 candidates',
    () => pretrain({ ...options, candidateCount: 26 }),
    { argument: 'candidateCount' },
    /an integer from 2 to 25, got 26/,
  ],
  [
    'pretrain: more candidates than items',
    () => pretrain({ ...options, candidateCount: 14, starts: [['item-1']] }),
    { argument: 'candidateCount' },
    /a catalogue of at least 15 items/,
  ],
  [
    'pretrain: a start of an unknown item',
    () => pretrain({ ...options, starts: [['item-99']] }),
    { argument: 'id' },
    /did you mean "item-9"/,
  ],
  [
    'pretrain: a NaN share',
    () => pretrain({ ...options, actorShare: Number.NaN }),
    { argument: 'actorShare' },
    /from 0 to 1, got NaN/,
  ],
  [
    'pretrain: an answer that was not shown',
    () => pretrain({ agent, answers: [{ history: [], candidates: ['item-1', 'item-2'], choice: 'item-3' }] }),
    {},
    /answers\[0\]/,
  ],
  [
    'pretrain: an answer with a NaN among its scores',
    () =>
      pretrain({
        agent,
        answers: [
          {
            history: [],
            candidates: ['item-1', 'item-2'],
            choice: 'item-1',
            scores: [0, Number.NaN, Number.NEGATIVE_INFINITY],
          },
        ],
      }),
    {},
    /a finite number, or -Infinity/,
  ],
  [
    'adapt: alpha without a mixture',
    () => adapt({ agent, env: own, steps: 3, alpha: 0.5 }),
    { argument: 'alpha' },
    /no mixture/,
  ],
  ['adapt: no steps', () => adapt(any({ agent, env: own })), { argument: 'steps' }, /at least 1, got undefined/],
  [
    'adapt: the env of another catalogue',
    () => adapt({ agent, env: { ...own, catalog: Catalog.fromItems([{ id: 'a' }, { id: 'b' }], words) }, steps: 3 }),
    { argument: 'env' },
    /the catalogue of `agent`/,
  ],
  ['evaluate: no policies', () => evaluate({ policies: {}, env: own }), {}, /at least one policy/],
  [
    'evaluate: 0 episodes',
    () => evaluate({ policies: { random }, env: own, episodes: 0 }),
    { argument: 'episodes' },
    /from 1 to/,
  ],
  [
    'liftEnv: one Env for two lanes',
    () => liftEnv(own, { size: 2 }),
    { argument: 'envs' },
    /an Env plays one episode at a time/,
  ],
  ['liftEnv: no Env', () => liftEnv(any({ reset() {} })), { argument: 'envs[0]' }, /`catalog`, `reset` and `step`/],
  [
    'DotProductModel: NaN vectors',
    () => new DotProductModel({ vectors: Float32Array.of(1, Number.NaN), width: 1 }),
    { argument: 'vectors[1]' },
    /finite/,
  ],
  ['syntheticWorld: 3 items', () => syntheticWorld({ items: 3 }), { argument: 'items' }, /from 50 to/],
  ['coatWorld: no data', () => coatWorld(any({ data: { truth: 1 } })), {}, /data/],
  [
    'amazonWorld: an attribute that is not there',
    () => amazonWorld({ data: { catalog, sequences } }),
    { argument: 'attribute' },
    /got "level2"/,
  ],
  [
    'worldCard: a policy the world lacks',
    () => worldCard(syntheticWorld({ items: 50, categories: 3 }), { policies: ['oraclePersonal'], episodes: 1 }),
    { argument: 'policy' },
    /got "?oraclePersonal/,
  ],
  [
    'LlmOracle: nobody to ask',
    () => new LlmOracle(any({ catalog })),
    {},
    /exactly one of `complete` and `languageModel`, got neither/,
  ],
  [
    'LlmOracle: no function',
    () => new LlmOracle(any({ catalog, complete: 'gpt' })),
    { argument: 'complete' },
    /expected a function/,
  ],
  [
    'SimulatedOracle: counts of another catalogue',
    () => new SimulatedOracle({ catalog, popularity: { counts: [1], weight: 1 } }),
    { argument: 'popularity.counts' },
    /14 entries/,
  ],
  [
    'RecordingOracle: no storage',
    () => RecordingOracle.open(any({ oracle: scripted, catalog })),
    { argument: 'storage' },
    /expected a Storage/,
  ],
  [
    'prefer: a candidate twice',
    () => scripted.prefer([{ history: [], candidates: [1, 1] }]),
    { argument: 'queries[0].candidates' },
    /distinct items/,
  ],
  ['parseAnswer: two labels', () => parseAnswer('a', ['a', 'b']), { argument: 'labels' }, /three or more/],
]);
