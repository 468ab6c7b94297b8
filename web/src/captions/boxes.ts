// Boxes of a caption: [y_min, x_min, y_max, x_max] on a grid of 1000 x 1000 over the picture.

export type Box = readonly [number, number, number, number];
export type Handle = "move" | "n" | "s" | "e" | "w" | "ne" | "nw" | "se" | "sw";

export const kGrid = 1000;
export const kLeast = 20; // the least side that can still be grabbed

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

export function isBox(value: unknown): value is Box {
  if (!Array.isArray(value) || value.length !== 4) return false;
  if (!value.every((n) => typeof n === "number" && Number.isFinite(n) && n >= 0 && n <= kGrid)) return false;
  const [y0, x0, y1, x1] = value as number[];
  return (y0 as number) < (y1 as number) && (x0 as number) < (x1 as number);
}

// The box between two corners, whichever they are, within the picture and no smaller than can be grabbed.
export function boxBetween(ax: number, ay: number, bx: number, by: number): Box {
  const side = (a: number, b: number): [number, number] => {
    let low = clamp(Math.round(Math.min(a, b)), 0, kGrid);
    let high = clamp(Math.round(Math.max(a, b)), 0, kGrid);
    if (high - low < kLeast) {
      low = Math.min(low, kGrid - kLeast);
      high = low + kLeast;
    }
    return [low, high];
  };
  const [x0, x1] = side(ax, bx);
  const [y0, y1] = side(ay, by);
  return [y0, x0, y1, x1];
}

// `box` with `handle` pulled by (dx, dy); a moved box keeps its size, a pulled side stops at the others.
export function pull(box: Box, handle: Handle, dx: number, dy: number): Box {
  let [y0, x0, y1, x1] = box;
  dx = Math.round(dx);
  dy = Math.round(dy);
  if (handle === "move") {
    dx = clamp(dx, -x0, kGrid - x1);
    dy = clamp(dy, -y0, kGrid - y1);
    return [y0 + dy, x0 + dx, y1 + dy, x1 + dx];
  }
  if (handle.includes("n")) y0 = clamp(y0 + dy, 0, y1 - kLeast);
  if (handle.includes("s")) y1 = clamp(y1 + dy, y0 + kLeast, kGrid);
  if (handle.includes("w")) x0 = clamp(x0 + dx, 0, x1 - kLeast);
  if (handle.includes("e")) x1 = clamp(x1 + dx, x0 + kLeast, kGrid);
  return [y0, x0, y1, x1];
}

// A place for a new box that hides none of the others' corners.
export function freeBox(others: readonly Box[]): Box {
  for (let shift = 0; shift < 10; shift += 1) {
    const box: Box = [100 + shift * 60, 100 + shift * 60, 300 + shift * 60, 500 + shift * 40];
    if (!others.some((other) => Math.abs(other[0] - box[0]) < 30 && Math.abs(other[1] - box[1]) < 30)) return box;
  }
  return [400, 300, 600, 700];
}

const third = (middle: number) => (middle < kGrid / 3 ? 0 : middle > (kGrid * 2) / 3 ? 2 : 1);

// Where that is, for models that know places by words and for screen readers.
export function placeWords(box: Box): string {
  const row = third((box[0] + box[2]) / 2);
  const column = third((box[1] + box[3]) / 2);
  if (row === 1) return ["on the left", "in the center", "on the right"][column] as string;
  const edge = row === 0 ? "top" : "bottom";
  return column === 1 ? `at the ${edge}` : `in the ${edge} ${column === 0 ? "left" : "right"} corner`;
}

export const boxWords = (box: Box): string =>
  `${placeWords(box)}, ${Math.round((box[3] - box[1]) / 10)} % wide, ${Math.round((box[2] - box[0]) / 10)} % high`;
