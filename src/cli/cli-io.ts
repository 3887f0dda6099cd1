/** Where text goes: a process's stream, or a list in a test. */
export interface Output {
  /** Writes text as it is. */
  write(text: string): unknown;
  /** Whether a person watches. @default false */
  readonly isTTY?: boolean | undefined;
  /** Width of the terminal in characters. @default 80 */
  readonly columns?: number | undefined;
  /** Whether colours show; heeds NO_COLOR. @default no colours */
  readonly hasColors?: (() => boolean) | undefined;
}

/** What a command line has of the world outside. */
export interface CliIo {
  /** Tables; with `--json -` the JSON and nothing else. */
  readonly stdout: Output;
  /** Progress, warnings and errors. */
  readonly stderr: Output;
  /** Aborted by Ctrl-C: the command writes a checkpoint and ends. */
  readonly signal: AbortSignal;
  /** Whether errors show where in the code they come from. */
  readonly isVerbose: boolean;
}

/** Bold, where the output shows it. */
export function bold(output: Output, text: string): string {
  return hasStyle(output) ? `\u001b[1m${text}\u001b[22m` : text;
}

/** Faint, where the output shows it. */
export function faint(output: Output, text: string): string {
  return hasStyle(output) ? `\u001b[2m${text}\u001b[22m` : text;
}

function hasStyle(output: Output): boolean {
  return output.isTTY === true && output.hasColors?.() === true;
}
