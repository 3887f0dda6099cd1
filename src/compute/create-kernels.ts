import { z } from 'zod';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { requireBackend } from './backend.js';
import { currentEngine } from './fused/engine.js';
import { FusedKernels, whyNotFused } from './fused/fused-kernels.js';
import type { Kernels } from './kernels.js';
import { checkModelSpec, type ModelSpec } from './model.js';
import type { ParameterStore } from './parameter-store.js';
import { ReferenceKernels } from './reference-kernels.js';

/** Options of {@link createKernels}. */
export interface KernelOptions {
  /**
   * `'auto'` takes the fused engine where it can compute the model, the reference elsewhere; `'reference'` and `'fused'`
   * insist. @default 'auto'
   */
  readonly kernels?: 'auto' | 'reference' | 'fused';
}

const kernelOptions = z.strictObject({ kernels: z.enum(['auto', 'reference', 'fused']).default('auto') });

/**
 * The arithmetic of a model on the backend in use. Whoever creates it disposes it; the store is borrowed.
 *
 * @param spec - what the model is.
 * @param store - its parameters, from {@link initParameters} or loaded.
 * @param options - see {@link KernelOptions}.
 * @throws {InvalidArgumentError} when the spec is not consistent, the store is not of this model, or `'fused'` is asked
 * for where it is not available.
 * @throws {BackendError} when no backend was chosen yet: call `await useBackend('auto')` first.
 */
export function createKernels(spec: ModelSpec, store: ParameterStore, options: KernelOptions = {}): Kernels {
  const { kernels } = checkOptions(kernelOptions, options, 'createKernels');
  checkModelSpec(spec, 'createKernels');
  const { backend } = requireBackend();
  if (kernels === 'reference') return new ReferenceKernels(spec, store);
  const engine = currentEngine();
  const objection = engine === undefined ? 'no engine' : whyNotFused(spec);
  if (engine !== undefined && objection === undefined) return new FusedKernels(engine, spec, store, backend);
  if (kernels === 'auto') return new ReferenceKernels(spec, store);
  throw new InvalidArgumentError(
    engine === undefined
      ? "createKernels: `kernels: 'fused'` needs the engine, which `useBackend('auto')` or `useBackend('wasm')` loads where WebAssembly has SIMD"
      : `createKernels: the engine has no form of ${objection}; take \`kernels: 'reference'\``,
    { argument: 'kernels', wanted: "'auto' or 'reference'", got: kernels },
  );
}
