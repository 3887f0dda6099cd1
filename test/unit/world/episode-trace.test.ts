import { describe, expect, it } from 'vitest';
import { traceEpisode, typicalEpisodes } from '../../../src/world/episode-trace.js';
import { syntheticWorld } from '../../../src/world/synthetic-world.js';
import { actionRng } from '../../../src/world/world.js';

const world = syntheticWorld({ items: 60, categories: 5 });

describe('traceEpisode', () => {
  it('is the episode that the environment plays, item by item', () => {
    const trace = traceEpisode(world, { policy: 'greedy', split: 'test', seed: 3 });
    const { env, planner } = world.planned('greedy', { split: 'test', size: 1, seed: 3 });
    const rng = actionRng(3, 'greedy');
    env.reset({ seed: 3 });
    expect(trace.start.length).toBe(env.histories().lengths[0]);
    for (const [n, step] of trace.steps.entries()) {
      const action = planner.act(rng.uniforms(1)).slice();
      const { rewards, terminated, truncated } = env.step(action);
      expect(step.id).toBe(world.catalog.id(action[0] as number));
      expect(step.reward).toBe(rewards[0]);
      const isLast = n === trace.steps.length - 1;
      expect(terminated[0] === 1 || truncated[0] === 1).toBe(isLast);
      if (isLast) expect(trace.end).toBe(terminated[0] === 1 ? 'left' : 'cap');
    }
  });

  it('shows a temper that only falls, until it is below the level at which a user leaves', () => {
    const { startTemper, leaveBelow, steps, end } = traceEpisode(world, { policy: 'random', seed: 1 });
    const tempers = [startTemper, ...steps.map(({ temper }) => temper)] as number[];
    for (const [n, temper] of tempers.slice(1).entries()) expect(temper).toBeLessThan(tempers[n] as number);
    expect(end).toBe('left');
    expect(tempers.at(-1)).toBeLessThan(leaveBelow as number);
    expect(tempers.at(-2)).toBeGreaterThanOrEqual(leaveBelow as number);
  });

  it('shows one user under a few telling policies', () => {
    const traces = typicalEpisodes(world, { seed: 2 });
    expect(traces.map(({ policy }) => policy)).toEqual(['random', 'rotationTrain', 'greedy', 'beam']);
    expect(new Set(traces.map(({ start }) => start.join())).size).toBe(1);
    expect(() => traceEpisode(world, { policy: 'oraclePersonal' })).toThrow(/oraclePersonal/);
  });
});
