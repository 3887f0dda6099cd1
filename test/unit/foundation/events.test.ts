import { describe, expect, it } from 'vitest';
import { EventEmitter } from '../../../src/foundation/events.js';

interface Events {
  readonly updateEnd: { readonly step: number };
  readonly runEnd: { readonly reason: string };
}

describe('EventEmitter', () => {
  it('hands payloads to listeners in the order they were added', () => {
    const events = new EventEmitter<Events>();
    const seen: string[] = [];
    const second = ({ step }: Events['updateEnd']): void => void seen.push(`second ${step}`);
    events.on('updateEnd', ({ step }) => seen.push(`first ${step}`)).on('updateEnd', second);
    events.once('updateEnd', () => seen.push('once'));
    expect(events.emit('updateEnd', { step: 1 })).toBe(true);
    events.off('updateEnd', second);
    events.emit('updateEnd', { step: 2 });
    expect(seen).toEqual(['first 1', 'second 1', 'once', 'first 2']);
    expect(events.listenerCount('updateEnd')).toBe(1);
    events.off('updateEnd');
    expect(events.emit('updateEnd', { step: 3 })).toBe(false);
    expect(events.emit('runEnd', { reason: 'done' })).toBe(false);
  });

  it('checks names and payloads at compile time', () => {
    const events = new EventEmitter<Events>();
    // @ts-expect-error: no such event
    events.on('updateStart', () => undefined);
    // @ts-expect-error: another payload
    events.emit('updateEnd', { reason: 'x' });
    expect(events.listenerCount('runEnd')).toBe(0);
  });

  it('lets what a listener throws reach the emitting call', () => {
    const events = new EventEmitter<Events>().on('runEnd', () => {
      throw new Error('listener');
    });
    expect(() => events.emit('runEnd', { reason: 'x' })).toThrow('listener');
  });
});
