import { formatDuration } from '../experiment/report-html.js';
import type { Output } from './cli-io.js';

/** Where some work stands. */
export interface ProgressState {
  /** What is at work: a change of it is always shown. */
  readonly label: string;
  /** Share of the whole that is done, 0 to 1. */
  readonly done: number;
  /** More about it, for example counts. */
  readonly detail?: string | undefined;
}

const BAR = 24;
/** In a pipe: at most one line in so many milliseconds while the label stays. */
const LINE_MS = 5000;
/** An estimate from less than this is a guess. */
const ESTIMATE_MS = 2000;

/** Progress with the time left: a bar that redraws itself on a terminal, plain lines elsewhere. */
export class ProgressDisplay {
  readonly #output: Output;
  readonly #began = Date.now();
  #first: number | undefined;
  #label = '';
  #shown = 0;
  #isOpen = false;

  /** @param output - where to; a terminal is told by `isTTY`. */
  constructor(output: Output) {
    this.#output = output;
  }

  /** Shows where the work stands. */
  update(state: ProgressState): void {
    this.#first ??= state.done;
    if (this.#output.isTTY) {
      this.#output.write(`\r\u001b[K${this.#barLine(state)}`);
      this.#isOpen = true;
      return;
    }
    const now = Date.now();
    if (state.label === this.#label && now - this.#shown < LINE_MS) return;
    this.#label = state.label;
    this.#shown = now;
    this.#output.write(`${this.#parts(state).join('  ')}\n`);
  }

  /** Takes the bar away, so that other text can be written; the next update draws it again. */
  clear(): void {
    if (this.#isOpen) this.#output.write('\r\u001b[K');
    this.#isOpen = false;
  }

  #barLine(state: ProgressState): string {
    const full = Math.round(BAR * Math.min(1, Math.max(0, state.done)));
    const bar = `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}]`;
    // One short of the width: a full line would wrap, and a wrapped line cannot be redrawn.
    return `${bar} ${this.#parts(state).join('  ')}`.slice(0, (this.#output.columns ?? 80) - 1);
  }

  #parts({ label, done, detail }: ProgressState): string[] {
    const percent = `${String(Math.floor(100 * done)).padStart(3)} %`;
    const left = this.#secondsLeft(done);
    const parts = [percent, label];
    if (detail !== undefined) parts.push(detail);
    if (left !== undefined) parts.push(`${formatDuration(Math.max(1, Math.round(left))).replace('.0 s', ' s')} left`);
    return parts;
  }

  /** At the pace of this process: what an earlier one did took it no time. */
  #secondsLeft(done: number): number | undefined {
    const elapsed = Date.now() - this.#began;
    const gained = done - (this.#first ?? 0);
    if (elapsed < ESTIMATE_MS || gained <= 0) return undefined;
    return ((elapsed / 1000) * (1 - done)) / gained;
  }
}
