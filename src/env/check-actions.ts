import { InvalidArgumentError } from '../foundation/errors.js';
import type { EpisodeHistories } from './episode-histories.js';

/** The lanes that actions are checked against. */
export interface ActionLanes {
  /** Name of the environment, for the message. */
  readonly name: string;
  /** Number of lanes, B. */
  readonly size: number;
  /** Number of items, A. */
  readonly itemCount: number;
  /** Whether shown items are refused. */
  readonly noRepeat: boolean;
  /** 1 where a lane awaits a reset, `[B]`. */
  readonly ended: Uint8Array;
  /** What the lanes have seen. */
  readonly histories: EpisodeHistories;
}

/**
 * Checks the actions of a `step`, before anything changes; allocates nothing.
 * @throws {InvalidArgumentError} as `BatchEnv.step` says, naming lane and action.
 */
export function checkActions(lanes: ActionLanes, actions: Int32Array): void {
  const { name, size, itemCount, noRepeat, ended, histories } = lanes;
  if (!(actions instanceof Int32Array) || actions.length !== size) {
    const got = actions instanceof Int32Array ? `${actions.length} of them` : typeof actions;
    throw new InvalidArgumentError(
      `${name}.step: expected an Int32Array with one action for each of the ${size} lanes, got ${got}`,
      { argument: 'actions', got: actions },
    );
  }
  for (let lane = 0; lane < size; lane++) {
    const item = actions[lane] as number;
    if (ended[lane] === 1) {
      if (item !== -1)
        refuse(
          name,
          lane,
          item,
          'a running episode: this one has ended or never begun; call reset({ rows }) first, or leave the lane idle with -1',
        );
    } else if (!(item >= 0 && item < itemCount)) {
      refuse(name, lane, item, `an item index from 0 to ${itemCount - 1}`);
    } else if (noRepeat && histories.has(lane, item)) {
      refuse(name, lane, item, 'an item not in the history: this environment never repeats; mask with `noRepeat`');
    }
  }
}

function refuse(name: string, lane: number, item: number, wanted: string): never {
  throw new InvalidArgumentError(`${name}.step: lane ${lane}: expected ${wanted}; got action ${item}`, {
    argument: `actions[${lane}]`,
    wanted,
    got: item,
  });
}
