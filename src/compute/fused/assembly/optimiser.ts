/**
 * Adam over the block of all parameters, in float32. The block is cut into pieces of about 64 kB; rows of id tables that
 * no gradient and no moment has reached are skipped, which changes no bit. The structures' words are named in
 * `optimiser-layout.ts`.
 *
 * Moments decay as `x - gain * x + gain * g`, not as `beta * x + gain * g`: 1 - beta2 loses 4 digits in float32. Numbers
 * too small to matter (see TinyFirst) become 0, since processors are slower on denormal numbers (a step took 1.5 times as
 * long on the one measured).
 */
import { OptimiserField, ParameterField, PieceField, ROW_HAS_GRADIENT, ROW_HAS_MOMENTS } from '../optimiser-layout';

@inline function word(at: usize, name: i32): usize {
  return load<u32>(at + ((<usize>name) << 2));
}

@inline function float(at: usize, name: i32): f32 {
  return load<f32>(at + ((<usize>name) << 2));
}

@inline function pieceAt(args: usize, piece: i32): usize {
  return word(args, OptimiserField.Pieces) + <usize>piece * (PieceField.Count << 2);
}

@inline function firstPiece(args: usize, chunk: i32): i32 {
  return load<i32>(word(args, OptimiserField.ChunkStarts) + ((<usize>chunk) << 2));
}

@inline function parameterOf(args: usize, piece: usize): usize {
  return word(args, OptimiserField.Parameters) + word(piece, PieceField.Parameter) * (ParameterField.Count << 2);
}

/** Sums of squares of the gradients of the chunk's pieces, each to its place; 0 where a parameter is not active. */
export function sumSquares(args: usize, chunk: i32): void {
  const sums = word(args, OptimiserField.Sums);
  for (let p = firstPiece(args, chunk), end = firstPiece(args, chunk + 1); p < end; p++) {
    const piece = pieceAt(args, p);
    let sum: f64 = 0;
    if (word(parameterOf(args, piece), ParameterField.Active) != 0) {
      const width = <i32>word(piece, PieceField.Width);
      const rows = <i32>word(piece, PieceField.Rows);
      const flags = word(piece, PieceField.Flags);
      let gradient = word(args, OptimiserField.Gradient) + word(piece, PieceField.Offset);
      for (let row = 0; row < rows; row++) {
        if (flags == 0 || (load<u8>(flags + row) & ROW_HAS_GRADIENT) != 0) sum += squares(gradient, width);
        gradient += (<usize>width) << 2;
      }
    }
    store<f64>(sums + ((<usize>p) << 3), sum);
  }
}

/** Sum of squares in float64. */
function squares(x: usize, count: i32): f64 {
  let a = f64x2.splat(0);
  let b = f64x2.splat(0);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const four = v128.load(x);
    const low = f64x2.promote_low_f32x4(four);
    const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(four, four, 1, 0));
    a = f64x2.add(a, f64x2.mul(low, low));
    b = f64x2.add(b, f64x2.mul(high, high));
    x += 16;
  }
  a = f64x2.add(a, b);
  let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
  for (; i < count; i++) {
    const value = <f64>load<f32>(x);
    sum += value * value;
    x += 4;
  }
  return sum;
}

/** One step of Adam on the chunk's pieces. */
export function update(args: usize, chunk: i32): void {
  for (let p = firstPiece(args, chunk), end = firstPiece(args, chunk + 1); p < end; p++) {
    const piece = pieceAt(args, p);
    const parameter = parameterOf(args, piece);
    if (word(parameter, ParameterField.Active) == 0) continue;
    const rate = float(parameter, ParameterField.Rate);
    const width = <i32>word(piece, PieceField.Width);
    const rows = <i32>word(piece, PieceField.Rows);
    const flags = word(piece, PieceField.Flags);
    const offset = word(piece, PieceField.Offset);
    if (flags == 0) {
      move(args, offset, width, rate);
      continue;
    }
    const bytes = (<usize>width) << 2;
    // Rows of one kind that follow each other are one array.
    for (let row = 0; row < rows; ) {
      const first = row;
      const kind = kindOf(args, flags + row, offset + <usize>row * bytes, width);
      do {
        const flag = flags + row;
        if (kind == MOVES) store<u8>(flag, ROW_HAS_MOMENTS);
        else if (kind == STAYS) store<u8>(flag, load<u8>(flag) & ROW_HAS_MOMENTS);
        row++;
      } while (row < rows && kindOf(args, flags + row, offset + <usize>row * bytes, width) == kind);
      const at = offset + <usize>first * bytes;
      if (kind == MOVES) move(args, at, (row - first) * width, rate);
      else if (kind == COASTS) coast(args, at, (row - first) * width, rate);
    }
  }
}

@inline const STAYS = 0;
@inline const COASTS = 1;
@inline const MOVES = 2;

/** What becomes of a row of an id table: it moves along its gradient, coasts along its first moment, or stays. */
function kindOf(args: usize, flag: usize, offset: usize, width: i32): i32 {
  const isLazy = word(args, OptimiserField.Lazy) != 0;
  const flags = load<u8>(flag);
  if ((flags & ROW_HAS_GRADIENT) != 0) {
    if (!isLazy || !isZero(word(args, OptimiserField.Gradient) + offset, width)) return MOVES;
    return STAYS;
  }
  return flags != 0 && !isLazy ? COASTS : STAYS;
}

function isZero(x: usize, count: i32): bool {
  for (let i = 0; i < count; i++) {
    if (load<f32>(x + ((<usize>i) << 2)) != 0) return false;
  }
  return true;
}

