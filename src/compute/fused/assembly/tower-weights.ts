/**
 * The tower's weights as its products read them, and where their gradients go: heads padded to a multiple of 4 columns,
 * and matrices transposed.
 */
import { BlockField, TowerField } from '../tower-layout';
import { bytes, field, size } from './head-arrays';
import { transpose } from './matrix';
import { blockOf, isPadded, row } from './tower-words';

/** Pads the heads' weights where their width is no multiple of 4, and transposes what will be read transposed. */
export function prepareTower(tower: usize): void {
  const width = size(tower, TowerField.Width);
  const feed = size(tower, TowerField.FeedForward);
  const inner = size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead);
  const isTraining = size(tower, TowerField.IsTraining) != 0;
  const blocks = size(tower, TowerField.Blocks);
  for (let index = 0; index < blocks; index++) {
    const block = blockOf(tower, index);
    if (isPadded(tower)) padWeights(tower, block);
    if (!isTraining && index < blocks - 1) continue;
    const keyValue = field(block, BlockField.KeyValue);
    transpose(field(block, BlockField.KeyValueT), bytes(width), keyValue, bytes(2 * inner), width, 2 * inner);
    if (!isTraining) continue;
    transpose(
      field(block, BlockField.QueryT),
      bytes(width),
      field(block, BlockField.Query),
      bytes(inner),
      width,
      inner,
    );
    transpose(
      field(block, BlockField.OutputT),
      bytes(inner),
      field(block, BlockField.Output),
      bytes(width),
      inner,
      width,
    );
    transpose(field(block, BlockField.Feed1T), bytes(width), field(block, BlockField.Feed1), bytes(feed), width, feed);
    transpose(field(block, BlockField.Feed2T), bytes(feed), field(block, BlockField.Feed2), bytes(width), feed, width);
  }
}

function padWeights(tower: usize, block: usize): void {
  const width = size(tower, TowerField.Width);
  const heads = size(tower, TowerField.Heads);
  const inner = heads * size(tower, TowerField.PaddedHead);
  padColumns(tower, field(block, BlockField.Query), field(block, BlockField.PlainQuery), width, heads);
  padColumns(tower, field(block, BlockField.QueryBias), field(block, BlockField.PlainQueryBias), 1, heads);
  padColumns(tower, field(block, BlockField.KeyValue), field(block, BlockField.PlainKeyValue), width, 2 * heads);
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  const output = field(block, BlockField.Output);
  memory.fill(output, 0, bytes(inner * width));
  for (let h = 0; h < heads; h++) {
    const from = row(field(block, BlockField.PlainOutput), h * head, width);
    memory.copy(row(output, h * padded, width), from, bytes(head * width));
  }
}

/** Copies `rows` rows of `groups` heads each, every head followed by zeros up to its padded width. */
function padColumns(tower: usize, to: usize, from: usize, rows: i32, groups: i32): void {
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  for (let i = 0; i < rows * groups; i++) {
    for (let k = 0; k < padded; k++) store<f32>(to + bytes(k), k < head ? load<f32>(from + bytes(k)) : 0);
    to += bytes(padded);
    from += bytes(head);
  }
}

/** Copies what {@link padColumns} padded back, without the padding. */
function trimColumns(tower: usize, to: usize, from: usize, rows: i32, groups: i32): void {
  const head = size(tower, TowerField.HeadWidth);
  const padded = size(tower, TowerField.PaddedHead);
  for (let i = 0; i < rows * groups; i++) {
    for (let k = 0; k < head; k++) store<f32>(to + bytes(k), load<f32>(from + bytes(k)));
    to += bytes(head);
    from += bytes(padded);
  }
}

/*
 * Where the gradients of the heads' weights go: to the chunk's part, or, where heads are padded, to scratch that holds
 * query [D, I], keyValue [D, 2 I], output [I, D] and the query's bias [I] one after the other.
 */

@inline export function queryPart(block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded : part + field(block, BlockField.QueryPart);
}

@inline export function paddedMatrix(tower: usize): usize {
  return bytes(size(tower, TowerField.Width) * size(tower, TowerField.Heads) * size(tower, TowerField.PaddedHead));
}

@inline export function keyValuePart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + paddedMatrix(tower) : part + field(block, BlockField.KeyValuePart);
}

@inline export function outputPart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + 3 * paddedMatrix(tower) : part + field(block, BlockField.OutputPart);
}

@inline export function queryBiasPart(tower: usize, block: usize, part: usize, padded: usize): usize {
  return padded != 0 ? padded + 4 * paddedMatrix(tower) : part + field(block, BlockField.QueryBiasPart);
}

/** From padded gradients to the chunk's part. */
export function trimGradients(tower: usize, block: usize, part: usize, padded: usize): void {
  const width = size(tower, TowerField.Width);
  const heads = size(tower, TowerField.Heads);
  const matrix = paddedMatrix(tower);
  trimColumns(tower, part + field(block, BlockField.QueryPart), padded, width, heads);
  trimColumns(tower, part + field(block, BlockField.KeyValuePart), padded + matrix, width, 2 * heads);
  trimColumns(tower, part + field(block, BlockField.QueryBiasPart), padded + 4 * matrix, 1, heads);
  const head = size(tower, TowerField.HeadWidth);
  for (let h = 0; h < heads; h++) {
    const from = row(padded + 3 * matrix, h * size(tower, TowerField.PaddedHead), width);
    memory.copy(row(part + field(block, BlockField.OutputPart), h * head, width), from, bytes(head * width));
  }
}
