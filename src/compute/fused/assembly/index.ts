/**
 * The engine's one export. Every operation reads its arguments from a structure of 4-byte words at `args` (named in the
 * `*-layout.ts` files beside this folder) and does one chunk of its work; what a chunk computes depends on its number alone.
 */
import { HeadOp } from '../head-layout';
import { OptimiserOp } from '../optimiser-layout';
import { TowerOp } from '../tower-layout';
import { probabilities, sample, topK } from './head-draws';
import { historyWeightGradients, joinStates, projectionGradient, scoreGradients } from './head-gradients';
import { cosines, historyText, textPlanes } from './head-history';
import { listGradientsByItem, listGradientsByRow, listScores } from './head-lists';
import { finish, itemVectors, pack, score } from './head-scores';
import { sumSquares, update } from './optimiser';
import { towerForward } from './tower';
import { towerBackward } from './tower-gradients';
import { collectGradients, distinctVectors, projectionGradient as towerProjectionGradient } from './tower-items';
import { prepareTower } from './tower-weights';
import { value, valueGradientsByRow, valueGradientsByWeight } from './value-head';

export function run(op: i32, args: usize, chunk: i32): void {
  switch (op) {
    case OptimiserOp.Norm:
      return sumSquares(args, chunk);
    case OptimiserOp.Update:
      return update(args, chunk);
    case TowerOp.Prepare:
      return prepareTower(args);
    case TowerOp.Vectors:
      return distinctVectors(args, chunk);
    case TowerOp.Forward:
      return towerForward(args, chunk);
    case TowerOp.Backward:
      return towerBackward(args, chunk);
    case TowerOp.Collect:
      return collectGradients(args, chunk);
    case TowerOp.Projection:
      return towerProjectionGradient(args, chunk);
    case HeadOp.Pack:
      return pack(args, chunk);
    case HeadOp.Score:
      return score(args, chunk);
    case HeadOp.Finish:
      return finish(args, chunk);
    case HeadOp.ScoreGradients:
      return scoreGradients(args, chunk);
    case HeadOp.JoinStates:
      return joinStates(args, chunk);
    case HeadOp.ProjectionGradient:
      return projectionGradient(args, chunk);
    case HeadOp.HistoryWeightGradients:
      return historyWeightGradients(args);
    case HeadOp.ListScores:
      return listScores(args, chunk);
    case HeadOp.ListGradientsByRow:
      return listGradientsByRow(args, chunk);
    case HeadOp.ListGradientsByItem:
      return listGradientsByItem(args, chunk);
    case HeadOp.Sample:
      return sample(args, chunk);
    case HeadOp.TopK:
      return topK(args, chunk);
    case HeadOp.Probabilities:
      return probabilities(args, chunk);
    case HeadOp.HistoryText:
      return historyText(args, chunk);
    case HeadOp.Cosines:
      return cosines(args, chunk);
    case HeadOp.TextPlanes:
      return textPlanes(args, chunk);
    case HeadOp.ItemVectors:
      return itemVectors(args, chunk);
    case HeadOp.Value:
      return value(args, chunk);
    case HeadOp.ValueGradientsByRow:
      return valueGradientsByRow(args, chunk);
    case HeadOp.ValueGradientsByWeight:
      return valueGradientsByWeight(args, chunk);
    default:
      unreachable();
  }
}
