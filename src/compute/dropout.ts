/**
 * Inverted-dropout factors from a counter-based generator: element i of a site depends on (seed, site, i) only, so
 * `backward` can draw the same ones again.
 *
 * @param seed - of the forward pass.
 * @param site - number of the dropout within the pass.
 * @param size - how many factors.
 * @param rate - probability of 0, in [0, 1); the others are `1 / (1 - rate)`.
 */
export function dropoutFactors(seed: number, site: number, size: number, rate: number): Float32Array {
  const factors = new Float32Array(size);
  const kept = 1 / (1 - rate);
  const threshold = rate * 2 ** 32;
  const key = mix(
    (mix(seed >>> 0) ^ mix(Math.floor(seed / 2 ** 32) + 0x9e3779b9) ^ Math.imul(site + 1, 0x85ebca6b)) >>> 0,
  );
  for (let i = 0; i < size; i++) factors[i] = mix((key + Math.imul(i, 0x9e3779b9)) >>> 0) < threshold ? 0 : kept;
  return factors;
}

/** The finaliser of splitmix32: 32 bits in, 32 well-mixed bits out. */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}
