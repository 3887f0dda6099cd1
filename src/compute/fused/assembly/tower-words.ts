/** Reading the words of a tower's structure, and finding rows in arrays. */
import { BlockField, TowerField } from '../tower-layout';
import { bytes, field, size } from './head-arrays';

@inline export function int(array: usize, index: i32): i32 {
  return load<i32>(array + bytes(index));
}

/** Row `index` of an array whose rows are `width` floats wide. */
@inline export function row(array: usize, index: i32, width: i32): usize {
  return array + ((<usize>index * <usize>width) << 2);
}

@inline export function upTo4(count: i32): i32 {
  return (count + 3) & ~3;
}

@inline export function blockOf(tower: usize, index: i32): usize {
  return tower + bytes(TowerField.Count + index * BlockField.Count);
}

@inline export function scratchOf(tower: usize, chunk: i32): usize {
  return field(tower, TowerField.Scratch) + <usize>chunk * field(tower, TowerField.ScratchStep);
}

@inline export function firstToken(tower: usize, segment: i32): i32 {
  return int(field(tower, TowerField.SegmentStart), segment);
}

@inline export function isPadded(tower: usize): bool {
  return size(tower, TowerField.PaddedHead) != size(tower, TowerField.HeadWidth);
}

@inline export function isDropped(tower: usize, segment: i32): bool {
  return size(tower, TowerField.HasDropout) != 0 && segment < size(tower, TowerField.Rows);
}
