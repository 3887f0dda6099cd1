/**
 * A language model in this process, from a GGUF file, on the optional peer `node-llama-cpp`.
 *
 * @module ialp/llama-cpp
 */

export type { LlamaCppModelOptions, LoraAdapter } from './llama-cpp-model.js';
export { LlamaCppModel } from './llama-cpp-model.js';
