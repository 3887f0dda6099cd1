import { Option } from 'commander';
import type { BackendName } from '../compute/backend.js';

/** What `--backend` gives. */
export interface BackendOption {
  /** Which backend computes. */
  readonly backend: 'auto' | BackendName;
}

/** `--backend`, with its names. */
export function backendOption(): Option {
  return new Option('--backend <name>', 'which tfjs backend computes')
    .choices(['auto', 'wasm', 'node-gpu', 'node', 'cpu'])
    .default('auto');
}
