/** Tables of choices, and what they say. All have a row for each expert. */

/** How often each expert of one layer was chosen. */
export interface RoutingTables {
  /** Tokens that chose each expert, `[E]`. */
  load: number[];
  /** How many tokens chose both experts, `[E][E]`; the diagonal is the load. */
  coActivation: number[][];
  /** Load by time, `[E][times]`: the parts of the timestep range, or the times of the passes. */
  byTimestep: number[][];
  /** Load by label, `[E][classes]`; for counters on the device `[E][2]`: samples with a class, samples with the null label. */
  byClass: number[][];
  /** Load by token position, `[E][positions]`. */
  byPosition: number[][];
}

/** Zeros, `[rows][columns]`. */
export const zeroTable = (rows: number, columns: number): number[][] => Array.from({ length: rows }, () => Array<number>(columns).fill(0));

/** Share of each column's total that each row has, in [0, 1]; 0 in an empty column. */
export function columnShares(rows: readonly (readonly number[])[]): number[][] {
  const totals = rows[0].map((_, column) => rows.reduce((sum, row) => sum + row[column], 0));
  return rows.map((row) => row.map((n, column) => (totals[column] === 0 ? 0 : n / totals[column])));
}

/**
 * How far the choice of expert depends on the column: mutual information of expert and column over the entropy of the expert,
 * in [0, 1]. 0: every column uses the experts alike; 1: the column determines the expert.
 */
export function specialisation(rows: readonly (readonly number[])[]): number {
  const total = rows.flat().reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  const sums = rows.map((row) => row.reduce((a, b) => a + b, 0) / total);
  const entropy = -sums.reduce((sum, p) => sum + (p === 0 ? 0 : p * Math.log(p)), 0);
  if (entropy === 0) return 0;
  let information = 0;
  for (let column = 0; column < rows[0].length; column++) {
    const share = rows.reduce((sum, row) => sum + row[column], 0) / total;
    for (const [e, row] of rows.entries()) {
      const joint = row[column] / total;
      if (joint > 0) information += joint * Math.log(joint / (share * sums[e]));
    }
  }
  return Math.max(0, information) / entropy;
}

/** Share of the load that the experts of each kind have together, in [0, 1], with their kinds given by their numbers; 0 without a load. */
export function loadByKind<Kind extends string>(load: readonly number[], kinds: readonly Kind[]): Record<Kind, number> {
  const total = load.reduce((a, b) => a + b, 0) || 1;
  const shares = {} as Record<Kind, number>;
  for (const [expert, kind] of kinds.entries()) shares[kind] = (shares[kind] ?? 0) + load[expert] / total;
  return shares;
}

/** Entropy of the load over log E, in [0, 1]; 1 at perfect balance, and for a single expert. */
export function evenness(load: readonly number[]): number {
  const total = load.reduce((a, b) => a + b, 0);
  if (load.length < 2 || total === 0) return 1;
  return (0 - load.reduce((sum, n) => sum + (n === 0 ? 0 : (n / total) * Math.log(n / total)), 0)) / Math.log(load.length);
}
