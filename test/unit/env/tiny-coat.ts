import { type CoatData, parseCoat } from '../../../src/catalog/coat.js';

/** Users and items of {@link tinyCoat}. */
export const TINY = { users: 16, items: 16 } as const;

/**
 * Coat in small: column i of the truth is row i of a Hadamard matrix with 1 and 5 for its signs, so any two columns differ in 8
 * of 16 users: distance sqrt(8 x 16) = 11.3. Except that coat 14 is coat 0 with 2 users changed by 4 (distance 5.66, the same to a
 * shopper) and coat 15 is coat 0 changed by 4, 4, 2 (distance exactly 6, another coat).
 */
export function tinyCoat(): CoatData {
  const { users, items } = TINY;
  const sign = (u: number, i: number): number => (bits(u & i) % 2 === 0 ? 5 : 1);
  const cell = (u: number, i: number): number => {
    if (i < 14) return sign(u, i);
    const changed = i === 14 ? [1, 1] : [1, 1, 3];
    return changed[u] ?? 5;
  };
  const matrix = (value: (u: number, i: number) => number): string =>
    Array.from({ length: users }, (_, u) => Array.from({ length: items }, (_, i) => value(u, i)).join(' ')).join('\n');
  return parseCoat({
    train: matrix((u, i) => (u % 4 === i % 4 ? 1 + ((u + i) % 5) : 0)),
    truth: matrix(cell),
    userFeatures: Array.from({ length: users }, (_, u) => (u % 2 === 0 ? '1 0' : '0 1')).join('\n'),
    userFeatureMap: 'gender:men\ngender:women',
    itemFeatures: Array.from({ length: items }, () => '1 1 1 1').join('\n'),
    itemFeatureMap: 'gender:men\njackettype:rain\ncolor:red\nonfrontpage:no',
  });
}

function bits(n: number): number {
  let count = 0;
  for (let rest = n; rest > 0; rest >>= 1) count += rest & 1;
  return count;
}
