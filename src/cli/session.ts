import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type BackendName, useBackend } from '../compute/backend.js';
import { type ReportData, renderReport } from '../experiment/report.js';
import {
  cardResultSchema,
  type DistilRow,
  distilResultSchema,
  type OracleResult,
  oracleResultSchema,
  type Result,
  type RunRow,
  runResultSchema,
} from '../experiment/result-schema.js';
import type { Storage } from '../foundation/storage.js';
import { fileStorage } from '../node/file-storage.js';
import type { CardRow } from '../world/card.js';
import type { EpisodeTrace } from '../world/episode-trace.js';
import { bold, type CliIo, faint } from './cli-io.js';
import { packageVersion, reportAssets } from './package-files.js';
import { folder, integer, jsonTarget } from './parse-options.js';
import { ProgressDisplay, type ProgressState } from './progress-display.js';

/** Options that every command has. */
export interface CommonOptions {
  /** Where the JSON goes; `-` is stdout. */
  readonly json?: string;
  /** Seed. */
  readonly seed: number;
  /** Folder of what the command makes. */
  readonly out?: string;
}

/** Opens the session of a command, with its options. */
export type OpenSession = (options: CommonOptions) => Session;

/** What a command ends with. */
export interface Outcome {
  /** The report's heading. */
  readonly title: string;
  /** One sentence under it. */
  readonly summary: string;
  /** The seeds that went into the numbers. */
  readonly seeds: readonly number[];
  /** Rows of a run's table, of a card, or of an oracle's examination. */
  readonly rows: readonly RunRow[] | readonly CardRow[] | OracleResult['rows'] | readonly DistilRow[];
  /** Which of the four. */
  readonly kind: 'run' | 'card' | 'oracle' | 'distil';
  /** What an examination found. @default nothing, for the other kinds */
  readonly found?: Pick<OracleResult, 'oracle' | 'isWorthUsing' | 'verdict'>;
  /** Name of the JSON file in the folder. */
  readonly file: string;
  /** Curves of the report. @default none */
  readonly curves?: ReportData['curves'];
  /** A card beside a run's rows. @default none */
  readonly card?: readonly CardRow[];
  /** Episodes that the report draws. @default none */
  readonly episodes?: readonly EpisodeTrace[];
  /** Remarks of the report. @default none */
  readonly notes?: readonly string[];
  /** Which kernels made the updates. @default 'reference' */
  readonly kernels?: 'reference' | 'hybrid' | 'fused';
  /** Share of the updates that ran fused. @default 0 */
  readonly fusedShare?: number;
}

/** Adds the options that every command has. */
export function withCommonOptions(command: Command, out?: string): Command {
  return command
    .option(
      '--json <file>',
      'write the result as JSON; - for the standard output, then nothing else goes there',
      jsonTarget,
    )
    .option('--seed <n>', 'seed of everything drawn', integer(0, 2_000_000_000), 1)
    .option('--out <dir>', 'folder for the report and the rest', folder, out)
    .option('--verbose', 'show where in the code an error comes from');
}

/** One command at work: where its words, its files and its state go. */
export class Session {
  /** What was typed, to be typed again. */
  readonly command: string;
  /** Version of the library. */
  readonly version = packageVersion();
  readonly #io: CliIo;
  readonly #options: CommonOptions;
  readonly #progress: ProgressDisplay;
  readonly #began = Date.now();
  #backend = 'none';
  #state: string | undefined;

  /**
   * @param io - the world outside.
   * @param argv - what was typed after `ialp`.
   * @param options - the options every command has.
   */
  constructor(io: CliIo, argv: readonly string[], options: CommonOptions) {
    this.#io = io;
    this.#options = options;
    this.#progress = new ProgressDisplay(io.stderr);
    this.command = ['ialp', ...argv].map(quoted).join(' ');
  }

  /** Ctrl-C. */
  get signal(): AbortSignal {
    return this.#io.signal;
  }

  /** Folder of an interrupted run's state, once there is one. */
  get stateFolder(): string | undefined {
    return this.#state;
  }

  /** Text for the reader: on stdout, or beside the JSON that goes there. */
  say(text: string): void {
    this.#progress.clear();
    const output = this.#options.json === '-' ? this.#io.stderr : this.#io.stdout;
    output.write(`${text}\n`);
  }

