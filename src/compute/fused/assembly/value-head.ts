/** V(s): linear, or with one hidden layer of rectified units. The structure's words are named in `head-layout.ts`. */
import { ValueField } from '../head-layout';
import { addScaled, addTo, bytes, dot, field, size } from './head-arrays';

/** V(s) of a group of rows; the hidden units are kept. */
export function value(head: usize, chunk: i32): void {
  const width = size(head, ValueField.Width);
  const hidden = size(head, ValueField.Hidden);
  const w2 = field(head, ValueField.W2);
  const chunkRows = size(head, ValueField.ChunkRows);
  const last = min(size(head, ValueField.Rows), (chunk + 1) * chunkRows);
  for (let row = chunk * chunkRows; row < last; row++) {
    const state = field(head, ValueField.States) + bytes(row * width);
    let sum = load<f32>(field(head, ValueField.B2));
    if (hidden == 0) sum += dot(state, w2, width);
    else {
      const units = field(head, ValueField.Units) + bytes(row * hidden);
      memory.copy(units, field(head, ValueField.B1), bytes(hidden));
      for (let k = 0; k < width; k++) {
        addScaled(units, field(head, ValueField.W1) + bytes(k * hidden), load<f32>(state + bytes(k)), hidden);
      }
      // Compared this way round, NaN stays NaN.
      for (let h = 0; h < hidden; h++) if (load<f32>(units + bytes(h)) < 0) store<f32>(units + bytes(h), 0);
      sum += dot(units, w2, hidden);
    }
    store<f32>(field(head, ValueField.Values) + bytes(row), sum);
  }
}

/** Gradients of V(s) by hidden units and states, for a group of rows. */
export function valueGradientsByRow(head: usize, chunk: i32): void {
  const width = size(head, ValueField.Width);
  const hidden = size(head, ValueField.Hidden);
  const w1 = field(head, ValueField.W1);
  const w2 = field(head, ValueField.W2);
  const chunkRows = size(head, ValueField.ChunkRows);
  const last = min(size(head, ValueField.Rows), (chunk + 1) * chunkRows);
  for (let row = chunk * chunkRows; row < last; row++) {
    const slope = load<f32>(field(head, ValueField.Cotangents) + bytes(row));
    const to = field(head, ValueField.StateGradient) + bytes(row * width);
    if (hidden == 0) {
      addScaled(to, w2, slope, width);
      continue;
    }
    const units = field(head, ValueField.Units) + bytes(row * hidden);
    const gradient = field(head, ValueField.UnitGradient) + bytes(row * hidden);
    for (let h = 0; h < hidden; h++) {
      store<f32>(gradient + bytes(h), load<f32>(units + bytes(h)) > 0 ? slope * load<f32>(w2 + bytes(h)) : 0);
    }
    for (let k = 0; k < width; k++) addTo(to + bytes(k), dot(gradient, w1 + bytes(k * hidden), hidden));
  }
}

/** Gradients of V(s) by its weights, for a range of the state's columns; chunk 0 has all weights but w1 too. */
export function valueGradientsByWeight(head: usize, chunk: i32): void {
  const width = size(head, ValueField.Width);
  const hidden = size(head, ValueField.Hidden);
  const rows = size(head, ValueField.Rows);
  const states = field(head, ValueField.States);
  const unitGradient = field(head, ValueField.UnitGradient);
  const w1 = field(head, ValueField.W1Gradient);
  if (hidden > 0 && w1 != 0) {
    const chunks = size(head, ValueField.WeightChunks);
    const first = (width * chunk) / chunks;
    const last = (width * (chunk + 1)) / chunks;
    for (let row = 0; row < rows; row++) {
      const gradient = unitGradient + bytes(row * hidden);
      for (let k = first; k < last; k++) {
        addScaled(w1 + bytes(k * hidden), gradient, load<f32>(states + bytes(row * width + k)), hidden);
      }
    }
  }
  if (chunk != 0) return;
  const b1 = field(head, ValueField.B1Gradient);
  const w2 = field(head, ValueField.W2Gradient);
  const b2 = field(head, ValueField.B2Gradient);
  for (let row = 0; row < rows; row++) {
    const slope = load<f32>(field(head, ValueField.Cotangents) + bytes(row));
    if (hidden > 0 && b1 != 0) addScaled(b1, unitGradient + bytes(row * hidden), 1, hidden);
    if (w2 != 0) {
      if (hidden > 0) addScaled(w2, field(head, ValueField.Units) + bytes(row * hidden), slope, hidden);
      else addScaled(w2, states + bytes(row * width), slope, width);
    }
    if (b2 != 0) addTo(b2, slope);
  }
}
