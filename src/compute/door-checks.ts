import { checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { Cotangents, Head, ScoreArrays, Want } from './kernels.js';
import type { ModelSpec } from './model.js';
import type { ParameterStore } from './parameter-store.js';
import type { CheckedCall } from './scoring-call.js';

/** A number that a pass can give. */
export type Output = keyof ScoreArrays;

const OUTPUTS_WITH_GRADIENT: readonly Output[] = ['logProb', 'entropy', 'expectedScore', 'scores', 'value'];

/** Whether an output is asked for. */
export function isAsked(want: Want, name: Output): boolean {
  switch (name) {
    case 'logProb':
      return want.logProbOf !== undefined;
    case 'scores':
      return want.scoresOf !== undefined;
    default:
      return want[name] !== undefined;
  }
}

/** How many numbers an output is. */
export function sizeOf(name: Output, call: CheckedCall, want: Want): number {
  return name === 'scores' ? call.size * (want.scoresOf?.width ?? 0) : call.size;
}

/**
 * Checks what `backward` gets.
 *
 * @throws {InvalidArgumentError} when an output was not asked for, or is of another size.
 */
export function checkCotangents(cotangents: Cotangents, call: CheckedCall, want: Want): void {
  checkObject('backward', 'cotangents', cotangents);
  for (const [name, cotangent] of Object.entries(cotangents)) {
    if (cotangent === undefined) continue;
    const output = OUTPUTS_WITH_GRADIENT.find((known) => known === name);
    if (output === undefined || !isAsked(want, output)) {
      throw new InvalidArgumentError(
        `backward: expected cotangents of outputs that the last forward gave, got one of \`${name}\``,
        {
          argument: name,
          wanted: 'an output of the last forward (maxScore has no gradient)',
          got: name,
        },
      );
    }
    const size = sizeOf(output, call, want);
    if (!(cotangent instanceof Float32Array) || cotangent.length !== size) {
      throw new InvalidArgumentError(
        `backward: expected the cotangent of \`${name}\` to be a Float32Array of ${size}, got length ${cotangent?.length}`,
        {
          argument: name,
          wanted: `${size} numbers`,
          got: cotangent?.length,
        },
      );
    }
  }
}

/**
 * The tables of the heads tell whether a store was made for a model; the encoder's parameters are its own affair.
 *
 * @throws {InvalidArgumentError} when it was not.
 */
export function checkStore(spec: ModelSpec, store: ParameterStore): void {
  const heads: readonly Head[] = spec.critic === 'action' ? ['actor', 'critic'] : ['actor'];
  const wanted = new Map<string, readonly number[]>();
  for (const head of heads) {
    wanted.set(`${head}/bias`, [spec.itemCount]);
    if (spec.items !== 'text') wanted.set(`${head}/id`, [spec.itemCount, spec.encoder.stateWidth]);
    if (spec.items !== 'id')
      wanted.set(`${head}/projection`, [spec.itemFeatureWidth as number, spec.encoder.stateWidth]);
    if (spec.historyFeatures !== undefined) wanted.set(`${head}/history`, [spec.historyFeatures.names.length]);
  }
  if (spec.critic === 'state')
    wanted.set('value/w2', [spec.valueHidden > 0 ? spec.valueHidden : spec.encoder.stateWidth, 1]);
  for (const [name, shape] of wanted) {
    const got = store.get(name).shape;
    if (got.length === shape.length && got.every((size, axis) => size === shape[axis])) continue;
    throw new InvalidArgumentError(
      `createKernels: expected parameter '${name}' to have the model's shape [${shape}], got [${got}]`,
      {
        argument: name,
        wanted: `[${shape}]`,
        got,
      },
    );
  }
}

/**
 * Checks the uniforms of `sample`.
 *
 * @throws {InvalidArgumentError} when they are not one number in [0, 1) for each row.
 */
export function checkUniforms(uniforms: Float64Array, rows: number): void {
  if (!(uniforms instanceof Float64Array) || uniforms.length !== rows) {
    throw new InvalidArgumentError(
      `Expected \`uniforms\` to be a Float64Array of ${rows}, got length ${uniforms?.length}`,
      {
        argument: 'uniforms',
        wanted: `${rows} numbers`,
        got: uniforms?.length,
      },
    );
  }
  const bad = uniforms.findIndex((u) => !(u >= 0 && u < 1));
  if (bad >= 0) {
    throw new InvalidArgumentError(`Expected \`uniforms\` to be in [0, 1), got ${uniforms[bad]} in row ${bad}`, {
      argument: `uniforms[${bad}]`,
      wanted: 'a number in [0, 1)',
      got: uniforms[bad],
    });
  }
}
