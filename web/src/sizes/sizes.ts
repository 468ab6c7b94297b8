// Sizes of pictures: shapes to choose from, and what a model takes.

export interface Size {
  width: number;
  height: number;
}

export interface Shape {
  name: string; // "3:2"
  words: string;
  ratio: number; // width / height
}

export const kShapes: readonly Shape[] = [
  { name: "1:1", words: "square", ratio: 1 },
  { name: "4:5", words: "portrait", ratio: 4 / 5 },
  { name: "2:3", words: "tall portrait", ratio: 2 / 3 },
  { name: "9:16", words: "phone screen", ratio: 9 / 16 },
  { name: "5:4", words: "landscape", ratio: 5 / 4 },
  { name: "3:2", words: "wide landscape", ratio: 3 / 2 },
  { name: "16:9", words: "cinema", ratio: 16 / 9 },
];

const toMultiple = (value: number, multiple: number): number =>
  Math.max(multiple, Math.round(value / multiple) * multiple);

// A size of about `pixels` pixels in that shape, both sides multiples of `multiple`, at most `limit` pixels.
export function sizeOf(ratio: number, pixels: number, multiple: number, limit = Infinity): Size {
  let height = toMultiple(Math.sqrt(pixels / ratio), multiple);
  let width = toMultiple(height * ratio, multiple);
  while (width * height > limit && (width > multiple || height > multiple)) {
    if (width >= height) width -= multiple;
    else height -= multiple;
  }
  return { width, height };
}

// The shape whose size of as many pixels this is, or that it has exactly.
export function shapeOf(size: Size, multiple: number): Shape | null {
  const pixels = size.width * size.height;
  for (const shape of kShapes) {
    if (Math.abs(size.width / size.height / shape.ratio - 1) < 1e-3) return shape;
  }
  for (const shape of kShapes) {
    const of = sizeOf(shape.ratio, pixels, multiple);
    if (of.width === size.width && of.height === size.height) return shape;
  }
  return null;
}

// Why a model would not draw that; null: it would.
export function sizeProblem(size: Size, multiple: number, limit: number): string | null {
  for (const [side, value] of [["Width", size.width], ["Height", size.height]] as const) {
    if (!Number.isInteger(value) || value <= 0) return `${side} must be a whole number of pixels.`;
    if (value % multiple !== 0) {
      const below = Math.floor(value / multiple) * multiple;
      const near = below > 0 ? `${below} or ${below + multiple}` : `${multiple}`;
      return `${side} must be a multiple of ${multiple}: ${near} instead of ${value}.`;
    }
  }
  if (size.width * size.height > limit) {
    const side = Math.floor(Math.sqrt(limit));
    return `${size.width} × ${size.height} is more than this server draws: at most ${side} × ${side}, or as many pixels in another shape.`;
  }
  return null;
}

export const sizeText = (size: Size): string => `${size.width} × ${size.height}`;
