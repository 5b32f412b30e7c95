/**
 * Room for the rows that a rank sends to each expert of a layer, where experts are shared out. Shapes are fixed, so a step is recorded for
 * each size; few sizes are used, and a step in which rows found no room is done again with more.
 */

/** Share by which the fullest expert's lead over the mean is forgotten in each step. */
const FORGOTTEN = 0.01;

export class ExpertRoom {
  /** The fullest expert's rows over the mean that the next step leaves room for; saved, so that a resumed run uses the same sizes. */
  crowding = 1.25;

  /**
   * @param tokens of a micro-batch on this rank: no expert can get more
   * @param mean rows of an expert if all got equally many
   * @param factor room as a multiple of the mean, whatever comes (default: as much as is needed)
   */
  constructor(
    private readonly tokens: number,
    private readonly mean: number,
    private readonly factor?: number,
  ) {}

  /** Whether no row is ever dropped. */
  get exact(): boolean {
    return this.factor === undefined;
  }

  /** Rows for each expert: the mean times a power of the root of 2, or what was asked for. */
  get rows(): number {
    const multiple = this.factor ?? 2 ** (Math.ceil(2 * Math.log2(Math.max(1, this.crowding))) / 2);
    return Math.min(this.tokens, Math.ceil(this.mean * multiple));
  }

  /**
   * Takes in what a step would have needed.
   * @param most rows that some rank had for some expert
   * @returns whether there was room
   */
  observe(most: number): boolean {
    const fits = most <= this.rows;
    this.crowding = Math.max(most / this.mean, fits ? this.crowding * (1 - FORGOTTEN) : 1);
    return fits;
  }
}
