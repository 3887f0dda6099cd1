import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The real model's file (SmolLM2-135M-Instruct, Q4_1), or undefined where it is absent; the reason is printed, so that a skipped
 * test is never silent. `.ci/fetch-model .models` puts it there.
 */
export function sharedModel(): string | undefined {
  const file =
    process.env.IALP_TEST_MODEL ??
    fileURLToPath(new URL('../.models/SmolLM2-135M-Instruct.Q4_1.gguf', import.meta.url));
  if (existsSync(file)) return file;
  console.warn('skipped: no model at .models/SmolLM2-135M-Instruct.Q4_1.gguf; `.ci/fetch-model .models` fetches it');
  return undefined;
}

/** The adapter for {@link sharedModel} under `../shared/models`, or undefined where it is absent; the reason is printed. */
export function sharedAdapter(): string | undefined {
  const file = fileURLToPath(new URL('../../shared/models/smollm2-135m-next-purchase-lora-r16.gguf', import.meta.url));
  if (existsSync(file)) return file;
  console.warn('skipped: no adapter at ../shared/models');
  return undefined;
}
