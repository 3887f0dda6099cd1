// Your own environment: one user at a time, promises allowed. Here a café whose guests want hot drinks on cold days.
import { ActorCritic, adapt, Catalog, type Env, type EnvReset, type EnvStep, evaluate, liftEnv, mean } from 'ialp';
import { envContract } from 'ialp/testing';

const hot = ['espresso', 'cappuccino', 'black tea', 'green tea', 'cocoa', 'chai'];
const cold = ['iced coffee', 'iced tea', 'lemonade', 'orange juice', 'cola', 'water'];
const drinks = [...hot, ...cold].map((title) => ({ id: title, title }));
const catalog = Catalog.fromItems(drinks, {
  scenario: 'café',
  itemNoun: 'drink',
  behavior: 'ordering',
  attributes: ['title'],
});

class Cafe implements Env {
  readonly catalog = catalog;
  readonly contextWidth = 1; // what is known of the guest: whether it is cold outside
  readonly maxEpisodeSteps = 5; // then they are counted as truncated: they would have stayed
  #isCold = false;
  #last = '';

  async reset({ seed }: { readonly seed: number }): Promise<EnvReset> {
    this.#isCold = seed % 2 === 1; // everything random comes from the seed
    this.#last = '';
    return { history: [], context: [this.#isCold ? 1 : -1] };
  }

  async step(drink: string): Promise<EnvStep> {
    await Promise.resolve(); // a service would be asked here
    const reward = drink !== this.#last && (this.#isCold ? hot : cold).includes(drink) ? 1 : 0;
    this.#last = drink;
    return { reward, terminated: reward === 0, truncated: false }; // the same again, or the wrong one: they leave
  }
}

// The contract every environment must keep, whatever test runner you use.
for (const { name, run } of envContract(() => new Cafe())) {
  await run();
  console.log('ok', name);
}

using agent = new ActorCritic({ catalog, encoder: mean({ width: 8 }), items: 'id', contextWidth: 1, seed: 1 });
const env = liftEnv(() => new Cafe(), { size: 16, name: 'café' });
const { policy, updates } = await adapt({
  agent,
  env,
  steps: 3000,
  algorithm: { name: 'ppo', rewardScale: 1 },
  seed: 1,
});
const rows = await evaluate({
  policies: { untrained: agent, [`after ${updates} updates`]: policy },
  env,
  episodes: 100,
  modes: ['sampled'],
});
console.table(rows, ['policy', 'return', 'length']);
policy.dispose();
