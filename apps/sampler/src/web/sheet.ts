/** All images of a row as one file. */

/** Downloads a picture with all images side by side in rows. */
export async function downloadSheet(addresses: readonly string[], name: string): Promise<void> {
  const pictures = await Promise.all(addresses.map(async (address) => createImageBitmap(await (await fetch(address)).blob())));
  const columns = Math.ceil(Math.sqrt(pictures.length));
  const { width, height } = pictures[0];
  const canvas = document.createElement('canvas');
  canvas.width = columns * (width + 1) - 1;
  canvas.height = Math.ceil(pictures.length / columns) * (height + 1) - 1;
  const context = canvas.getContext('2d')!;
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const [i, picture] of pictures.entries()) {
    context.drawImage(picture, (i % columns) * (width + 1), Math.floor(i / columns) * (height + 1));
    picture.close();
  }
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob!);
  link.download = name;
  link.click();
  // The download has its own hold on the data once it has begun.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
