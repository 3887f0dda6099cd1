/** What is not there: backends that are not installed, objects that were disposed. */
import { BackendError, DisposedError, LlmOracle, useBackend } from '../../../src/index.js';
import { catalog, smallAgent } from '../public-calls/fixtures.js';
import { badInputs } from './case.js';

/** Missing backends, and what was disposed. */
export const missing = [
  ...badInputs(BackendError, [
    [
      'useBackend: a native binding that is not installed',
      () => useBackend('node'),
      { backend: 'node', install: 'npm install @tensorflow/tfjs-node' },
      /run `npm install @tensorflow\/tfjs-node`/,
    ],
    [
      'useBackend: a GPU binding that is not installed',
      () => useBackend('node-gpu'),
      { backend: 'node-gpu', install: 'npm install @tensorflow/tfjs-node-gpu' },
      /npm install/,
    ],
    [
      'useBackend: webgpu that is not installed',
      () => useBackend('webgpu'),
      { backend: 'webgpu', install: 'npm install @tensorflow/tfjs-backend-webgpu' },
      /npm install/,
    ],
  ]),
  ...badInputs(DisposedError, [
    [
      'ActorCritic: after dispose',
      () => {
        const gone = smallAgent();
        gone.dispose();
        gone.recommend();
      },
      { what: 'ActorCritic' },
      /used after dispose/,
    ],
    [
      'LlmOracle: after close',
      async () => {
        const gone = new LlmOracle({ catalog, complete: async () => 'a' });
        await gone.close();
        await gone.prefer([]);
      },
      { what: 'LlmOracle' },
      /used after dispose/,
    ],
  ]),
];
