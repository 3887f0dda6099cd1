import { describe, expect, it } from 'vitest';
import { EpisodeColumns } from '../../../src/train/episode-columns.js';

/** Episode i of a made-up run; lanes and steps beyond 2^32, returns that float32 would round. */
const episode = (i: number) => ({ at: 2 ** 33 + i, return: i + 0.1, length: (i % 30) + 1 });

describe('EpisodeColumns', () => {
  it('holds what was pushed, however many', () => {
    const columns = new EpisodeColumns();
    const wanted = Array.from({ length: 1000 }, (_, i) => episode(i));
    for (const { at, return: sum, length } of wanted) columns.push(at, sum, length);
    expect(columns.count).toBe(1000);
    expect(wanted.map((_, i) => ({ at: columns.at(i), return: columns.return(i), length: columns.length(i) }))).toEqual(
      wanted,
    );
  });

  it('begins anew after clear, and keeps nothing of before', () => {
    const columns = new EpisodeColumns();
    columns.push(1, 2, 3);
    columns.push(4, 5, 6);
    columns.clear();
    expect(columns.count).toBe(0);
    columns.push(7, 8, 9);
    expect([columns.count, columns.at(0), columns.return(0), columns.length(0)]).toEqual([1, 7, 8, 9]);
  });
});
