/**
 * The words of the structures that the host and the engine's optimiser share. Read by TypeScript and by AssemblyScript,
 * so the two cannot disagree: plain enumerations only.
 */

/** Numbers of the optimiser's operations; what each does stands in `assembly/optimiser.ts`. Chunks are groups of pieces. */
export enum OptimiserOp {
  /** Sum of squares of each piece's gradient. */
  Norm = 1,
  /** Moves values and moments, and zeroes the gradient on the way. */
  Update = 2,
}

/** Words of the optimiser's structure; pointers unless said. */
export enum OptimiserField {
  /** `[pieces, PieceField.Count]`. */
  Pieces = 0,
  /** First piece of each chunk `[chunks + 1]`. */
  ChunkStarts,
  /** What is done to each parameter `[parameters, ParameterField.Count]`. */
  Parameters,
  /** Values of all parameters. */
  Data,
  /** Their gradients, in the same layout. */
  Gradient,
  /** Their first moments, in the same layout. */
  First,
  /** Their second moments, in the same layout. */
  Second,
  /** Sum of squares of each piece's gradient `[pieces]`, float64. */
  Sums,
  /** What the gradient is multiplied by: the clip, float. */
  Scale,
  /** 1 - beta1, float. */
  FirstGain,
  /** 1 - beta2, float. */
  SecondGain,
  /** 1 / sqrt(1 - beta2^t), float. */
  RootCorrection,
  /** Float. */
  Epsilon,
  /** First moments smaller than this become 0, float. */
  TinyFirst,
  /** Second moments smaller than this become 0, float. */
  TinySecond,
  /** Gradients smaller than this count as 0 in the second moment, float. */
  TinyGradient,
  /** 1: rows of id tables without gradient are left alone. */
  Lazy,
  /** Number of words. */
  Count,
}

/** Words of a piece: a part of one parameter. */
export enum PieceField {
  /** Which parameter. */
  Parameter = 0,
  /** Bytes from the start of the block to the piece. */
  Offset,
  /** Values of a row; of all the piece where Flags is 0. */
  Width,
  /** Number of rows; 1 where Flags is 0. */
  Rows,
  /** Pointer to the flags of the rows; 0 where the parameter is no id table. */
  Flags,
  /** Number of words. */
  Count,
}

/** Words of a parameter. */
export enum ParameterField {
  /** 1 when the operation concerns it, else 0. */
  Active = 0,
  /** Learning rate * multiplier / (1 - beta1^t), float. */
  Rate,
  /** Number of words. */
  Count,
}

/** Flag of a row: its gradient may differ from 0. */
export const ROW_HAS_GRADIENT = 1;
/** Flag of a row: its moments may differ from 0. */
export const ROW_HAS_MOMENTS = 2;
