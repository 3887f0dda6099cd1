import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  constantSchedule,
  EventEmitter,
  exponentialSchedule,
  linearSchedule,
  MemoryStorage,
  prefixedStorage,
  Rng,
} from '../../../src/index.js';
import { FileStorage, fileStorage } from '../../../src/node/index.js';
import { seed, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const folder = mkdtempSync(join(tmpdir(), 'ialp-public-calls-'));
const key = fc.constantFrom('a', 'b/c', 'run-1/theta.safetensors');
const bytes = fc.uint8Array({ maxLength: 8 });

/** Everything of `foundation/`, and storage in files. */
export const foundationCalls: readonly PublicCall[] = [
  publicCall('Rng', {
    covers: ['Rng'],
    arguments: { seed: fc.oneof(seed, fc.constant('a seed')), label: fc.oneof(seed, fc.constant('init')) },
    call: ({ seed, label }) => new Rng(seed).fork(label).uniform(),
  }),
  publicCall('Rng draws', {
    covers: ['Rng'],
    arguments: {
      n: fc.integer({ min: 1, max: 20 }),
      k: fc.nat(1),
      list: fc.array(seed, { minLength: 1, maxLength: 4 }),
    },
    call: ({ n, k, list }) => {
      const rng = new Rng(1);
      rng.uniforms(n);
      rng.integer(n);
      rng.sample(n, k);
      rng.shuffle(list);
    },
    takesNaN: /^list\[/,
  }),
  publicCall('Rng.fromState', {
    covers: ['Rng'],
    arguments: {
      state: seed.map((s) => {
        const rng = new Rng(s);
        rng.uniform();
        const { path, words } = rng.state();
        return { path, words: { ...words } };
      }),
    },
    call: ({ state }) => Rng.fromState(state as never).uniform(),
  }),
  publicCall('constantSchedule', {
    covers: ['constantSchedule'],
    arguments: { value: within(-3, 3), step: seed },
    call: ({ value, step }) => constantSchedule(value).at(step),
  }),
  publicCall('linearSchedule', {
    covers: ['linearSchedule'],
    arguments: {
      options: fc.record({
        from: within(-3, 3),
        to: within(-3, 3),
        steps: fc.integer({ min: 1, max: 9 }),
        delay: fc.nat(5),
      }),
      step: seed,
    },
    call: ({ options, step }) => linearSchedule(options).at(step),
  }),
  publicCall('exponentialSchedule', {
    covers: ['exponentialSchedule'],
    arguments: {
      options: fc.record({ from: within(0.1, 3), to: within(0.1, 3), steps: fc.integer({ min: 1, max: 9 }) }),
      step: seed,
    },
    call: ({ options, step }) => exponentialSchedule(options).at(step),
  }),
  publicCall('EventEmitter', {
    covers: ['EventEmitter'],
    arguments: { name: fc.constantFrom('runStart', 'runEnd'), listener: fc.constant(() => {}) },
    call: ({ name, listener }) => {
      const emitter = new EventEmitter<Record<string, number>>();
      emitter.on(name, listener).once(name, listener).emit(name, 1);
      return emitter.off(name, listener).listenerCount(name);
    },
  }),
  publicCall('MemoryStorage', {
    covers: ['MemoryStorage'],
    arguments: { key, bytes, more: bytes, prefix: fc.constantFrom('', 'a', 'run') },
    call: async ({ key, bytes, more, prefix }) => {
      const storage = new MemoryStorage();
      await storage.put(key, bytes);
      await storage.append(key, more);
      await storage.get(key);
      await storage.list(prefix);
      await storage.delete(key);
    },
  }),
  publicCall('prefixedStorage', {
    covers: ['prefixedStorage'],
    arguments: { storage: fc.constant(new MemoryStorage()), prefix: key, key, bytes },
    call: async ({ storage, prefix, key, bytes }) => {
      const part = prefixedStorage(storage, prefix);
      await part.put(key, bytes);
      await part.list();
      await part.delete(key);
    },
  }),
  publicCall('FileStorage', {
    covers: ['FileStorage', 'fileStorage'],
    arguments: {
      folder: fc.constant(folder),
      key,
      bytes,
      options: fc.record({ fsync: fc.constant('os' as const), acceptUnverified: fc.boolean() }),
    },
    call: async ({ folder: given, key, bytes, options }) => {
      // A changed folder is made below the temporary one, or the working tree would be written to.
      const inside = typeof given === 'string' && given !== folder && given !== '' ? join(folder, 'other') : given;
      const storage = given === folder ? fileStorage(inside, options) : new FileStorage(inside, options);
      await storage.put(key, bytes);
      await storage.append(key, bytes);
      await storage.get(key);
      await storage.list();
      await storage.delete(key);
    },
  }),
];
