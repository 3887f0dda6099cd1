import { defineConfig } from 'vitest/config';

// The engine is built first where its sources have changed. Two cores: more workers than cores only makes the timed tests noisy.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    globalSetup: '.ci/build-engine.ts',
  },
});
