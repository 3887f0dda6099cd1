import type { Env } from 'ialp';
import { ActorCritic, adapt, Catalog, evaluate, liftEnv, pretrain, RandomPolicy, SimulatedOracle, sasRec } from 'ialp';
import { fileStorage } from 'ialp/node';

// Your items: an id and some text. Here 100 made-up tracks of 10 genres.
const genres = ['jazz', 'rock', 'folk', 'techno', 'opera', 'soul', 'punk', 'ambient', 'blues', 'samba'];
const items = Array.from({ length: 100 }, (_, i) => {
  return { id: `track-${i}`, title: `Take ${i}`, genre: genres[i % 10] as string, artist: `Artist ${i % 20}` };
});
const words = { scenario: 'music', itemNoun: 'track', behavior: 'listening' };
const catalog = Catalog.fromItems(items, { ...words, attributes: ['title', 'genre', 'artist'] });

// Who is asked. With a model: new LlmOracle({ catalog, complete: (prompt, { signal }) => askModel(prompt, signal) })
const oracle = new SimulatedOracle({ catalog });

// 1. Distil and pre-train: no user, no reward. Kill it and run it again: it goes on, and asks nothing twice.
using agent = new ActorCritic({ catalog, encoder: sasRec({ width: 16 }), items: 'id+text', seed: 1 });
const onProgress = (at: { calls: number }) => console.log(`${at.calls} questions answered`);
await pretrain({ agent, oracle, budget: { calls: 1000 }, storage: fileStorage('runs/theta'), seed: 1, onProgress });
await agent.save(fileStorage('models/theta'));

// 2. Recommend at once, to users with or without a history.
console.table(agent.recommend({ history: ['track-17', 'track-7'], k: 5 }));

// 3. Adapt to real feedback. Here a simulated listener, whose favourite artist is not the one that the text suggests.
const listener = (): Env => {
  let genre = 0;
  let patience = 2;
  return {
    catalog,
    maxEpisodeSteps: 4,
    noRepeat: true,
    reset({ seed }) {
      genre = seed % 10;
      patience = 2;
      return { history: [`track-${genre}`] };
    },
    step(item) {
      const index = catalog.indexOf(item);
      const isLiked = index % 10 === genre;
      if (!isLiked) patience--;
      return { reward: isLiked ? (index % 20 < 10 ? 0.2 : 1) : 0, terminated: patience === 0, truncated: false };
    },
  };
};
const env = liftEnv(listener, { size: 16 });
const { policy } = await adapt({ agent, env, steps: 6000, seed: 2 });
const policies = { random: new RandomPolicy({ itemCount: catalog.size }), pretrained: agent, adapted: policy };
const rows = await evaluate({ policies, env, episodes: 200, modes: ['sampled'] });
console.table(rows, ['policy', 'return', 'returnLow', 'returnHigh', 'length']);
policy.dispose();
