/**
 * Contracts and test doubles, for any test runner: `for (const { name, run } of envContract(() => new MyEnv())) test(name, run)`.
 *
 * @module ialp/testing
 */

export type { EngineMemory } from '../compute/engine-memory.js';
export type { Script, ScriptedAnswer, ScriptedOracleOptions } from '../oracle/scripted-oracle.js';
export { ScriptedOracle } from '../oracle/scripted-oracle.js';
export type { BatchEnvRequest, EnvContractOptions } from './env-contract.js';
export { batchEnvContract, envContract } from './env-contract.js';
export type { LeakCheckOptions, LeakCounts } from './leak-check.js';
export { checkLeaks } from './leak-check.js';
export type { ContractCheck, OracleContractOptions } from './oracle-contract.js';
export { oracleContract } from './oracle-contract.js';
export type { ModelScript, ScriptedModel } from './scripted-model.js';
export { scriptedModel } from './scripted-model.js';
export type { StorageClause } from './storage-contract.js';
export { storageContract } from './storage-contract.js';
export type { ChainOptions, IdentityOptions } from './tiny-envs.js';
export { chainEnv, IdentityUserEnv, identityEnv, identityTarget, tinyCatalog } from './tiny-envs.js';
