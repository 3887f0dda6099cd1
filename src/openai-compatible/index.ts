/**
 * Language models behind HTTP: vLLM, llama.cpp's server, SGLang, Ollama, OpenAI, and any server of OpenAI's shape.
 *
 * @module ialp/openai-compatible
 */

export type { Fetch } from './http-client.js';
export type { OpenAICompatibleOptions, ServerCapabilities } from './openai-compatible-model.js';
export { OpenAICompatibleModel } from './openai-compatible-model.js';
export type { ServerName, TemplateName } from './servers.js';
