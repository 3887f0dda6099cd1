import type { BackendOptions } from '../src/compute/backend.js';
import type { Kernels } from '../src/compute/kernels.js';

/** How this library's engine is to run. */
export type EngineSettings = Required<Pick<BackendOptions, 'threads' | 'simd'>>;

/** How kernels ran: which they are, on how many threads, and the share of updates that was fused. */
export function kernelFacts({ kind, variant, threads }: Kernels): Readonly<Record<string, unknown>> {
  return { kernels: kind, variant, threads: threads ?? 1, fusedShare: kind === 'fused' ? 1 : 0 };
}
