/** The router's settings in files; applications compose theirs of these. */
import { type FieldsOf, flag, integer, number, object, optional, word } from '@dit-moe/tensor-ops/settings';
import type { RouterConfig } from './route.js';

export const routerSettings = /* @__PURE__ */ (() =>
  object(
    {
      numExperts: integer('routed experts of a layer', { least: 1 }),
      topK: integer('experts per token, at most numExperts', { least: 1 }),
      scoreFunction: optional(
        word(
          ['softmax', 'sigmoid', 'identity'],
          "turns the router's logits into scores (default softmax, as DiT-MoE; DeepSeek-V3: sigmoid)",
        ),
      ),
      groups: optional(
        object(
          {
            count: integer('groups of equal size that the experts are divided into', { least: 1 }),
            keep: integer('groups that a token chooses among, the best for it', { least: 1 }),
          },
          'choose among the best groups of experts only, as DeepSeek-V3 (default: among all)',
        ),
      ),
      normalizeTopK: optional(flag('divide the weights of a token by their sum (default false, as DiT-MoE)')),
      weightScale: optional(number('multiplies the weights (default 1; DeepSeek-V3: 2.5)', { above: 0 })),
    } satisfies FieldsOf<RouterConfig>,
    'who goes to which expert',
  ))();
