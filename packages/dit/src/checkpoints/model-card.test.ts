import { ArgumentError } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { cardFromMetadata, cardToMetadata, type ModelCard, ModelCardError } from '../index.js';
import { tiny } from '../testing/models.js';

const card: ModelCard = { config: tiny, objective: 'flow', timeScale: 1000, classNames: ['a', 'b', 'c'], step: 5 };
const moe = tiny.moe!;
/** A card whose experts are changed. */
const read = (change: object, more: object = {}): ModelCard =>
  cardFromMetadata(cardToMetadata({ ...card, config: { ...tiny, moe: { ...moe, ...change } }, ...more }), 'model.safetensors');

test('a card of before there were routers to choose from is read as it is: token choice', () => {
  expect(read({})).toEqual(card);
  expect(read({}).config.moe!.router).toBeUndefined();
});

test('what a card says of routers and experts is read back', () => {
  const rows = [
    { router: 'threshold', capacity: [1, 2.5], routerInput: 'unmodulated', losses: { capacity: 0.5 } },
    { router: 'timestep', topK: 1, timeRange: 1000 },
    { loadBias: 0.001, scoreFunction: 'sigmoid', experts: [{ kind: 'copy', count: 4 }] },
  ];
  for (const row of rows) expect(read(row).config.moe).toEqual({ ...moe, ...row });
});

test.each<[string, object, RegExp]>([
  ['an unknown word', { router: 'rase' }, /config\.moe\.router: expected token, .*found "rase"\. Did you mean race\?/],
  ['a setting of another version', { routers: 'token' }, /config\.moe\.routers: is not a setting\. Did you mean config\.moe\.router\?/],
  ['several at once', { router: 'x', topK: 0 }, /config\.moe\.topK[\s\S]*config\.moe\.router/],
])('%s in a card is refused with what fits', (_, change, message) => {
  expect(() => read(change)).toThrow(ModelCardError);
  expect(() => read(change)).toThrow(message);
});

test('what does not go together in a card is refused', () => {
  expect(() => read({ router: 'race', capacity: 9 })).toThrow(ArgumentError);
  expect(() => read({ router: 'race', capacity: 9 })).toThrow('moe.capacity: expected above 0, at most numExperts 4');
  expect(() => read({}, { classNames: ['a', 'b', 'c', 'd'] })).toThrow('classNames: expected up to 3 names, found 4');
});

test('a card of another version of the format, and what is no card, are refused', () => {
  const { format, card: json } = cardToMetadata(card);
  expect(() => cardFromMetadata({ format: 'dit-moe/0', card: json }, 'old.safetensors')).toThrow(
    `old.safetensors: the model card is not valid:\n  format: expected ${format}, as this version writes it, found "dit-moe/0".`,
  );
  expect(() => cardFromMetadata({ format }, 'x')).toThrow(ModelCardError);
  expect(() => cardFromMetadata({ format, card: '{' }, 'x')).toThrow(/card: expected JSON/);
});