/** A step along a gradient, which becomes 0. */
function move(args: usize, offset: usize, count: i32, rate: f32): void {
  let x = word(args, OptimiserField.Data) + offset;
  let g = word(args, OptimiserField.Gradient) + offset;
  let m = word(args, OptimiserField.First) + offset;
  let v = word(args, OptimiserField.Second) + offset;
  const scale = float(args, OptimiserField.Scale);
  const firstGain = float(args, OptimiserField.FirstGain);
  const secondGain = float(args, OptimiserField.SecondGain);
  const correction = float(args, OptimiserField.RootCorrection);
  const epsilon = float(args, OptimiserField.Epsilon);
  const tinyFirst = float(args, OptimiserField.TinyFirst);
  const tinySecond = float(args, OptimiserField.TinySecond);
  const tinyGradient = float(args, OptimiserField.TinyGradient);
  const zeros = f32x4.splat(0);
  const scales = f32x4.splat(scale);
  const firstGains = f32x4.splat(firstGain);
  const secondGains = f32x4.splat(secondGain);
  const corrections = f32x4.splat(correction);
  const epsilons = f32x4.splat(epsilon);
  const tinyFirsts = f32x4.splat(tinyFirst);
  const tinySeconds = f32x4.splat(tinySecond);
  const tinyGradients = f32x4.splat(tinyGradient);
  const rates = f32x4.splat(rate);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const gradient = f32x4.mul(v128.load(g), scales);
    const kept = v128.and(gradient, f32x4.ge(f32x4.abs(gradient), tinyGradients));
    const m0 = v128.load(m);
    const v0 = v128.load(v);
    let m1 = f32x4.add(f32x4.sub(m0, f32x4.mul(firstGains, m0)), f32x4.mul(firstGains, gradient));
    let v1 = f32x4.add(f32x4.sub(v0, f32x4.mul(secondGains, v0)), f32x4.mul(secondGains, f32x4.mul(kept, kept)));
    m1 = v128.and(m1, f32x4.ge(f32x4.abs(m1), tinyFirsts));
    v1 = v128.and(v1, f32x4.ge(v1, tinySeconds));
    const divisor = f32x4.add(f32x4.mul(f32x4.sqrt(v1), corrections), epsilons);
    v128.store(x, f32x4.sub(v128.load(x), f32x4.div(f32x4.mul(rates, m1), divisor)));
    v128.store(m, m1);
    v128.store(v, v1);
    v128.store(g, zeros);
    x += 16;
    g += 16;
    m += 16;
    v += 16;
  }
  for (; i < count; i++) {
    const gradient = load<f32>(g) * scale;
    const kept: f32 = abs(gradient) >= tinyGradient ? gradient : 0;
    const m0 = load<f32>(m);
    const v0 = load<f32>(v);
    let m1 = m0 - firstGain * m0 + firstGain * gradient;
    let v1 = v0 - secondGain * v0 + secondGain * (kept * kept);
    if (!(abs(m1) >= tinyFirst)) m1 = 0;
    if (!(v1 >= tinySecond)) v1 = 0;
    store<f32>(x, load<f32>(x) - (rate * m1) / (sqrt(v1) * correction + epsilon));
    store<f32>(m, m1);
    store<f32>(v, v1);
    store<f32>(g, 0);
    x += 4;
    g += 4;
    m += 4;
    v += 4;
  }
}

/** A step of a row whose gradient is 0. */
function coast(args: usize, offset: usize, count: i32, rate: f32): void {
  let x = word(args, OptimiserField.Data) + offset;
  let m = word(args, OptimiserField.First) + offset;
  let v = word(args, OptimiserField.Second) + offset;
  const firstGain = float(args, OptimiserField.FirstGain);
  const secondGain = float(args, OptimiserField.SecondGain);
  const correction = float(args, OptimiserField.RootCorrection);
  const epsilon = float(args, OptimiserField.Epsilon);
  const tinyFirst = float(args, OptimiserField.TinyFirst);
  const tinySecond = float(args, OptimiserField.TinySecond);
  const firstGains = f32x4.splat(firstGain);
  const secondGains = f32x4.splat(secondGain);
  const corrections = f32x4.splat(correction);
  const epsilons = f32x4.splat(epsilon);
  const tinyFirsts = f32x4.splat(tinyFirst);
  const tinySeconds = f32x4.splat(tinySecond);
  const rates = f32x4.splat(rate);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const m0 = v128.load(m);
    const v0 = v128.load(v);
    let m1 = f32x4.sub(m0, f32x4.mul(firstGains, m0));
    let v1 = f32x4.sub(v0, f32x4.mul(secondGains, v0));
    m1 = v128.and(m1, f32x4.ge(f32x4.abs(m1), tinyFirsts));
    v1 = v128.and(v1, f32x4.ge(v1, tinySeconds));
    const divisor = f32x4.add(f32x4.mul(f32x4.sqrt(v1), corrections), epsilons);
    v128.store(x, f32x4.sub(v128.load(x), f32x4.div(f32x4.mul(rates, m1), divisor)));
    v128.store(m, m1);
    v128.store(v, v1);
    x += 16;
    m += 16;
    v += 16;
  }
  for (; i < count; i++) {
    const m0 = load<f32>(m);
    const v0 = load<f32>(v);
    let m1 = m0 - firstGain * m0;
    let v1 = v0 - secondGain * v0;
    if (!(abs(m1) >= tinyFirst)) m1 = 0;
    if (!(v1 >= tinySecond)) v1 = 0;
    store<f32>(x, load<f32>(x) - (rate * m1) / (sqrt(v1) * correction + epsilon));
    store<f32>(m, m1);
    store<f32>(v, v1);
    x += 4;
    m += 4;
    v += 4;
  }
}
