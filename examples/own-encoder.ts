// Your own state encoder in tfjs: a learned, soft choice of which items of the history matter. No gradient by hand.
import * as tf from '@tensorflow/tfjs';
import { ActorCritic, adapt, evaluate, MemoryStorage, normalParameter, type StateEncoder } from 'ialp';
import { identityEnv } from 'ialp/testing';

/** s = tanh(sum_i w_i e_i) W, with w = softmax over the items of (e_i · gate + age[how old item i is]). */
function gatedMean(width: number, historyLength: number): StateEncoder {
  return {
    name: `gatedMean(width=${width}, historyLength=${historyLength})`,
    itemWidth: width,
    stateWidth: width,
    historyLength,
    init: (rng) => ({
      gate: normalParameter(rng.fork('gate'), [width, 1], 0.1),
      age: { shape: [historyLength], data: new Float32Array(historyLength) },
      output: normalParameter(rng.fork('output'), [width, width], 1),
    }),
    apply(params, { items, mask, lengthValues }) {
      const [B, L, E] = items.shape;
      // Which age each column has, as one-hot rows: plain numbers, computed outside tfjs.
      const ages = new Float32Array(B * L * historyLength);
      for (let b = 0; b < B; b++) {
        const length = lengthValues[b] as number;
        for (let i = 0; i < length; i++) ages[(b * L + i) * historyLength + (length - 1 - i)] = 1;
      }
      const age = tf.matMul(tf.tensor2d(ages, [B * L, historyLength]), tf.reshape(params.age as tf.Tensor, [-1, 1]));
      const gate = tf.matMul(tf.reshape(items, [B * L, E]), params.gate as tf.Tensor2D);
      // Padding must not change a state: it gets no weight, and an empty history gets the zero state.
      const scores = tf.add(tf.reshape(tf.add(gate, age), [B, L]), tf.mul(tf.sub(mask, 1), 1e9));
      const weights = tf.mul(tf.softmax(scores), mask);
      const pooled = tf.tanh(tf.sum(tf.mul(items, tf.expandDims(weights, 2)), 1)) as tf.Tensor2D;
      return tf.matMul(pooled, params.output as tf.Tensor2D);
    },
  };
}

// The item to show is the one after the last: only an encoder that tells the last item from the others can learn that.
const env = identityEnv({ items: 6, steps: 6, size: 16, seed: 1 });
const encoder = gatedMean(8, 4);
using agent = new ActorCritic({ catalog: env.catalog, encoder, items: 'id', historyFeatures: false, seed: 1 });
const { learner } = await adapt({ agent, env, steps: 12_000, algorithm: { name: 'ppo', rewardScale: 1 }, seed: 1 });

// A saved policy holds the parameters and the encoder's name; to load it, give the encoder again.
const storage = new MemoryStorage();
await learner.save(storage);
using loaded = await ActorCritic.load(storage, { catalog: env.catalog, encoder });
console.table(await evaluate({ policies: { untrained: agent, trained: loaded }, env, episodes: 100 }), [
  'policy',
  'mode',
  'return',
]);
learner.dispose();
