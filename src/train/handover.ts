import type { ActorCritic } from '../agent/actor-critic.js';
import type { BatchEnv } from '../env/batch-env.js';

/** Bisection steps: the factor is found to about 1e-6 of its range. */
const HALVINGS = 30;

/**
 * Divides the learner's logits so that its mean entropy over the environment's first states is at least `nats`. A policy that is
 * flat enough already is left alone. A saturated policy could never be fine-tuned: its gradients are zero (`learning.md` 4).
 *
 * @param nats - mean entropy wanted, > 0; more than log(items) cannot be had, and the uniform policy is the limit.
 */
export async function softenToEntropy(learner: ActorCritic, env: BatchEnv, nats: number, seed: number): Promise<void> {
  await env.reset({ seed });
  const mask = env.noRepeat ? { noRepeat: true } : {};
  const histories = env.histories();
  const entropyAt = (temperature: number): number => {
    const { entropy } = learner.kernels.forward(histories, { entropy: true }, { mask, temperature });
    return entropy.reduce((sum, value) => sum + value, 0) / entropy.length;
  };
  if (entropyAt(1) >= nats) return;
  // In the logarithm of the temperature, from 1 to 10^4: entropy grows with it.
  let low = 0;
  let high = Math.log(1e4);
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (entropyAt(Math.exp(middle)) < nats) low = middle;
    else high = middle;
  }
  learner.scaleLogits(Math.exp(-high));
}
