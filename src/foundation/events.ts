import { EventEmitter as Emitter } from 'eventemitter3';
import { argumentError } from './arguments.js';

/** A function that is told about an event. It observes: what it returns is ignored; what it throws reaches the emitting call. */
export type EventListener<Payload> = (payload: Payload) => void;

/**
 * Typed events on `eventemitter3`: one map from event names to payload types, one payload an event.
 *
 * Listeners are called at once, in the order they were added. There is no special `error` event: failures reject the
 * promise of the call that failed.
 *
 * @typeParam Events - maps each event's name to the type of its payload.
 */
export class EventEmitter<Events extends object> {
  readonly #emitter = new Emitter<string>();

  /**
   * @param name - the event.
   * @param listener - called with each payload.
   * @returns this emitter.
   * @throws {InvalidArgumentError} when the listener is no function.
   */
  on<K extends keyof Events & string>(name: K, listener: EventListener<Events[K]>): this {
    checkListener('on', name, listener);
    this.#emitter.on(name, listener);
    return this;
  }

  /**
   * @param name - the event.
   * @param listener - called with the next payload only.
   * @returns this emitter.
   * @throws {InvalidArgumentError} when the listener is no function.
   */
  once<K extends keyof Events & string>(name: K, listener: EventListener<Events[K]>): this {
    checkListener('once', name, listener);
    this.#emitter.once(name, listener);
    return this;
  }

  /**
   * @param name - the event.
   * @param listener - the listener to remove, however it was added; without it all listeners of the event go.
   * @returns this emitter.
   */
  off<K extends keyof Events & string>(name: K, listener?: EventListener<Events[K]>): this {
    checkName('off', name);
    if (listener === undefined) this.#emitter.removeAllListeners(name);
    else this.#emitter.off(name, listener);
    return this;
  }

  /**
   * @param name - the event.
   * @param payload - handed to every listener; readonly plain data.
   * @returns whether anybody listened.
   */
  emit<K extends keyof Events & string>(name: K, payload: Events[K]): boolean {
    checkName('emit', name);
    return this.#emitter.emit(name, payload);
  }

  /**
   * @param name - the event.
   * @returns how many listeners it has; 0 lets a caller skip making a costly payload.
   */
  listenerCount(name: keyof Events & string): number {
    checkName('listenerCount', name);
    return this.#emitter.listenerCount(name);
  }
}

function checkName(method: string, name: unknown): void {
  if (typeof name !== 'string') throw argumentError(`EventEmitter.${method}`, 'name', 'the name of an event', name);
}

function checkListener(method: string, name: unknown, listener: unknown): void {
  checkName(method, name);
  if (typeof listener !== 'function') throw argumentError(`EventEmitter.${method}`, 'listener', 'a function', listener);
}
