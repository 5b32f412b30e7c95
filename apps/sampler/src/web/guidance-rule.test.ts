import { expect, test } from 'vitest';
import { ruleOfText, textOfRule } from './guidance-rule.js';

test.each(['cfg', 'rescale:share=0.5', 'apg:momentum=-0.5,largest=2.5'])('%s survives the form', (text) => {
  expect(textOfRule(ruleOfText(text))).toBe(text);
});

test('numbers that are emptied are the default again', () => {
  expect(textOfRule({ name: 'apg', numbers: { momentum: ' ', largest: ' 2 ' } })).toBe('apg:largest=2');
  expect(textOfRule({ name: 'apg', numbers: { momentum: '' } })).toBe('apg');
});
