import type { Command } from 'commander';
import { addOracleEval } from './oracle-eval-command.js';
import { addOracleRate } from './oracle-rate-command.js';
import { addOracleSft } from './oracle-sft-command.js';
import type { OpenSession } from './session.js';

/** `ialp oracle`. */
export function addOracle(root: Command, open: OpenSession): void {
  const oracle = root.command('oracle').description('know a language model before it teaches, and fine-tune it');
  addOracleEval(oracle, open);
  addOracleRate(oracle, open);
  addOracleSft(oracle, open);
}
