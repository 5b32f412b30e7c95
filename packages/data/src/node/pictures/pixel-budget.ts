/** Keeps what runs at the same time below a number of pixels, in the order of asking; a single larger one runs alone. */
export class PixelBudget {
  private used = 0;
  private readonly waiting: { pixels: number; start(): void }[] = [];

  constructor(private readonly most: number) {}

  /** Runs `work` as soon as its pixels are free. */
  async run<T>(pixels: number, work: () => Promise<T>): Promise<T> {
    const size = Math.min(pixels, this.most);
    if (this.waiting.length > 0 || this.used + size > this.most)
      await new Promise<void>((start) => this.waiting.push({ pixels: size, start }));
    else this.used += size;
    try {
      return await work();
    } finally {
      this.used -= size;
      for (let next = this.waiting[0]; next !== undefined && this.used + next.pixels <= this.most; next = this.waiting[0]) {
        this.waiting.shift();
        this.used += next.pixels;
        next.start();
      }
    }
  }
}
