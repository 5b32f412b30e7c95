export { type PixelBatches, rebatch } from './pictures/batches.js';
export { contactSheet, zoomTo } from './pictures/contact-sheet.js';
export { type CropStream, centerCrop, randomCrop, randomFlip } from './pictures/crop.js';
export { imagenetClasses } from './pictures/imagenet.js';
export { npzImageShape, npzImages, npzLabels } from './pictures/npz-images.js';
export { flipped, joinPixels, type Pixels, pictureAt, pictureOf, slicePixels, toGrey } from './pictures/pixels.js';
export { encodePng } from './pictures/png.js';
export { type Filter, resize, type Window } from './pictures/resample.js';
export { imagesOfPixels, pixelRoundings, type Rounding, toPixels } from './pictures/rounding.js';
