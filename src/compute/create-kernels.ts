import type { Kernels } from './kernels.js';
import type { ModelSpec } from './model.js';
import type { ParameterStore } from './parameter-store.js';
import { ReferenceKernels } from './reference-kernels.js';

/**
 * The arithmetic of a model on the backend in use. Whoever creates it disposes it; the store is borrowed.
 *
 * @param spec - what the model is.
 * @param store - its parameters, from {@link initParameters} or loaded.
 * @throws {InvalidArgumentError} when the spec is not consistent or the store is not of this model.
 * @throws {BackendError} when no backend was chosen yet: call `await useBackend('auto')` first.
 */
export function createKernels(spec: ModelSpec, store: ParameterStore): Kernels {
  return new ReferenceKernels(spec, store);
}
