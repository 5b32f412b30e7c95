/** The numbers of a line of metrics by the names that TensorBoard and the other places for metrics show. */
import type { MetricsLine } from './metrics-log.js';
import { type LayerMeasure, layerMeasures, measureOf } from './routing.js';
import { bucketName } from './validation.js';

/** One number per name; slashes group them. */
export function scalarsOf(line: MetricsLine): Record<string, number> {
  const { step, at: _, routing, time = {}, evaluation = {}, validation, routerLosses = {}, distillation = {}, ...scalars } = line;
  const values: Record<string, number> = { ...scalars, ...evaluation };
  if (validation !== undefined) {
    const { loss, byTime } = validation;
    values['validation/loss'] = loss;
    for (const [b, value] of byTime.entries()) values[`validation/loss/times-${bucketName(b, byTime.length)}`] = value;
  }
  for (const [part, ms] of Object.entries<number>(time)) values[`time/${part}`] = ms;
  for (const [name, value] of Object.entries(routerLosses)) values[`router/${name}`] = value;
  for (const [name, value] of Object.entries(distillation)) values[`distillation/${name}`] = value;
  for (const measure of Object.keys(layerMeasures) as LayerMeasure[])
    for (const [layer, measures] of routing.entries()) values[`routing/${measure}/layer-${layer}`] = measureOf(measures, measure);
  for (const [layer, { kinds = {} }] of routing.entries())
    for (const [kind, share] of Object.entries(kinds)) values[`routing/${kind}/layer-${layer}`] = share;
  return values;
}
