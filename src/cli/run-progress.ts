import { formatCount, formatNumber } from '../experiment/report-html.js';
import type { RunProgress } from '../experiment/run-on-world.js';
import type { TrainingProgress } from '../train/training-events.js';
import type { ProgressState } from './progress-display.js';

const LABELS: Readonly<Record<RunProgress['phase'], string>> = {
  measure: 'measuring',
  pretrain: 'pre-training',
  adapt: 'adapting',
};

/** A run's progress in words. */
export function describeRun({ phase, done, training }: RunProgress): ProgressState {
  const label = LABELS[phase];
  return training ? { label, done, detail: describeTraining(training) } : { label, done };
}

/** Counts of a training in words. */
export function describeTraining({ phase, steps, totalSteps, recentReturn }: TrainingProgress): string {
  const counts = `${formatCount(steps)} / ${formatCount(totalSteps)} ${phase === 'pretrain' ? 'answers' : 'steps'}`;
  return phase === 'adapt' && Number.isFinite(recentReturn)
    ? `${counts}, return ${formatNumber(recentReturn)}`
    : counts;
}