  /** A heading and a table under it. */
  sayTable(title: string, table: (style: (text: string) => string) => string): void {
    const output = this.#options.json === '-' ? this.#io.stderr : this.#io.stdout;
    this.say(`\n${bold(output, title)}\n${table((text) => faint(output, text)).trimEnd()}`);
  }

  /** What is odd but no error. */
  readonly warn = (message: string): void => {
    this.#progress.clear();
    this.#io.stderr.write(`Warning: ${message}\n`);
  };

  /** Where the work stands. */
  progress(state: ProgressState): void {
    this.#progress.update(state);
  }

  /** Takes the progress bar away. */
  clearProgress(): void {
    this.#progress.clear();
  }

  /** Starts the compute backend and says which one and why. */
  async startBackend(name: 'auto' | BackendName): Promise<void> {
    const { backend, reason, patched } = await useBackend(name);
    this.#backend = backend;
    const patch = patched ? ', with the faster matrix product' : '';
    this.say(`Backend ${backend}: ${reason}${patch}${backend === 'cpu' ? '' : '; not the cpu backend'}.`);
  }

  /** The state of a run in `<out>/state`; says so where an interrupted run left one. */
  async openState(): Promise<Storage> {
    this.#state = join(this.#out(), 'state');
    const storage = fileStorage(this.#state, { fsync: 'os' });
    if ((await storage.list()).length > 0) {
      this.say(`Going on with the interrupted run in ${this.#state} (delete that folder to begin anew).`);
    }
    return storage;
  }

  /** Says that what is done so far is kept in a folder, until it is said that none is. */
  keepStateIn(folder: string | undefined, isResumed = false): void {
    this.#state = folder;
    if (isResumed) this.say(`Going on with the interrupted build in ${folder} (delete that folder to begin anew).`);
  }

  /** Removes the state: the run has ended well. */
  async closeState(): Promise<void> {
    if (this.#state !== undefined) await rm(this.#state, { recursive: true, force: true });
    this.#state = undefined;
  }

  /** Where the learned policy goes: `<out>/policy`. */
  openPolicy(): Storage {
    return fileStorage(this.policyFolder());
  }

  /** That folder. */
  policyFolder(): string {
    return join(this.#out(), 'policy');
  }

  /** Writes the report and the JSON, checks the latter against its public schema, and says where they are. */
  async finish(outcome: Outcome): Promise<void> {
    this.#progress.clear();
    const {
      rows,
      kind,
      title,
      summary,
      seeds,
      curves = [],
      card,
      episodes,
      notes,
      kernels = 'reference',
      fusedShare = 0,
      found,
    } = outcome;
    const { command, version } = this;
    const facts = { backend: this.#backend, kernels, fusedShare, wallSeconds: (Date.now() - this.#began) / 1000 };
    const schema = {
      run: runResultSchema,
      card: cardResultSchema,
      oracle: oracleResultSchema,
      distil: distilResultSchema,
    }[kind];
    const result = schema.parse({ command, version, seed: this.#options.seed, ...facts, ...found, rows }) as
      | Result
      | OracleResult;
    const json = `${JSON.stringify(result, null, 2)}\n`;
    const { out, json: target } = this.#options;
    if (out !== undefined) {
      const asRun = {
        run: { rows: rows as readonly RunRow[], card },
        card: { rows: [], card: rows as readonly CardRow[] },
        oracle: { rows: [] },
        distil: { rows: [] },
      }[kind];
      const data: ReportData = {
        title,
        summary,
        command,
        version,
        seeds,
        ...facts,
        curves,
        episodes,
        notes,
        ...asRun,
        date: today(),
      };
      await writeWhole(join(out, outcome.file), json);
      await writeWhole(join(out, 'report.html'), renderReport(data, await reportAssets()));
      this.say(`\nReport  ${resolve(out, 'report.html')}\nJSON    ${resolve(out, outcome.file)}`);
    }
    if (target === '-') this.#io.stdout.write(json);
    else if (target !== undefined) {
      await writeWhole(target, json);
      this.say(`JSON    ${resolve(target)}`);
    }
  }

  #out(): string {
    const { out } = this.#options;
    if (out === undefined) throw new Error('a command that keeps state has a default for --out');
    return out;
  }
}

/** A file is there whole or not at all; its folder is made. */
export async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(resolve(path)), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function today(): string {
  return new Date().toISOString().slice(0, 10);
}

/** As a shell would need it to be typed. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
