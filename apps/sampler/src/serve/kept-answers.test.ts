import { expect, test } from 'vitest';
import { KeptAnswers, Recording } from './kept-answers.js';

test('an answer that is too large to be kept is not held while it is made, either', () => {
  const [recording, kept] = [new Recording('request'), new KeptAnswers()];
  const line = 'x'.repeat(3e6);
  for (let i = 0; i < 3; i++) recording.add(line);
  expect(recording.lines).toHaveLength(3);
  kept.set('request', recording.lines!);
  expect(kept.get('request')).toHaveLength(3);
  recording.add(line);
  expect(recording.lines).toBeUndefined();
  // Also not those after it, which would be an answer with a hole.
  recording.add('{}');
  expect(recording.lines).toBeUndefined();
});
