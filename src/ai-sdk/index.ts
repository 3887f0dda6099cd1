/**
 * Language models of the AI SDK as oracles.
 *
 * @module ialp/ai-sdk
 */

export type { AiSdkLanguageModel, AiSdkModelOptions } from './ai-sdk-model.js';
export { aiSdkModel } from './ai-sdk-model.js';
