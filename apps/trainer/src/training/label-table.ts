/** The table of labels of a model that was trained on other classes. */

/** Rows of a table, as a model has them. */
export interface LabelTable {
  /** `[rows, width]`; undefined for an unconditional model. */
  data: Float32Array | undefined;
  /** Names of the classes in the order of their rows; fewer than rows where they are not known. */
  classNames: readonly string[];
  /** Row that stands for no class. */
  nullLabel: number | undefined;
}

/**
 * The new model's table with the rows of the old one that mean the same: of classes with the same name, and of no class. All other
 * rows are as they begin.
 * @returns the table, and what was done in one line
 */
export function adaptLabelTable(
  before: LabelTable,
  now: LabelTable & { data: Float32Array },
  width: number,
): { table: Float32Array; what: string } {
  const table = now.data.slice();
  const copy = (from: number, to: number): void => table.set(before.data!.subarray(from * width, (from + 1) * width), to * width);
  let kept = 0;
  let keepsNull = false;
  if (before.data !== undefined) {
    for (const [to, name] of now.classNames.entries()) {
      const from = before.classNames.indexOf(name);
      if (from < 0) continue;
      copy(from, to);
      kept++;
    }
    keepsNull = before.nullLabel !== undefined && now.nullLabel !== undefined;
    if (keepsNull) copy(before.nullLabel!, now.nullLabel!);
  }
  const classes = now.classNames.length;
  const rows =
    kept === 0 ? `made anew for ${classes} classes` : `that of ${classes} classes, of which ${kept} keep their row by their name`;
  return { table, what: `The table of labels is ${rows}; the row of no class is ${keepsNull ? 'kept' : 'new'}.` };
}
